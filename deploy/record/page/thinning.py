"""Long series as short ones that still show every peak."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def ticks_per_pair(ticks: int, most: int) -> int:
    """Return how many ticks :func:`thinned` makes two rows of; 1 where it leaves all as it is."""
    return 1 if ticks <= most else -(-2 * ticks // most)


def thinned(t_s: Array, values: Array, most: int) -> tuple[Array, Array]:
    """Return at most about ``most`` rows in which no extreme of any column is lost.

    Rows that are too many are cut into groups. Of every group and column the least and the greatest
    value remain, in the order in which they came. They stand at the times of the group's first and
    middle row, so that all columns have the same times.

    Args:
        t_s: Times, shape (T,).
        values: A column for each series, shape (T, N); NaN where there is no value. A group with a
            value shows it, one without is NaN.
        most: Rows wanted, at least 2.
    """
    size = ticks_per_pair(len(t_s), most)
    if size == 1:
        return t_s, values
    groups = -(-len(t_s) // size)
    padded = np.pad(values, ((0, groups * size - len(t_s)), (0, 0)), mode="edge")
    grouped = padded.reshape(groups, size, -1)
    low_at = np.where(np.isnan(grouped), np.inf, grouped).argmin(axis=1)[:, None]
    high_at = np.where(np.isnan(grouped), -np.inf, grouped).argmax(axis=1)[:, None]
    first, second = np.minimum(low_at, high_at), np.maximum(low_at, high_at)
    pairs = [np.take_along_axis(grouped, at, axis=1)[:, 0] for at in (first, second)]
    begins = np.arange(groups) * size
    middles = np.minimum(begins + size // 2, len(t_s) - 1)
    times = np.stack((t_s[begins], t_s[middles]), axis=1).reshape(-1)
    return times, np.stack(pairs, axis=1).reshape(2 * groups, -1)
