"""Clearances by hand, and the legs' heights against the simulator's own geometry."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.record.clearance import clearance, heights_m
from robot_firmware_bridge.geometry import leg_to_motor, quaternion_from_rpy
from sim.plant.registry import make_plant

LEVEL = np.zeros((1, 3))


@pytest.fixture(scope="module")
def engine():
    plant = make_plant("mujoco")
    yield plant.engine
    plant.close()


@given(
    swing=st.lists(st.floats(-0.3, 0.3), min_size=4, max_size=4),
    extension=st.lists(st.floats(0.8, 2.3), min_size=4, max_size=4),
    roll=st.floats(-0.1, 0.1),
    pitch=st.floats(-0.1, 0.1),
)
def test_the_lowest_toe_is_where_the_simulator_has_it(engine, swing, extension, roll, pitch):
    """Within 15 mm: the toe of a turned leg touches with another side."""
    motor, rpy = leg_to_motor(np.array(swing + extension)), np.array((roll, pitch, 0.3))
    expected = engine.touching_height_m(motor, quaternion_from_rpy(rpy))
    _, toes = heights_m(motor[None], rpy[None])
    assert -toes.min() == pytest.approx(expected, abs=0.015)


def test_heights_by_hand():
    # Upright legs with level upper links: hip to pin is the root of 0.2^2 - 0.1^2.
    motor = leg_to_motor(np.array((0.0,) * 4 + (math.pi / 2,) * 4))
    hips, toes = heights_m(motor[None], LEVEL)
    assert hips == pytest.approx(np.full((1, 4), -0.0185))
    assert toes == pytest.approx(np.full((1, 4), -0.0185 - math.sqrt(0.03) - 0.036))
    # The nose up lifts the front by its lever and lowers the hind legs: pitch is negative then.
    hips, _ = heights_m(motor[None], np.array(((0.0, -0.1, 0.0),)))
    assert hips[0, 0] - hips[0, 1] == pytest.approx(2 * 0.2375 * math.sin(0.1))


def test_a_foot_that_is_lifted_by_3_cm_in_each_stride():
    def pose(front_left_m):
        """A leg of this much less than the square root of 0.03 m."""
        length = math.sqrt(0.03) - front_left_m
        # The law of cosines in the triangle of hip, knee and pin.
        angle = math.pi - math.acos((length**2 + 0.1**2 - 0.2**2) / (2 * 0.1 * length))
        return leg_to_motor(np.array((0.0,) * 4 + (angle,) + (math.pi / 2,) * 3))

    down, up = pose(0.0), pose(0.03)
    ticks = np.array([down, up, up, down] * 3 + [down])
    level = np.zeros((13, 3))
    found = clearance(ticks, level, 4)
    assert found.toe_m == pytest.approx(0.03 / 4)  # one leg of four
    assert found.body_m == pytest.approx(math.sqrt(0.03) + 0.036 - 0.0425)
    assert clearance(ticks[:3], level[:3], 4) is None


def test_a_slope_lifts_no_foot():
    standing = np.tile(leg_to_motor(np.array((0.0,) * 4 + (1.8,) * 4)), (20, 1))
    uphill = np.tile((0.0, -0.17, 0.0), (20, 1))
    assert clearance(standing, uphill, 5).toe_m == pytest.approx(0.0)
