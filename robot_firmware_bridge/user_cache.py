"""Folders for what is made once and used again: the compiled firmware, the fonts that plots need.

Standard library only. A robot's service may have no HOME, or one that cannot be written. Then a
folder of this user in the directory for temporary files takes its place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path


def home_cache(name: str) -> Path | None:
    """Return this user's cache folder of a name, there or not; None for a user without a home."""
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"], f"minitaur-{name}")
    try:
        return Path.home() / ".cache" / f"minitaur-{name}"
    except RuntimeError:  # no HOME, and no entry in the password file
        return None


def cache_folder(name: str) -> Path:
    """Return a folder that this user can write: that of :func:`home_cache`, or a temporary one.

    The folder is there when this returns. What others put into the temporary one is never used: it
    must be a folder that this user owns and nobody else can write.

    Raises:
        OSError: Neither can be written, or the temporary one is not this user's alone.
    """
    folder = home_cache(name)
    if folder is not None:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK | os.X_OK):
                return folder
    user = os.getuid()
    own = Path(tempfile.gettempdir(), f"minitaur-{user}")
    with contextlib.suppress(FileExistsError):
        own.mkdir(mode=stat.S_IRWXU)
    status = own.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & 0o022:
        reason = "not a folder that this user alone can write"
        raise OSError(errno.EPERM, reason, str(own))
    folder = own / name
    folder.mkdir(exist_ok=True)
    return folder
