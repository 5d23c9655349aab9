"""Running mean and variance, for observations and for the scale of returns.

Batches are merged by the parallel formula of Chan, Golub and LeVeque (1979), in double precision,
so that ten million steps leave no rounding to speak of. Imports numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Added to a variance before its root: an observation that never changes is not blown up.
_VARIANCE_FLOOR = 1e-8


@dataclass(frozen=True, slots=True)
class RunningMoments:
    """Count, mean and sum of squared deviations of all samples so far.

    Attributes:
        count: Samples seen.
        mean: Shape (D,).
        squares: Sum of squared deviations from the mean, shape (D,).
    """

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def empty(cls, size: int) -> RunningMoments:
        """No samples yet of a quantity with ``size`` components."""
        return cls(0, np.zeros(size), np.zeros(size))

    def merged(self, samples: NDArray[Any]) -> RunningMoments:
        """These moments with ``samples``, shape (N, D), added."""
        batch = samples.astype(np.float64)
        count = self.count + len(batch)
        batch_mean = batch.mean(axis=0)
        delta = batch_mean - self.mean
        between = delta * delta * (self.count * len(batch) / count)
        return RunningMoments(
            count=count,
            mean=self.mean + delta * (len(batch) / count),
            squares=self.squares + ((batch - batch_mean) ** 2).sum(axis=0) + between,
        )

    @property
    def std(self) -> NDArray[np.float64]:
        """Population standard deviation, shape (D,); ones before the first sample."""
        if self.count == 0:
            return np.ones_like(self.mean)
        return np.sqrt(self.squares / self.count + _VARIANCE_FLOOR)

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint, at full precision."""
        return {
            "count": self.count,
            "mean": self.mean.tolist(),
            "squares": self.squares.tolist(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> RunningMoments:
        """Reads what ``state`` returned."""
        return cls(state["count"], np.array(state["mean"]), np.array(state["squares"]))
