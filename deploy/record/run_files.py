"""Where a run writes: a folder of its own, proven writable before a motor is armed.

All but the black box is written after the run has ended, by ``deploy.files.write_somewhere``: a
disk may be full by then.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import RunError
from deploy.files import prove_writable
from robot_firmware_bridge.command_line import describe

LAST = "last"


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The files of one run.

    Attributes:
        report: Report, JSON.
        film: Film, or None for none.
    """

    report: Path
    film: Path | None

    @property
    def log(self) -> Path:
        """Flight log, written after the run."""
        return self.report.with_suffix(".npz")

    @property
    def black_box(self) -> Path:
        """The same, written while the run lasts."""
        return self.report.with_suffix(".mcap")

    @property
    def plot(self) -> Path:
        """Plot."""
        return self.report.with_suffix(".png")

    @property
    def page(self) -> Path:
        """Page that ``minitaur report`` makes."""
        return self.report.with_suffix(".html")

    @property
    def traceback(self) -> Path:
        """Traceback of a fault of this program, where there was one."""
        return self.report.with_suffix(".traceback.txt")


@contextlib.contextmanager
def new_folder(runs: Path, robot: str, policy: str) -> Iterator[Path]:
    """Make ``RUNS/<time>-<robot>-<policy>/`` for a run.

    At the end ``RUNS/last`` points to it; a folder into which nothing was written goes again.

    Raises:
        RunError: The folder cannot be made.
    """
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{robot}-{policy}"
    try:
        folder = _make_folder(runs, name)
    except OSError as error:
        raise RunError(
            f"cannot make a folder for this run in {runs} ({describe(error)}): "
            "name another with --logdir (LOGDIR)"
        ) from error
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):  # such as a disk without links
            if any(folder.iterdir()):
                link = runs / f".{LAST}.{folder.name}"
                link.symlink_to(folder.name)
                link.replace(runs / LAST)
            else:
                folder.rmdir()


def _make_folder(runs: Path, name: str) -> Path:
    """Make a folder that was not there, numbered if the name is taken."""
    runs.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        folder = runs / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


def prove(files: RunFiles, log_bytes: int) -> None:
    """Prove that all files of a run can be written, and that logs of their greatest size fit.

    An old plot, film, page or traceback of the same name goes: it is not of this run.

    Raises:
        RunError: Names the file that cannot be written.
    """
    others = (files.plot, files.film, files.page, files.traceback)
    pictures = [path for path in others if path is not None]
    try:
        for path in (files.report, files.log, files.black_box, *pictures):
            prove_writable(path)
        free_bytes = shutil.disk_usage(files.log.parent).free
        for path in pictures:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot write {describe(error)}") from error
    if free_bytes < log_bytes:
        raise RunError(
            f"the logs of this run take up to {log_bytes / 1e6:.0f} MB, and the disk of "
            f"{files.log.parent} has {free_bytes / 1e6:.0f} MB: make room, or run for fewer seconds"
        )
