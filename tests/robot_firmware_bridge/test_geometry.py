"""Leg space against numbers worked out by hand; conventions of attitudes and quaternions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_firmware_bridge.geometry import (
    LEG_TO_MOTOR,
    cross_product,
    leg_to_motor,
    motor_to_leg,
    normalized,
    quaternion_from_rpy,
    quaternion_product,
    rotation_from_quaternion,
    rpy_from_quaternion,
    turned,
)

angles = st.floats(-3.0, 3.0)


def test_swing_turns_left_and_right_legs_against_each_other_in_motor_order():
    leg = np.array([0.1, 0.2, 0.3, 0.4, 1.0, 2.0, 3.0, 4.0])
    by_hand = [0.9, 1.1, 1.8, 2.2, 3.3, 2.7, 4.4, 3.6]
    np.testing.assert_allclose(leg_to_motor(leg), by_hand, rtol=0, atol=1e-15)


@given(st.lists(angles, min_size=8, max_size=8))
def test_leg_and_motor_space_are_inverse(values):
    motor = np.array(values)
    np.testing.assert_allclose(leg_to_motor(motor_to_leg(motor)), motor, atol=1e-14)


def test_the_shared_matrix_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        LEG_TO_MOTOR[0, 0] = 2.0


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


@given(st.floats(-3.0, 3.0), st.floats(-1.5, 1.5), st.floats(-3.0, 3.0))
def test_a_vector_is_turned_as_by_the_rotation_matrix(roll, pitch, yaw):
    quaternion = quaternion_from_rpy(np.array((roll, pitch, yaw)))
    vector = np.array((0.3, -2.0, 5.0))
    expected = rotation_from_quaternion(quaternion) @ vector
    assert turned(quaternion, vector) == pytest.approx(expected, abs=1e-12)


def test_a_quarter_turn_to_the_left_takes_ahead_to_the_left():
    ahead = np.array((1.0, 0.0, 0.0))
    assert turned(axis_quaternion(2, math.pi / 2), ahead) == pytest.approx((0, 1, 0))
    assert turned(normalized(np.array((0.0, 0.0, 3.0, 3.0))), ahead) == pytest.approx((0, 1, 0))


_VECTORS = st.tuples(*[st.floats(-1e3, 1e3)] * 3).map(np.array)


@given(_VECTORS, _VECTORS)
def test_cross_product_is_numpys_bit_for_bit(a, b):
    """So that an episode is the one that numpy's would give."""
    assert (cross_product(a, b) == np.cross(a, b)).all()


def test_cross_product_is_right_handed():
    forward, left, up = np.eye(3)
    assert (cross_product(forward, left) == up).all()
