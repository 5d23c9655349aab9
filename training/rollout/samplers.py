"""Samplers: run batches of episodes, in this process or in several others.

All give the same episodes, bit for bit, in order of index. Worker processes are started afresh
(spawn) and import this module, so it imports no torch. The sampler whose workers may be on other
computers is in ``training.rollout.ray_sampler``, which needs Ray.
"""

from __future__ import annotations

import abc
import contextlib
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any, ClassVar, Protocol, TypeVar

import gymnasium

import training.tasks  # noqa: F401  registers the tasks
from robot_firmware_bridge.command_line import cure
from robot_firmware_bridge.worker_process import obey_parent
from training.errors import ConfigError, SamplerError
from training.rollout.episode import Episode, Stream, run_episode
from training.rollout.policy import PolicySnapshot
from training.runs.config import SamplerKind, TrainConfig

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger(__name__)

# Times in a row that workers die and no episode is finished before the run gives up.
_MAX_FRUITLESS = 3
# Worker processes per core of this computer; more would only use up its memory.
_WORKERS_PER_CORE, _MIN_WORKERS = 4, 16
# Exit status of a worker whose script starts the work again when it is imported.
_UNGUARDED = 77

# Called with every episode of a batch as it is finished, in any order.
OnEpisode = Callable[[Episode], None]


def _ignore(_: Episode) -> None:
    """Do nothing with an episode."""


class Sampler(Protocol):
    """Runs batches of episodes."""

    def collect(
        self,
        snapshot: PolicySnapshot,
        stream: Stream,
        indices: Sequence[int],
        on_episode: OnEpisode = _ignore,
    ) -> list[Episode]:
        """Run the episodes ``indices``; return them in that order."""
        ...

    def close(self) -> None:
        """End what runs them."""
        ...


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """All that decides an episode besides the policy: small, and sent to each worker once.

    ``score_metric`` decides whether an evaluation is refused: it must be finite.
    """

    seed: int
    task: str
    training_kwargs: Mapping[str, Any]
    evaluation_kwargs: Mapping[str, Any]
    noise_memory: float = 0.0
    score_metric: str = "return"

    @classmethod
    def of(cls, config: TrainConfig) -> RolloutSpec:
        """Take the part of a configuration that decides episodes."""
        training, evaluation = config.task_kwargs, {**config.task_kwargs, **config.eval_kwargs}
        return cls(
            config.seed,
            config.task,
            training,
            evaluation,
            config.noise_memory,
            config.score_metric,
        )


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
        return self.run_in(self.env(stream), snapshot, stream, index)

    def run_in(
        self, env: gymnasium.Env[Any, Any], snapshot: PolicySnapshot, stream: Stream, index: int
    ) -> Episode:
        """Run the same in an environment of the caller, such as a wrapper of :meth:`env`."""
        spec = self._spec
        return run_episode(
            env, snapshot, spec.seed, stream, index, spec.noise_memory, spec.score_metric
        )

    def collect(
        self,
        snapshot: PolicySnapshot,
        stream: Stream,
        indices: Sequence[int],
        on_episode: OnEpisode = _ignore,
    ) -> list[Episode]:
        """Run the episodes ``indices``; return them in that order.

        Raises:
            EpisodeError: An episode breaks off.
        """
        episodes = []
        for index in indices:
            episodes.append(self.run(snapshot, stream, index))
            on_episode(episodes[-1])
        return episodes

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs.values():
            env.close()
        self._envs.clear()


class WorkerSampler(abc.ABC):
    """Runs episodes in workers that may die: killed, out of memory, a crash of the physics engine.

    What was lost with a worker is run again. An error inside a worker is raised here, with its own
    type and text.
    """

    # What ``_run`` raises when a worker died, and the options of a run that shows why.
    _died: ClassVar[type[Exception]]
    _plainly: ClassVar[str]

    def collect(
        self,
        snapshot: PolicySnapshot,
        stream: Stream,
        indices: Sequence[int],
        on_episode: OnEpisode = _ignore,
    ) -> list[Episode]:
        """Run the episodes ``indices``; return them in that order.

        Raises:
            EpisodeError: An episode breaks off.
            ConfigError: There is no such task, or it does not take these arguments.
            SamplerError: Workers cannot start, or die over and over without finishing an episode.
        """
        done: dict[int, Episode] = {}
        fruitless = 0
        while missing := [index for index in indices if index not in done]:
            before = len(done)
            try:
                for episode in self._run(snapshot, stream, missing):
                    done[episode.index] = episode
                    on_episode(episode)
            except self._died as error:
                fruitless = fruitless + 1 if len(done) == before else 0
                self._restart(fruitless)
                if fruitless == _MAX_FRUITLESS:
                    raise SamplerError(
                        f"workers died {fruitless} times in a row without finishing an episode: "
                        f"{self._plainly} shows why"
                    ) from error
                lost = len(indices) - len(done)
                logger.warning("a worker process died: starting anew for %d episodes", lost)
        return [done[index] for index in indices]

    @abc.abstractmethod
    def _run(
        self, snapshot: PolicySnapshot, stream: Stream, indices: Sequence[int]
    ) -> Iterator[Episode]:
        """Yield all episodes that finish, even if workers die; raise the lowest index's error."""

    @abc.abstractmethod
    def _restart(self, fruitless: int) -> None:
        """Get ready to run again, after so many times in a row without an episode."""

    @abc.abstractmethod
    def close(self) -> None:
        """End the workers."""


class ProcessSampler(WorkerSampler):
    """Runs episodes in worker processes, each taking the next one as soon as it is free.

    A worker that dies breaks the whole pool, and the pool is made again.
    """

    _died = BrokenProcessPool
    _plainly = "--workers 0"

    def __init__(self, spec: RolloutSpec, workers: int) -> None:
        self._spec = spec
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def _run(
        self, snapshot: PolicySnapshot, stream: Stream, indices: Sequence[int]
    ) -> Iterator[Episode]:
        self._pool = self._pool or worker_pool(self._workers, _start_worker, (self._spec,))
        with signals_wait():  # the pool starts its processes with the first job
            futures = [self._pool.submit(_run_in_worker, snapshot, stream, i) for i in indices]
        for future in as_completed(futures):
            if future.exception() is None:
                yield future.result()
        for future in futures:  # in order of index: the error does not depend on who was faster
            future.result()

    def _restart(self, fruitless: int) -> None:
        self.close()
        if fruitless == 1:
            require_workers_start()

    def close(self) -> None:
        """End the workers, after the episodes that they are in."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def make_sampler(
    spec: RolloutSpec, workers: int, kind: SamplerKind = "process", address: str = ""
) -> Sampler:
    """Make a sampler with ``workers`` processes, or in this process for 0.

    Those of kind ``ray`` are of the Ray cluster at ``address``, or of one that is started on this
    computer if that is empty.

    Raises:
        SamplerError: So many workers, or workers of such a script, cannot be; or there is no Ray,
            or no cluster.
    """
    if kind == "ray":
        return _ray_sampler(spec, workers, address)
    if not workers:
        return EpisodeRunner(spec)
    check_workers(workers)
    return ProcessSampler(spec, workers)


def _ray_sampler(spec: RolloutSpec, workers: int, address: str) -> Sampler:
    if not workers:
        raise SamplerError(
            "the sampler ray needs workers, got 0: --workers 2, or --sampler process for none"
        )
    try:
        from training.rollout.ray_sampler import RaySampler
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise SamplerError(f"the sampler ray needs Ray: {cure('ray')}") from error
    return RaySampler(spec, workers, address)


# --- worker processes, of the samplers and of whatever else has some ------------------------------


def check_workers(workers: int) -> None:
    """Refuse a number of worker processes, or a program, that cannot work.

    Raises:
        SamplerError: Too many for this computer, or the program cannot be imported by them.
    """
    end_worker_that_imports_work()
    require_room(workers)
    script = _script()
    if workers and script is not None and not os.path.exists(script):
        raise SamplerError(
            f"workers cannot import {script}: put the program into a file, or take 0 workers"
        )


def require_room(workers: int) -> None:
    """Refuse more workers than this computer has room for.

    Raises:
        SamplerError: Names the most that there can be.
    """
    most = max(_MIN_WORKERS, _WORKERS_PER_CORE * (os.cpu_count() or 1))
    if workers > most:
        raise SamplerError(f"workers must be at most {most} on this computer, got {workers}")


def end_worker_that_imports_work() -> None:
    """End this process if it is a worker that imports its parent's script, and so began its work.

    :func:`require_workers_start` then tells the parent's user why.
    """
    # The standard library's own sign of a process that has not finished importing.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(_UNGUARDED)


def worker_pool(
    workers: int, initializer: Callable[..., None], initargs: tuple[Any, ...]
) -> ProcessPoolExecutor:
    """Make a pool of fresh processes (spawn), which start with the first job.

    Raises:
        SamplerError: As of :func:`check_workers`.
    """
    check_workers(workers)
    with signals_wait():
        resource_tracker.ensure_running()  # multiprocessing's own process, which would die of them
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer, initargs)


def map_in_workers(
    function: Callable[[T], R],
    jobs: Sequence[T],
    workers: int,
    initializer: Callable[..., None],
    initargs: tuple[Any, ...] = (),
) -> Iterator[R]:
    """Yield ``function(job)`` of every job, in order; each is done by one of some fresh processes.

    An error of the function is raised here.

    Raises:
        SamplerError: Workers cannot start, or one died; as of :func:`check_workers`.
    """
    try:
        with worker_pool(min(workers, len(jobs)), initializer, initargs) as pool:
            with signals_wait():
                results = pool.map(function, jobs)
            try:
                yield from results
            except (KeyboardInterrupt, GeneratorExit):
                for process in multiprocessing.active_children():
                    process.terminate()  # nobody wants what it works at
                raise
    except BrokenProcessPool as error:
        require_workers_start()
        raise SamplerError(
            "a worker process died: killed, out of memory, or a crash of the physics engine; "
            "fewer workers need less memory"
        ) from error


def require_workers_start() -> None:
    """Find out whether a worker process can start at all, by starting one; for when some died.

    Raises:
        SamplerError: It cannot; says why.
    """
    with signals_wait():
        process = multiprocessing.get_context("spawn").Process(target=_nothing)
        process.start()
    process.join()
    if process.exitcode == _UNGUARDED:
        raise SamplerError(
            f"{_script()} starts its work again in every worker that imports it: put the work "
            'under `if __name__ == "__main__":`, or take 0 workers'
        )
    if process.exitcode != 0:
        raise SamplerError(
            f"worker processes cannot start (exit status {process.exitcode}): their own error is "
            "above; 0 workers need none"
        )


def _nothing() -> None:
    """Do nothing: to see a process start."""


def _script() -> str | None:
    """Return the path of the program's script, which every worker imports; None for none."""
    main = sys.modules["__main__"]
    by_name = getattr(main, "__spec__", None) is not None  # python -m, imported by its name
    return None if by_name else getattr(main, "__file__", None)


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """Let Ctrl-C and a closed terminal wait, and start processes that never see them.

    Both go to all processes of a terminal, and the parent decides what they mean. A new process
    inherits the mask of signals.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_runner: EpisodeRunner  # of this process, where it is a worker


def _start_worker(spec: RolloutSpec) -> None:
    global _runner
    obey_parent()
    # The environment is made with the first episode: an error of it then reaches the parent.
    _runner = EpisodeRunner(spec)


def _run_in_worker(snapshot: PolicySnapshot, stream: Stream, index: int) -> Episode:
    return _runner.run(snapshot, stream, index)
