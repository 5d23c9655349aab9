"""The training loop: collect, update, evaluate, checkpoint.

The loop is driven by its state alone: wherever a run stops, the state that was saved last decides
what comes next. Of the command line, only this module imports torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import torch

from deploy.files import write_json
from deploy.policy.contract import Contract
from deploy.policy.pipeline import term_resolution
from training.errors import ConfigError, TrainingDivergedError
from training.learner.imitation import demonstrate
from training.learner.ppo import PPO
from training.rollout.episode import Stream, mean_metrics
from training.rollout.samplers import EpisodeRunner, RolloutSpec, make_sampler
from training.runs.checkpoint import (
    Checkpoint,
    RunState,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from training.runs.config import TrainConfig, config_identity
from training.runs.folder import RunFolder
from training.runs.progress import ProgressLog, ProgressRow, RowKind
from training.tasks.symmetry import Mirror

logger = logging.getLogger(__name__)


class Trainer:
    """One run in its (locked) folder; goes on from the newest checkpoint there.

    Sets torch's thread count and deterministic algorithms for the whole process, since both decide
    the bits of the result.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        on_progress: Callable[[ProgressRow], None] | None,
    ) -> None:
        # cuBLAS reads this when it starts; without it torch refuses deterministic algorithms.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.set_num_threads(config.torch_threads)
        torch.use_deterministic_algorithms(True)
        self._config = config
        self._folder = folder
        self._on_progress = on_progress
        self._learner = make_learner(config)
        self._state = RunState()
        checkpoint = newest_checkpoint(folder.checkpoints, config)
        if checkpoint is not None:
            self._learner.load_state(checkpoint.learner)
            self._state = checkpoint.state
            logger.info("going on from update %d, step %d", self._state.update, self._state.steps)
        elif config.start_from:
            self._learner.adopt(load_checkpoint(Path(config.start_from)).learner)
        elif config.first_gait:
            self._imitate(config.first_gait)
        self._log = ProgressLog(folder, self._state.update, self._state.evaluated_update)
        self._sampler = make_sampler(RolloutSpec.of(config), config.workers)
        self._clock = time.perf_counter()

    def _imitate(self, gait: str) -> None:
        """Fit the first policy to a gait; the steps of the demonstration count."""
        with contextlib.closing(EpisodeRunner(RolloutSpec.of(self._config))) as runner:
            shown = demonstrate(runner.env(Stream.TRAINING), gait, self._config.seed)
        error = self._learner.imitate(shown)
        self._state.steps = len(shown.actions)
        logger.info("the first policy moves like a %s, within %.3f rms", gait, error)

    def run(self) -> Iterator[ProgressRow]:
        """Train to the end; yield every evaluation."""
        try:
            while True:
                if self._evaluation_due():
                    yield self._evaluate()
                if self._over():
                    break
                self._advance()
        except KeyboardInterrupt:
            self._save()
            raise
        finally:
            self._sampler.close()
        write_json(self._folder.finished, _summary(self._config, self._state))

    def _evaluation_due(self) -> bool:
        state = self._state
        due = state.update % self._config.eval_every_updates == 0 or self._out_of_steps()
        return due and state.update > 0 and state.evaluated_update != state.update

    def _out_of_steps(self) -> bool:
        return self._state.steps >= self._config.total_steps

    def _over(self) -> bool:
        target, score = self._config.score_target, self._state.last_score
        solved = target is not None and score is not None and score >= target
        return solved or self._out_of_steps()

    def _advance(self) -> None:
        """Collect one batch and make one update."""
        config, state = self._config, self._state
        first = state.update * config.episodes_per_update
        indices = range(first, first + config.episodes_per_update)
        start = time.perf_counter()
        episodes = self._sampler.collect(self._learner.snapshot(), Stream.TRAINING, indices)
        collected = time.perf_counter()
        with _interrupts_delayed():
            done = state.steps / config.total_steps
            diagnostics = self._learner.update(episodes, state.update, done)
            updated = time.perf_counter()
            state.update += 1
            state.steps += sum(map(len, episodes))
            state.collect_seconds += collected - start
            state.update_seconds += updated - collected
            state.env_seconds += sum(episode.env_seconds for episode in episodes)
            values = {
                **_grouped("episode", mean_metrics(episodes)),
                **_grouped("ppo", diagnostics),
                "time/collect_s": collected - start,
                "time/update_s": updated - collected,
            }
            self._report("update", values)
            if state.update % config.checkpoint_every_updates == 0:
                self._save()

    def _evaluate(self) -> ProgressRow:
        """Run the evaluation episodes, keep the records, save a checkpoint."""
        config, state = self._config, self._state
        start = time.perf_counter()
        episodes = self._sampler.collect(
            self._learner.snapshot(), Stream.EVALUATION, range(config.eval_episodes)
        )
        with _interrupts_delayed():
            metrics = mean_metrics(episodes)
            score = self._score(metrics)
            state.eval_seconds += time.perf_counter() - start
            state.evaluated_update, state.last_score = state.update, score
            if state.best_score is None or score > state.best_score:
                state.best_score, state.best_update = score, state.update
            row = self._report("evaluation", _grouped("evaluation", {**metrics, "score": score}))
            milestone = config.score_milestone
            if milestone is not None and score >= milestone and state.milestone_steps is None:
                state.milestone_steps, state.milestone_seconds = state.steps, state.wall_seconds
            self._save()
        return row

    def _score(self, metrics: Mapping[str, float]) -> float:
        name = self._config.score_metric
        if name not in metrics:
            raise ConfigError(f"no metric {name!r} to score by: there are {', '.join(metrics)}")
        if not math.isfinite(metrics[name]):
            raise TrainingDivergedError(
                f"the score is not finite after update {self._state.update}; "
                "the last checkpoint stands"
            )
        return metrics[name]

    def _report(self, kind: RowKind, values: Mapping[str, float]) -> ProgressRow:
        """Advance the wall clock, then write and show a row."""
        state, now = self._state, time.perf_counter()
        state.wall_seconds += now - self._clock
        self._clock = now
        row = ProgressRow(kind, state.update, state.steps, state.wall_seconds, time.time(), values)
        self._log.write(row)
        if self._on_progress is not None:
            self._on_progress(row)
        return row

    def _save(self) -> None:
        """Save a checkpoint; a full disk costs the checkpoint, not the run."""
        checkpoint = Checkpoint(self._config, self._state, self._learner.state())
        try:
            save_checkpoint(self._folder.checkpoints, checkpoint)
        except OSError as error:
            logger.warning("no checkpoint of update %d: %s", self._state.update, error)


def make_learner(config: TrainConfig) -> PPO:
    """Make a learner whose sizes and mirror are those of the task's environments.

    The environments are made here for that purpose. So a wrong task or argument is an error at
    once, and not in a worker.

    Raises:
        ConfigError: There is no such task, or it lacks what the configuration needs.
    """
    with contextlib.closing(EpisodeRunner(RolloutSpec.of(config))) as runner:
        runner.env(Stream.EVALUATION)
        env = runner.env(Stream.TRAINING)
        sizes = [_width(space, config.task) for space in (env.observation_space, env.action_space)]
        privileged, mirror = 0, None
        if config.ppo.privileged_value:
            privileged = len(env.reset(seed=0)[1].get("privileged", ()))
            if not privileged:
                raise ConfigError(
                    f"ppo.privileged_value: task {config.task} has nothing privileged"
                )
        if config.network.mirror:
            mirror = getattr(env.unwrapped, "mirror", None)
            if not isinstance(mirror, Mirror):
                raise ConfigError(f"network.mirror: task {config.task} has no mirror image")
        contract = getattr(env.unwrapped, "contract", None)
        floor = term_resolution(contract) if isinstance(contract, Contract) else None
        return PPO(config, sizes[0], sizes[1], privileged, mirror, floor)


def _width(space: gymnasium.Space[Any], task: str) -> int:
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise ConfigError(f"task {task}: {space} is not a one-dimensional Box")
    return space.shape[0]


def _grouped(group: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{group}/{name}": value for name, value in values.items()}


def _summary(config: TrainConfig, state: RunState) -> dict[str, float | int | str | None]:
    """Return the figures of a finished run.

    Collection efficiency is the trainer's rate, updates included, over that of ``workers``
    environments that never wait: ``env_seconds / (workers * (collect + update seconds))``.
    """
    learning_s = state.collect_seconds + state.update_seconds
    return {
        "config": config.name,
        "config_hash": config_identity(config),
        "score_metric": config.score_metric,
        "milestone": config.score_milestone,
        "collection_efficiency": state.env_seconds / (max(1, config.workers) * learning_s),
        **dataclasses.asdict(state),
    }


@contextlib.contextmanager
def _interrupts_delayed() -> Iterator[None]:
    """Delay Ctrl-C until the block is done, so that no interrupt leaves half an update."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return
    caught = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: caught.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if caught.is_set():
        raise KeyboardInterrupt
