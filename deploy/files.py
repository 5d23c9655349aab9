"""Files that are either the old or the whole new, never half of it.

Long work ends with a file. So :func:`prove_writable` comes before the work, and
:func:`write_atomically` after it, or :func:`write_somewhere` where the result must not be lost.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from robot_firmware_bridge.command_line import describe


def write_atomically(path: Path, data: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file such that at any moment, crash included, the old or the new one is there.

    Makes the folder if need be.

    Args:
        path: The file.
        data: Its content; or what writes it into an open file, where it is large.

    Raises:
        OSError: The disk is full or fails, or the path is a folder or a device; the old file, if
            any, is untouched, as it is by whatever else ``data`` raises.
    """
    _refuse_what_is_no_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _write_beside(path, data)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the rename itself must reach the disk
    finally:
        os.close(directory)


def prove_writable(path: Path, size_bytes: int = 1 << 16) -> None:
    """Prove that a file of some size can be written, by a draft beside it that is removed again.

    Makes the folder if need be. An existing file stays as it is. If the proof fails, nothing is
    left behind.

    Args:
        path: The file that is to be written later, by :func:`write_atomically` or otherwise.
        size_bytes: About the size it will have. A disk can still fill up later.

    Raises:
        OSError: The folder cannot be made or written, the disk is full, or the path is a folder or
            a device. Its ``filename`` is the path, so its text names what the user gave.
    """
    _refuse_what_is_no_file(path)
    folder = path.parent
    absent = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_beside(path, bytes(size_bytes)).unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            for each in absent:
                each.rmdir()
        raise OSError(error.errno, error.strerror, str(path)) from error


def _refuse_what_is_no_file(path: Path) -> None:
    """Refuse a folder, what is below a file, and a device, which a rename would replace."""
    if path.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.parent.exists() and not path.parent.is_dir():
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


def _write_beside(path: Path, data: bytes | Callable[[BinaryIO], object]) -> Path:
    """Write a hidden draft in the folder of a path, synced; leave nothing if that fails."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            if callable(data):
                data(file)
            else:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one that tells
            draft.unlink(missing_ok=True)
        raise
    return draft


def write_json(path: Path, data: object) -> None:
    """Write plain values as JSON for people and programs, by :func:`write_atomically`.

    Raises:
        OSError: The disk is full or fails; the old file, if any, is untouched.
        TypeError: A value is not one that JSON has; nothing is written.
    """
    write_atomically(path, (json.dumps(data, indent=2) + "\n").encode())


def write_somewhere(path: Path, save: Callable[[Path], None]) -> Path | None:
    """Write the result of long work by ``save``: to its path, or else to a temporary folder.

    Where it was not written to its path, one line on stderr says why and where it is.

    Args:
        path: The file wanted.
        save: Writes the file that it is given. That has the suffix of ``path`` and another name, so
            that no half-written file has the name wanted.

    Returns:
        The file that was written; None if neither place takes it.
    """
    try:
        return _save(path, save)
    except OSError as error:
        cause = error.strerror or describe(error)
    try:
        spare = _save(Path(tempfile.mkdtemp(prefix="minitaur-"), path.name), save)
    except OSError as error:
        print(
            f"error: cannot write {path} ({cause}), nor elsewhere ({describe(error)})",
            file=sys.stderr,
        )
        return None
    print(f"error: cannot write {path} ({cause}): wrote {spare}", file=sys.stderr)
    return spare


def _save(path: Path, save: Callable[[Path], None]) -> Path:
    draft = path.with_name(f".part-{path.name}")
    try:
        save(draft)
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    return path
