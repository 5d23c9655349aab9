"""Latency by interpolated history."""

import numpy as np
import pytest

from sim.plant.plant import History


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
