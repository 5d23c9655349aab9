"""The last rows of a signal that is sampled every tick."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class History:
    """The last rows of a uniformly sampled signal, readable at any age: delayed sensors.

    Args:
        width: Numbers in a row.
        tick_s: Time between rows.
        span_s: Greatest age that is read.

    Attributes:
        rows: Shape (2 L, width): each row is written twice, half a buffer apart, so that no read
            wraps around.
        newest: Where the newest row is, in the first half.
        count: How many rows there have been.
    """

    def __init__(self, width: int, tick_s: float, span_s: float) -> None:
        self._tick_s = tick_s
        self._length = math.ceil(span_s / tick_s) + 2
        self.rows = np.zeros((2 * self._length, width))
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.newest = -1
        self.count = 0

    def append(self, row: Array) -> None:
        """Add the row of the newest tick, shape (width,)."""
        self.newest = (self.newest + 1) % self._length
        self.rows[self.newest :: self._length] = row
        self.count += 1

    def at_age(self, age_s: float) -> Array:
        """Return the signal ``age_s`` before the newest row, shape (width,).

        Linear between the two nearest rows; the oldest row where the history is shorter than that.
        """
        ticks = min(age_s / self._tick_s, self.count - 1, self._length - 1)
        whole = int(ticks)
        part = ticks - whole
        at = self.newest + self._length - whole
        if part < 1e-9:
            newest: Array = self.rows[at].copy()
            return newest
        younger, older = self.rows[at], self.rows[at - 1]
        blend: Array = younger + part * (older - younger)
        return blend
