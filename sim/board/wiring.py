"""How motors are wired to an emulated board: right, or wrong in the ways of real robots.

A motor has two plugs, its drive's and its encoder's. This is the value of all that can be wrong
with them, and the text by which a command line asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS
from sim.errors import ParameterError

Array = NDArray[np.float64]
Numbers = tuple[int, ...]

# Where an encoder that counts the other way reads right: of a leg that is bent as on a stand.
_MIRROR_RAD = 1.8
_MOTORS: Numbers = tuple(range(NUM_MOTORS))
_ONES: Numbers = (1,) * NUM_MOTORS
_MOST_RAD, _MOST_DELAY_MS = 20.0, 1000.0


@dataclass(frozen=True, slots=True)
class Wiring:
    """What is connected to what; the default is a robot without a mistake.

    Attributes:
        drives: Motor at each drive output of the board, shape (8,).
        encoders: Motor whose encoder is at each encoder input, shape (8,).
        drive_signs: +1, or -1 for a motor that turns the other way, by output, shape (8,).
        encoder_signs: +1, or -1 for an encoder that counts the other way, by input, about
            1.8 rad, shape (8,).
        offsets_rad: What each input reads too much, shape (8,).
        open_drives: Outputs that nothing is plugged into.
        open_encoders: Inputs that nothing is plugged into: they keep their first reading.
        delay_ms: Time by which every byte on the line arrives later, either way.
    """

    drives: Numbers = _MOTORS
    encoders: Numbers = _MOTORS
    drive_signs: Numbers = _ONES
    encoder_signs: Numbers = _ONES
    offsets_rad: tuple[float, ...] = (0.0,) * NUM_MOTORS
    open_drives: Numbers = ()
    open_encoders: Numbers = ()
    delay_ms: float = 0.0

    @property
    def delay_ns(self) -> int:
        """The delay in ns."""
        return round(self.delay_ms * 1e6)

    def read(self, position_rad: Array, velocity_rad_s: Array, before_rad: Array | None) -> None:
        """Turn what the motors do into what the board's inputs read, in place.

        Args:
            position_rad: Angles of the motors, then of the inputs, shape (8,).
            velocity_rad_s: Their speeds, shape (8,).
            before_rad: The last reading, shape (8,); None before the first.
        """
        order, signs = list(self.encoders), np.array(self.encoder_signs)
        turned = signs * (position_rad[order] - _MIRROR_RAD) + _MIRROR_RAD
        position_rad[:] = turned + np.array(self.offsets_rad)
        velocity_rad_s[:] = signs * velocity_rad_s[order]
        for encoder in self.open_encoders:
            velocity_rad_s[encoder] = 0.0
            if before_rad is not None:
                position_rad[encoder] = before_rad[encoder]

    def drive(self, duty: Array, idle_duty: Array) -> Array:
        """Return the duty of each motor, shape (8,), for that of each output.

        Args:
            duty: By output, shape (8,).
            idle_duty: Duty at which no current flows in a motor, shape (8,).
        """
        motors = idle_duty.copy()
        for output, motor in enumerate(self.drives):
            if output not in self.open_drives:
                motors[motor] = self.drive_signs[output] * duty[output]
        return motors

    @staticmethod
    def parse(text: str) -> Wiring:
        """Return the wiring that a text describes; "" is one without a mistake.

        Raises:
            ParameterError: Names what is wrong in the text, and what is right.
        """
        wiring = Wiring()
        for mistake in filter(None, map(str.strip, text.split(","))):
            verb, *words = mistake.split()
            if verb not in MISTAKES:
                raise ParameterError(f"no wiring {verb!r}: there are {', '.join(MISTAKES)}")
            usage, _, act = MISTAKES[verb]
            if len(words) != len(usage.split()):
                raise ParameterError(f"wiring {mistake!r} must be {verb} {usage}")
            wiring = act(wiring, *words)
        return wiring


def _swap(drives: bool, encoders: bool) -> Callable[[Wiring, str, str], Wiring]:
    def act(wiring: Wiring, first: str, second: str) -> Wiring:
        a, b = _motor(first), _motor(second)
        return replace(
            wiring,
            drives=_exchanged(wiring.drives, a, b) if drives else wiring.drives,
            encoders=_exchanged(wiring.encoders, a, b) if encoders else wiring.encoders,
        )

    return act


def _flip(drive: bool, encoder: bool) -> Callable[[Wiring, str], Wiring]:
    def act(wiring: Wiring, motor: str) -> Wiring:
        i = _motor(motor)
        drives, encoders = list(wiring.drive_signs), list(wiring.encoder_signs)
        drives[i] *= -1 if drive else 1
        encoders[i] *= -1 if encoder else 1
        return replace(wiring, drive_signs=tuple(drives), encoder_signs=tuple(encoders))

    return act


def _offset(wiring: Wiring, motor: str, angle: str) -> Wiring:
    offsets = list(wiring.offsets_rad)
    offsets[_motor(motor)] += _number(angle, "RAD", -_MOST_RAD, _MOST_RAD)
    return replace(wiring, offsets_rad=tuple(offsets))


def _open_drive(wiring: Wiring, motor: str) -> Wiring:
    return replace(wiring, open_drives=(*wiring.open_drives, _motor(motor)))


def _open_encoder(wiring: Wiring, motor: str) -> Wiring:
    return replace(wiring, open_encoders=(*wiring.open_encoders, _motor(motor)))


def _delay(wiring: Wiring, time: str) -> Wiring:
    return replace(wiring, delay_ms=_number(time, "MS", 0.0, _MOST_DELAY_MS))


# Of each verb: its arguments, what is wrong with such a robot, and what it changes.
MISTAKES: dict[str, tuple[str, str, Callable[..., Wiring]]] = {
    "swap": ("A B", "both plugs of motors A and B are exchanged", _swap(True, True)),
    "swap-drives": ("A B", "the plugs of their drives are", _swap(True, False)),
    "swap-encoders": ("A B", "the plugs of their encoders are", _swap(False, True)),
    "flip": ("A", "motor A turns, and its encoder counts, the other way", _flip(True, True)),
    "flip-drive": ("A", "motor A turns the other way", _flip(True, False)),
    "flip-encoder": ("A", "its encoder counts the other way, about 1.8 rad", _flip(False, True)),
    "offset": ("A RAD", "its encoder reads RAD too much", _offset),
    "unplug": ("A", "nothing is plugged into its drive", _open_drive),
    "unplug-encoder": ("A", "nothing is plugged into its encoder's input", _open_encoder),
    "delay": ("MS", "every byte on the line arrives MS later", _delay),
}


def _exchanged(order: Numbers, a: int, b: int) -> Numbers:
    changed = list(order)
    changed[a], changed[b] = order[b], order[a]
    return tuple(changed)


def _motor(text: str) -> int:
    names = MINITAUR.motor_names
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < NUM_MOTORS:
        return int(text)
    raise ParameterError(f"no motor {text!r}: there are 0 to 7, or {', '.join(names)}")


def _number(text: str, name: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise ParameterError(f"{name} must be a number in [{low:g}, {high:g}], not {text!r}")
    return value
