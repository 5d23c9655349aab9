"""Running mean and variance of what a learner scales: observations, privileged values, returns.

Batches are merged by the parallel formula of Chan, Golub and LeVeque (1979), in double precision,
so that rounding stays negligible over ten million steps. Imports numpy only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.rollout.episode import Episode
from training.rollout.policy import Normaliser
from training.tasks.symmetry import Mirror

# Added to a variance before its root: no division by zero.
_VARIANCE_FLOOR = 1e-8


@dataclass(frozen=True, slots=True)
class RunningMoments:
    """Count, mean and sum of squared deviations from the mean, both (D,), of all samples so far.

    ``floor``, shape (D,), is the least deviation that means something, in the unit of each
    component. What varied by less is scaled by it: a sensor that was still in training has some
    noise on a robot, and must not become the loudest of all.
    """

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    floor: NDArray[np.float64]

    @classmethod
    def empty(cls, size: int, floor: NDArray[np.float64] | None = None) -> RunningMoments:
        """Make the moments of a quantity with ``size`` components and no sample yet."""
        return cls(0, np.zeros(size), np.zeros(size), np.zeros(size) if floor is None else floor)

    def merged(self, samples: NDArray[Any]) -> RunningMoments:
        """Return these moments with ``samples``, shape (N, D), added."""
        batch = samples.astype(np.float64)
        count = self.count + len(batch)
        batch_mean = batch.mean(axis=0)
        delta = batch_mean - self.mean
        between = delta * delta * (self.count * len(batch) / count)
        return RunningMoments(
            count=count,
            mean=self.mean + delta * (len(batch) / count),
            squares=self.squares + ((batch - batch_mean) ** 2).sum(axis=0) + between,
            floor=self.floor,
        )

    @property
    def std(self) -> NDArray[np.float64]:
        """Population standard deviation, shape (D,), at least the floor; at first it is one."""
        if self.count == 0:
            return np.ones_like(self.mean)
        return np.maximum(np.sqrt(self.squares / self.count + _VARIANCE_FLOOR), self.floor)

    def normaliser(self, clip: float) -> Normaliser:
        """Return the scaling by these moments, in float32."""
        return Normaliser(self.mean.astype(np.float32), self.std.astype(np.float32), clip)

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint, at full precision."""
        arrays = {"mean": self.mean, "squares": self.squares, "floor": self.floor}
        return {"count": self.count, **{name: array.tolist() for name, array in arrays.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> RunningMoments:
        """Read what ``state`` returned; the state of an older version has no floor."""
        mean, squares = np.array(state["mean"]), np.array(state["squares"])
        return cls(state["count"], mean, squares, np.array(state.get("floor", 0.0 * mean)))


class Statistics:
    """Running moments of one run; with a mirror, left and right are scaled alike.

    ``floor``, shape (O,), is the least deviation of an observation that means something.
    """

    def __init__(
        self,
        observation_size: int,
        privileged_size: int,
        mirror: Mirror | None,
        floor: NDArray[np.float64] | None,
    ) -> None:
        self._mirror = mirror
        self.observations = RunningMoments.empty(observation_size, floor)
        self.privileged = RunningMoments.empty(privileged_size)
        self.returns = RunningMoments.empty(1)

    def learn(self, episodes: Sequence[Episode]) -> None:
        """Add what was observed in a batch."""
        self.learn_observations(np.concatenate([episode.observations for episode in episodes]))
        if self.privileged.mean.size:
            privileged = np.concatenate([episode.privileged for episode in episodes])
            self.privileged = self.privileged.merged(privileged)

    def learn_observations(self, rows: NDArray[np.float32]) -> None:
        """Add observations, shape (N, O), and with a mirror their mirror images."""
        self.observations = self.observations.merged(rows)
        if self._mirror is not None:
            self.observations = self.observations.merged(self._mirror.observation(rows))

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint, at full precision."""
        return {
            "observation_moments": self.observations.state(),
            "privileged_moments": self.privileged.state(),
            "return_moments": self.returns.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Read what ``state`` returned, of this run or of another; the floor stays this run's."""
        observations = RunningMoments.from_state(state["observation_moments"])
        self.observations = dataclasses.replace(observations, floor=self.observations.floor)
        self.privileged = RunningMoments.from_state(state["privileged_moments"])
        self.returns = RunningMoments.from_state(state["return_moments"])
