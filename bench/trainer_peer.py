"""Benchmark: our trainer beside the PPO of stable-baselines3, on the task of `make demo`.

Both have the same environment, worker processes, batch, minibatch, epochs, network sizes, discount
and learning rate. Two entries: environment steps per second, updates included, and the seconds
until the deterministic policy first walks at a given speed. Evaluations are in neither figure, but
our start-up is. `python -m bench.trainer_peer`.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize

import training.tasks  # noqa: F401  registers the tasks
from bench.common import BenchError, Entry, write_entries
from training.runs.config import ClipObjective, TrainConfig
from training.runs.presets import get_config
from training.train import train

_STEPS_LIMIT, _SECONDS_LIMIT = 1.6, 2.0 / 3.0
# The steps of an episode that does not fall.
_EPISODE_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Run:
    """What a training took.

    Attributes:
        steps_per_s: From the first update on, updates included.
        seconds: Until the target speed; if it was not reached, until the end.
        reached: Whether it was.
        best_mps: Greatest speed of an evaluation.
    """

    steps_per_s: float
    seconds: float
    reached: bool
    best_mps: float


def ours(config: TrainConfig, target_mps: float) -> Run:
    """Train with our trainer until the target speed, or for as long as the configuration says."""
    config = dataclasses.replace(config, score_target=target_mps)
    with tempfile.TemporaryDirectory() as folder:
        rows = list(train(config, Path(folder)))
    evaluating_s, reached_s, before = 0.0, None, 0.0
    updates: list[tuple[int, float]] = []
    for row in rows:
        if row.kind == "evaluation":
            evaluating_s += row.wall_seconds - before
            if reached_s is None and row.score >= target_mps:
                reached_s = row.wall_seconds - evaluating_s
        else:
            updates.append((row.steps, row.wall_seconds - evaluating_s))
        before = row.wall_seconds
    (first, first_s), (last, last_s) = updates[0], updates[-1]
    best = max(row.score for row in rows if row.kind == "evaluation")
    rate = (last - first) / (last_s - first_s)
    return Run(rate, last_s if reached_s is None else reached_s, reached_s is not None, best)


class _Clock(BaseCallback):
    """Evaluates as often as our trainer does, and does not count the time of it."""

    def __init__(self, config: TrainConfig, target_mps: float) -> None:
        super().__init__()
        self._config, self._target_mps = config, target_mps
        kwargs: dict[str, Any] = {**config.task_kwargs, **config.eval_kwargs}
        self._env = gymnasium.make(config.task, disable_env_checker=True, **kwargs)
        self._evaluating_s, self._start_s = 0.0, time.perf_counter()
        self._rollouts: list[tuple[int, float]] = []
        self.reached_s: float | None = None
        self.best_mps = 0.0

    def _on_training_start(self) -> None:
        self._start_s = time.perf_counter()

    def _on_rollout_start(self) -> None:
        """Note the time after an update, and evaluate now and then."""
        at_s = time.perf_counter() - self._start_s - self._evaluating_s
        self._rollouts.append((self.num_timesteps, at_s))
        if len(self._rollouts) % self._config.eval_every_updates == 1:
            start_s = time.perf_counter()
            speed = statistics.mean(map(self._speed_mps, range(self._config.eval_episodes)))
            self._evaluating_s += time.perf_counter() - start_s
            self.best_mps = max(self.best_mps, speed)
            if self.reached_s is None and speed >= self._target_mps:
                self.reached_s = at_s

    def _on_step(self) -> bool:
        return self.reached_s is None

    def _speed_mps(self, seed: int) -> float:
        observation, _ = self._env.reset(seed=seed)
        normalised = self.model.get_vec_normalize_env()
        assert normalised is not None
        while True:
            action, _ = self.model.predict(
                normalised.normalize_obs(observation), deterministic=True
            )
            observation, _, terminated, truncated, info = self._env.step(action)
            if terminated or truncated:
                return float(info["metrics"]["speed_mps"])

    def run(self) -> Run:
        """Return what the training took."""
        (first, first_s), (last, last_s) = self._rollouts[1], self._rollouts[-1]
        self._env.close()
        rate, reached_s = (last - first) / (last_s - first_s), self.reached_s
        end_s = last_s if reached_s is None else reached_s
        return Run(rate, end_s, reached_s is not None, self.best_mps)


def _make(config: TrainConfig) -> gymnasium.Env[Any, Any]:
    torch.set_num_threads(1)
    kwargs: dict[str, Any] = {**config.task_kwargs}
    return gymnasium.make(config.task, disable_env_checker=True, **kwargs)


def theirs(config: TrainConfig, target_mps: float) -> Run:
    """Train with stable-baselines3, with what the configuration says as far as it knows it."""
    ppo, objective = config.ppo, config.ppo.objective
    assert isinstance(objective, ClipObjective)
    torch.set_num_threads(config.workers)
    makers = [lambda: _make(config) for _ in range(config.workers)]
    envs = VecNormalize(SubprocVecEnv(makers, start_method="spawn"), gamma=ppo.discount)
    network = {"pi": [*config.network.policy_layers], "vf": [*config.network.value_layers]}
    model = PPO(
        "MlpPolicy",
        envs,
        learning_rate=ppo.policy_learning_rate,
        n_steps=config.episodes_per_update * _EPISODE_STEPS // config.workers,
        batch_size=ppo.minibatch_size or 64,
        n_epochs=ppo.policy_epochs,
        gamma=ppo.discount,
        gae_lambda=ppo.gae_lambda,
        clip_range=objective.clip_range,
        max_grad_norm=ppo.max_grad_norm or 0.5,
        target_kl=objective.stop_kl,
        policy_kwargs={
            "net_arch": network,
            "activation_fn": torch.nn.ReLU,
            "log_std_init": config.network.init_log_std,
        },
        seed=config.seed,
        device="cpu",
    )
    clock = _Clock(config, target_mps)
    model.learn(config.total_steps, callback=clock)
    envs.close()
    return clock.run()


def main() -> int:
    """Measure and write the entries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="demo")
    parser.add_argument("--steps", type=int, default=200_000, help="steps to train for, at most")
    parser.add_argument("--target", type=float, default=0.8, help="speed to reach, m/s")
    parser.add_argument("--seeds", type=int, default=3, help="pairs of trainings")
    args = parser.parse_args()
    pairs = []
    for seed in range(args.seeds):
        config = dataclasses.replace(
            get_config(args.config), total_steps=args.steps, seed=seed, score_metric="speed_mps"
        )
        pairs.append((ours(config, args.target), theirs(config, args.target)))
        print(f"seed {seed}: ours {pairs[-1][0]}, stable-baselines3 {pairs[-1][1]}", flush=True)
    how = f"{args.config}, {config.workers} workers, {args.seeds} seeds in turn"
    try:
        write_entries([_rates(pairs, how)])
        write_entries([_seconds(pairs, f"{how}, to {args.target} m/s")])
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _rates(pairs: list[tuple[Run, Run]], how: str) -> Entry:
    a, b = (statistics.median(run.steps_per_s for run in side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(x.steps_per_s / y.steps_per_s for x, y in pairs)
    print(f"trainer_peer: {a:.0f} / {b:.0f} steps/s, ratio {ratio:.2f} (at least {_STEPS_LIMIT})")
    how += "; other: stable-baselines3 PPO in SubprocVecEnv; higher is better"
    return Entry("trainer_peer", a, "steps/s", how, peer=b, ratio=ratio)


def _seconds(pairs: list[tuple[Run, Run]], how: str) -> Entry:
    """Compare the medians. Where their trainings did not arrive, the figure is the least possible.

    Raises:
        BenchError: One of our trainings did not arrive.
    """
    if not all(mine.reached for mine, _ in pairs):
        raise BenchError("a training of ours did not reach the speed: take more steps")
    a, b = (statistics.median(run.seconds for run in side) for side in zip(*pairs, strict=True))
    arrived = sum(peer.reached for _, peer in pairs)
    print(
        f"trainer_peer_score: {a:.0f} / {b:.0f} s, ratio {a / b:.2f} (at most "
        f"{_SECONDS_LIMIT:.2f}); the other arrived in {arrived} of {len(pairs)}, and else counts "
        "as if at its end"
    )
    how += f"; other: stable-baselines3 PPO, arrived in {arrived} of {len(pairs)}; lower is better"
    return Entry("trainer_peer_score", a, "s", how, peer=b, ratio=a / b)


if __name__ == "__main__":
    sys.exit(main())
