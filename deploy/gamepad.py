"""Steering by a gamepad, through the joystick interface of Linux.

A device ``/dev/input/js*`` sends an event of 8 bytes for each change: time in ms, value, kind and
number of the button or axis. When it is opened, and after its buffer has overflowed, it sends the
state of every button and axis first, marked as such. Numbers are those of the usual drivers, which
number the pads of Microsoft and of Sony alike in what is used here.
"""

from __future__ import annotations

import os
import select
import stat
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.errors import RunError
from deploy.policy.velocity_command import STOP, Velocity
from deploy.steering import STAND, Choice, Choosable, Steering

INPUT = Path("/dev/input")
# The left stick, up and down; the right stick, left and right. Up and left are negative.
SPEED_AXIS, YAW_RATE_AXIS = 1, 3
# The right shoulder: RB or R1. The sticks count only while it is held.
HOLD_BUTTON = 5
# The four under the right thumb: the lower one (A or cross), the right one (B or circle), others.
STAND_BUTTON, END_BUTTON, BEFORE_BUTTON, NEXT_BUTTON = 0, 1, 2, 3
# A stick that is let go does not come back to 0 exactly.
DEAD_ZONE = 0.1

_EVENT = struct.Struct("=IhBB")
_BUTTON, _AXIS, _STATE = 0x01, 0x02, 0x80
_FULL = 32767
_AXES = 64  # more, Linux does not number
# Far more events at a time than a pad has buttons and axes, and than Linux keeps for it.
_MOST_BYTES = 1024 * _EVENT.size


class Gamepad:
    """Requests from the sticks of a gamepad, which count while a shoulder button is held.

    The device is read between two ticks, without waiting. With the button released, or the pad gone
    or sending what no pad sends, the requested velocity is zero; in the latter two cases nobody
    steers any more. Without the button a policy that takes no velocity command does not work: the
    robot stands.

    Args:
        policies: The policies of the run; a full stick is the greatest velocity of the chosen one.
        path: The device, or a FIFO with its events.

    Raises:
        RunError: It is not there, is no such device, or may not be read.
    """

    def __init__(self, policies: Sequence[Choosable], path: Path) -> None:
        self._choice, self._path = Choice(policies), path
        os.close(_open(path))
        self._ready = select.poll()
        self._pending = b""
        self._sticks = {SPEED_AXIS: 0.0, YAW_RATE_AXIS: 0.0}
        self._down: set[int] = set()
        self._stops = 0
        self._lost: str | None = None

    @property
    def instructions(self) -> str:
        """The sticks and buttons, and how far they go."""
        return (
            f"gamepad {self._path}: hold the right shoulder button (button {HOLD_BUTTON}); left "
            "stick up and down: speed, right stick left and right: yaw rate; let the button go to "
            f"stop; A or cross (button {STAND_BUTTON}) stands, buttons {BEFORE_BUTTON} and "
            f"{NEXT_BUTTON} choose the policy before and the next; B or circle (button "
            f"{END_BUTTON}) ends the run, a second press damps at once; {self._choice.in_words()}"
        )

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Open the device for the length of a run: it begins with the state of its buttons.

        Raises:
            RunError: It cannot be opened any more.
        """
        fd = _open(self._path)
        try:
            self._ready.register(fd, select.POLLIN)
            yield
        finally:
            os.close(fd)

    def poll(self) -> Steering:
        """Take in the events that came."""
        for fd, event in self._ready.poll(0):
            self._read(fd, event)
            if self._lost is not None:
                self._ready.unregister(fd)
        if not self._steered:
            self._choice.stop()
        return Steering(self._stops, self._lost, self._choice.index)

    def requested(self, t_s: float) -> Velocity:
        """Return what the sticks ask for; zero while the shoulder button is not held."""
        if not self._steered:
            return STOP
        speed, yaw_rate = self._choice.ranges
        return self._choice.clip(
            _part(self._sticks[SPEED_AXIS], speed), _part(self._sticks[YAW_RATE_AXIS], yaw_rate)
        )

    @property
    def _steered(self) -> bool:
        return HOLD_BUTTON in self._down and self._lost is None

    def _read(self, fd: int, event: int) -> None:
        try:
            data = os.read(fd, _MOST_BYTES) if event == select.POLLIN else b""
        except BlockingIOError:
            return
        except OSError:  # unplugged since
            data = b""
        if not data:
            self._lost = f"the gamepad {self._path} is gone"
            return
        data = self._pending + data
        whole = len(data) - len(data) % _EVENT.size
        self._pending = data[whole:]
        sane = len(data) < _MOST_BYTES and all(
            self._take(value, kind, number)
            for _, value, kind, number in _EVENT.iter_unpack(data[:whole])
        )
        if not sane:
            self._lost = f"{self._path} sends what no gamepad sends"

    def _take(self, value: int, kind: int, number: int) -> bool:
        """Note an event; return whether a gamepad can have sent it."""
        if kind & ~_STATE == _AXIS and number < _AXES:
            if number in self._sticks:
                self._sticks[number] = -value / _FULL
            return True
        if kind & ~_STATE != _BUTTON or value not in (0, 1):
            return False
        if value == 0:
            self._down.discard(number)
            return True
        if number not in self._down and not kind & _STATE:
            self._press(number)
        self._down.add(number)
        return True

    def _press(self, number: int) -> None:
        if number == STAND_BUTTON:
            self._choice.choose(STAND)
        elif number == END_BUTTON:
            self._stops += 1
        elif number in (BEFORE_BUTTON, NEXT_BUTTON):
            self._choice.step(1 if number == NEXT_BUTTON else -1)


def find_gamepad(folder: Path = INPUT) -> Path:
    """Return the one gamepad of this computer.

    Raises:
        RunError: There is none, or several; names them.
    """
    found = sorted(folder.glob("js*"))
    if not found:
        raise RunError(
            f"there is no gamepad, {folder}/js*: plug one in, load its driver (modprobe joydev), "
            "or name its device, --command gamepad:PATH"
        )
    if len(found) > 1:
        names = ", ".join(str(path) for path in found)
        raise RunError(
            f"several gamepads are there, {names}: name one, --command gamepad:{found[0]}"
        )
    return found[0]


def _open(path: Path) -> int:
    """Return a descriptor of a gamepad's device that never waits.

    Raises:
        RunError: It is not there, is no such device, or may not be read.
    """
    if sys.platform != "linux":
        raise RunError("--command gamepad needs Linux: steer with --command keyboard")
    try:
        kind = path.stat().st_mode
        if not (stat.S_ISCHR(kind) or stat.S_ISFIFO(kind)):
            raise RunError(f"{path} is no gamepad: it is neither a device nor a FIFO")
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except PermissionError as error:
        raise RunError(
            f"no permission to read the gamepad {path}: join the group {_group(path)} "
            f"(sudo usermod -aG {_group(path)} $USER) and log in again"
        ) from error
    except OSError as error:
        raise RunError(f"cannot read the gamepad {path}: {error.strerror}") from error


def _group(path: Path) -> str:
    """Return the group of a device; that of all input devices where it cannot be known."""
    try:
        return path.group()
    except (OSError, KeyError):
        return "input"


def _part(stick: float, bounds: tuple[float, float]) -> float:
    """Return the part of the way from 0 to a bound to which a stick in [-1, 1] is pushed."""
    part = max(0.0, abs(stick) - DEAD_ZONE) / (1.0 - DEAD_ZONE)
    return part * (bounds[1] if stick > 0.0 else bounds[0]) + 0.0  # never -0.0
