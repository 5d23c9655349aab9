"""Latency by interpolated history, and attitude conventions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.plant.sensors import (
    History,
    cross_product,
    quaternion_product,
    rotation_from_quaternion,
    rpy_from_quaternion,
)


def ramp(rows: int) -> History:
    """A signal equal to its tick number, newest row ``rows - 1``."""
    history = History(2, 0.001, 0.05)
    for k in range(rows):
        history.append(np.array((k, -k), dtype=float))
    return history


@pytest.mark.parametrize("rows", [45, 60, 137])
def test_interpolates_between_ticks(rows):
    history = ramp(rows)
    for age, expected in ((0.0, 0.0), (0.001, 1.0), (0.0034, 3.4), (0.04, 40.0)):
        assert history.at_age(age) == pytest.approx((rows - 1 - expected, expected - rows + 1))


def test_young_history_gives_its_oldest_row():
    assert ramp(3).at_age(0.02) == pytest.approx((0.0, 0.0))


def test_clear_forgets():
    history = ramp(30)
    history.clear()
    history.append(np.array((7.0, 7.0)))
    assert history.at_age(0.01) == pytest.approx((7.0, 7.0))


def test_a_read_is_not_a_view():
    history = ramp(10)
    read = history.at_age(0.0)
    history.append(np.array((99.0, 99.0)))
    assert read[0] == 9.0


def axis_quaternion(axis: int, angle: float) -> np.ndarray:
    out = np.zeros(4)
    out[axis], out[3] = math.sin(angle / 2), math.cos(angle / 2)
    return out


@given(st.floats(-3.0, 3.0), st.floats(-1.5, 1.5), st.floats(-3.0, 3.0))
def test_rpy_is_yaw_then_pitch_then_roll(roll, pitch, yaw):
    quaternion = quaternion_product(
        axis_quaternion(2, yaw),
        quaternion_product(axis_quaternion(1, pitch), axis_quaternion(0, roll)),
    )
    assert rpy_from_quaternion(quaternion) == pytest.approx((roll, pitch, yaw), abs=1e-6)
    assert rpy_from_quaternion(2.0 * quaternion) == pytest.approx((roll, pitch, yaw), abs=1e-6)


def test_rotation_matrix_turns_x_to_y():
    turn = rotation_from_quaternion(axis_quaternion(2, math.pi / 2))
    assert turn @ (1, 0, 0) == pytest.approx((0, 1, 0))


_VECTORS = st.tuples(*[st.floats(-1e3, 1e3)] * 3).map(np.array)


@given(_VECTORS, _VECTORS)
def test_cross_product_is_numpys_bit_for_bit(a, b):
    """So that an episode is the one that numpy's would give."""
    assert (cross_product(a, b) == np.cross(a, b)).all()


def test_cross_product_is_right_handed():
    forward, left, up = np.eye(3)
    assert (cross_product(forward, left) == up).all()
