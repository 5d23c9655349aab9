"""Readers: one function for each kind of file, and one that recognises the kind by its content."""

from __future__ import annotations

from pathlib import Path

from calibration.errors import RecordError
from calibration.readers.files import is_npz, read_bytes, read_npz
from calibration.readers.openlog import looks_like_openlog, openlog_of, read_openlog
from calibration.readers.run_log import looks_like_run_log, read_run_log, run_log_of
from calibration.readers.walk import looks_like_walk, read_walk, walk_of
from calibration.record import Record

__all__ = ["read_openlog", "read_record", "read_run_log", "read_walk"]


def read_record(path: Path) -> Record:
    """Return what a file, or the folder of a run, says that a robot did.

    Read are logs of the stock mainboard, ``.npz`` files of a walk under motion capture, and runs of
    this stack. The content decides, not the name.

    Raises:
        RecordError: The file is none of these, is damaged, or nothing in it can be used.
    """
    if path.is_dir():
        return read_run_log(path)
    data = read_bytes(path)
    if is_npz(data):
        arrays = read_npz(path, data)
        if looks_like_walk(arrays):
            return walk_of(path, data, arrays)
        if looks_like_run_log(arrays):
            return run_log_of(path, data, arrays)
        names = ", ".join(sorted(arrays)[:5])
        raise RecordError(
            f"{path} is an .npz file, but neither a run of this stack nor a walk under motion "
            f"capture; it holds {names[:200] or 'nothing'}"
        )
    if looks_like_openlog(data):
        return openlog_of(path, data)
    raise RecordError(
        f"{path} is no record of a robot: read are logs of the stock mainboard (two header lines, "
        "then AA BB frames), .npz files of a walk under motion capture, and run.npz of a run folder"
    )
