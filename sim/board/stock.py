"""The Minitaur's own mainboard, emulated: what its firmware does with bytes, sensors and bridges.

Written from what is published of it (``robot_firmware_bridge.stock.wire``). Its weaknesses are part
of it: any 69 bytes with a head in them are a packet, a command holds for ever, and a motor that
stalls is switched off for a millisecond only. What is not known: what it does with a duty that is
no number (here 0), and its own estimate of its speed (here 0).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.firmware.library import Drive, Sensors
from robot_firmware_bridge.geometry import LEG_TO_MOTOR, motor_to_leg
from robot_firmware_bridge.robot import NUM_LEGS, NUM_MOTORS
from robot_firmware_bridge.stock.wire import (
    COMMAND_BYTES,
    HEAD,
    MAX_DUTY,
    STATE_INTERVAL_MS,
    Order,
    StockState,
    decode_command,
    encode_state,
)
from sim.board.emulated import Report

Array = NDArray[np.float64]

_STALL_DUTY, _STALL_TICKS = 0.5, 1000


class StockFirmware:
    """The stock firmware; called as ``FirmwareBoard`` is.

    Attributes:
        enabled: Whether the motor drivers are on.
        leg_rad: Legs as commanded, swings and extensions, shape (8,).
        gains: Their gains, duty per rad, of the same order.
        packets: Packets that it carried out.
    """

    def __init__(self) -> None:
        self._drive = Drive()
        self.start(0)

    def start(self, boot_count: int, baud: int = 0) -> None:
        """Power on, or reset: no state is kept. It counts no starts, and its rate is fixed."""
        del boot_count, baud
        self._buffer = bytearray(COMMAND_BYTES)
        self._at = 0
        self._ticks = 0
        self._out = b""
        self._order = int(Order.KILL)
        self._position = np.zeros(NUM_MOTORS)
        self._stalled_ticks = 0
        self.enabled = False
        self.leg_rad = np.zeros(NUM_MOTORS)
        self.gains = np.zeros(NUM_MOTORS)
        self.packets = 0

    def receive(self, data: bytes) -> None:
        """Take bytes as its DMA does: into a ring of one packet's length."""
        for byte in data:
            self._buffer[self._at] = byte
            self._at = (self._at + 1) % COMMAND_BYTES
            if self._at == 0:
                self._take(bytes(self._buffer))

    def _take(self, ring: bytes) -> None:
        """Carry out a full ring, turned until its head is in front; nothing without a head."""
        head = (ring + ring[:1]).find(HEAD)
        if head < 0:
            return
        self._order, leg_rad, gains = decode_command(ring[head:] + ring[:head])
        self.packets += 1
        self.enabled = self._order != Order.KILL
        if self._order == Order.SET_POSITION:
            self.leg_rad, self.gains = leg_rad, gains
        else:
            self.gains = np.zeros(NUM_MOTORS)

    def tick(self, t_us: int, sensors: Sensors) -> Drive:
        """Run one millisecond; return what the bridges do until the next."""
        # Encoders read one turn. A reading of 0 is none: the last good one stays.
        reading = sensors.motor_position_rad.astype(np.float64) % (2.0 * np.pi)
        self._position = np.where(reading == 0.0, self._position, reading)
        duty = self._duty()
        self._stalled_ticks = self._stalled_ticks + 1 if np.abs(duty).max() > _STALL_DUTY else 0
        stalls = self._stalled_ticks > _STALL_TICKS
        if stalls:
            self._stalled_ticks = 0
        self._drive.enabled = self.enabled and not stalls
        self._drive.duty[:] = duty
        if self._ticks % STATE_INTERVAL_MS == 0:
            self._out += self._state(t_us // 1000, sensors, duty)
        self._ticks += 1
        return self._drive

    def transmit(self) -> bytes:
        """Return what it has sent to the host since the last call."""
        out, self._out = self._out, b""
        return out

    def _duty(self) -> Array:
        """Return the duty of each motor, shape (8,): proportional control of the legs."""
        if not self.enabled:
            return np.zeros(NUM_MOTORS)
        leg = motor_to_leg(self._position)
        # An encoder that passed the seam of its turn moves both coordinates by half a turn.
        leg[:NUM_LEGS] = (leg[:NUM_LEGS] + 0.5 * np.pi) % np.pi - 0.5 * np.pi
        leg[NUM_LEGS:] %= np.pi
        with np.errstate(all="ignore"):  # a torn packet may hold any float
            duty: Array = LEG_TO_MOTOR @ (self.gains * (self.leg_rad - leg))
        return np.clip(np.nan_to_num(duty, nan=0.0), -MAX_DUTY, MAX_DUTY)

    def _state(self, t_ms: int, sensors: Sensors, duty: Array) -> bytes:
        return encode_state(
            StockState(
                t_ms,
                sensors.rpy_rad.astype(np.float64),
                sensors.angular_rate_rad_s.astype(np.float64),
                self._position,
                duty,
                0.0,
                sensors.battery_v,
                self._order & 0xFF,
            )
        )


class StockWatch:
    """Reports when the motor drivers go on or off, and how long after the last byte came.

    Args:
        firmware: What drives them.
        report: Gets "drivers", with the fields on and since_byte_ms. When they go off, also
            packets, how many were carried out since the start, and most_step_rad, by how much a
            leg's command changed at most from one packet to the next.
    """

    def __init__(self, firmware: StockFirmware, report: Report) -> None:
        self._firmware, self._report = firmware, report
        self.restart()

    def restart(self) -> None:
        """Start anew with the board: off, and no byte received."""
        self._on = False
        self._byte_ns: int | None = None
        self._packets = 0
        self._leg_rad: Array | None = None
        self._most_step_rad = 0.0

    def see(self, t_ns: int, received: bytes, sent: bytes) -> None:
        """Take note of what the firmware received in the tick at ``t_ns``."""
        del sent
        firmware = self._firmware
        if firmware.enabled and firmware.packets != self._packets:
            if self._leg_rad is not None:
                step_rad = float(np.abs(firmware.leg_rad - self._leg_rad).max())
                self._most_step_rad = max(self._most_step_rad, step_rad)
            self._leg_rad = firmware.leg_rad
        if self._on != firmware.enabled:
            self._on = firmware.enabled
            since_ms = None if self._byte_ns is None else round((t_ns - self._byte_ns) * 1e-6, 3)
            about: dict[str, object] = {}
            if not self._on:
                about = {"packets": firmware.packets, "most_step_rad": self._most_step_rad}
                self._leg_rad, self._most_step_rad = None, 0.0
            self._report("drivers", on=self._on, since_byte_ms=since_ms, **about)
        self._packets = firmware.packets
        if received:
            self._byte_ns = t_ns
