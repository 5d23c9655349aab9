"""The robot with the stock mainboard, behind the Robot protocol.

A sibling of ``SerialRobot``. That board has no command timeout, no soft start and no check of what
it receives. All of this is here: gains and legs that move slowly (``stock.session``), three packets
that kill the motors on every way out, and a watchdog process that sends them when this process
cannot.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Protocol

from robot_firmware_bridge.errors import (
    BoardClockError,
    BoardResetError,
    LateStatesError,
    LinkError,
    LinkLostError,
    NoBoardError,
)
from robot_firmware_bridge.messages import CommandLimits, MotorCommand, RobotState
from robot_firmware_bridge.robot import MINITAUR, RobotDescription
from robot_firmware_bridge.serial.link import Link, PortLink
from robot_firmware_bridge.serial.watchdog import Watchdog
from robot_firmware_bridge.stock.session import StockCounters, StockSession
from robot_firmware_bridge.stock.wire import BAUD, MAX_GAIN, STATE_INTERVAL_MS, encode_kill

COMMAND_LIFE_NS = 80_000_000
"""Time without a command after which the watchdog kills the motors."""

# One kill may be torn by bytes that were lost before it; of three, at least two are whole.
_KILLS = 3
_FIRST_STATES_S, _FIRST_STATES = 1.0, 3
_WATCH_S = 0.5
# Of the states of half a second, so many must be believed before a robot is armed.
_BELIEVED = 0.9

_logger = logging.getLogger(__name__)


class Guard(Protocol):
    """What stops the robot when this process cannot; ``Watchdog`` is one."""

    def beat(self) -> bool:
        """Say that a command is about to be sent; return False if the motors are off instead."""

    def dismiss(self) -> None:
        """End its work; nothing is sent. Idempotent; never raises."""

    def speak(self) -> None:
        """Let it send its last words now, and end. Idempotent; never raises."""


class Guarded(Link[StockSession], Protocol):
    """A link that can be watched over."""

    def guard(self, last_words: bytes, patience_s: float) -> Guard:
        """Start what sends the last words when this process cannot.

        Raises:
            LinkError: It cannot be started.
        """


class StockLink(PortLink[StockSession]):
    """The port of a stock mainboard."""

    def __init__(self, port: str, description: RobotDescription = MINITAUR, baud: int = BAUD):
        super().__init__(port, baud, StockSession(description), realtime=True)

    def guard(self, last_words: bytes, patience_s: float) -> Guard:
        """Start the watchdog process on this port.

        Raises:
            LinkError: It cannot be started, or the port is gone.
        """
        try:
            return Watchdog(self.fileno(), last_words, patience_s)
        except OSError as error:
            raise LinkError(f"no watchdog for {self}: {error}; nothing is armed") from error


class StockRobot:
    """A Minitaur with its stock mainboard at the other end of a link; its motors are switched off.

    Args:
        link: The link; closed with the robot, and at once if there is no such robot behind it.
        description: The robot that must be there.

    Raises:
        NoBoardError: Nothing sends states as that board does.
        LinkError: The link fails meanwhile.
    """

    def __init__(self, link: Guarded, description: RobotDescription = MINITAUR) -> None:
        self._link, self._session = link, link.session
        self.description = description
        self._guard: Guard | None = None
        self._armed = False  # the motor drivers may be on
        self._commanding = False  # commands may be sent
        try:
            # The board may still hold the last pose of a host that died.
            for _ in range(_KILLS):
                link.send(encode_kill())
            self._await_states()
        except LinkError:
            link.close()
            raise

    @property
    def command_limits(self) -> CommandLimits:
        """What this board carries out: no damping, and no command for longer than the watchdog."""
        return CommandLimits(MAX_GAIN, 0.0, COMMAND_LIFE_NS, "stock")

    @property
    def counters(self) -> StockCounters:
        """How the line did so far."""
        return self._session.counters

    def activate(self) -> None:
        """Look whether states come in time, start the watchdog; nothing moves until a write.

        Raises:
            LateStatesError: States are late or damaged.
            BoardClockError: The board's clock is not sound.
            LinkError: The line fails, or there is no watchdog.
        """
        self._commanding = False
        self._link.poll()
        self._check_line()
        self._check_clock()
        self._session.board_reset = False
        self.deactivate()
        self._guard = self._link.guard(encode_kill() * _KILLS, COMMAND_LIFE_NS * 1e-9)
        self._session.begin()
        self._armed = self._commanding = True

    def read(self) -> RobotState:
        """Return the newest state, at once.

        Raises:
            LinkLostError: The port is gone, or was for a moment.
            BoardResetError: The board started anew since it was armed.
            BoardClockError: The board's clock is not sound: the age of the state is not known.
        """
        try:
            self._link.poll()
            if self._armed and self._session.board_reset:
                raise BoardResetError(
                    f"the board on {self._link} started anew: look at its battery and its plugs, "
                    "then start again"
                )
            self._check_clock()
        except LinkError:
            self._commanding = False
            raise
        return self._newest()

    def write(self, command: MotorCommand) -> MotorCommand:
        """Send a command; return what was sent, after the bounds of ``StockSession.command``.

        To a robot that is not armed, or was lost since, nothing is sent.

        Raises:
            WireError: A value is NaN or infinite, or the targets are not eight.
            LinkError: It cannot be sent, or the watchdog has switched the motors off.
        """
        if not self._commanding or self._guard is None:
            return dataclasses.replace(command, kp=0.0, kd=0.0)
        try:
            packet, sent = self._session.command(command)
            if not self._guard.beat():
                raise LinkLostError(
                    f"the watchdog of {self._link} is gone or has switched the motors off, as no "
                    f"command came for {COMMAND_LIFE_NS // 1_000_000} ms: stop other programs"
                )
            self._link.send(packet)
        except LinkError:
            self._commanding = False
            raise
        return sent

    def deactivate(self) -> None:
        """Switch the motors off at once; a loop has faded them before. Idempotent; never raises."""
        if not self._armed:
            return
        self._armed = self._commanding = False
        guard, self._guard = self._guard, None
        try:
            kill = self._session.kill()
            for _ in range(_KILLS):
                self._link.send(kill)
        except LinkError as error:
            _logger.warning("cannot switch the motors off, cut their power: %s", error)
            if guard is not None:
                guard.speak()
        else:
            if guard is not None:
                guard.dismiss()

    def close(self) -> None:
        """Deactivate and release the link. Idempotent; never raises."""
        self.deactivate()
        self._link.close()

    # --- the conversation ---------------------------------------------------------------------

    def _await_states(self) -> None:
        self._link.wait(lambda: self._session.counters.states >= _FIRST_STATES, _FIRST_STATES_S)
        counters = self._session.counters
        if counters.states >= _FIRST_STATES:
            return
        if counters.bytes_received == 0:
            what = (
                "not a byte came: is it powered, are RX and TX the right way round, and was its "
                'firmware built with the remote "computer"?'
            )
        else:
            what = (
                f"{counters.bytes_received} bytes came with {counters.states} states: is this the "
                f"stock mainboard's port, at {BAUD} baud?"
            )
        raise NoBoardError(f"no stock mainboard on {self._link}: {what}")

    def _check_line(self) -> None:
        """Watch the states arrive for a moment; raise if no robot can be controlled by them."""
        before = self._session.counters
        self._link.wait(lambda: False, _WATCH_S)
        after = self._session.counters
        came = after.states - before.states
        expected = _WATCH_S * 1e3 / STATE_INTERVAL_MS
        if came < _BELIEVED * expected:
            damaged = after.damaged + after.implausible - before.damaged - before.implausible
            raise LateStatesError(
                f"{came} of {expected:.0f} states came over {self._link}, and {damaged} damaged "
                f"ones: {self._link.why_late()}"
            )

    def _check_clock(self) -> None:
        fault = self._session.clock_fault
        if fault:
            raise BoardClockError(f"the clock of the board on {self._link} {fault}: switch it off")

    def _newest(self) -> RobotState:
        state = self._session.state
        if state is None:
            raise LinkError(f"no state has come over {self._link}")
        return state
