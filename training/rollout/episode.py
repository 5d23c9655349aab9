"""One episode: a function of (seed, stream, episode index, policy parameters) and nothing else.

So the result of a training does not depend on how many processes step its environments, and an
episode that is lost can be run again. A worker process runs this module: it imports numpy and
gymnasium, never torch.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from training.errors import EpisodeError, TrainingError
from training.rollout.dump import EpisodeSoFar, drawn_by
from training.rollout.policy import Array, NumpyPolicy, PolicySnapshot


class Stream(enum.IntEnum):
    """Purposes of random numbers. Each purpose has its own stream, so none disturbs another."""

    TRAINING = 0
    EVALUATION = 1
    SHUFFLE = 2
    INITIALIZATION = 3
    DEMONSTRATION = 4


def seed_sequence(seed: int, stream: Stream, index: int = 0) -> np.random.SeedSequence:
    """Return the root of all randomness of one episode, one update or one initialisation."""
    return np.random.SeedSequence(entropy=seed, spawn_key=(int(stream), index))


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode of T steps, as the learner needs it.

    Attributes:
        index: The episode's number, which with the seed decides its randomness.
        observations: Raw observations before each step, shape (T, O).
        actions: Actions as sampled, not clipped, shape (T, A).
        rewards: Shape (T,), float64.
        terminated: Whether the task ended; otherwise time ran out.
        final_observation: Raw observation after the last step, shape (O,).
        privileged: What only the value function may see, before each step, shape (T, P); P is 0 for
            an environment that puts no ``info["privileged"]`` into every step.
        final_privileged: The same after the last step, shape (P,).
        metrics: The environment's figures, with ``return`` and ``length`` added.
        env_seconds: Wall time spent inside the environment.
    """

    index: int
    observations: Array
    actions: Array
    rewards: NDArray[np.float64]
    terminated: bool
    final_observation: Array
    privileged: Array
    final_privileged: Array
    metrics: Mapping[str, float]
    env_seconds: float

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.rewards)


@dataclass(slots=True)
class _Guard:
    """Keeps an episode as it comes, and says where in it something went wrong."""

    env: gymnasium.Env[Any, Any]
    stream: str
    index: int
    seed: int
    step: int = -1
    info: Mapping[str, Any] = field(default_factory=dict)  # of the reset
    actions: list[Array] = field(default_factory=list)
    observations: list[Array] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)

    def require_finite(self, what: str, values: Any) -> None:
        finite = np.isfinite(values)
        if not finite.all():
            at = int(np.argmin(finite))
            entry = f" (entry {at})" if np.ndim(values) else ""
            raise self._error(f"{what}{entry} is {np.ravel(values)[at]}")

    @contextmanager
    def environment(self) -> Iterator[None]:
        try:
            yield
        except (TrainingError, OSError, MemoryError):
            raise  # says by itself what is wrong, or may be gone the next time
        except Exception as error:
            text = " ".join(str(error).split())
            raise self._error(f"the environment raised {type(error).__name__}: {text}") from error

    def _error(self, what: str) -> EpisodeError:
        so_far = EpisodeSoFar(
            np.array(self.actions, dtype=np.float32),
            np.array(self.observations, dtype=np.float32),
            np.array(self.rewards),
            drawn_by(self.env.unwrapped, self.info),
        )
        return EpisodeError(what, self.stream, self.index, self.seed, self.step, so_far)


def run_episode(
    env: gymnasium.Env[Any, Any],
    snapshot: PolicySnapshot,
    seed: int,
    stream: Stream,
    index: int,
    noise_memory: float = 0.0,
    score_metric: str = "return",
) -> Episode:
    """Run one episode to its end: with exploration in training, by the mean in evaluation.

    ``noise_memory`` is the correlation of the exploration noise from one step to the next.
    ``score_metric`` is the metric of an evaluation that must be finite, where there is such a one.

    Raises:
        EpisodeError: A number is not finite, or the environment raised an error of its own. It
            names the step and the quantity.
    """
    guard = _Guard(env, stream.name.lower(), index, seed)
    env_seeds, noise_seeds = seed_sequence(seed, stream, index).spawn(2)
    rng = np.random.default_rng(noise_seeds)
    std = snapshot.action_std if stream is Stream.TRAINING else np.zeros_like(snapshot.action_std)
    policy = NumpyPolicy(snapshot)
    observations, actions, rewards = guard.observations, guard.actions, guard.rewards
    privileged = []

    start = time.perf_counter()
    with guard.environment():
        raw, info = env.reset(seed=int(env_seeds.generate_state(1)[0]))
    env_seconds, guard.info = time.perf_counter() - start, info
    observation = np.array(raw, dtype=np.float32)  # a copy: the env may reuse its buffer
    privileged.append(_privileged(info))
    guard.require_finite("an observation", observation)
    guard.require_finite("a privileged value", privileged[-1])
    noise = rng.standard_normal(len(std), dtype=np.float32)
    fresh = np.float32(np.sqrt(1.0 - noise_memory**2))  # keeps the variance at 1
    while True:
        guard.step += 1
        action = policy.mean(observation) + std * noise
        guard.require_finite("an action of the policy", action)
        noise = np.float32(noise_memory) * noise
        noise += fresh * rng.standard_normal(len(std), dtype=np.float32)
        observations.append(observation)
        actions.append(action)
        start = time.perf_counter()
        with guard.environment():
            raw, reward, terminated, truncated, info = env.step(action.copy())
        env_seconds += time.perf_counter() - start
        rewards.append(float(reward))
        observation = np.array(raw, dtype=np.float32)
        privileged.append(_privileged(info))
        guard.require_finite("a reward", rewards[-1])
        guard.require_finite("an observation", observation)
        guard.require_finite("a privileged value", privileged[-1])
        if terminated or truncated:
            break
    own = {"return": sum(rewards), "length": float(len(rewards))}
    metrics = {**info.get("metrics", {}), **own}
    if stream is Stream.EVALUATION and score_metric in metrics:
        guard.require_finite(f"the metric {score_metric}", metrics[score_metric])
    return Episode(
        index=index,
        observations=np.stack(observations),
        actions=np.stack(actions),
        rewards=np.array(rewards),
        terminated=bool(terminated),
        final_observation=observation,
        privileged=np.stack(privileged[:-1]),
        final_privileged=privileged[-1],
        metrics=metrics,
        env_seconds=env_seconds,
    )


def _privileged(info: Mapping[str, Any]) -> Array:
    return np.array(info.get("privileged", ()), dtype=np.float32)


def mean_metrics(episodes: list[Episode]) -> dict[str, float]:
    """Return every metric averaged over the episodes that have it, in order of name."""
    names = sorted({name for episode in episodes for name in episode.metrics})
    return {
        name: float(np.mean([e.metrics[name] for e in episodes if name in e.metrics]))
        for name in names
    }
