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

# What terminals send that is no key of one byte, such as arrows and answers to a question. A digit
# chooses a policy, so none of theirs may be taken for a key.
_SEQUENCE = rb"""
    \x1b (?: \[ [0-9;]* | O [0-9;]* ) (?P<arrow>[A-D])    # an arrow, in either of two modes
    | \x1b\[M .{3}                                        # mouse: button, column, row
    | \x1b\[\[ .                                          # function keys of the Linux console
    | \x1b\[ (?![M[]) [ -?]* [@-~]                        # other keys, mouse, answers
    | \x1bO [0-9;]* [@-~]                                 # keypad
    | \x1b[]PX^_] [^\x07\x18\x1a\x1b]*                    # an answer with text, up to its end
        (?: [\x07\x18\x1a] | \x1b\\ | (?=\x1b[^\\]) )
"""
# The beginning of such a sequence at the end of what was read.
_CUT = rb"""
    \x1b (?: \[M .{0,2} | \[\[ | \[ [ -?]* | O [0-9;]* | []PX^_] [^\x07\x18\x1a\x1b]* \x1b? )? \Z
"""
# A sequence that breaks off, as what comes next is no part of it.
_BROKEN = rb"\x1b (?: \[ [ -?]* | O [0-9;]* )"
_KEY = re.compile(
    rb"%b | (?P<cut>%b) | %b | (?P<key>.)" % (_SEQUENCE, _CUT, _BROKEN), re.DOTALL | re.VERBOSE
)
_FASTER, _SLOWER = (KEY_SPEED_MPS, 0.0), (-KEY_SPEED_MPS, 0.0)
_LEFT, _RIGHT = (0.0, KEY_YAW_RATE_RAD_S), (0.0, -KEY_YAW_RATE_RAD_S)
_ARROWS: dict[bytes, Velocity] = {b"A": _FASTER, b"B": _SLOWER, b"C": _RIGHT, b"D": _LEFT}
_KEYS: dict[bytes, Velocity] = {b"w": _FASTER, b"s": _SLOWER, b"d": _RIGHT, b"a": _LEFT}
_STOP_KEY, _STAND_KEY = b" ", b"0"
_READ_BYTES = 64
# Readings until the rest of a sequence must have come, half a second or so. A person who pressed
# the escape key and then "[" shall not wait longer until the space bar counts.
_PATIENCE = 100


class Keyboard:
    """Requests from the keys of a terminal: arrows or WASD step by step; space for zero velocity.

    The keys 1 to 9 choose a policy, which begins with a requested velocity of zero; 0 is a stand.
    So is the space bar while a policy works that takes no velocity command. The terminal is read
    between two ticks, without waiting. Ctrl-C stays a signal. When the terminal goes away, the
    requested velocity becomes zero and nobody steers any more.

    Raises:
        RunError: The stream is no terminal, or one that this user cannot open.
    """

    def __init__(self, policies: Sequence[Choosable], stream: TextIO) -> None:
        if os.name != "posix" or not stream.isatty():
            raise RunError("--command keyboard needs a terminal, and standard input is none")
        self._choice = Choice(policies)
        self._fd = stream.fileno()
        os.close(_open_again(self._fd))
        self._ready = select.poll()
        self._pending, self._waited = b"", 0
        self._requested: Velocity = STOP
        self._lost: str | None = None

    @property
    def instructions(self) -> str | None:
        """The keys, and how far they go."""
        return (
            f"keys: W or up faster, S or down slower ({KEY_SPEED_MPS} m/s a press), A or left, D "
            f"or right turn ({KEY_YAW_RATE_RAD_S} rad/s a press), space for zero velocity, "
            f"0 stands; {self._choice.in_words()}"
        )

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Read each key at once and echo none; restore the terminal afterwards.

        Keys typed before the run steer nothing. Keys left over reach no shell. The terminal is
        opened anew in non-blocking mode: whatever else reads it or sets it, the loop never waits.

        Raises:
            RunError: It cannot be opened any more.
        """
        import termios

        before, quiet = termios.tcgetattr(self._fd), termios.tcgetattr(self._fd)
        quiet[3] &= ~(termios.ICANON | termios.ECHO)
        keys = _open_again(self._fd)
        try:
            termios.tcsetattr(self._fd, termios.TCSANOW, quiet)
            termios.tcflush(self._fd, termios.TCIFLUSH)
            self._ready.register(keys, select.POLLIN)
            yield
        finally:
            os.close(keys)
            with suppress(termios.error):  # hung up: nobody is there to miss it
                termios.tcflush(self._fd, termios.TCIFLUSH)
                termios.tcsetattr(self._fd, termios.TCSANOW, before)

    def poll(self) -> Steering:
        """Take in the keys that were pressed; they ask for velocities and policies only."""
        self._forget()
        for fd, event in self._ready.poll(0):
            typed = _read(fd) if event == select.POLLIN else b""
            if typed:
                self._press(self._pending + typed)
            elif typed is not None:  # hung up
                self._requested, self._lost = STOP, "the terminal is gone"
                self._ready.unregister(fd)
        return Steering(lost=self._lost, choice=self._choice.index)

    def requested(self, t_s: float) -> Velocity:
        """Return the sum of the key presses so far."""
        return self._requested

    def _forget(self) -> None:
        """Give up a sequence whose rest does not come: nobody meant its beginning as a key."""
        self._waited = self._waited + 1 if self._pending else 0
        if self._waited > _PATIENCE:
            self._pending = b""

    def _press(self, typed: bytes) -> None:
        self._pending = b""
        for match in _KEY.finditer(typed):
            key, arrow = match["key"], match["arrow"]
            if match["cut"]:  # the rest comes with a later reading
                self._pending = match["cut"]
                self._waited *= match.start() == 0  # the same one as before, still
            elif key == _STOP_KEY:
                self._requested = STOP
                self._choice.stop()
            elif key is not None and key.isdigit():
                self._requested = STOP
                self._choice.choose(STAND if key == _STAND_KEY else int(key) - 1)
            elif key is not None:
                self._step(_KEYS.get(key.lower(), STOP))
            elif arrow is not None:
                self._step(_ARROWS[arrow])

    def _step(self, step: Velocity) -> None:
        # Rounded, as steps of 0.1 do not add up to 0 again.
        self._requested = self._choice.clip(
            round(self._requested[0] + step[0], 6), round(self._requested[1] + step[1], 6)
        )


def _open_again(fd: int) -> int:
    """Return a descriptor of its own for a terminal, which never waits.

    Raises:
        RunError: This user cannot open the terminal.
    """
    try:
        return os.open(os.ttyname(fd), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise RunError(
            f"--command keyboard cannot open its terminal: {error.strerror}; log in as the user "
            "who runs this, rather than by su"
        ) from error


def _read(fd: int) -> bytes | None:
    """Return what was typed; b"" if the terminal hung up, None if there is nothing after all."""
    try:
        return os.read(fd, _READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""
