"""Run folders: the files of a run, the choice of a folder, and the lock on it.

    LOGDIR/TIMESTAMP-CONFIG/
        config.json        the resolved configuration
        checkpoints/       the newest two, and best.pt
        progress.jsonl     one row per update and per evaluation
        events.out.*       the same for TensorBoard
        finished.json      summary; written when the run is over
        lock               locked by the process that trains here

Imports no torch: the command line chooses a folder before it pays for that import.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from deploy.files import write_atomically
from training.errors import ConfigError, RunFolderError
from training.runs.config import TrainConfig, config_differences, config_from_json, config_to_json


class RunFolder:
    """The paths of one run, and its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / "config.json"
        self.checkpoints = path / "checkpoints"
        self.progress = path / "progress.jsonl"
        self.finished = path / "finished.json"

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

        Raises:
            RunFolderError: Another process trains here, or the folder holds another configuration.
        """
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        with self._lock():
            if not self.config_path.exists():
                write_atomically(self.config_path, config_to_json(config).encode())
            elif differences := config_differences(config, self.config()):
                raise RunFolderError(
                    f"{self.path} holds another configuration: {'; '.join(differences)}"
                )
            yield

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        # The kernel drops the lock with the process, however that ends: no stale locks.
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunFolderError(f"{self.path} is in use by another process") from error
            yield

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
    for path in sorted(logdir.glob(f"*-{config.name}"), reverse=True):
        if (folder := RunFolder(path)).is_resumable(config):
            return folder
    while True:
        stamp = datetime.now().strftime("%Y%m%dT%H%M%S")
        path = logdir / f"{stamp}-{config.name}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:  # started within the same second
            time.sleep(0.1)
        else:
            return RunFolder(path)


def newest_run(logdir: Path, config_name: str) -> RunFolder:
    """Find the newest folder of a configuration that has a checkpoint.

    Raises:
        RunFolderError: There is none.
    """
    for path in sorted(logdir.glob(f"*-{config_name}"), reverse=True):
        if any(path.glob("checkpoints/*.pt")):
            return RunFolder(path)
    raise RunFolderError(f"no run of {config_name} with a checkpoint in {logdir}: train one first")
