"""The folder of a sweep.

    OUT/
        sweep.json                   what is swept: a sweep of something else is refused
        optuna.journal               the trials, as Optuna keeps them
        trial001.seed0-CONFIG/       an ordinary run folder for every training
        results.md, .json, .png      table, figures and picture, anew after every training
        lock                         locked by the process that sweeps here

Imports no torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.files import write_json
from robot_firmware_bridge.json_values import JsonValueError, decode, parse
from training.errors import RunFolderError
from training.runs.config import TrainConfig, config_differences
from training.runs.folder import RunFolder, locked


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides a sweep, but for the number of its seeds and trials.

    Attributes:
        config: What is trained where nothing is varied.
        vary: The space, as text by name.
        score: Metric of the evaluations that trials are compared by.
    """

    config: TrainConfig
    vary: Mapping[str, str]
    score: str

    def differences(self, saved: Settings) -> list[str]:
        """List what keeps this sweep from going on with a saved one."""
        found = config_differences(self.config, saved.config)
        names = sorted({*self.vary, *saved.vary})
        found += [
            f"--vary {name}: {self.vary.get(name)}, not {saved.vary.get(name)}"
            for name in names
            if self.vary.get(name) != saved.vary.get(name)
        ]
        if self.score != saved.score:
            found.append(f"--score: {self.score}, not {saved.score}")
        return found


class SweepFolder:
    """The paths of one sweep, and its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "optuna.journal"
        self.results = path / "results.md"
        self._settings = path / "sweep.json"
        self._lock_path = path / "lock"

    def run(self, trial: int, seed: int, config_name: str) -> RunFolder:
        """Return the run folder of a training; trials are numbered from 1 on."""
        return RunFolder(self.path / f"trial{trial:03d}.seed{seed}-{config_name}")

    @contextlib.contextmanager
    def opened(self, settings: Settings) -> Iterator[None]:
        """Make the folder if need be, and hold its lock.

        If an error ends the block before any training has begun, a new folder is removed again.

        Raises:
            RunFolderError: Another process sweeps here, the folder holds something else, or it
                cannot be written.
        """
        self._refuse_other_folders()
        with locked(self._lock_path, "sweep"):
            new = not self._settings.exists()
            try:
                self._enter(settings)
                yield
            except BaseException:
                if new and not any(RunFolder(each).has_begun for each in self.path.glob("trial*")):
                    self._remove()
                raise

    def _refuse_other_folders(self) -> None:
        """Refuse a folder that holds something else: trainings would get lost in it."""
        if not self.path.exists() or self._settings.exists():
            return
        if not self.path.is_dir():
            raise RunFolderError(f"--out {self.path} is no folder")
        if others := {each.name for each in self.path.iterdir()} - {self._lock_path.name}:
            raise RunFolderError(
                f"--out {self.path} holds no sweep but {min(others)}: name a new folder"
            )

    def _enter(self, settings: Settings) -> None:
        """Write the settings of a new sweep; refuse other ones than those of an old one."""
        if not self._settings.exists():
            write_json(self._settings, asdict(settings))
        elif differences := settings.differences(self._saved()):
            more = f" and {len(differences) - 1} more" if len(differences) > 1 else ""
            raise RunFolderError(
                f"{self.path} holds another sweep ({differences[0]}{more}): name another --out"
            )

    def _saved(self) -> Settings:
        try:
            saved: Settings = decode(Settings, parse(self._settings.read_text(), "sweep"), "sweep")
        except (JsonValueError, UnicodeDecodeError) as error:
            raise RunFolderError(f"{self._settings} is damaged ({error})") from error
        return saved

    def _remove(self) -> None:
        """Remove the files of a sweep that has not begun, and the folder if nothing else is in."""
        for path in (self._settings, self.journal, self._lock_path):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()
