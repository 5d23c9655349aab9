"""Run folders: the files of a run, the choice of a folder, and the lock on it.

    LOGDIR/TIMESTAMP-CONFIG/
        config.json        the resolved configuration
        checkpoints/       the newest two, and best.pt
        progress.jsonl     one row per update and per evaluation
        events.out.*       the same for TensorBoard
        finished.json      summary; written when the run is over and its last state is saved
        failure.json       what broke the run off, if it would do so again
        failure.npz        its dump, which `minitaur replay` runs again
        wandb-id           the run's name in Weights & Biases, with --logger wandb
        lock               locked by the process that trains here; holds the session's number

Imports no torch: the command line chooses a folder before it pays for that import.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from deploy.files import write_atomically
from robot_firmware_bridge.command_line import describe
from training.errors import ConfigError, RunFolderError
from training.runs.config import TrainConfig, config_differences, config_from_json, config_to_json


class RunFolder:
    """The paths of one run, and its lock.

    A session is the time that a process works on a run. Sessions are numbered over all runs beside
    each other, so that the order of runs does not depend on a clock that may have been wrong.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / "config.json"
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.pt"
        self.progress = path / "progress.jsonl"
        self.finished = path / "finished.json"
        self.failure = path / "failure.json"
        self.dump = path / "failure.npz"
        self.wandb_id = path / "wandb-id"
        self._lock_path = path / "lock"

    def config(self) -> TrainConfig:
        """Read the configuration that the folder was made for.

        Raises:
            ConfigError: The configuration is malformed.
        """
        try:
            return config_from_json(self.config_path.read_text())
        except ConfigError as error:
            raise ConfigError(f"{self.config_path}: {error}") from error

    @contextlib.contextmanager
    def opened(self, config: TrainConfig) -> Iterator[None]:
        """Make the folder if need be and hold its lock.

        If an error ends the block before a new run has begun, the folder is removed again.

        Raises:
            RunFolderError: Another process trains here, the folder holds another configuration, or
                it cannot be written.
        """
        with self._lock():
            new = not self.config_path.exists()
            try:
                self._enter(config)
                yield
            except BaseException:
                if new and not self.has_begun:
                    self._remove()
                raise

    def _enter(self, config: TrainConfig) -> None:
        """Make what is missing; refuse another configuration; begin a session."""
        if not self.config_path.exists():
            write_atomically(self.config_path, config_to_json(config).encode())
        elif differences := config_differences(config, self.config()):
            raise RunFolderError(
                f"{self.path} holds another configuration: {'; '.join(differences)}"
            )
        self.checkpoints.mkdir(exist_ok=True)
        session = 1 + max(RunFolder(path).session for path in self.path.parent.iterdir())
        self._lock_path.write_text(f"{session}\n")

    @property
    def session(self) -> int:
        """Number of the latest session; 0 if none is known."""
        try:
            return int(self._lock_path.read_text())
        except (OSError, ValueError):
            return 0

    @property
    def has_begun(self) -> bool:
        """Whether anything was learned here, or a failure is known."""
        return any(self.checkpoints.glob("*.pt")) or self.failure.exists()

    def _remove(self) -> None:
        """Remove the files of a run that has not begun, and the folder if nothing else is in it."""
        for path in (self.config_path, self.progress, self._lock_path, *self.event_files()):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.checkpoints.rmdir()
            self.path.rmdir()

    def event_files(self) -> list[Path]:
        """List the files for TensorBoard."""
        return list(self.path.glob("events.out.tfevents.*"))

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        return locked(self._lock_path, "run")

    def is_resumable(self, config: TrainConfig) -> bool:
        """Check for an unfinished run of this configuration that no process works on."""
        if self.finished.exists() or not self.config_path.exists():
            return False
        try:
            if config_differences(config, self.config()):
                return False
            with self._lock():
                return True
        except (ConfigError, RunFolderError):
            return False


@contextlib.contextmanager
def locked(lock: Path, what: str) -> Iterator[None]:
    """Make the folder of a lock file if need be, and hold the lock.

    Args:
        lock: The file.
        what: What the folder is for.

    Raises:
        RunFolderError: Another process holds the lock, or it cannot be written.
    """
    folder = lock.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if lock.exists() and not lock.is_file():
            raise OSError(errno.EINVAL, "Not a regular file", str(lock))
        file = lock.open("a")
    except OSError as error:
        raise RunFolderError(f"no {what} can be kept in {folder}: {describe(error)}") from error
    # The kernel drops the lock with the process, however that ends: no stale locks.
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError(f"{folder} is in use by another process") from error
        yield


def choose_run(logdir: Path, config: TrainConfig, timestamp: str | None) -> RunFolder:
    """Choose the folder of a training command.

    With a timestamp: that folder, whether it exists or not. Without: the newest unfinished run of
    the identical configuration that no process works on, or else a new folder.

    Raises:
        RunFolderError: The timestamp belongs to a run of another configuration.
    """
    if timestamp is not None:
        folder = RunFolder(logdir / f"{timestamp}-{config.name}")
        others = [path.name for path in logdir.glob(f"{timestamp}-*") if path != folder.path]
        if others and not folder.path.exists():
            raise RunFolderError(f"{timestamp} is a run of another config: {', '.join(others)}")
        return folder
    for folder in _newest_first(logdir, config.name):
        if folder.is_resumable(config):
            return folder
    while True:
        stamp = datetime.now().strftime("%Y%m%dT%H%M%S")
        path = logdir / f"{stamp}-{config.name}"
        try:
            logdir.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError as error:
            if not logdir.is_dir():
                raise RunFolderError(f"--logdir {logdir} is no folder") from error
            time.sleep(0.1)  # another one was started within the same second
        except OSError as error:
            raise RunFolderError(f"--logdir {logdir}: {error.strerror}") from error
        else:
            return RunFolder(path)


def _newest_first(logdir: Path, config_name: str) -> list[RunFolder]:
    """List the folders of a configuration, by session, and by name where none is known."""
    folders = [RunFolder(path) for path in logdir.glob(f"*-{config_name}")]
    return sorted(folders, key=lambda run: (run.session, run.path.name), reverse=True)


def newest_run(logdir: Path, config_name: str) -> RunFolder:
    """Find the folder of a configuration that was trained in last, and has made an update.

    Raises:
        RunFolderError: There is none.
    """
    for folder in _newest_first(logdir, config_name):
        if any(folder.checkpoints.glob("checkpoint-*[1-9]*.pt")):
            return folder
    raise RunFolderError(
        f"no run of {config_name} with a checkpoint in {logdir}: train one first "
        f"(minitaur train --config {config_name}), or name another --logdir"
    )
