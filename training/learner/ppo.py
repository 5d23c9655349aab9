"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347): one update, top to bottom.

``PPO.update`` turns a batch of whole episodes into a better policy, in the order of this file:

1. ``_make_batch`` normalises the observations with the statistics under which they were collected,
   scales the rewards so that returns have unit variance, and computes values, advantages and the
   acting policy's log probabilities;
2. ``_fit_policy`` runs the policy's epochs, on the clipped surrogate or on the adaptive KL penalty;
3. ``_fit_value`` runs the value function's epochs at the same time: the networks share nothing;
4. ``_adapt`` moves the KL penalty and an adaptive learning rate;
5. last of all the statistics take in the observations of the batch.

``state`` is all that decides the next update. The shuffling of update ``k`` follows from (seed, k),
so no random generator has to be saved.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.errors import ConfigError, TrainingDivergedError
from training.learner import networks
from training.learner.imitation import Demonstration
from training.learner.networks import GaussianPolicy, ValueFunction
from training.learner.normalization import RunningMoments, Statistics
from training.rollout.episode import Episode, Stream, seed_sequence
from training.rollout.policy import Array, Normaliser, PolicySnapshot
from training.runs.config import ClipObjective, KlPenaltyObjective, TrainConfig
from training.tasks.symmetry import Mirror

# Gradient steps on a whole demonstration, enough for a network to imitate it.
_IMITATION_STEPS, _IMITATION_RATE = 600, 3e-3
# The KL penalty moves by this factor when the KL leaves the band about its target.
_PENALTY_FACTOR, _PENALTY_BAND = 1.5, (0.7, 1.3)
# The adaptive learning rate likewise, within these absolute limits.
_RATE_FACTOR, _RATE_BAND, _RATE_LIMITS = 1.5, (0.5, 2.0), (1e-5, 1e-2)

# Called before every gradient step: of which network, its loss, the norm of its gradient and its
# largest weight. Those of the two networks come side by side.
OnGradient = Callable[[str, float, float, float], None]


@dataclass(frozen=True, slots=True)
class Batch:
    """The samples of one update, N steps of all episodes in order.

    Attributes:
        observations: Normalised, shape (N, O).
        actions: As sampled, shape (N, A).
        advantages: Mean 0 and variance 1 over the batch, shape (N,).
        value_inputs: Inputs of the value function, shape (N, V).
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


class PPO:
    """The learner: networks, optimisers and statistics.

    ``privileged_size`` is the length of what only the value function sees. With a ``mirror`` the
    policy is its own mirror image. ``observation_floor``, shape (O,), is the least deviation by
    which an observation is scaled; None for no such floor.
    """

    def __init__(
        self,
        config: TrainConfig,
        observation_size: int,
        action_size: int,
        privileged_size: int = 0,
        mirror: Mirror | None = None,
        observation_floor: NDArray[np.float64] | None = None,
    ) -> None:
        self._config = config
        self._mirror = mirror
        self._ppo = config.ppo
        self._update = 0
        self._on_gradient: OnGradient | None = None
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
        self._statistics = Statistics(observation_size, privileged_size, mirror, observation_floor)
        objective = self._ppo.objective
        self._penalty = objective.init_penalty if isinstance(objective, KlPenaltyObjective) else 0.0

    def snapshot(self) -> PolicySnapshot:
        """Return the acting policy for the next batch."""
        return self.policy.snapshot(self._normaliser(self._statistics.observations))

    # --- one update -------------------------------------------------------------------------------

    def update(
        self,
        episodes: Sequence[Episode],
        update: int,
        done: float,
        on_gradient: OnGradient | None = None,
    ) -> dict[str, float]:
        """Learn from one batch.

        Args:
            episodes: The batch, in order of index, collected under ``snapshot``.
            update: Number of this update, from 0; decides the shuffling.
            done: Fraction of the run that is over, in [0, 1].
            on_gradient: Who looks on, as the replay of a dump does; None for nobody.

        Returns:
            Diagnostics by name.

        Raises:
            TrainingDivergedError: Something is not finite. The learner is then of no use.
        """
        self._update, self._on_gradient = update, on_gradient
        seeds = seed_sequence(self._config.seed, Stream.SHUFFLE, update).spawn(2)
        if self._ppo.schedule == "linear":
            self._set_rate(self._ppo.policy_learning_rate * max(0.0, 1.0 - done))
        batch, explained = self._make_batch(episodes)
        # Side by side: torch releases the interpreter lock, and two threads that never wait for
        # each other use two cores better than one matrix product split in two.
        with ThreadPoolExecutor(2) as pool:
            policy = pool.submit(self._fit_policy, batch, np.random.default_rng(seeds[0]))
            value = pool.submit(self._fit_value, batch, np.random.default_rng(seeds[1]))
        diagnostics = {
            "learning_rate": self._rate(),
            **policy.result(),
            **value.result(),
            "explained_variance": explained,
        }
        # The step after which nothing looks at the weights any more is the last one.
        for name, network in (("policy", self.policy), ("value function", self.value)):
            for weights in network.parameters():
                self._require_finite(f"a weight of the {name}", weights)
        self._adapt(diagnostics["kl"])
        self._statistics.learn(episodes)
        return diagnostics

    def _make_batch(self, episodes: Sequence[Episode]) -> tuple[Batch, float]:
        """Return the batch, and the fraction of the returns' variance that the values explain."""
        raw = np.concatenate([e.observations for e in episodes])
        rewards = np.concatenate([e.rewards for e in episodes])
        actions = self._tensor(np.concatenate([e.actions for e in episodes]))
        value_inputs = self._value_inputs(raw, np.concatenate([e.privileged for e in episodes]))
        observations = self._tensor(self._normaliser(self._statistics.observations)(raw))
        final_inputs = self._value_inputs(
            np.stack([e.final_observation for e in episodes]),
            np.stack([e.final_privileged for e in episodes]),
        )
        with torch.no_grad():
            values = self.value(value_inputs).double().cpu().numpy()
            final_values = self.value(final_inputs).double().cpu().numpy()
            mean, log_std = self.policy(observations), self.policy.log_std.detach().clone()
            log_prob = networks.log_probability(actions, mean, log_std)
        self._require_finite("a value", values)
        self._require_finite("a reward", rewards)

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

    def _value_inputs(self, observations: Array, privileged: Array) -> Tensor:
        """Return the value function's inputs, normalised, of raw (N, O) and (N, P)."""
        self._require_finite("an observation", observations)
        inputs = self._normaliser(self._statistics.observations)(observations)
        if self._statistics.privileged.mean.size:
            self._require_finite("an observation", privileged)
            more = self._normaliser(self._statistics.privileged)(privileged)
            inputs = np.concatenate((inputs, more), axis=1)
        return self._tensor(inputs)

    def _advantages(
        self,
        episodes: Sequence[Episode],
        values: NDArray[np.float64],
        final_values: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return advantages of all steps, shape (N,), from values (N,) and final values (E,).

        Rewards are divided by the standard deviation of all discounted returns, these included.
        An episode ends in one of two ways. After a termination nothing follows, so the final value
        is 0. A time-out is the experimenter's doing: the task would have gone on, so the return
        goes on with the value of the final observation.
        """
        returns = [discounted_sums(e.rewards, self._ppo.discount) for e in episodes]
        statistics = self._statistics
        statistics.returns = statistics.returns.merged(np.concatenate(returns)[:, None])
        scale = statistics.returns.std[0]
        ends = np.cumsum([len(episode) for episode in episodes])
        parts = []
        for i, (episode, part) in enumerate(
            zip(episodes, np.split(values, ends[:-1]), strict=True)
        ):
            final = 0.0 if episode.terminated else float(final_values[i])
            rewards = episode.rewards / scale
            parts.append(gae(rewards, part, final, self._ppo.discount, self._ppo.gae_lambda))
        return np.concatenate(parts)

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
        """Return the loss on some rows of the batch, and the mean KL from the acting policy."""
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
        """Yield the rows of each gradient step of one epoch: equal parts of a shuffle, or all."""
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
        """Take one gradient step; return the gradient's norm before clipping."""
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        limit = self._ppo.max_grad_norm
        norm = torch.nn.utils.clip_grad_norm_(
            network.parameters(), float("inf") if limit is None else limit
        )
        if self._on_gradient is not None:
            largest = max(float(each.detach().abs().max()) for each in network.parameters())
            self._on_gradient(name, loss.item(), norm.item(), largest)
        self._require_finite(f"the {name} loss", loss)
        self._require_finite(f"the {name} gradient", norm)
        optimizer.step()
        if isinstance(network, GaussianPolicy):
            network.constrain(self._config.network.min_log_std)
        return norm.item()

    def _adapt(self, kl: float) -> None:
        """Move the KL penalty, and an adaptive learning rate, towards the KL that they aim for."""
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

    def _normaliser(self, moments: RunningMoments) -> Normaliser:
        return moments.normaliser(self._config.observation_clip)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        """Return a float32 copy in memory that torch allocated.

        Sharing numpy's memory would be cheaper and not repeatable: its alignment changes from run
        to run, and with it the order in which vectorised kernels add.
        """
        return torch.tensor(array, dtype=torch.float32, device=self._config.device)

    def _require_finite(self, what: str, value: Tensor | NDArray[Any]) -> None:
        numbers = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        finite = np.isfinite(numbers)
        if not finite.all():
            first = np.ravel(numbers)[np.argmin(finite)]
            raise TrainingDivergedError(
                f"{what} is {first} in update {self._update}; the last checkpoint stands"
            )

    # --- where a run begins, and goes on ----------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return all that decides the next update, as tensors and plain values of its own."""
        state = {
            "policy": self.policy.state_dict(),
            "value": self.value.state_dict(),
            "policy_optimizer": self._policy_optimizer.state_dict(),
            "value_optimizer": self._value_optimizer.state_dict(),
            **self._statistics.state(),
            "penalty": self._penalty,
            # Not learnt, but a policy cannot be read without it.
            "mirror": None if self._mirror is None else self._mirror.state(),
        }
        return copy.deepcopy(state)  # torch hands out its live tensors

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self.policy.load_state_dict(state["policy"])
        self.value.load_state_dict(state["value"])
        self._policy_optimizer.load_state_dict(state["policy_optimizer"])
        self._value_optimizer.load_state_dict(state["value_optimizer"])
        self._statistics.load_state(state)
        self._penalty = state["penalty"]

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Begin with the networks and statistics of another run, but with own exploration.

        The optimisers start anew.

        Raises:
            ConfigError: The networks are of other sizes.
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

    def imitate(self, shown: Demonstration) -> float:
        """Fit the first policy's mean to a demonstration; return the RMS error."""
        self._statistics.learn_observations(shown.observations)
        normalise = self._normaliser(self._statistics.observations)
        inputs, actions = self._tensor(normalise(shown.situations)), self._tensor(shown.actions)
        optimizer = torch.optim.Adam(self.policy.layers.parameters(), lr=_IMITATION_RATE)
        for _ in range(_IMITATION_STEPS):
            loss = (self.policy(inputs) - actions).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self._require_finite("the imitation loss", loss)
        return float(loss.detach().sqrt())


# --- the formulas -----------------------------------------------------------------------------


def discounted_sums(terms: NDArray[Any], discount: float) -> NDArray[np.float64]:
    """Return ``out[t] = terms[t] + discount * out[t + 1]``, with zero after the last."""
    out = np.empty(len(terms))
    # Python floats: several times faster than indexing numpy scalars.
    total = 0.0
    for t, term in zip(range(len(terms) - 1, -1, -1), reversed(terms.tolist()), strict=True):
        out[t] = total = term + discount * total
    return out


def gae(
    rewards: NDArray[Any],
    values: NDArray[Any],
    final_value: float,
    discount: float,
    gae_lambda: float,
) -> NDArray[np.float64]:
    """Return generalised advantage estimates, shape (T,) (Schulman et al. 2016, arXiv 1506.02438).

    Args:
        rewards: Reward of each step, shape (T,).
        values: Value of the observation before each step, shape (T,).
        final_value: Value of what follows the last step: 0 after a termination, the value of the
            final observation after a time-out.
        discount: Discount per step.
        gae_lambda: 0 for one-step advantages, 1 for discounted returns minus values.
    """
    following = np.append(values[1:], final_value)
    errors = rewards + discount * following - values
    return discounted_sums(errors, discount * gae_lambda)


def clipped_surrogate(log_ratio: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Return the loss of the clipped objective: no gain beyond ratios of 1 +- ``clip_range``."""
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    return -torch.minimum(ratio * advantages, clipped * advantages).mean()


def kl_penalised(
    log_ratio: Tensor,
    advantages: Tensor,
    kl: Tensor,
    penalty: float,
    objective: KlPenaltyObjective,
) -> Tensor:
    """Return the loss of the KL-penalty objective; ``kl`` is the mean over the samples."""
    excess = (kl - objective.cutoff_factor * objective.target).clamp(min=0.0)
    surrogate = -(log_ratio.exp() * advantages).mean()
    return surrogate + penalty * kl + objective.cutoff_coef * excess.square()
