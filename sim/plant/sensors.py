"""The memory of delayed sensors.

The plant writes one row of truth per tick into a ``History``; sensors read it at an earlier time,
interpolated between ticks.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class History:
    """The last rows of a uniformly sampled signal, readable at any age.

    Args:
        width: Numbers in a row.
        tick_s: Time between rows.
        span_s: Greatest age that is read.
    """

    def __init__(self, width: int, tick_s: float, span_s: float) -> None:
        self._tick_s = tick_s
        self._length = math.ceil(span_s / tick_s) + 2
        # Written twice, half a buffer apart, so that a read never wraps around.
        self._rows = np.zeros((2 * self._length, width))
        self._newest = -1
        self._count = 0

    def clear(self) -> None:
        """Forget everything."""
        self._newest = -1
        self._count = 0

    def append(self, row: Array) -> None:
        """Add the row of the newest tick, shape (width,)."""
        self._newest = (self._newest + 1) % self._length
        self._rows[self._newest :: self._length] = row
        self._count += 1

    def at_age(self, age_s: float) -> Array:
        """Return the signal ``age_s`` before the newest row, shape (width,).

        Linear between the two nearest rows; the oldest row where the history is shorter than that.
        """
        ticks = min(age_s / self._tick_s, self._count - 1, self._length - 1)
        whole = int(ticks)
        part = ticks - whole
        at = self._newest + self._length - whole
        if part < 1e-9:
            newest: Array = self._rows[at].copy()
            return newest
        younger, older = self._rows[at], self._rows[at - 1]
        blend: Array = younger + part * (older - younger)
        return blend
