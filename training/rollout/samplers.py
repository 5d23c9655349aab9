"""Samplers: run batches of episodes, in this process or in several others.

Both give the same episodes, bit for bit, in order of index. Worker processes are started afresh
(spawn) and import this module, so it imports no torch.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import gymnasium

import training.tasks  # noqa: F401  registers the tasks
from training.errors import ConfigError, SamplerError
from training.rollout.episode import Episode, Stream, run_episode
from training.rollout.policy import PolicySnapshot
from training.runs.config import TrainConfig

logger = logging.getLogger(__name__)

# Pools that die in a row without finishing a single episode before the run gives up.
_MAX_FRUITLESS_POOLS = 3


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """All that decides an episode besides the policy: small, and sent to each worker once."""

    seed: int
    task: str
    training_kwargs: Mapping[str, Any]
    evaluation_kwargs: Mapping[str, Any]
    noise_memory: float = 0.0

    @classmethod
    def of(cls, config: TrainConfig) -> RolloutSpec:
        """Take the part of a configuration that decides episodes."""
        training, evaluation = config.task_kwargs, {**config.task_kwargs, **config.eval_kwargs}
        return cls(config.seed, config.task, training, evaluation, config.noise_memory)


class EpisodeRunner:
    """The sampler of this process: runs one episode after another."""

    def __init__(self, spec: RolloutSpec) -> None:
        self._spec = spec
        self._envs: dict[Stream, gymnasium.Env[Any, Any]] = {}

    def env(self, stream: Stream) -> gymnasium.Env[Any, Any]:
        """Return the environment of a stream, made when it is first needed.

        Raises:
            ConfigError: There is no such task, or it does not take these arguments.
        """
        if stream not in self._envs:
            spec = self._spec
            kwargs = spec.training_kwargs if stream is Stream.TRAINING else spec.evaluation_kwargs
            try:
                self._envs[stream] = gymnasium.make(spec.task, disable_env_checker=True, **kwargs)
            except (gymnasium.error.Error, TypeError, ValueError) as error:
                raise ConfigError(f"cannot make task {spec.task}: {error}") from error
        return self._envs[stream]

    def run(self, snapshot: PolicySnapshot, stream: Stream, index: int) -> Episode:
        """Run episode ``index`` of ``stream``."""
        seed, memory = self._spec.seed, self._spec.noise_memory
        return run_episode(self.env(stream), snapshot, seed, stream, index, memory)

    def collect(
        self, snapshot: PolicySnapshot, stream: Stream, indices: Sequence[int]
    ) -> list[Episode]:
        """Run the episodes ``indices``; return them in that order."""
        return [self.run(snapshot, stream, index) for index in indices]

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs.values():
            env.close()
        self._envs.clear()


class ProcessSampler:
    """Runs episodes in worker processes, each taking the next one as soon as it is free.

    A worker that dies (killed, out of memory, a crash of the physics engine) breaks the whole pool.
    The pool is then made again, and the episodes that were lost are run again.
    """

    def __init__(self, spec: RolloutSpec, workers: int) -> None:
        self._spec = spec
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def collect(
        self, snapshot: PolicySnapshot, stream: Stream, indices: Sequence[int]
    ) -> list[Episode]:
        """Run the episodes ``indices``; return them in that order.

        Raises:
            SamplerError: Workers die over and over without finishing an episode.
        """
        done: dict[int, Episode] = {}
        fruitless = 0
        while missing := [index for index in indices if index not in done]:
            before = len(done)
            try:
                for episode in self._run(snapshot, stream, missing):
                    done[episode.index] = episode
            except BrokenProcessPool as error:
                fruitless = fruitless + 1 if len(done) == before else 0
                if fruitless == _MAX_FRUITLESS_POOLS:
                    raise SamplerError(
                        f"workers died {fruitless} times in a row without finishing an episode: "
                        "try --workers 0 to see why"
                    ) from error
                lost = len(indices) - len(done)
                logger.warning("a worker process died: starting anew for %d episodes", lost)
                self.close()
        return [done[index] for index in indices]

    def _run(
        self, snapshot: PolicySnapshot, stream: Stream, indices: Sequence[int]
    ) -> Iterator[Episode]:
        """Yield all episodes that finish, even if the pool breaks; raise the first error last."""
        self._pool = self._pool or ProcessPoolExecutor(
            self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(self._spec,),
        )
        futures = [self._pool.submit(_run_in_worker, snapshot, stream, i) for i in indices]
        wait(futures)
        for future in sorted(futures, key=lambda future: future.exception() is not None):
            yield future.result()

    def close(self) -> None:
        """End the workers, after the episodes that they are in."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def make_sampler(spec: RolloutSpec, workers: int) -> EpisodeRunner | ProcessSampler:
    """Make a sampler with ``workers`` processes, or in this process for 0."""
    return ProcessSampler(spec, workers) if workers else EpisodeRunner(spec)


_runner: EpisodeRunner  # of this process, where it is a worker


def _start_worker(spec: RolloutSpec) -> None:
    global _runner
    obey_parent()
    _runner = EpisodeRunner(spec)
    _runner.env(Stream.TRAINING)


def obey_parent() -> None:
    """Let the parent of this worker process decide its end, even if the parent is killed."""
    # Ctrl-C goes to the whole process group, and the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_in_worker(snapshot: PolicySnapshot, stream: Stream, index: int) -> Episode:
    return _runner.run(snapshot, stream, index)
