"""The command `minitaur replay`: of a robot's run, or of what met a number that is not finite.

Both are files that somebody wants to see again. A log needs no simulator and a dump needs the
training floor, so what is named decides which of the two is imported.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

# The dump in a run folder of `minitaur train`, and the entry that every dump has.
_IN_FOLDER, _ENTRY = "failure.npz", "dump.npy"


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    if any(is_dump(Path(word)) for word in arguments):
        from training.replay import main as replay_dump

        return replay_dump(arguments)
    from deploy.replay import main as replay_log

    return replay_log(arguments)


def is_dump(path: Path) -> bool:
    """Return whether a path is a dump, or the folder of a training that has one."""
    file = path / _IN_FOLDER if path.is_dir() else path
    try:
        with zipfile.ZipFile(file) as archive:
            return _ENTRY in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
