"""Sources of the requested velocity of a steered run: a constant, a script or the keyboard.

The loop reads a source once per tick in its own thread, so a source must answer at once. The
contract bounds the request and limits its slew before the policy sees it; see
``deploy.policy.velocity_command``.
"""

from __future__ import annotations

import bisect
import os
import re
import select
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from deploy.errors import RunError
from deploy.policy.velocity_command import STOP, VelocityCommandSpec
from robot_firmware_bridge.number_table import NumberError, number, read_table

# The greatest speed of a policy, straight on.
AHEAD = "ahead"
COLUMNS = ("t_s", "speed_mps", "yaw_rate_rad_s")
# What one key press adds.
KEY_SPEED_MPS = 0.1
KEY_YAW_RATE_RAD_S = 0.1

Velocity = tuple[float, float]


class CommandSource(Protocol):
    """Requested velocity over time: forward speed, m/s, and yaw rate, rad/s."""

    @property
    def instructions(self) -> str | None:
        """One line for the person who steers; None where nobody does."""

    def requested(self, t_s: float) -> Velocity:
        """Return the requested velocity at the policy's time ``t_s``; never waits."""

    def listen(self) -> AbstractContextManager[None]:
        """Listen for the length of a run; ``requested`` is called only within."""


@dataclass(frozen=True, slots=True)
class Script:
    """Requested velocities written beforehand; each holds until the next one begins.

    Attributes:
        times_s: When each request begins, rising, shape (N,).
        velocities: The requested velocities, shape (N, 2); zero before the first one.
    """

    times_s: tuple[float, ...]
    velocities: tuple[Velocity, ...]

    @property
    def instructions(self) -> str | None:
        """None: nobody steers."""
        return None

    def requested(self, t_s: float) -> Velocity:
        """Return the last request that has begun."""
        row = bisect.bisect_right(self.times_s, t_s) - 1
        return self.velocities[row] if row >= 0 else STOP

    def listen(self) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return nullcontext()

    def check(self, spec: VelocityCommandSpec, name: str) -> None:
        """Refuse requests that the policy was not trained for.

        Raises:
            RunError: Names the first such request and the ranges.
        """
        for t_s, velocity in zip(self.times_s, self.velocities, strict=True):
            if spec.clip(*velocity) != velocity:
                raise RunError(
                    f"{name}: {velocity[0]:g} m/s and {velocity[1]:g} rad/s at {t_s:g} s is out "
                    f"of the policy's ranges, {_range(spec.speed_mps)} m/s and "
                    f"{_range(spec.yaw_rate_rad_s)} rad/s"
                )


def constant(speed_mps: float, yaw_rate_rad_s: float) -> Script:
    """Return a script of one request that holds for ever."""
    return Script((0.0,), ((speed_mps, yaw_rate_rad_s),))


def read_script(path: Path) -> Script:
    """Read a script: a table with the columns ``t_s,speed_mps,yaw_rate_rad_s``.

    ``robot_firmware_bridge.number_table`` says what else such a file may have in it.

    Raises:
        RunError: The file cannot be read, or says which line is wrong.
    """
    try:
        rows = read_table(path, COLUMNS)
    except NumberError as error:
        raise RunError(f"command script: {error}") from error
    before_s = -1.0
    for row in rows:
        t_s = row.values[0]
        if t_s < 0.0 or t_s <= before_s:
            raise RunError(
                f"command script: {path}, line {row.line}: times must rise from 0, got {t_s:g}"
            )
        before_s = t_s
    return Script(
        tuple(row.values[0] for row in rows),
        tuple((row.values[1], row.values[2]) for row in rows),
    )


# A key that terminals send as a sequence, such as an arrow in either of their two modes; the
# beginning of one at the end of what was read; or a byte of its own.
_KEY = re.compile(
    rb"\x1b(?:\[[0-9;]*|O)(?P<arrow>[@-~])|(?P<cut>\x1b(?:\[[0-9;]*|O)?\Z)|(?P<key>.)", re.DOTALL
)
_FASTER, _SLOWER = (KEY_SPEED_MPS, 0.0), (-KEY_SPEED_MPS, 0.0)
_LEFT, _RIGHT = (0.0, KEY_YAW_RATE_RAD_S), (0.0, -KEY_YAW_RATE_RAD_S)
_ARROWS: dict[bytes, Velocity] = {b"A": _FASTER, b"B": _SLOWER, b"C": _RIGHT, b"D": _LEFT}
_KEYS: dict[bytes, Velocity] = {b"w": _FASTER, b"s": _SLOWER, b"d": _RIGHT, b"a": _LEFT}
_STOP_KEY = b" "
_LONGEST_KEY = 16


class Keyboard:
    """Requests from the keys of a terminal: arrows or WASD step by step, the space bar stops.

    The terminal is read between two ticks, without waiting. Ctrl-C stays a signal. When the
    terminal goes away, the requested velocity becomes zero.

    Raises:
        RunError: The stream is no terminal.
    """

    def __init__(self, spec: VelocityCommandSpec, stream: TextIO) -> None:
        if os.name != "posix" or not stream.isatty():
            raise RunError("--command keyboard needs a terminal, and standard input is none")
        self._spec = spec
        self._fd = stream.fileno()
        self._ready = select.poll()
        self._pending = b""
        self._requested: Velocity = STOP

    @property
    def instructions(self) -> str | None:
        """The keys, and how far they go."""
        return (
            f"keys: W or up faster, S or down slower ({KEY_SPEED_MPS} m/s a press, "
            f"{_range(self._spec.speed_mps)}), A or left, D or right turn "
            f"({KEY_YAW_RATE_RAD_S} rad/s a press, {_range(self._spec.yaw_rate_rad_s)}), "
            "space stops"
        )

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Read each key at once and echo none; restore the terminal afterwards.

        Keys typed before the run steer nothing. Keys left over reach no shell.
        """
        import termios

        before, quiet = termios.tcgetattr(self._fd), termios.tcgetattr(self._fd)
        quiet[3] &= ~(termios.ICANON | termios.ECHO)
        try:
            termios.tcsetattr(self._fd, termios.TCSANOW, quiet)
            termios.tcflush(self._fd, termios.TCIFLUSH)
            self._ready.register(self._fd, select.POLLIN)
            yield
        finally:
            with suppress(termios.error):  # hung up: nobody is there to miss it
                termios.tcflush(self._fd, termios.TCIFLUSH)
                termios.tcsetattr(self._fd, termios.TCSANOW, before)

    def requested(self, t_s: float) -> Velocity:
        """Return the sum of the key presses so far."""
        for fd, event in self._ready.poll(0):
            if event == select.POLLIN:
                self._press(self._pending + os.read(fd, 64))
            else:  # hung up
                self._requested = STOP
        return self._requested

    def _press(self, typed: bytes) -> None:
        self._pending = b""
        for match in _KEY.finditer(typed):
            key, arrow = match["key"], match["arrow"]
            if match["cut"]:  # the rest comes with the next reading
                self._pending = match["cut"][:_LONGEST_KEY]
            elif key == _STOP_KEY:
                self._requested = STOP
            else:
                step = _ARROWS.get(arrow, STOP) if arrow else _KEYS.get(key.lower(), STOP)
                # Rounded, as steps of 0.1 do not add up to 0 again.
                self._requested = self._spec.clip(
                    round(self._requested[0] + step[0], 6), round(self._requested[1] + step[1], 6)
                )


def open_command(text: str | None, spec: VelocityCommandSpec | None) -> CommandSource | None:
    """Open the source that ``--command`` names; None for a policy that takes no velocity command.

    It is ``keyboard``, ``ahead`` (the greatest speed, straight on), ``SPEED,YAW_RATE``, or the path
    of a script; None requests zero.

    Raises:
        RunError: The policy takes none, or the source is not there or requests too much.
    """
    if spec is None:
        if text not in (None, AHEAD):  # ahead is all that it can go
            raise RunError("this policy takes no command: leave --command out")
        return None
    if text == "keyboard":
        return Keyboard(spec, sys.stdin)
    return constant(*STOP) if text is None else script_of(text, spec, "--command", ", nor keyboard")


def script_of(text: str, spec: VelocityCommandSpec, option: str, others: str = "") -> Script:
    """Return the script that an option gives: ``ahead``, two numbers, or the path of a file.

    Args:
        text: Value of the option.
        spec: The velocity commands that the policy was trained for.
        option: Name of the option, for errors.
        others: What else it can be, for errors.

    Raises:
        RunError: It is none of these, the file is malformed, or it requests too much.
    """
    if text == AHEAD:
        return constant(spec.speed_mps[1], 0.0)
    script = _written(text, option, others)
    script.check(spec, f"{option} {text}")
    return script


def _written(text: str, option: str, others: str) -> Script:
    cells = text.split(";") if ";" in text else text.split(",")
    if len(cells) == 2:
        with suppress(NumberError):  # a path may have a comma in it
            return constant(number(cells[0]), number(cells[1]))
    if not os.path.exists(text):
        raise RunError(
            f"{option} {text}: it is neither two numbers, SPEED,YAW_RATE in m/s and rad/s, nor "
            f"the path of a script that is there, nor {AHEAD}{others}"
        )
    return read_script(Path(text))


def _range(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}"
