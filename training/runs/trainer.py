"""The training loop: collect, update, evaluate, checkpoint.

The loop is driven by its state alone: wherever a run stops, the state that was saved last decides
what comes next. Of the command line, only this module imports torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import torch

from deploy.files import prove_writable, write_atomically, write_json
from deploy.policy.contract import Contract
from deploy.policy.pipeline import term_resolution
from training.errors import (
    CheckpointError,
    ConfigError,
    EpisodeError,
    RunFolderError,
    TrainingDivergedError,
)
from training.learner.imitation import demonstrate
from training.learner.ppo import PPO
from training.rollout.episode import Episode, Stream, mean_metrics
from training.rollout.samplers import EpisodeRunner, RolloutSpec, make_sampler
from training.runs.checkpoint import (
    Checkpoint,
    RunState,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
    serialised,
)
from training.runs.config import TrainConfig, config_identity
from training.runs.failure import episode_dump, remember, update_dump
from training.runs.folder import RunFolder
from training.runs.progress import ProgressRow, RowKind, make_writers
from training.tasks.symmetry import Mirror

logger = logging.getLogger(__name__)

# A checkpoint is due this long after the last one, whatever the number of updates.
CHECKPOINT_S = 60.0
# Size of a checkpoint relative to that of a run that has made no update.
_GROWTH = 4


class Trainer:
    """One run in its (locked) folder; goes on from the newest checkpoint there.

    Sets torch's thread count and deterministic algorithms for the whole process, since both decide
    the bits of the result.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        on_steps: Callable[[int], None] | None = None,
    ) -> None:
        make_repeatable(config)
        self._config = config
        self._folder = folder
        self._on_steps = on_steps
        self._learner = make_learner(config)
        self._state = RunState()
        self._sampler = make_sampler(
            RolloutSpec.of(config), config.workers, config.sampler, config.address
        )
        checkpoint = newest_checkpoint(folder.checkpoints, config)
        if checkpoint is not None:
            self._learner.load_state(checkpoint.learner)
            self._state = state = checkpoint.state
            logger.info("resuming at update %d, %s steps", state.update, f"{state.steps:,}")
        elif config.start_from:
            self._adopt(config.start_from)
        elif config.first_gait:
            self._imitate(config.first_gait)
        if checkpoint is None and folder.progress.exists():
            logger.info("no checkpoint yet: the run starts anew")
        # What the newest checkpoint holds: updates, and updates at the latest evaluation.
        self._saved = (-1, -1) if checkpoint is None else self._progress()
        self._unsaved_best: bytes | None = None
        self._warned_of = -1  # the update whose checkpoint failed last
        # The disk must take a checkpoint before there is work to lose. The optimisers' state, which
        # a new run has not yet, is twice the networks.
        growth = _GROWTH if checkpoint is None else 1
        size_bytes = growth * len(serialised(self._checkpoint()))
        prove_writable(folder.checkpoints / "checkpoint.pt", size_bytes)
        self._writers = make_writers(
            config, folder, self._state.update, self._state.evaluated_update
        )
        self._clock = self._save_clock = time.perf_counter()

    def _adopt(self, source: str) -> None:
        """Take the networks of another run, or of a checkpoint file."""
        try:
            self._learner.adopt(load_checkpoint(Path(source)).learner)
        except CheckpointError as error:
            raise ConfigError(f"start_from: {error}") from error

    def _imitate(self, gait: str) -> None:
        """Fit the first policy to a gait; the steps of the demonstration count."""
        with contextlib.closing(EpisodeRunner(RolloutSpec.of(self._config))) as runner:
            shown = demonstrate(runner.env(Stream.TRAINING), gait, self._config.seed)
        error = self._learner.imitate(shown)
        self._state.steps = len(shown.actions)
        logger.info("the first policy moves like a %s, within %.3f rms", gait, error)

    def run(self) -> Iterator[ProgressRow]:
        """Train to the end; yield the row of every update and of every evaluation.

        Where it is stopped between two rows, as by ``break`` or ``close()``, it saves its state.

        Raises:
            EpisodeError: An episode broke off; the run folder remembers it, with a dump.
            TrainingDivergedError: An update diverged; likewise.
            RunFolderError: The run is over, and its last state cannot be saved.
        """
        try:
            self._show_steps(())
            while True:
                if self._evaluation_due():
                    yield self._evaluate()
                if self._over():
                    break
                yield self._advance()
        except (KeyboardInterrupt, GeneratorExit):
            self._save()
            raise
        except EpisodeError as error:
            self._save()  # nothing is wrong with the updates so far
            dump = episode_dump(self._config, self._learner.snapshot(), error)
            remember(self._folder, error, self._state.update, dump)
            raise
        finally:
            self._sampler.close()
            for writer in self._writers:
                writer.close()
        self._finish()

    def _finish(self) -> None:
        """Say that the run is finished, once its last state is saved."""
        cause = self._save()
        if cause is None:
            try:
                write_json(self._folder.finished, _summary(self._config, self._state))
            except OSError as error:
                cause = error
        if cause is not None:
            update = self._saved[0]
            resumes = f"resumes from update {update}" if update >= 0 else "starts anew"
            raise RunFolderError(
                f"not finished: update {self._state.update} cannot be saved ({cause}); free "
                f"space, then the same command {resumes}"
            ) from cause

    def _evaluation_due(self) -> bool:
        state = self._state
        due = state.update % self._config.eval_every_updates == 0 or self._out_of_steps()
        return due and state.evaluated_update != state.update

    def _out_of_steps(self) -> bool:
        return self._state.steps >= self._config.total_steps

    def _over(self) -> bool:
        target, score = self._config.score_target, self._state.last_score
        solved = target is not None and score is not None and score >= target
        return (solved and self._state.update > 0) or self._out_of_steps()

    def _advance(self) -> ProgressRow:
        """Collect one batch and make one update."""
        config, state = self._config, self._state
        first = state.update * config.episodes_per_update
        indices = range(first, first + config.episodes_per_update)
        start = time.perf_counter()
        shown: list[Episode] = []

        def show(episode: Episode) -> None:
            shown.append(episode)
            self._show_steps(shown)

        snapshot = self._learner.snapshot()
        episodes = self._sampler.collect(snapshot, Stream.TRAINING, indices, show)
        collected = time.perf_counter()
        with _interrupts_delayed():
            done = state.steps / config.total_steps
            diagnostics = self._update(episodes, done)
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
            row = self._report("update", values)
            waited_s = time.perf_counter() - self._save_clock
            if state.update % config.checkpoint_every_updates == 0 or waited_s >= CHECKPOINT_S:
                self._save()
        return row

    def _update(self, episodes: Sequence[Episode], done: float) -> dict[str, float]:
        """Make one update; what diverges is remembered with all that the update began with."""
        config, update = self._config, self._state.update
        before = self._checkpoint()
        try:
            return self._learner.update(episodes, update, done)
        except TrainingDivergedError as error:
            dump = update_dump(config, serialised(before), update, done, episodes, error)
            remember(self._folder, error, update, dump)
            raise

    def _evaluate(self) -> ProgressRow:
        """Run the evaluation episodes, keep the records, save a checkpoint.

        The first evaluation is before the first update: what training has to improve on.
        """
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
            best = state.best_return is None or metrics["return"] > state.best_return
            if best:
                state.best_return = metrics["return"]
                state.best_score, state.best_update = score, state.update
            row = self._report("evaluation", _grouped("evaluation", {**metrics, "score": score}))
            milestone = config.score_milestone
            if milestone is not None and score >= milestone and state.milestone_steps is None:
                state.milestone_steps, state.milestone_seconds = state.steps, state.wall_seconds
            if best:
                self._unsaved_best = serialised(self._checkpoint())
            self._save()
        return row

    def _score(self, metrics: Mapping[str, float]) -> float:
        name = self._config.score_metric
        if name not in metrics:
            raise ConfigError(f"no metric {name!r} to score by: there are {', '.join(metrics)}")
        return metrics[name]

    def _report(self, kind: RowKind, values: Mapping[str, float]) -> ProgressRow:
        """Advance the wall clock, then write a row."""
        state, now = self._state, time.perf_counter()
        state.wall_seconds += now - self._clock
        self._clock = now
        row = ProgressRow(kind, state.update, state.steps, state.wall_seconds, time.time(), values)
        for writer in self._writers:
            writer.write(row)
        return row

    def _show_steps(self, episodes: Sequence[Episode]) -> None:
        """Show the steps done, with the episodes of the batch under way."""
        if self._on_steps is not None:
            self._on_steps(self._state.steps + sum(map(len, episodes)))

    def _progress(self) -> tuple[int, int]:
        return self._state.update, self._state.evaluated_update

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self._config, self._state, self._learner.state())

    def _save(self) -> OSError | None:
        """Save a checkpoint if the newest is older than the state; return why it cannot be.

        A full disk costs the checkpoint, not the run: the next one may find space again.
        """
        if self._saved == self._progress():
            return None
        self._save_clock = time.perf_counter()
        try:
            # The best first: no checkpoint may count on a best.pt that was never written.
            if self._unsaved_best is not None:
                write_atomically(self._folder.best, self._unsaved_best)
                self._unsaved_best = None
            save_checkpoint(self._folder.checkpoints, self._checkpoint())
        except OSError as error:
            if self._warned_of != self._state.update:
                logger.warning("no checkpoint of update %d: %s", self._state.update, error)
            self._warned_of = self._state.update
            return error
        self._saved = self._progress()
        return None


def make_repeatable(config: TrainConfig) -> None:
    """Set what decides the bits of an update, for the whole process."""
    # cuBLAS reads this when it starts; without it torch refuses deterministic algorithms.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(config.torch_threads)
    torch.use_deterministic_algorithms(True)


def make_learner(config: TrainConfig) -> PPO:
    """Make a learner whose sizes and mirror are those of the task's environments.

    The environments are made here for that purpose. So a wrong task or argument is an error at
    once, and not in a worker.

    Raises:
        ConfigError: There is no such task or device, or it lacks what the configuration needs.
    """
    _require_device(config.device)
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


def _require_device(name: str) -> None:
    """Refuse a device that torch cannot compute on, by computing on it."""
    try:
        torch.zeros(1, device=torch.device(name)).add(1.0).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        number = torch.cuda.device_count()
        usable = ", ".join(("cpu", *(f"cuda:{i}" for i in range(number))))
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError(f"device {name!r}: {reason}; usable here: {usable}") from error


def _width(space: gymnasium.Space[Any], task: str) -> int:
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise ConfigError(f"task {task}: {space} is not a one-dimensional Box")
    return space.shape[0]


def _grouped(group: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{group}/{name}": value for name, value in values.items()}


def _summary(config: TrainConfig, state: RunState) -> dict[str, float | int | str | None]:
    """Return the figures of a finished run.

    Collection efficiency is the trainer's rate, updates included, over that of ``workers``
    environments that never wait: ``env_seconds / (workers * (collect + update seconds))``. It is
    None for a run without an update.
    """
    workers_s = max(1, config.workers) * (state.collect_seconds + state.update_seconds)
    return {
        "config": config.name,
        "config_hash": config_identity(config),
        "score_metric": config.score_metric,
        "milestone": config.score_milestone,
        "collection_efficiency": state.env_seconds / workers_s if workers_s else None,
        **dataclasses.asdict(state),
    }


@contextlib.contextmanager
def _interrupts_delayed() -> Iterator[None]:
    """Delay signals that have a handler until the block is done: no interrupt in half an update."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return
    caught: list[int] = []
    handlers = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if callable(handler := signal.getsignal(number))
    }
    for number in handlers:
        signal.signal(number, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for each in dict.fromkeys(caught):
        signal.raise_signal(each)
