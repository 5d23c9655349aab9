"""Reference gaits against values worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest

from deploy.policy.gait import stance


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


def test_stance_stands_but_may_keep_time():
    gait = stance(frequency_hz=2.0)
    np.testing.assert_array_equal(gait.leg_targets(0.3), [0, 0, 0, 0, 2, 2, 2, 2])
    assert gait.phase_rad(0.125) == pytest.approx(math.pi / 2)


def test_a_lower_stance_is_crouched_to():
    gait = dataclasses.replace(stance(), extension_centre_rad=1.6, ramp_s=0.25)
    for t_s, extension in ((0.0, 2.0), (0.125, 1.8), (0.25, 1.6), (9.0, 1.6)):
        np.testing.assert_allclose(gait.leg_targets(t_s), [0.0] * 4 + [extension] * 4)
