"""Closed legs in any state of motion: against the iterative solver, and by the pins themselves."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_firmware_bridge.robot import MINITAUR
from sim.engines.five_bar import Legs, closed_knees
from sim.errors import SimError
from sim.model.minitaur import MODELS, load_tree

LEGS = {name: Legs(load_tree(name, merged=True), model) for name, model in MODELS.items()}
STILL = np.zeros(8)


def joints(swing, extension) -> np.ndarray:
    """Motor joint angles, joint axes, of swings and extensions of the four legs."""
    pairs = np.stack((np.subtract(extension, swing), np.add(extension, swing)), axis=1)
    return pairs.ravel() * MINITAUR.directions


def gaps(name: str, motors: np.ndarray, knees: np.ndarray) -> np.ndarray:
    """From the right to the left anchor of every leg, shape (4, 3)."""
    model = MODELS[name]
    names = (*model.motor_joints, *model.knee_joints)
    angles = dict(zip(names, (*motors, *knees), strict=True))
    poses = load_tree(name, merged=True).poses(angles)
    ends = [[poses[link].apply(point) for link, point in pair] for pair in model.closures]
    return np.array([left - right for right, left in ends])


def test_the_start_pose_is_closed_by_the_models_own_knees(name):
    model = MODELS[name]
    knees, _ = LEGS[name].close(0.5 * math.pi * MINITAUR.directions, STILL)
    assert knees == pytest.approx(model.start_knees_rad, abs=2e-5)


@pytest.mark.parametrize("extension", [0.5, 1.5, 2.0, 2.5])
def test_the_iterative_solver_finds_the_same_knees(name, extension):
    motors = joints((0.5, -0.3, 0.0, 1.0), np.full(4, extension) - (0.0, 0.1, 0.2, 0.0))
    expected = closed_knees(load_tree(name, merged=True), MODELS[name], motors)
    knees, _ = LEGS[name].close(motors, STILL)
    assert knees == pytest.approx(expected, abs=3e-5)


fours = st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4).map(np.array)
eights = st.lists(st.floats(-30.0, 30.0), min_size=8, max_size=8).map(np.array)


@pytest.mark.parametrize("model", sorted(MODELS))
@given(swings=fours, extensions=fours, speeds=eights)
def test_pins_are_closed_and_stay_closed(model, swings, extensions, speeds):
    motors = joints(2.0 * swings - 1.0, 0.3 + 2.5 * extensions)
    knees, knee_speeds = LEGS[model].close(motors, speeds)
    assert np.linalg.norm(gaps(model, motors, knees), axis=1).max() < 1e-4
    step = 1e-6
    after, before = (
        gaps(model, motors + sign * step * speeds, knees + sign * step * knee_speeds)
        for sign in (1.0, -1.0)
    )
    assert np.abs(after - before).max() / (2.0 * step) < 2e-3
    # The chains bend at the same side of the leg as at the start, all the way.
    bend = np.array(MODELS[model].start_knees_rad)
    assert (np.abs(knees - bend) < 2.0).all()


def test_knee_speeds_by_hand(name):
    """A leg that swings as a whole does not bend; both motors turn it about the hip."""
    turning = joints(np.full(4, 1.0), np.zeros(4))
    _, knee_speeds = LEGS[name].close(joints(np.zeros(4), np.full(4, 2.0)), turning)
    assert knee_speeds == pytest.approx(STILL, abs=1e-3)


def test_knees_at_one_point_close_nothing(name):
    with pytest.raises(SimError, match=rf"leg 0 of {name} cannot be closed at .*\[-?0\.0, -?0\.0"):
        LEGS[name].close(joints(np.zeros(4), (0.0, 2.0, 2.0, 2.0)), STILL)
    with pytest.raises(SimError, match="cannot be closed"):
        LEGS[name].close(np.full(8, np.nan), STILL)
