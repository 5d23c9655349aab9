"""The live line of a run on a terminal."""

from __future__ import annotations

import contextlib
import os
from typing import TextIO

from deploy.loop.loop import Tick
from deploy.loop.modes import LoopMode

_LINES_PER_S = 5


class StatusLine:
    """Shows the ticks it is given, some times a second; silent where there is no terminal.

    It is written between two ticks by the loop's own thread: a second thread would take the
    interpreter's lock for up to 5 ms at a time, most of a control period. The terminal is opened
    anew in non-blocking mode, so a slow or stopped one loses lines instead of stopping a robot.
    """

    def __init__(self, stream: TextIO, period_s: float, dry: bool = False) -> None:
        self._fd: int | None = None
        self._mark = "dry  " if dry else ""
        self._every = max(1, round(1.0 / (_LINES_PER_S * period_s)))
        if os.name == "posix" and stream.isatty():
            with contextlib.suppress(OSError):  # hung up by now
                name = os.ttyname(stream.fileno())
                self._fd = os.open(name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)

    def __call__(self, tick: Tick) -> None:
        """Show this tick if it is time; never waits."""
        if self._fd is not None and tick.ticks % self._every == 0:
            self._write(f"\r\x1b[K{self._mark}{describe(tick)}")

    def close(self) -> None:
        """Clear the line. Idempotent."""
        if self._fd is not None:
            self._write("\r\x1b[K")
            os.close(self._fd)
            self._fd = None

    def _write(self, text: str) -> None:
        if self._fd is not None:
            # A terminal that does not keep up, or that has gone away, loses this line.
            with contextlib.suppress(OSError):
                os.write(self._fd, text.encode())


def describe(tick: Tick) -> str:
    """Return one line about a tick."""
    roll, pitch = tick.state.rpy_rad[:2]
    number = f" {tick.policy + 1}" if tick.mode is LoopMode.RUN and tick.policy else ""
    parts = [
        f"{tick.mode.words + number:<8} {tick.elapsed_s:5.1f} s",
        f"roll {roll:+.2f} pitch {pitch:+.2f} rad",
        f"battery {tick.state.battery_v:.1f} V",
    ]
    if tick.velocity_command is not None:
        parts.append(
            f"command {tick.velocity_command[0]:+.2f} m/s {tick.velocity_command[1]:+.2f} rad/s"
        )
    if tick.reaction:
        parts.append(f"({tick.reaction})")
    if tick.base_position_m is not None:
        parts.insert(1, f"x {tick.base_position_m[0]:+6.2f} m")
    return "  ".join(parts)
