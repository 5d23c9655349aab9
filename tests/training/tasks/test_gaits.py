"""The gaits of the tasks, against values worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.tasks.gaits import PLAIN_TROT, TROT, WALK


@pytest.mark.parametrize("gait", [TROT, PLAIN_TROT], ids=lambda gait: gait.name)
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
    gait = TROT
    now, later = gait.leg_targets(t_s), gait.leg_targets(t_s + 0.5 / gait.frequency_hz)
    np.testing.assert_allclose(later[[0, 1, 2, 3]], now[[1, 0, 3, 2]], atol=1e-9)
    np.testing.assert_allclose(now[[0, 1]], now[[3, 2]], atol=1e-12)


def test_a_command_adds_to_each_legs_swing():
    gait = dataclasses.replace(WALK, swing_lead=0.0, leg_phase=(0.0,) * 4, frequency_hz=1.0)
    # A quarter into a cycle the swing is the amplitude.
    swings = gait.leg_targets(1.25, np.array((0.5, -0.2)))[:4]
    expected = 0.02 + 0.37 * 0.5 - 0.2 * np.array((-0.35, 0.9, 0.35, -0.9))
    np.testing.assert_allclose(swings, expected)
    np.testing.assert_allclose(gait.leg_targets(1.25, np.zeros(2))[:4], 0.02)
    np.testing.assert_array_equal(gait.leg_targets(1.3), gait.leg_targets(1.3, np.zeros(2)))


def test_a_gait_that_cannot_be_steered_ignores_a_command():
    unmoved = TROT.leg_targets(0.7)
    np.testing.assert_array_equal(TROT.leg_targets(0.7, np.array((0.8, 0.5))), unmoved)
