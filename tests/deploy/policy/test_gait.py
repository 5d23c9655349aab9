"""Reference gaits against values worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.policy.gait import plain_trot, stance, trot, walk


def test_a_gait_starts_from_the_stance_whatever_its_centre(gait):
    lower = dataclasses.replace(gait, extension_centre_rad=1.65, swing_lead=0.2)
    np.testing.assert_array_equal(lower.leg_targets(0.0), [0, 0, 0, 0, 2, 2, 2, 2])


@pytest.mark.parametrize(
    ("t_s", "swing", "extension"),
    [
        (0.5, 0.0, 0.35),  # one whole period: the front left leg is longest
        (0.625, 0.3, 0.0),  # a quarter later: swung fully
        (0.75, 0.0, -0.35),
        (0.875, -0.3, 0.0),
    ],
)
def test_a_trot_by_hand(gait, t_s, swing, extension):
    sign = np.array([1.0, -1.0, -1.0, 1.0])  # the other diagonal is half a period apart
    expected = np.concatenate((swing * sign, 2.0 + extension * sign))
    np.testing.assert_allclose(gait.leg_targets(t_s), expected, atol=1e-12)


def test_the_swing_leads_by_its_part_of_a_cycle(gait):
    led = dataclasses.replace(gait, swing_lead=0.25)
    np.testing.assert_allclose(led.leg_targets(0.5)[:4], [0.3, -0.3, -0.3, 0.3])
    np.testing.assert_allclose(led.leg_targets(0.5)[4:], gait.leg_targets(0.5)[4:])


def test_a_gait_is_blended_in_linearly(gait):
    # At an eighth of a second it is half there, a quarter into its period: swing 0.15.
    np.testing.assert_allclose(gait.leg_targets(0.125)[:4], [0.15, -0.15, -0.15, 0.15])


@pytest.mark.parametrize("gait", [trot(), plain_trot()], ids=lambda gait: gait.name)
@given(t_s=st.floats(1.0, 100.0))
def test_a_trot_is_periodic_and_bounded(gait, t_s):
    now = gait.leg_targets(t_s)
    np.testing.assert_allclose(gait.leg_targets(t_s + 1.0 / gait.frequency_hz), now, atol=1e-9)
    assert np.abs(now[:4]).max() <= gait.swing_amplitude_rad + 1e-12
    apart = np.abs(now[4:] - gait.extension_centre_rad)
    assert apart.max() <= gait.extension_amplitude_rad + 1e-12
    assert 0.0 <= gait.phase_rad(t_s) < 2.0 * math.pi


@given(st.floats(1.0, 100.0))
def test_the_trots_diagonals_are_half_a_period_apart(t_s):
    gait = trot()
    now, later = gait.leg_targets(t_s), gait.leg_targets(t_s + 0.5 / gait.frequency_hz)
    np.testing.assert_allclose(later[[0, 1, 2, 3]], now[[1, 0, 3, 2]], atol=1e-9)
    np.testing.assert_allclose(now[[0, 1]], now[[3, 2]], atol=1e-12)


def test_stance_stands_but_may_keep_time():
    gait = stance(frequency_hz=2.0)
    np.testing.assert_array_equal(gait.leg_targets(0.3), [0, 0, 0, 0, 2, 2, 2, 2])
    assert gait.phase_rad(0.125) == pytest.approx(math.pi / 2)


def test_a_lower_stance_is_crouched_to():
    gait = dataclasses.replace(stance(), extension_centre_rad=1.6, ramp_s=0.25)
    for t_s, extension in ((0.0, 2.0), (0.125, 1.8), (0.25, 1.6), (9.0, 1.6)):
        np.testing.assert_allclose(gait.leg_targets(t_s), [0.0] * 4 + [extension] * 4)


def test_a_command_adds_to_each_legs_swing():
    gait = dataclasses.replace(walk(), swing_lead=0.0, leg_phase=(0.0,) * 4, frequency_hz=1.0)
    # A quarter into a cycle the swing is the amplitude.
    swings = gait.leg_targets(1.25, np.array((0.5, -0.2)))[:4]
    expected = 0.02 + 0.32 * 0.5 - 0.2 * np.array((-0.35, 0.9, 0.35, -0.9))
    np.testing.assert_allclose(swings, expected)
    np.testing.assert_allclose(gait.leg_targets(1.25, np.zeros(2))[:4], 0.02)
    np.testing.assert_array_equal(gait.leg_targets(1.3), gait.leg_targets(1.3, np.zeros(2)))


def test_a_gait_that_cannot_be_steered_ignores_a_command():
    unmoved = trot().leg_targets(0.7)
    np.testing.assert_array_equal(trot().leg_targets(0.7, np.array((0.8, 0.5))), unmoved)
