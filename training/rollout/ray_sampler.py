"""The sampler whose workers are actors of Ray: on this computer, or on several.

A worker is the same ``EpisodeRunner`` as everywhere, so its episodes are the same, bit for bit.
Workers import this module: it imports no torch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# Before Ray is imported, which reads some of them then: no statistics are sent or announced, and
# nothing is printed of a worker's death, which the sampler tells in its own words.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray.exceptions import RayActorError, RayError, RayTaskError  # noqa: E402

from robot_firmware_bridge.worker_process import obey_parent  # noqa: E402
from training.errors import SamplerError  # noqa: E402
from training.rollout.episode import Episode, Stream  # noqa: E402
from training.rollout.policy import PolicySnapshot  # noqa: E402
from training.rollout.samplers import (  # noqa: E402
    EpisodeRunner,
    RolloutSpec,
    WorkerSampler,
    require_room,
    signals_wait,
)

# A worker starts within seconds. After this long without any there is no core for one.
_START_S = 60.0
_CONNECT_S = 5.0

# What decides the bits of an episode besides its arguments.
_FLOORS = ("robot_firmware_bridge", "sim", "deploy", "training")
_SOURCES = (".py", ".c", ".h", ".json", ".csv")  # the tick in C and the robot's description, too
_LIBRARIES = ("numpy", "gymnasium", "pybullet", "mujoco")


class Worker(EpisodeRunner):
    """The rollout worker in a process of Ray, which runs one call after another, in one thread."""

    def start(self, digest: str) -> None:
        """Get ready, where an episode is what it is for the trainer.

        Raises:
            SamplerError: The trainer's :func:`code_digest` is another.
        """
        if digest != code_digest():
            raise SamplerError(
                f"{socket.gethostname()} has other code than the trainer, or other versions of "
                f"{', '.join(_LIBRARIES)}: install the same there"
            )
        obey_parent()


class RaySampler(WorkerSampler):
    """Runs episodes in actors of Ray, each taking the next one as soon as it is free.

    The policy goes to each computer once per batch. A worker that died, or whose computer did, is
    replaced where there is a free core; until there is one, the others do its work. So a cluster
    may be smaller than the number of workers, and may shrink and grow.

    Without an address Ray is started on this computer, and ended with the sampler. A connection to
    Ray that the program already has is used, and left open.
    """

    _died = RayError
    _plainly = "--sampler process --workers 0"

    def __init__(self, spec: RolloutSpec, workers: int, address: str = "") -> None:
        if address:
            _require_listener(address)
        else:
            require_room(workers)
        self._spec, self._workers, self._address = spec, workers, address
        self._digest = code_digest()  # now: files may change while this process has the old code
        self._own_connection = False
        self._idle: list[Any] = []
        # The calls under way: of which worker, and for which episode; none while it starts.
        self._calls: dict[Any, tuple[Any, int | None]] = {}

    def _run(
        self, snapshot: PolicySnapshot, stream: Stream, indices: Sequence[int]
    ) -> Iterator[Episode]:
        self._connect()
        self._hire()
        policy = ray.put(snapshot)
        waiting, running = deque(indices), len(indices)
        failures: dict[int, Exception] = {}
        while running and (self._idle or self._calls):
            while waiting and self._idle:
                worker, following = self._idle.pop(), waiting.popleft()
                self._calls[worker.run.remote(policy, stream, following)] = worker, following
            index, result = self._next_result()
            if index is None:
                continue  # a worker has started
            running -= 1
            if isinstance(result, Episode):
                yield result
            else:
                failures[index] = result
        failures |= dict.fromkeys(waiting, RayError("all workers have died"))
        if failures:
            raise failures[min(failures)]

    def _next_result(self) -> tuple[int | None, Any]:
        """Wait for a call to end; return its episode's index, if any, and its result or error."""
        nobody_works = all(index is None for _, index in self._calls.values())
        timeout_s = _START_S if nobody_works else None
        ended, _ = ray.wait([*self._calls], num_returns=1, timeout=timeout_s)
        if not ended:
            raise SamplerError(
                f"no worker of Ray started within {_START_S:.0f} s: `ray status` shows whether a "
                "core is free"
            )
        worker, index = self._calls.pop(ended[0])
        result: Any
        try:
            result = ray.get(ended[0])
        except RayTaskError as error:
            if index is None:
                raise error.cause from error
            result = error.cause
        except RayError as error:
            ray.kill(worker)  # it may still be there, behind a broken connection
            if isinstance(error, RayActorError) and error.actor_init_failed:
                raise SamplerError(f"a worker of Ray cannot start: {_last_line(error)}") from error
            return index, error
        self._idle.append(worker)
        return index, result

    def _connect(self) -> None:
        """Start or join Ray, unless the program has done so."""
        if ray.is_initialized():
            return
        where = {"address": self._address} if self._address else _local(self._workers)
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with signals_wait():  # processes of Ray inherit it; what a signal means is decided here
                ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as error:  # something listens there
            raise SamplerError(
                f"{_last_line(error)}; its RAY_AUTH_MODE and token must be those of this computer"
            ) from error
        except (OSError, RuntimeError, ValueError) as error:
            place = f"at {self._address}" if self._address else "on this computer"
            raise SamplerError(f"no Ray {place}: {_last_line(error)}") from error
        finally:
            if signal.getsignal(signal.SIGTERM) is not handler:
                signal.signal(signal.SIGTERM, handler)  # Ray takes it, to exit at once
        self._own_connection = True

    def _hire(self) -> None:
        """Start a worker for each that is missing, on whatever computer has a free core."""
        for call, (worker, index) in [*self._calls.items()]:
            if index is not None:  # of a batch that was interrupted: nobody wants its episode
                ray.kill(worker)
                del self._calls[call]
        make: Any = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(Worker)
        for _ in range(self._workers - len(self._idle) - len(self._calls)):
            worker = make.remote(self._spec)
            self._calls[worker.start.remote(self._digest)] = worker, None

    def _restart(self, fruitless: int) -> None:
        """Do nothing: the next batch hires for the dead."""

    def close(self) -> None:
        """End the workers, and Ray if it was started or joined here."""
        if self._own_connection:
            ray.shutdown()  # which ends the workers of this program, wherever they are
        else:
            for worker in (*self._idle, *(worker for worker, _ in self._calls.values())):
                ray.kill(worker)
        self._own_connection = False
        self._idle.clear()
        self._calls.clear()


def code_digest(folder: Path = Path(__file__).parents[2]) -> str:
    """Return a digest of the code that runs episodes, in a folder, and of its libraries here."""
    digest = hashlib.sha256()
    files = (path for floor in _FLOORS for path in (folder / floor).rglob("*"))
    for path in sorted(path for path in files if path.suffix in _SOURCES):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    found = {each.name: each.version for each in importlib.metadata.distributions()}
    digest.update(repr([found.get(library) for library in _LIBRARIES]).encode())
    return digest.hexdigest()


def _local(workers: int) -> dict[str, Any]:
    """Return what starts Ray on this computer, even where a cluster is running."""
    return {"address": "local", "num_cpus": workers, "include_dashboard": False}


def _require_listener(address: str) -> None:
    """Refuse an address at which nothing listens: Ray would try for minutes.

    Raises:
        SamplerError: It is not HOST:PORT, or no connection can be made.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise SamplerError(f"the address of a Ray cluster is HOST:PORT, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise SamplerError(
            f"no Ray cluster at {address}: {error}; start one there with "
            f"`ray start --head --port {port}`"
        ) from error


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
