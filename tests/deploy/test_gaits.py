"""Reference gaits against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.gaits import stance, trot


def test_trot_starts_from_the_stance():
    np.testing.assert_array_equal(trot().leg_targets(0.0), [0, 0, 0, 0, 2, 2, 2, 2])


@pytest.mark.parametrize(
    ("t_s", "swing", "extension"),
    [
        (0.5, 0.0, 0.35),  # one whole period: the front left leg is longest
        (0.625, 0.3, 0.0),  # a quarter later: swung fully
        (0.75, 0.0, -0.35),
        (0.875, -0.3, 0.0),
    ],
)
def test_trot_by_hand(t_s, swing, extension):
    sign = np.array([1.0, -1.0, -1.0, 1.0])  # the other diagonal is half a period apart
    expected = np.concatenate((swing * sign, 2.0 + extension * sign))
    np.testing.assert_allclose(trot().leg_targets(t_s), expected, atol=1e-12)


def test_amplitudes_grow_linearly():
    # At an eighth of a second the gait is half grown, a quarter into its period: swing 0.15.
    np.testing.assert_allclose(trot().leg_targets(0.125)[:4], [0.15, -0.15, -0.15, 0.15])


@given(st.floats(0.25, 100.0))
def test_trot_is_periodic_and_bounded(t_s):
    gait = trot()
    now = gait.leg_targets(t_s)
    np.testing.assert_allclose(gait.leg_targets(t_s + 0.5), now, atol=1e-9)
    assert np.abs(now[:4]).max() <= 0.3 + 1e-12
    assert np.abs(now[4:] - 2.0).max() <= 0.35 + 1e-12
    assert 0.0 <= gait.phase_rad(t_s) < 2.0 * math.pi


def test_stance_stands_but_may_keep_time():
    gait = stance(frequency_hz=2.0)
    np.testing.assert_array_equal(gait.leg_targets(0.3), [0, 0, 0, 0, 2, 2, 2, 2])
    assert gait.phase_rad(0.125) == pytest.approx(math.pi / 2)
