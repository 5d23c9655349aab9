"""The wire as bytes: messages to frames, and any stream of bytes to the messages in it.

A frame is ``00 | COBS(id, payload, CRC-32) | 00``; ``protocol.toml`` lays the payloads out and
``spec.md`` says why. No I/O and no clock. Values are in SI units on this side and scaled integers
on the wire; a NaN or an infinity never goes on it.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.errors import WireError
from robot_firmware_bridge.protocol.layout import (
    CRC_SIZE,
    MAX_FRAME,
    MESSAGES,
    Field,
    MessageLayout,
)

Array = NDArray[np.float64]

MAX_CHUNK = MAX_FRAME + 1
"""Bytes between two delimiters at most: COBS adds one to a frame of less than 254 bytes."""

# The CRC-32 of anything with its own CRC-32 behind it, little endian.
_RESIDUE = 0x2144DF1C
_BYTES = tuple(bytes((value,)) for value in range(256))
_GREATEST = {"u8": 0xFF, "u16": 0xFFFF, "u32": 0xFFFFFFFF, "i16": 0x7FFF, "f32": 3.4028234e38}
_LEAST = {"i16": -0x8000, "f32": -3.4028234e38}
# NaN means that a motor's housing has no sensor.
_MAY_BE_NAN = frozenset({"housing_temperature_c"})


class Hello(NamedTuple):
    """Introduces the host and asks who the board is."""

    protocol_hash: int
    robot_hash: int
    state_interval_ms: int
    compensate_battery: int


class Request(NamedTuple):
    """Asks for a change of mode."""

    sequence: int
    action: int


class Command(NamedTuple):
    """Motor targets, shape (8,), and gains for ``valid_ms``."""

    sequence: int
    valid_ms: int
    kp: float
    kd: float
    target_rad: Array


class Identity(NamedTuple):
    """Answers a hello: who the board is, and its limits. Names are bytes, padded with zeros."""

    protocol_hash: int
    robot_hash: int
    state_interval_ms: int
    boot_count: int
    firmware_id: bytes
    board_id: bytes
    max_kp: float
    max_kd: float
    max_duty: float
    max_current_a: float
    max_valid_ms: int


class Reply(NamedTuple):
    """Answers the request of the same sequence; ``mode`` and ``fault`` are as they are then."""

    sequence: int
    action: int
    result: int
    mode: int
    fault: int


class State(NamedTuple):
    """One reading of the robot; see ``protocol.toml`` for each field."""

    sequence: int
    boot_count: int
    time_us: int
    command_echo: int
    commands_lost: int
    bad_frames: int
    mode: int
    fault: int
    motor_position_rad: Array
    motor_velocity_rad_s: Array
    motor_torque_nm: Array
    rpy_rad: Array
    angular_rate_rad_s: Array
    battery_v: float
    winding_temperature_c: Array


class DriveFrame(NamedTuple):
    """What the bridges do, from firmware to a simulated plant; ``enabled`` 0 opens them."""

    tick: int
    enabled: int
    duty: Array


class SensorsFrame(NamedTuple):
    """What the sensors read, from a simulated plant to firmware."""

    tick: int
    motor_position_rad: Array
    motor_velocity_rad_s: Array
    rpy_rad: Array
    angular_rate_rad_s: Array
    battery_v: float
    housing_temperature_c: Array


Message = Hello | Request | Command | Identity | Reply | State | DriveFrame | SensorsFrame


class _Codec:
    """Payload of one message to its class and back.

    A payload is whole numbers and names at both ends and one run of real values between them. That
    run goes through a single array: a NumPy call costs as much as a dozen plain numbers.

    Args:
        layout: The payload.
        make: The message's class; its fields are the payload's in the same order.
    """

    def __init__(self, layout: MessageLayout, make: type[Message]) -> None:
        self.id = layout.id
        self.size = layout.struct.size
        self._struct = layout.struct
        self._make = make
        self._names = make._fields
        real = [i for i, field in enumerate(layout.fields) if _is_real(field)]
        self._first, self._last = (real[0], real[-1] + 1) if real else (len(self._names),) * 2
        fields = layout.fields[self._first : self._last]
        self._places = _places(fields)
        self._parts_of = _parts_getter(self._places)
        self._shapes = tuple((field.count,) if field.count > 1 else () for field in fields)
        self._rounded = not any(field.type == "f32" for field in fields)
        self._scale = _per_number(fields, lambda field: field.scale or 1.0)
        self._least = self._scale * _per_number(fields, lambda field: _LEAST.get(field.type, 0))
        self._greatest = self._scale * _per_number(fields, lambda field: _GREATEST[field.type])

    def decode(self, frame: bytes | bytearray, offset: int = 0) -> Message:
        """Return the message whose payload lies there."""
        values = self._struct.unpack_from(frame, offset)
        if not self._places:
            return self._make(*values)
        tail = self._first + self._scale.size
        numbers = np.array(values[self._first : tail], np.float64)
        numbers *= self._scale
        return self._make(*values[: self._first], *self._parts_of(numbers), *values[tail:])

    def encode(self, message: Message) -> bytes:
        """Return the payload.

        Raises:
            WireError: A value is NaN, infinite, of the wrong shape, or no whole number that fits.
        """
        values: tuple[Any, ...] = message
        numbers = self._numbers(values[self._first : self._last])
        try:
            return self._struct.pack(*values[: self._first], *numbers, *values[self._last :])
        except struct.error as error:
            raise WireError(f"{type(message).__name__} {values}: {error}") from None

    def _numbers(self, values: tuple[Any, ...]) -> list[float]:
        """Return real values as numbers of the wire: within range, scaled, rounded to nearest."""
        numbers = np.empty(self._scale.size)
        for place, shape, value in zip(self._places, self._shapes, values, strict=True):
            if shape and value.shape != shape:
                name = self._names[self._first + self._places.index(place)]
                raise WireError(f"{name} has shape {value.shape}, not {shape}")
            numbers[place] = value
        # Python's sum is the cheapest check of all of them.
        if not math.isfinite(sum(numbers.tolist())):
            self._refuse_non_finite(numbers)
        np.maximum(numbers, self._least, out=numbers)
        np.minimum(numbers, self._greatest, out=numbers)
        numbers /= self._scale
        whole = np.rint(numbers).astype(np.int64) if self._rounded else numbers
        return cast("list[float]", whole.tolist())

    def _refuse_non_finite(self, numbers: Array) -> None:
        for place, name in zip(self._places, self._names[self._first :], strict=False):
            value = numbers[place]
            good = ~np.isinf(value) if name in _MAY_BE_NAN else np.isfinite(value)
            if not np.all(good):
                raise WireError(f"{name} is {value}: no NaN and no infinity may go on the wire")


def _is_real(field: Field) -> bool:
    vector = field.count > 1 and field.type != "bytes"
    return vector or field.scale is not None or field.type == "f32"


def _places(fields: tuple[Field, ...]) -> tuple[slice | int, ...]:
    """Return each field's place among the numbers: slice of a vector, index of a scalar."""
    places: list[slice | int] = []
    start = 0
    for field in fields:
        places.append(start if field.count == 1 else slice(start, start + field.count))
        start += field.count
    return tuple(places)


def _parts_getter(places: tuple[slice | int, ...]) -> Callable[[Array], tuple[Any, ...]]:
    """Return what splits an array; ``itemgetter`` makes no tuple of one part or none."""
    if len(places) < 2:
        return lambda numbers: tuple(numbers[place] for place in places)
    return itemgetter(*places)


def _per_number(fields: tuple[Field, ...], value: Callable[[Field], float]) -> Array:
    return np.array([value(field) for field in fields for _ in range(field.count)], np.float64)


CLASSES: dict[str, type[Message]] = {
    "hello": Hello,
    "request": Request,
    "command": Command,
    "identity": Identity,
    "reply": Reply,
    "state": State,
    "drive": DriveFrame,
    "sensors": SensorsFrame,
}
_CODECS = {CLASSES[name]: _Codec(layout, CLASSES[name]) for name, layout in MESSAGES.items()}
_BY_ID = {codec.id: codec for codec in _CODECS.values()}


def encode(message: Message) -> bytes:
    """Return the whole frame of a message, delimiters included.

    Real values are rounded to the nearest that the wire has, and saturate at the ends of its range.

    Raises:
        WireError: A value is NaN, infinite, of the wrong shape, or no whole number that fits.
    """
    codec = _CODECS[type(message)]
    return frame_of_payload(codec.id, codec.encode(message))


def encode_command(command: Command) -> tuple[bytes, Command]:
    """Return the frame of a command, and the command as its receiver reads it: rounded, saturated.

    Raises:
        WireError: As for :func:`encode`.
    """
    codec = _CODECS[Command]
    payload = codec.encode(command)
    return frame_of_payload(codec.id, payload), cast("Command", codec.decode(payload))


def frame_of_payload(message_id: int, payload: bytes) -> bytes:
    """Return the frame of a payload: with CRC-32, zeros stuffed, delimiters on both sides."""
    body = _BYTES[message_id] + payload
    body += zlib.crc32(body).to_bytes(CRC_SIZE, "little")
    # COBS: every zero, and the place before the first byte, becomes the distance to the next zero.
    # Distances fit a byte, for no frame is longer than MAX_FRAME.
    stuffed = [_BYTES[len(run) + 1] + run for run in body.split(b"\0")]
    return b"\0" + b"".join(stuffed) + b"\0"


class Decoder:
    """Finds the messages in a stream of bytes; never raises, whatever the bytes are.

    Attributes:
        frames: Messages found.
        crc_errors: Frames of a known id and length whose CRC-32 was wrong.
        framing_errors: Other damage: bytes between two delimiters that are no frame.
    """

    def __init__(self) -> None:
        self._rest = b""
        self.frames = 0
        self.crc_errors = 0
        self.framing_errors = 0

    def feed(self, data: bytes | bytearray | memoryview) -> list[Message]:
        """Take more bytes, however many; return the messages that they complete, in order."""
        *chunks, rest = bytes(data).split(b"\0")
        messages: list[Message] = []
        for chunk in chunks:
            if self._rest:
                chunk, self._rest = self._rest + chunk, b""
            if chunk:
                message = self._decode(bytearray(chunk))
                if message is not None:
                    messages.append(message)
        if rest:  # one byte more than the longest chunk is enough to know that it is too long
            self._rest = (self._rest + rest)[: MAX_CHUNK + 1]
        return messages

    def reset(self) -> None:
        """Forget the beginning of a frame whose end will not come."""
        self._rest = b""

    def _decode(self, frame: bytearray) -> Message | None:
        """Return the message of one chunk, unstuffed in place; None, and counted, if damaged."""
        size = len(frame)
        here = 0 if size <= MAX_CHUNK else size + 1
        while here < size:
            distance = frame[here]
            frame[here] = 0
            here += distance
        codec = _BY_ID.get(frame[1]) if here == size > 1 else None
        if codec is None or size != 1 + 1 + codec.size + CRC_SIZE:
            self.framing_errors += 1
            return None
        if zlib.crc32(frame[1:]) != _RESIDUE:
            self.crc_errors += 1
            return None
        self.frames += 1
        return codec.decode(frame, 2)
