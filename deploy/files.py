"""Files that are either the old or the whole new, never half of it."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file such that at any moment, crash included, the old or the new one is there.

    Makes the folder if need be.

    Raises:
        OSError: The disk is full or fails; the old file, if any, is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the rename itself must reach the disk
    finally:
        os.close(directory)


def write_json(path: Path, data: object) -> None:
    """Write plain values as JSON for people and programs, by :func:`write_atomically`.

    Raises:
        OSError: The disk is full or fails; the old file, if any, is untouched.
        TypeError: A value is not one that JSON has; nothing is written.
    """
    write_atomically(path, (json.dumps(data, indent=2) + "\n").encode())
