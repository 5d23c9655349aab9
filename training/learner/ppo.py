"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347), in one sitting.

One update turns a batch of whole episodes into a better policy:

1. standardise observations with the statistics that the batch was collected under, and scale
   rewards so that returns have unit variance (they come in metres or in steps);
2. values, advantages, and what the acting policy thought of its actions (both in
   ``training.learner.batch``);
3. the policy's epochs, on the clipped surrogate or on the adaptive KL penalty;
4. the value function's epochs, at the same time: the two networks share nothing;
5. only now the observation statistics learn of the batch.

The learner holds all that decides the next update, and ``state`` is all of it: the shuffling of
update ``k`` follows from (seed, k): there is no generator to save.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.errors import ConfigError
from training.learner import networks
from training.learner.batch import Batch, BatchMaker, require_finite
from training.learner.imitation import Demonstration
from training.learner.networks import GaussianPolicy, ValueFunction
from training.learner.normalization import RunningMoments
from training.learner.objectives import clipped_surrogate, kl_penalised
from training.learner.statistics import Statistics
from training.rollout.episode import Episode, PolicySnapshot, Stream, seed_sequence
from training.runs.presets import ClipObjective, KlPenaltyObjective, TrainConfig
from training.tasks.symmetry import Mirror

# Gradient steps, on all that was shown, that make a network do it.
_IMITATION_STEPS, _IMITATION_RATE = 600, 3e-3
# The KL penalty moves by this factor when the KL leaves the band about its target.
_PENALTY_FACTOR, _PENALTY_BAND = 1.5, (0.7, 1.3)
# The adaptive learning rate likewise, within these absolute limits.
_RATE_FACTOR, _RATE_BAND, _RATE_LIMITS = 1.5, (0.5, 2.0), (1e-5, 1e-2)


class PPO:
    """The learner: networks, optimisers and statistics.

    Args:
        config: The run.
        observation_size: What the policy sees.
        action_size: What it does.
        privileged_size: What the value function sees beside it.
        mirror: How both look in the mirror, for a policy that is its own mirror image.
    """

    def __init__(
        self,
        config: TrainConfig,
        observation_size: int,
        action_size: int,
        privileged_size: int = 0,
        mirror: Mirror | None = None,
    ) -> None:
        self._config = config
        self._mirror = mirror
        self._ppo = config.ppo
        self._update = 0
        seeds = seed_sequence(config.seed, Stream.INITIALIZATION)
        generator = torch.Generator().manual_seed(int(seeds.generate_state(1)[0]))
        self.policy = GaussianPolicy(
            observation_size, action_size, config.network, generator, mirror
        )
        self.value = ValueFunction(observation_size + privileged_size, config.network, generator)
        self.policy.to(config.device)
        self.value.to(config.device)
        self._policy_optimizer = torch.optim.Adam(
            self.policy.parameters(), lr=self._ppo.policy_learning_rate, fused=True
        )
        self._value_optimizer = torch.optim.Adam(
            self.value.parameters(), lr=self._ppo.value_learning_rate, fused=True
        )
        self._statistics = Statistics(observation_size, privileged_size, mirror)
        objective = self._ppo.objective
        self._penalty = objective.init_penalty if isinstance(objective, KlPenaltyObjective) else 0.0

    @property
    def observation_moments(self) -> RunningMoments:
        """Statistics of the observations so far."""
        return self._statistics.observations

    def snapshot(self) -> PolicySnapshot:
        """The acting policy for the next batch."""
        return networks.snapshot(
            self.policy,
            self._statistics.observations,
            self._config.observation_clip,
            self._config.network.activation,
        )

    def update(self, episodes: Sequence[Episode], update: int, done: float) -> dict[str, float]:
        """Learns from one batch.

        Args:
            episodes: The batch, in order of index, collected under ``snapshot``.
            update: Number of this update, from 0; decides the shuffling.
            done: Fraction of the run that is over, in [0, 1].

        Returns:
            Diagnostics by name.

        Raises:
            TrainingDivergedError: Something is not finite. The learner is then of no use.
        """
        self._update = update
        seeds = seed_sequence(self._config.seed, Stream.SHUFFLE, update).spawn(2)
        if self._ppo.schedule == "linear":
            self._set_rate(self._ppo.policy_learning_rate * max(0.0, 1.0 - done))
        make = BatchMaker(self._config, self.policy, self.value, self._statistics)
        batch, explained = make(episodes, update)
        # Side by side: torch lets go of the interpreter, and two threads that never wait for each
        # other use two cores better than one matrix product split in two.
        with ThreadPoolExecutor(2) as pool:
            policy = pool.submit(self._fit_policy, batch, np.random.default_rng(seeds[0]))
            value = pool.submit(self._fit_value, batch, np.random.default_rng(seeds[1]))
        diagnostics = {
            "learning_rate": self._rate(),
            **policy.result(),
            **value.result(),
            "explained_variance": explained,
        }
        self._adapt(diagnostics["kl"])
        self._statistics.learn(episodes)
        return diagnostics

    def _fit_policy(self, batch: Batch, rng: np.random.Generator) -> dict[str, float]:
        objective = self._ppo.objective
        stop_kl = objective.stop_kl if isinstance(objective, ClipObjective) else None
        epochs = 0
        for _ in range(self._ppo.policy_epochs):
            losses, kls, norms = [], [], []
            epochs += 1
            for rows in self._minibatches(len(batch.advantages), rng):
                loss, kl = self._policy_loss(batch, rows)
                norms.append(self._step("policy", self.policy, self._policy_optimizer, loss))
                losses.append(loss.item())
                kls.append(kl.item())
            if stop_kl is not None and np.mean(kls) > stop_kl:
                break
        with torch.no_grad():
            mean, log_std = self.policy(batch.observations), self.policy.log_std
            kl = networks.kl_divergence(batch.old_mean, batch.old_log_std, mean, log_std)
            log_ratio = networks.log_probability(batch.actions, mean, log_std) - batch.old_log_prob
        clip_range = objective.clip_range if isinstance(objective, ClipObjective) else 0.2
        return {
            "policy_loss": float(np.mean(losses)),
            "policy_grad_norm": float(np.mean(norms)),
            "policy_epochs": float(epochs),
            "kl": kl.mean().item(),
            "clip_fraction": ((log_ratio.exp() - 1.0).abs() > clip_range).float().mean().item(),
            "entropy": networks.entropy(log_std).item(),
            "action_std": log_std.exp().mean().item(),
            "kl_penalty": self._penalty,
        }

    def _policy_loss(self, batch: Batch, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """The objective on some rows of the batch, and the mean KL from the acting policy."""
        mean, log_std = self.policy(batch.observations[rows]), self.policy.log_std
        log_prob = networks.log_probability(batch.actions[rows], mean, log_std)
        log_ratio = log_prob - batch.old_log_prob[rows]
        kl = networks.kl_divergence(batch.old_mean[rows], batch.old_log_std, mean, log_std).mean()
        objective, advantages = self._ppo.objective, batch.advantages[rows]
        if isinstance(objective, ClipObjective):
            loss = clipped_surrogate(log_ratio, advantages, objective.clip_range)
        else:
            loss = kl_penalised(log_ratio, advantages, kl, self._penalty, objective)
        return loss - self._ppo.entropy_coef * networks.entropy(log_std), kl

    def _fit_value(self, batch: Batch, rng: np.random.Generator) -> dict[str, float]:
        for _ in range(self._ppo.value_epochs):
            losses, norms = [], []
            for rows in self._minibatches(len(batch.value_targets), rng):
                error = self.value(batch.value_inputs[rows]) - batch.value_targets[rows]
                loss = 0.5 * error.square().mean()
                norms.append(self._step("value", self.value, self._value_optimizer, loss))
                losses.append(loss.item())
        return {"value_loss": float(np.mean(losses)), "value_grad_norm": float(np.mean(norms))}

    def _minibatches(self, samples: int, rng: np.random.Generator) -> Iterator[Tensor | slice]:
        """Rows of each gradient step of one epoch: equal parts of a fresh shuffle, or all."""
        size = self._ppo.minibatch_size
        parts = round(samples / size) if size is not None else 1
        if parts <= 1:
            yield slice(None)
            return
        order = torch.tensor(rng.permutation(samples), device=self._config.device)
        yield from order.tensor_split(parts)

    def _step(
        self, name: str, network: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor
    ) -> float:
        """One gradient step; returns the gradient's norm before clipping."""
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        limit = self._ppo.max_grad_norm
        norm = torch.nn.utils.clip_grad_norm_(
            network.parameters(), float("inf") if limit is None else limit
        )
        require_finite(f"the {name} loss", loss, self._update)
        require_finite(f"the {name} gradient", norm, self._update)
        optimizer.step()
        if isinstance(network, GaussianPolicy):
            network.constrain(self._config.network.min_log_std)
        return norm.item()

    def _adapt(self, kl: float) -> None:
        """Moves the KL penalty, and an adaptive learning rate, towards the KL they aim for."""
        objective = self._ppo.objective
        if isinstance(objective, KlPenaltyObjective):
            low, high = (bound * objective.target for bound in _PENALTY_BAND)
            self._penalty *= _PENALTY_FACTOR ** ((kl > high) - (kl < low))
        if self._ppo.schedule == "kl_adaptive":
            low, high = (bound * self._ppo.schedule_kl for bound in _RATE_BAND)
            rate = self._rate() * _RATE_FACTOR ** ((kl < low) - (kl > high))
            self._set_rate(min(max(rate, _RATE_LIMITS[0]), _RATE_LIMITS[1]))

    def _rate(self) -> float:
        return float(self._policy_optimizer.param_groups[0]["lr"])

    def _set_rate(self, rate: float) -> None:
        self._policy_optimizer.param_groups[0]["lr"] = rate

    def state(self) -> dict[str, Any]:
        """All that decides the next update, as tensors and plain values of its own."""
        state = {
            "policy": self.policy.state_dict(),
            "value": self.value.state_dict(),
            "policy_optimizer": self._policy_optimizer.state_dict(),
            "value_optimizer": self._value_optimizer.state_dict(),
            **self._statistics.state(),
            "penalty": self._penalty,
            # No number that is learnt, but a policy cannot be read without it.
            "mirror": None if self._mirror is None else self._mirror.state(),
        }
        return copy.deepcopy(state)  # torch hands out its live tensors

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes back to a state."""
        self.policy.load_state_dict(state["policy"])
        self.value.load_state_dict(state["value"])
        self._policy_optimizer.load_state_dict(state["policy_optimizer"])
        self._value_optimizer.load_state_dict(state["value_optimizer"])
        self._statistics.load_state(state)
        self._penalty = state["penalty"]

    def imitate(self, shown: Demonstration) -> float:
        """Begins with a policy that does what was shown; returns its RMS error."""
        self._statistics.learn_observations(shown.observations)
        moments, clip = self._statistics.observations, self._config.observation_clip
        standardize = networks.Standardizer(moments, clip).to(self._config.device)
        seen, done = (
            torch.from_numpy(rows).to(self._config.device)
            for rows in (shown.situations, shown.actions)
        )
        optimizer = torch.optim.Adam(self.policy.layers.parameters(), lr=_IMITATION_RATE)
        inputs = standardize(seen)
        for _ in range(_IMITATION_STEPS):
            loss = (self.policy(inputs) - done).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        require_finite("the imitation loss", loss, self._update)
        return float(loss.detach().sqrt())

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Begins with the networks and statistics of another run.

        Its optimisers and how much it explores are its own.

        Raises:
            ConfigError: They are of other sizes.
        """
        try:
            self.policy.load_state_dict(state["policy"])
            self.value.load_state_dict(state["value"])
        except RuntimeError as error:
            what = " ".join(str(error).split())
            raise ConfigError(f"start_from: networks that do not fit: {what}") from error
        with torch.no_grad():
            self.policy.log_std.fill_(self._config.network.init_log_std)
        self._statistics.load_state(state)
