"""What a learner knows of the scale of things: observations, what is privileged, returns.

Everything is scaled by the statistics that a batch was collected under; only after the update do
they learn of the batch. Imports numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.learner.advantages import discounted_sums
from training.learner.normalization import RunningMoments
from training.rollout.episode import Episode
from training.tasks.symmetry import Mirror


class Statistics:
    """Running moments of one run.

    Args:
        observation_size: Length of an observation.
        privileged_size: Length of what the value function sees beside it.
        mirror: If given, left and right are scaled alike.
    """

    def __init__(self, observation_size: int, privileged_size: int, mirror: Mirror | None) -> None:
        self._mirror = mirror
        self.observations = RunningMoments.empty(observation_size)
        self.privileged = RunningMoments.empty(privileged_size)
        self.returns = RunningMoments.empty(1)

    def learn(self, episodes: Sequence[Episode]) -> None:
        """Takes up a batch's observations."""
        self.learn_observations(np.concatenate([episode.observations for episode in episodes]))
        if self.privileged.mean.size:
            told = np.concatenate([episode.privileged for episode in episodes])
            self.privileged = self.privileged.merged(told)

    def learn_observations(self, seen: NDArray[np.float32]) -> None:
        """Takes up observations, shape (N, O)."""
        self.observations = self.observations.merged(seen)
        if self._mirror is not None:
            self.observations = self.observations.merged(self._mirror.observation(seen))

    def scaled_rewards(
        self, episodes: Sequence[Episode], discount: float
    ) -> list[NDArray[np.float64]]:
        """Rewards over the standard deviation of all discounted returns, these included."""
        returns = [discounted_sums(e.rewards, discount) for e in episodes]
        self.returns = self.returns.merged(np.concatenate(returns)[:, None])
        return [e.rewards / self.returns.std[0] for e in episodes]

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint, at full precision."""
        return {
            "observation_moments": self.observations.state(),
            "privileged_moments": self.privileged.state(),
            "return_moments": self.returns.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Reads what ``state`` returned."""
        self.observations = RunningMoments.from_state(state["observation_moments"])
        self.privileged = RunningMoments.from_state(state["privileged_moments"])
        self.returns = RunningMoments.from_state(state["return_moments"])
