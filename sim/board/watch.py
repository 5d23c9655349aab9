"""What a motor controller does, told from the bytes on its line.

Neither the firmware nor its emulator is asked: this sees what any host sees, only before the line
could damage it, and is therefore the same for every way of running the firmware.
"""

from __future__ import annotations

from typing import Protocol

from robot_firmware_bridge.messages import Fault, Mode, fault_names
from robot_firmware_bridge.protocol.wire import Command, Decoder, Hello, Reply, State


class Report(Protocol):
    """Takes note of what happens."""

    def __call__(self, name: str, /, **fields: object) -> None:
        """``name`` happened; ``fields`` are JSON values that say more."""


class Watch:
    """Reports every change of mode or fault, and how long after the last command it came.

    To the interval at which the board sends states: a change shows in the first one after it.

    Args:
        report: Told "mode", with the fields mode, fault and since_command_ms.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self.restart()

    def restart(self) -> None:
        """The board starts anew: disarmed, without a fault or a command."""
        self._from_host = Decoder()
        self._from_board = Decoder()
        self._last = (Mode.DISARMED, Fault.NONE)
        self._command: tuple[int, int] | None = None

    def see(self, t_ns: int, heard: bytes, said: bytes) -> None:
        """Take note of what the firmware heard and said in the tick at ``t_ns``."""
        for message in self._from_host.feed(heard) if heard else ():
            if isinstance(message, Command):
                self._note(message.sequence, t_ns)
            elif isinstance(message, Hello):
                self._command = None  # a new host counts anew
        for message in self._from_board.feed(said) if said else ():
            if isinstance(message, State | Reply):
                self._compare(Mode(message.mode), Fault(message.fault), t_ns)

    def _note(self, sequence: int, t_ns: int) -> None:
        """Remember a command unless it is an old one come again."""
        if self._command is None or 0 < (sequence - self._command[0]) & 0xFFFF < 0x8000:
            self._command = (sequence, t_ns)

    def _compare(self, mode: Mode, fault: Fault, t_ns: int) -> None:
        if (mode, fault) == self._last:
            return
        self._last = (mode, fault)
        since_ms = None if self._command is None else round((t_ns - self._command[1]) * 1e-6, 3)
        self._report("mode", mode=mode.name, fault=fault_names(fault), since_command_ms=since_ms)
