"""Figures of a motion by hand: speed along a heading, and how angles follow their targets."""

import numpy as np
import pytest

from deploy.record.metrics import following, heading_speed_mps


def test_a_circle_is_walked_at_the_speed_along_it():
    """Once round in 10 s on 1 m: 0.628 m/s, and the net displacement is none."""
    t_s = np.linspace(0.0, 10.0, 1001)
    angle = 2.0 * np.pi * t_s / 10.0
    position = np.column_stack((np.sin(angle), 1.0 - np.cos(angle)))
    assert np.abs(position[-1]).max() < 1e-12
    assert heading_speed_mps(t_s, position, angle) == pytest.approx(0.2 * np.pi, rel=1e-4)
    assert heading_speed_mps(t_s, position, angle + np.pi) == pytest.approx(-0.2 * np.pi, rel=1e-4)
    assert heading_speed_mps(t_s, position, angle + np.pi / 2) == pytest.approx(0.0, abs=0.01)


def test_the_mean_is_over_time_and_not_over_ticks():
    """1 m in the first second, nothing in nine more."""
    t_s = np.array((0.0, 0.5, 1.0, 10.0))
    position = np.array(((0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (1.0, 0.0)))
    assert heading_speed_mps(t_s, position, np.zeros(4)) == pytest.approx(0.1)


@pytest.mark.parametrize("ticks", [0, 1])
def test_no_time_no_speed(ticks):
    assert heading_speed_mps(np.zeros(ticks), np.zeros((ticks, 2)), np.zeros(ticks)) is None
    assert heading_speed_mps(np.zeros(2), np.zeros((2, 2)), np.zeros(2)) is None


def test_an_unknown_position_has_no_speed():
    assert heading_speed_mps(np.arange(3.0), np.full((3, 2), np.nan), np.zeros(3)) is None


def test_angles_that_come_late_follow_by_their_delay():
    """A sine of 0.4 rad at 6.5 Hz, 24 ms late: 0.4 sqrt(2) |sin(pi 6.5 0.024)| rad rms, then 0."""
    t_s = np.arange(2000) * 0.006
    target, measured = (
        0.4 * np.sin(2.0 * np.pi * 6.5 * (t_s - late_s))[:, None] * np.ones(8)
        for late_s in (0.0, 0.024)
    )
    lag = following(target, measured, 0.006)
    assert lag.delay_s == pytest.approx(0.024)
    assert lag.rms_rad == pytest.approx(0.4 * np.sqrt(2.0) * np.sin(np.pi * 6.5 * 0.024), rel=0.01)
    assert lag.rms_delayed_rad == pytest.approx(0.0, abs=1e-9)


def test_angles_that_are_off_are_off_at_any_delay():
    target = np.zeros((500, 8))
    lag = following(target, target + 0.1, 0.006)
    assert (lag.rms_rad, lag.delay_s) == (pytest.approx(0.1), 0.0)
    assert lag.rms_delayed_rad == pytest.approx(0.1)


def test_a_run_of_moments_says_nothing_of_a_delay():
    assert following(np.zeros((30, 8)), np.zeros((30, 8)), 0.006) is None
    assert following(np.zeros((0, 8)), np.zeros((0, 8)), 0.006) is None
