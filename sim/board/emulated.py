"""The emulated motor controller: a board's firmware on a simulated robot and a serial line.

The firmware runs a millisecond at a time: the C core of our board, compiled for this machine, or
``sim.board.stock``. The time of each tick is an argument: ``sim.board`` runs in real time and
``sim.board.lockstep`` on a virtual clock. What happens is reported as events; ``Watch`` finds the
changes of mode in the bytes on the line, so that they are the same for every way to run the
firmware.
"""

from __future__ import annotations

from typing import Protocol

from robot_firmware_bridge.firmware.library import Drive, FirmwareBoard, Sensors
from robot_firmware_bridge.messages import Fault, Mode, fault_names
from robot_firmware_bridge.protocol.wire import Command, Decoder, Hello, Reply, State
from sim.board.plant import BoardPlant
from sim.board.serial_line import SerialLine
from sim.plant.params import TICK_NS

# Time between two checks of the tilt; a fall takes a hundred times as long.
_FALL_CHECK_NS = 10 * TICK_NS
_CLOCK_MASK = 0xFFFFFFFF


class Report(Protocol):
    """Records an event."""

    def __call__(self, name: str, /, **fields: object) -> None:
        """Record the event ``name``; ``fields`` are JSON values that describe it."""


class Firmware(Protocol):
    """The firmware of a board, in the words of ``FirmwareBoard``."""

    def start(self, boot_count: int, baud: int) -> None:
        """Power on, or reset: no state is kept."""

    def receive(self, data: bytes) -> None:
        """Pass bytes that arrived on the host's line to the next tick."""

    def tick(self, t_us: int, sensors: Sensors) -> Drive:
        """Run one millisecond; return what the bridges do until the next."""

    def transmit(self) -> bytes:
        """Return what it has sent to the host since the last call."""


class LineWatch(Protocol):
    """Reports what the firmware did, as far as the bytes on its line show it."""

    def restart(self) -> None:
        """Start anew with the board."""

    def see(self, t_ns: int, received: bytes, sent: bytes) -> None:
        """Take note of what the firmware received and sent in the tick at ``t_ns``."""


class Watch:
    """Reports every change of mode or fault, and how long after the last command it came.

    The resolution is the interval of states: a change shows in the first state after it.

    Args:
        report: Gets "mode", with the fields mode, fault and since_command_ms.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self.restart()

    def restart(self) -> None:
        """Start anew with the board: disarmed, without a fault or a command."""
        self._from_host = Decoder()
        self._from_board = Decoder()
        self._last = (Mode.DISARMED, Fault.NONE)
        self._command: tuple[int, int] | None = None

    def see(self, t_ns: int, received: bytes, sent: bytes) -> None:
        """Take note of what the firmware received and sent in the tick at ``t_ns``."""
        for message in self._from_host.feed(received) if received else ():
            if isinstance(message, Hello):
                self._command = None  # a new host counts anew
            elif isinstance(message, Command):
                last = message.sequence - 1 if self._command is None else self._command[0]
                if 0 < (message.sequence - last) & 0xFFFF < 0x8000:  # no repeated old one
                    self._command = (message.sequence, t_ns)
        for message in self._from_board.feed(sent) if sent else ():
            if isinstance(message, State | Reply) and self._last != (message.mode, message.fault):
                mode, fault = self._last = (Mode(message.mode), Fault(message.fault))
                since_ms = None
                if self._command is not None:
                    since_ms = round((t_ns - self._command[1]) * 1e-6, 3)
                names = fault_names(fault)
                self._report("mode", mode=mode.name, fault=names, since_command_ms=since_ms)


class EmulatedBoard:
    """Firmware, robot and line. One a process: the firmware's memory is the library's.

    Args:
        baud: What the firmware takes for the line's rate.
        report: Gets boots, modes, faults, falls, and when the robot comes on or off its stand.
        firmware: What runs on the board, and what watches it; None for our C core.
    """

    def __init__(
        self,
        plant: BoardPlant,
        line: SerialLine,
        baud: int,
        report: Report,
        firmware: tuple[Firmware, LineWatch] | None = None,
    ) -> None:
        self.plant = plant
        self.line = line
        self.t_ns = 0
        self._baud = baud
        self._report = report
        self._firmware, self._watch = firmware or (FirmwareBoard(), Watch(report))
        self._sensors = Sensors()
        self._boots = 0
        # The board's own clock: its time at some instant, and its pace since.
        self._clock_us = 0.0
        self._clock_set_ns = 0
        self._clock_pace = 1.0
        self._fallen = False

    def reset(self) -> None:
        """Start the firmware, or restart it, with its clock from 0; the robot goes on as it is."""
        self._boots += 1
        self._clock_us, self._clock_set_ns = 0.0, self.t_ns
        self._firmware.start(self._boots, self._baud)
        self._watch.restart()
        self._report("boot", boot_count=self._boots)

    def let_clock_drift(self, ppm: float) -> None:
        """Let the board's clock, not its ticks, run fast by this much; -1e6 stops it."""
        self._set_clock(self._time_us(self.t_ns))
        self._clock_pace = 1.0 + ppm * 1e-6

    def let_clock_jump(self, ms: float) -> None:
        """Put the board's clock forward, or back if negative."""
        self._set_clock(self._time_us(self.t_ns) + 1000.0 * ms)

    def _set_clock(self, time_us: float) -> None:
        self._clock_us, self._clock_set_ns = time_us, self.t_ns

    def _time_us(self, t_ns: int) -> float:
        return self._clock_us + self._clock_pace * (t_ns - self._clock_set_ns) / 1000

    def tick(self, t_ns: int) -> None:
        """Run the millisecond that begins at ``t_ns``; the firmware has been started."""
        self.t_ns = t_ns
        received = self.line.to_board.receive(t_ns)
        if received:
            self._firmware.receive(received)
        self.plant.sense(self._sensors)
        device_us = round(self._time_us(t_ns)) & _CLOCK_MASK
        drive = self._firmware.tick(device_us, self._sensors)
        sent = self._firmware.transmit()
        self.line.to_host.send(sent, t_ns)
        self._watch.see(t_ns, received, sent)
        on_stand = self.plant.on_stand
        self.plant.advance(drive)
        if on_stand != self.plant.on_stand:
            self._fallen = False
            self._report("on_stand" if self.plant.on_stand else "off_stand")
        if t_ns % _FALL_CHECK_NS == 0 and not self._fallen:
            plant = self.plant.plant
            tilt_rad = plant.truth().tilt_rad
            if tilt_rad > plant.robot.max_tilt_rad:
                self._fallen = True
                self._report("fell", tilt_rad=round(tilt_rad, 3))
