"""The packets of the Minitaur's own mainboard (mblc 0.5, link "remote computer") as bytes.

Host to board, 69 bytes, little endian: ``AA BB``, the order (u8), 16 parameters (f32), a sum (u16)
that the board never looks at. For ``SET_POSITION`` the parameters are extension and swing of the
legs 0 to 3, then the gains of both in the same order.

Board to host, 103 bytes every 10 ms: ``AA BB``, time (u32, ms), roll, pitch, yaw and their rates
(f32), eight motor angles (f32), eight "torques" (f32), forward speed (f32), battery (f32), mode
(u8). A "torque" is the stall torque of the duty that was commanded, in the drive's own direction.

Neither direction has a checksum or a number. What protects the motors all the same:

- ``StateScanner`` finds packets by their heads, and takes none with an impossible value. A lost or
  a doubled byte moves all that follows; then the last byte, the mode, is one that no board has.
- ``encode_position`` sends floats that bear a torn packet. The board takes any 69 bytes for a
  packet. After a byte was lost, each packet that it reads has its first bytes from one packet of
  the host and the rest from the one before. So one float may have its low bytes from the new value
  and its high bytes from the old one. Where the highest byte of both is the same, that mixture is
  within 1 % of either. So extensions stay within ``EXTENSION_RAD``, where that byte never changes.
  A torn swing stays below 0.5 rad, and a torn gain below 2, as every highest byte that is sent
  means less than that. And no byte of a float is ``AA``, so that no board takes one for a head.

Source: the facts of github.com/robomechanics/Minitaur (2018), compared with a log of a real robot.
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.errors import WireError
from robot_firmware_bridge.robot import MINITAUR, NUM_LEGS, NUM_MOTORS

Array = NDArray[np.float64]

BAUD = 115_200
STATE_INTERVAL_MS = 10
COMMAND_BYTES = 69
STATE_BYTES = 103
HEAD = b"\xaa\xbb"

STALL_TORQUE_NM = 0.0954 * 16.0 / 0.186
"""Unit of the board's "torque": that of a motor that stands, at full duty, at 16 V."""

MAX_DUTY = 0.70
"""Bound of the board on the duty of a motor: 60 A through 0.186 ohm of 16 V."""

EXTENSION_RAD = (0.55, 1.95)
"""Leg extensions that are sent: from 0.5 to 2 the highest byte of a float is always 3F."""

SWING_RAD = 0.49
"""Bound of leg swings that are sent: at 0.5 the highest byte changes from 3E to 3F."""

MAX_GAIN = 1.0
"""Bound of gains that are sent, duty per rad."""

# Duty in a driver's own direction for a duty in motor space: the right legs' turn the other way.
_DRIVE_SIGN = -MINITAUR.directions
_COMMAND = struct.Struct("<2sB16fH")
_STATE = struct.Struct(f"<2sI{6 + 2 * NUM_MOTORS + 2}fB")
_SUM = b"\0\0"
_HIGHEST_MODE = 31
# What is nearer to 0 is sent as 0.
_TINY = 1e-6
# Beyond what any reading can be: rad, rad/s, the unit above with rounding, m/s, V.
_MAX_ANGLE, _MAX_RATE, _MAX_TORQUE, _MAX_SPEED, _MAX_VOLTAGE = 7.0, 60.0, 8.5, 10.0, 40.0
_BOUNDS = np.array(
    (_MAX_ANGLE,) * 3
    + (_MAX_RATE,) * 3
    + (_MAX_ANGLE,) * NUM_MOTORS
    + (_MAX_TORQUE,) * NUM_MOTORS
    + (_MAX_SPEED, _MAX_VOLTAGE)
)


class Order(enum.IntEnum):
    """What a packet asks for; any but ``KILL`` switches the motor drivers on."""

    KILL = 0
    SET_POSITION = 3


class StockState(NamedTuple):
    """One packet of the board.

    Attributes:
        t_ms: Time since the board was switched on.
        rpy_rad: Roll, pitch, yaw of the body, shape (3,).
        angular_rate_rad_s: Their rates, shape (3,).
        motor_position_rad: Angles of the encoders, shape (8,), each in a turn of its own.
        duty: Duty of each motor in motor space, shape (8,).
        speed_mps: The board's own estimate of its speed ahead.
        battery_v: Battery voltage.
        mode: The board's number for what it does.
    """

    t_ms: int
    rpy_rad: Array
    angular_rate_rad_s: Array
    motor_position_rad: Array
    duty: Array
    speed_mps: float
    battery_v: float
    mode: int


def encode_kill() -> bytes:
    """Return the packet that switches all motor drivers off."""
    return _COMMAND.pack(HEAD, Order.KILL, *(0.0,) * 16, 0)


def encode_position(leg_rad: Array, gain: float) -> bytes:
    """Return the packet that sets the legs' positions.

    Args:
        leg_rad: Swing of the four legs, then their extension, shape (8,).
        gain: Duty per rad, of swing and extension alike.

    Raises:
        WireError: A value is not finite, or out of its bounds.
    """
    swing, extension = leg_rad[:NUM_LEGS], leg_rad[NUM_LEGS:]
    low, high = EXTENSION_RAD
    # Written so that NaN is refused, too.
    fits = np.abs(swing).max() <= SWING_RAD and low <= extension.min() and extension.max() <= high
    if not (fits and 0.0 <= gain <= MAX_GAIN):
        raise WireError(f"no command for the stock mainboard: legs {leg_rad}, gain {gain}")
    numbers = np.empty(2 * NUM_MOTORS, "<f4")
    numbers[:NUM_MOTORS:2], numbers[1:NUM_MOTORS:2], numbers[NUM_MOTORS:] = extension, swing, gain
    return HEAD + bytes((Order.SET_POSITION,)) + _without_heads(numbers).tobytes() + _SUM


def _without_heads(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return little-endian floats without a byte AA: the nearest ones, within 0.3 %."""
    # The highest byte is AA in negative numbers of 1e-13 only.
    floats = np.where(np.abs(numbers) < _TINY, np.float32(0.0), numbers).astype("<f4")
    for place in (16, 8, 0):  # from the highest of the others down: what is below may be replaced
        words = floats.view("<u4")
        below = np.uint32((1 << place) - 1)
        is_head = (words >> np.uint32(place)) & np.uint32(0xFF) == 0xAA
        up = (words & below) > (below >> np.uint32(1))
        low = (words & ~below) - np.uint32(1)  # A9 FF ...
        high = (words & ~below) + np.uint32(1 << place)  # AB 00 ...
        floats = np.where(is_head, np.where(up, high, low), words).astype("<u4").view("<f4")
    return floats


def decode_command(packet: bytes) -> tuple[int, Array, Array]:
    """Return order, legs (swings, extensions) and gains (of the same order) of 69 bytes.

    As the board reads them: nothing is checked, and values may be anything.
    """
    _, order, *numbers, _ = _COMMAND.unpack(packet)
    pairs = np.array(numbers, np.float64).reshape(2, NUM_LEGS, 2)
    legs, gains = (np.concatenate((part[:, 1], part[:, 0])) for part in pairs)
    return order, legs, gains


def encode_state(state: StockState) -> bytes:
    """Return the packet of a state, as the board sends it."""
    torque = STALL_TORQUE_NM * state.duty * _DRIVE_SIGN
    numbers = (*state.rpy_rad, *state.angular_rate_rad_s, *state.motor_position_rad, *torque)
    return _STATE.pack(
        HEAD, state.t_ms & 0xFFFFFFFF, *numbers, state.speed_mps, state.battery_v, state.mode
    )


class StateScanner:
    """Finds the board's packets in a stream of bytes; never raises, whatever the bytes are.

    Attributes:
        frames: Packets found.
        damaged: Heads that no possible packet followed.
        skipped_bytes: Bytes that belong to no packet.
    """

    def __init__(self) -> None:
        self._rest = b""
        self.frames = 0
        self.damaged = 0
        self.skipped_bytes = 0

    def feed(self, data: bytes) -> list[StockState]:
        """Take more bytes, however many; return the packets that they complete, in order."""
        self._rest += data
        found = []
        while len(self._rest) >= STATE_BYTES:
            start = self._rest.find(HEAD)
            if start != 0:
                # Without a head, the last byte may be the first of one.
                self._skip(start if start > 0 else len(self._rest) - 1)
                continue
            state = _state(self._rest[:STATE_BYTES])
            if state is None:
                self.damaged += 1
                self._skip(len(HEAD))
                continue
            found.append(state)
            self.frames += 1
            self._rest = self._rest[STATE_BYTES:]
        return found

    def reset(self) -> None:
        """Forget the beginning of a packet whose end will not come."""
        self._rest = b""

    def _skip(self, count: int) -> None:
        self.skipped_bytes += count
        self._rest = self._rest[count:]


def _state(packet: bytes) -> StockState | None:
    """Return the state of 103 bytes that begin with a head; None if it is an impossible one."""
    _, t_ms, *numbers, mode = _STATE.unpack(packet)
    values = np.array(numbers, np.float64)
    # Written so that NaN is refused, too.
    if mode > _HIGHEST_MODE or not (np.abs(values) <= _BOUNDS).all():
        return None
    angles, torque = values[6 : 6 + NUM_MOTORS], values[6 + NUM_MOTORS : -2]
    duty = torque * _DRIVE_SIGN / STALL_TORQUE_NM
    speed_mps, battery_v = values[-2:].tolist()
    return StockState(t_ms, values[:3], values[3:6], angles, duty, speed_mps, battery_v, mode)
