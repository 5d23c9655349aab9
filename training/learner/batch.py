"""From whole episodes to the batch of one update: standardised, valued, with advantages.

Nothing here learns: networks and statistics are read as the acting policy left them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.errors import TrainingDivergedError
from training.learner import networks
from training.learner.advantages import gae
from training.learner.networks import GaussianPolicy, Standardizer, ValueFunction
from training.learner.normalization import RunningMoments
from training.learner.statistics import Statistics
from training.rollout.episode import Array, Episode
from training.runs.presets import TrainConfig


@dataclass(frozen=True, slots=True)
class Batch:
    """The samples of one update, N steps of all episodes in order.

    Attributes:
        observations: Standardised, shape (N, O).
        actions: As sampled, shape (N, A).
        advantages: Mean 0 and variance 1 over the batch, shape (N,).
        value_inputs: What the value function sees, shape (N, V).
        value_targets: Lambda-returns in the value function's units, shape (N,).
        old_mean: Mean of the acting policy, shape (N, A).
        old_log_std: Its log standard deviation, shape (A,).
        old_log_prob: Its log density of the actions, shape (N,).
    """

    observations: Tensor
    actions: Tensor
    advantages: Tensor
    value_inputs: Tensor
    value_targets: Tensor
    old_mean: Tensor
    old_log_std: Tensor
    old_log_prob: Tensor


@dataclass(frozen=True, slots=True)
class BatchMaker:
    """Makes the batch of one update.

    Attributes:
        config: The run.
        policy: The acting policy.
        value: The value function.
        statistics: Of observations and returns, as the batch was collected under them.
    """

    config: TrainConfig
    policy: GaussianPolicy
    value: ValueFunction
    statistics: Statistics

    def __call__(self, episodes: Sequence[Episode], update: int) -> tuple[Batch, float]:
        """The batch of update ``update``, and how much of the returns' variance the values explain.

        Args:
            episodes: In order of index.
            update: Number of the update, for error messages.

        Raises:
            TrainingDivergedError: A reward, an observation or a value is not finite.
        """
        raw = np.concatenate([e.observations for e in episodes])
        rewards = np.concatenate([e.rewards for e in episodes])
        observations = self._standardized(raw, self.statistics.observations, update)
        actions = self._tensor(np.concatenate([e.actions for e in episodes]))
        privileged = np.concatenate([e.privileged for e in episodes])
        value_inputs = self._value_inputs(raw, privileged, update)
        final_inputs = self._value_inputs(
            np.stack([e.final_observation for e in episodes]),
            np.stack([e.final_privileged for e in episodes]),
            update,
        )
        with torch.no_grad():
            values = self.value(value_inputs).double().cpu().numpy()
            final_values = self.value(final_inputs).double().cpu().numpy()
            mean, log_std = self.policy(observations), self.policy.log_std.detach().clone()
            log_prob = networks.log_probability(actions, mean, log_std)
        require_finite("a value", values, update)
        require_finite("a reward", rewards, update)

        advantages = self._advantages(episodes, values, final_values)
        targets = advantages + values
        explained = 1.0 - np.var(advantages) / max(float(np.var(targets)), 1e-12)
        batch = Batch(
            observations=observations,
            actions=actions,
            advantages=self._tensor((advantages - advantages.mean()) / (advantages.std() + 1e-8)),
            value_inputs=value_inputs,
            value_targets=self._tensor(targets),
            old_mean=mean,
            old_log_std=log_std,
            old_log_prob=log_prob,
        )
        return batch, float(explained)

    def _value_inputs(self, observations: Array, privileged: Array, update: int) -> Tensor:
        """What the value function sees, standardised, of raw (N, O) and (N, P)."""
        seen = self._standardized(observations, self.statistics.observations, update)
        if not self.statistics.privileged.mean.size:
            return seen
        more = self._standardized(privileged, self.statistics.privileged, update)
        return torch.cat((seen, more), dim=1)

    def _standardized(self, raw: Array, moments: RunningMoments, update: int) -> Tensor:
        require_finite("an observation", raw, update)
        scale = Standardizer(moments, self.config.observation_clip).to(self.config.device)
        scaled: Tensor = scale(self._tensor(raw))
        return scaled

    def _advantages(
        self,
        episodes: Sequence[Episode],
        values: np.ndarray[Any, Any],
        final_values: np.ndarray[Any, Any],
    ) -> np.ndarray[Any, Any]:
        """Of all steps, shape (N,), from their values, (N,), and those of what followed, (E,)."""
        ppo = self.config.ppo
        scaled = self.statistics.scaled_rewards(episodes, ppo.discount)
        ends = np.cumsum([len(episode) for episode in episodes])
        parts = []
        for i, (rewards, part) in enumerate(zip(scaled, np.split(values, ends[:-1]), strict=True)):
            final = 0.0 if episodes[i].terminated else float(final_values[i])
            parts.append(gae(rewards, part, final, ppo.discount, ppo.gae_lambda))
        return np.concatenate(parts)

    def _tensor(self, array: np.ndarray[Any, Any]) -> Tensor:
        """A float32 copy in memory that torch allocated.

        Sharing numpy's memory would be cheaper and not repeatable: its alignment changes from run
        to run, and with it the order in which vectorised kernels add.
        """
        return torch.tensor(array, dtype=torch.float32, device=self.config.device)


def require_finite(what: str, value: Tensor | np.ndarray[Any, Any], update: int) -> None:
    """Stop a training that has diverged.

    Raises:
        TrainingDivergedError: A number in ``value`` is NaN or infinite.
    """
    if not (value.isfinite() if isinstance(value, Tensor) else np.isfinite(value)).all():
        raise TrainingDivergedError(
            f"{what} is not finite in update {update}; the last checkpoint stands"
        )
