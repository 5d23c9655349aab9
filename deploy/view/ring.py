"""The newest ticks of a run, out of the ring in which its black box gets them."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.record.black_box import HEAD_BYTES, PUT
from deploy.record.tick_row import TickRow

# A tick is looked at once it is this much older than the newest one: it is whole then in the
# memory of any processor, and the loop will not write over it for as long as a run's ring lasts.
_SETTLED = 1


class NewestTicks:
    """Looks at the ring; never writes, and leaves no trace of having looked.

    Args:
        descriptor: The ring's memory, which is only read.
        rows: How many ticks the ring holds.
        row: Layout of the ticks.
    """

    def __init__(self, descriptor: int, rows: int, row: TickRow) -> None:
        memory = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        self._head = np.frombuffer(memory, np.uint64, HEAD_BYTES // 8)
        self._ticks = np.frombuffer(memory, row.dtype, rows, HEAD_BYTES)

    def count(self) -> int:
        """Return how many ticks there were that can be looked at."""
        return max(0, int(self._head[PUT]) - _SETTLED)

    def newest(self, most: int) -> NDArray[Any]:
        """Return a copy of the newest ticks, at most so many, oldest first; fields by name."""
        end = self.count()
        return self._ticks[np.arange(max(0, end - most), end) % len(self._ticks)]
