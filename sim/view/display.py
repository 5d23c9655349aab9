"""Whether a window can be opened, found out before Bullet tries. Imports no engine."""

from __future__ import annotations

import os
import subprocess
import sys

from sim.errors import SimError

# Prints the word only if the window is there: Bullet ends a process without one by exit(0) or (1).
_OPENED = "opened"
_TRY_WINDOW = f"import pybullet as b; b.connect(b.GUI); print('{_OPENED}'); b.disconnect()"
_WINDOW_TIMEOUT_S = 30.0


def has_display() -> bool:
    """Return whether there may be a display for a window: on Linux, ``DISPLAY`` must name one."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY"))


def check_window() -> None:
    """Try in a process of its own whether Bullet can open a window.

    Where it cannot, Bullet ends its process by ``exit``; with PyTorch loaded, that hangs for ever.

    Raises:
        SimError: It cannot; the message says why.
    """
    if not has_display():
        raise SimError("no window can be opened: DISPLAY is not set (try xvfb-run, or no window)")
    command = [sys.executable, "-P", "-c", _TRY_WINDOW]
    try:
        tried = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_WINDOW_TIMEOUT_S,
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        raise SimError(f"no window opened within {_WINDOW_TIMEOUT_S:.0f} s") from error
    lines = [line.strip() for line in tried.stdout.splitlines()]
    if _OPENED in lines:
        return
    reasons = [line for line in lines if "cannot" in line or "rror" in line]
    reason = reasons[-1] if reasons else f"PyBullet ended with exit code {tried.returncode}"
    display = os.environ.get("DISPLAY", "the screen")
    raise SimError(
        f"no window can be opened on {display}: {reason} (name another DISPLAY, try xvfb-run, or "
        "no window)"
    )
