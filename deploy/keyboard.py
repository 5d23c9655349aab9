"""Steering by the keys of a terminal."""

from __future__ import annotations

import os
import re
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

from deploy.errors import RunError
from deploy.policy.velocity_command import STOP, Velocity
from deploy.steering import STAND, Choice, Choosable, Steering

# What one key press adds.
KEY_SPEED_MPS = 0.1
KEY_YAW_RATE_RAD_S = 0.1

# A key that terminals send as a sequence, such as an arrow in either of their two modes; the
# beginning of one at the end of what was read; or a byte of its own.
_KEY = re.compile(
    rb"\x1b(?:\[[0-9;]*|O)(?P<arrow>[@-~])|(?P<cut>\x1b(?:\[[0-9;]*|O)?\Z)|(?P<key>.)", re.DOTALL
)
_FASTER, _SLOWER = (KEY_SPEED_MPS, 0.0), (-KEY_SPEED_MPS, 0.0)
_LEFT, _RIGHT = (0.0, KEY_YAW_RATE_RAD_S), (0.0, -KEY_YAW_RATE_RAD_S)
_ARROWS: dict[bytes, Velocity] = {b"A": _FASTER, b"B": _SLOWER, b"C": _RIGHT, b"D": _LEFT}
_KEYS: dict[bytes, Velocity] = {b"w": _FASTER, b"s": _SLOWER, b"d": _RIGHT, b"a": _LEFT}
_STOP_KEY, _STAND_KEY = b" ", b"0"
_LONGEST_KEY = 16


class Keyboard:
    """Requests from the keys of a terminal: arrows or WASD step by step, the space bar stops.

    The keys 1 to 9 choose a policy, which begins with a requested velocity of zero; 0 is a stand.
    So is the space bar while a policy works that takes no velocity command. The terminal is read
    between two ticks, without waiting. Ctrl-C stays a signal. When the terminal goes away, the
    requested velocity becomes zero and nobody steers any more.

    Raises:
        RunError: The stream is no terminal.
    """

    def __init__(self, policies: Sequence[Choosable], stream: TextIO) -> None:
        if os.name != "posix" or not stream.isatty():
            raise RunError("--command keyboard needs a terminal, and standard input is none")
        self._choice = Choice(policies)
        self._fd = stream.fileno()
        self._ready = select.poll()
        self._pending = b""
        self._requested: Velocity = STOP
        self._lost: str | None = None

    @property
    def instructions(self) -> str | None:
        """The keys, and how far they go."""
        return (
            f"keys: W or up faster, S or down slower ({KEY_SPEED_MPS} m/s a press), A or left, D "
            f"or right turn ({KEY_YAW_RATE_RAD_S} rad/s a press), space stops, 0 stands; "
            f"{self._choice.in_words()}"
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

    def poll(self) -> Steering:
        """Take in the keys that were pressed; they ask for velocities and policies only."""
        for fd, event in self._ready.poll(0):
            typed = b""
            if event == select.POLLIN:
                with suppress(OSError):  # hung up since
                    typed = os.read(fd, 64)
            if typed:
                self._press(self._pending + typed)
            else:  # hung up
                self._requested, self._lost = STOP, "the terminal is gone"
                self._ready.unregister(fd)
        return Steering(lost=self._lost, choice=self._choice.index)

    def requested(self, t_s: float) -> Velocity:
        """Return the sum of the key presses so far."""
        return self._requested

    def _press(self, typed: bytes) -> None:
        self._pending = b""
        for match in _KEY.finditer(typed):
            key, arrow = match["key"], match["arrow"]
            if match["cut"]:  # the rest comes with the next reading
                self._pending = match["cut"][:_LONGEST_KEY]
            elif key == _STOP_KEY:
                self._requested = STOP
                self._choice.stop()
            elif key is not None and key.isdigit():
                self._requested = STOP
                self._choice.choose(STAND if key == _STAND_KEY else int(key) - 1)
            else:
                step = _ARROWS.get(arrow, STOP) if arrow else _KEYS.get(key.lower(), STOP)
                # Rounded, as steps of 0.1 do not add up to 0 again.
                self._requested = self._choice.clip(
                    round(self._requested[0] + step[0], 6), round(self._requested[1] + step[1], 6)
                )
