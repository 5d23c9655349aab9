"""Leg space and the five-bar against numbers worked out by hand, and against themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_firmware_bridge.geometry import (
    LEG_TO_MOTOR,
    leg_angles,
    leg_extension,
    leg_length,
    leg_to_motor,
    motor_to_leg,
    toe_position,
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


@pytest.mark.parametrize(
    ("extension", "length"),
    [
        (0.0, 0.1),  # folded: 0.2 - 0.1
        (math.pi, 0.3),  # stretched: 0.2 + 0.1
        (math.pi / 2, math.sqrt(0.03)),  # upper link level: sqrt(0.2^2 - 0.1^2)
        (2 * math.pi / 3, 0.05 + math.sqrt(0.0325)),  # 0.1 cos 60 + sqrt(0.2^2 - 0.1^2 3/4)
    ],
)
def test_leg_length_by_hand(extension, length):
    assert leg_length(extension) == pytest.approx(length, abs=1e-15)


def test_toe_of_a_swung_leg_by_hand():
    x, z = toe_position(math.pi / 6, math.pi / 2)
    assert x == pytest.approx(-math.sqrt(0.03) / 2)  # a positive swing is backward
    assert z == pytest.approx(-1.5 * 0.1)


@given(st.floats(0.01, math.pi - 0.01))
def test_extension_inverts_length(extension):
    assert leg_extension(leg_length(extension)) == pytest.approx(extension, abs=1e-7)


@given(st.floats(-1.0, 1.0), st.floats(0.7, 2.8))
def test_leg_angles_invert_toe_position(swing, extension):
    found = leg_angles(*toe_position(swing, extension))
    assert found == pytest.approx((swing, extension), abs=1e-9)


@given(st.floats(0.0, 3.0), st.floats(1e-3, 0.1))
def test_a_larger_extension_is_a_longer_leg(extension, more):
    assert leg_length(extension + more) > leg_length(extension)


@pytest.mark.parametrize("length", [0.0999, 0.3001, -0.2, math.nan])
def test_out_of_reach_is_refused(length):
    with pytest.raises(ValueError, match="out of reach"):
        leg_extension(length)
