"""The robot with the stock mainboard, behind the Robot protocol.

A sibling of ``SerialRobot``. That board has no command timeout, no soft start and no check of what
it receives. All of this is here: gains and legs that move slowly (``stock.session``), three packets
that kill the motors on every way out, and a watchdog process that sends them when this process
cannot.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import time
from typing import Protocol

from robot_firmware_bridge.errors import (
    BoardClockError,
    BoardResetError,
    BridgeError,
    LateStatesError,
    LinkError,
    LinkLostError,
    MotorsOnError,
    NoBoardError,
    RobotFaultError,
)
from robot_firmware_bridge.messages import CommandLimits, MotorCommand, RobotState
from robot_firmware_bridge.robot import MINITAUR, RobotDescription
from robot_firmware_bridge.serial.link import Link, PortLink
from robot_firmware_bridge.serial.watchdog import Watchdog
from robot_firmware_bridge.stock.session import KILLS, StockCounters, StockSession
from robot_firmware_bridge.stock.wire import (
    BAUD,
    MAX_GAIN,
    STATE_INTERVAL_MS,
    encode_kill,
)

COMMAND_LIFE_NS = 80_000_000
"""Time without a command after which the watchdog of a run kills the motors."""

# A state is 9 ms on the line, and the next one comes 10 ms later.
_STATE_DELAY_NS = 19_000_000
_FIRST_STATES_S, _FIRST_STATES = 1.0, 3
_WATCH_S = 0.5
# Of the states of half a second, so many must be believed before a robot is armed.
_BELIEVED = 0.9
# And for so much of that time the next state may be overdue.
_OVERDUE = 0.2
# The fifth state that comes after a kill was made after it, even where an adapter holds states back
# for 16 ms, and is there by then.
_NEWER, _LIMP_S = 5, 0.15
# A port that was lost may come back: how long the end of a run waits for it, to send the kills.
_BACK_S = 1.5

_logger = logging.getLogger(__name__)


class Guard(Protocol):
    """What kills the motors when this process cannot; ``Watchdog`` is one."""

    def beat(self) -> bool:
        """Say that a command is about to be sent; return False if it must not be."""

    def dismiss(self) -> None:
        """End its work; nothing is sent. Idempotent; never raises."""

    def kill_motors(self) -> None:
        """Let it kill the motors now, and end. Idempotent; never raises."""


class GuardedLink(Link[StockSession], Protocol):
    """A link that can be watched over."""

    def guard(self, kill: bytes, patience_s: float) -> Guard:
        """Start what sends the kill when this process cannot.

        Raises:
            LinkError: It cannot be started.
        """


class StockLink(PortLink[StockSession]):
    """The port of a stock mainboard."""

    def __init__(self, port: str, description: RobotDescription = MINITAUR) -> None:
        super().__init__(port, BAUD, StockSession(description), realtime=True)

    def guard(self, kill: bytes, patience_s: float) -> Guard:
        """Start the watchdog process on this port.

        Raises:
            LinkError: It cannot be started, or the port is gone.
        """
        port = self.duplicate()
        try:
            return Watchdog(port, kill, patience_s)
        except OSError as error:
            raise LinkError(f"no watchdog for {self}: {error}; nothing is armed") from error
        finally:
            os.close(port)


class StockRobot:
    """A Minitaur with its stock mainboard at the other end of a link; its motors are switched off.

    Args:
        link: The link; closed with the robot, and at once if there is no such robot behind it.
        description: The robot that must be there.
        patience_ns: Time without a command after which the watchdog kills the motors.

    Raises:
        NoBoardError: Nothing sends states as that board does.
        LinkError: The link fails meanwhile.
    """

    def __init__(
        self,
        link: GuardedLink,
        description: RobotDescription = MINITAUR,
        *,
        patience_ns: int = COMMAND_LIFE_NS,
    ) -> None:
        self._link, self._session = link, link.session
        self.description = description
        self._patience_ns = patience_ns
        self._guard: Guard | None = None
        self._armed = False  # the motor drivers may be on
        self._commanding = False  # commands may be sent
        self._fading = False  # the loop damps: the legs may fold up
        self._sent: MotorCommand | None = None
        try:
            self._await_states()
            # The board may still hold the last pose of a host that died.
            link.send(self._session.kill())
        except LinkError:
            link.close()
            raise

    @property
    def command_limits(self) -> CommandLimits:
        """What this board carries out: no damping, and no command for longer than the watchdog."""
        return CommandLimits(MAX_GAIN, 0.0, self._patience_ns, "stock", _STATE_DELAY_NS)

    @property
    def counters(self) -> StockCounters:
        """How the line did so far."""
        return self._session.counters

    def pose_fault(self) -> str:
        """Return why the board cannot be armed where the legs are, and the cure; "" if it can."""
        return self._session.pose_fault()

    def activate(self) -> None:
        """Look whether states come in time, start the watchdog; nothing moves until a write.

        Raises:
            MotorsOnError: They may be on since the last run.
            RobotFaultError: A leg is where it must not be: ``StockSession.pose_fault``.
            LateStatesError: States are late or damaged.
            BoardClockError: The board's clock is not sound.
            LinkError: The line fails, or there is no watchdog.
        """
        if trouble := self.deactivate():
            raise MotorsOnError(trouble)
        self._link.poll()
        self._check_line()
        self._check_clock()
        self._session.board_reset = False
        self._session.begin()
        try:
            self._guard = self._link.guard(KILLS * encode_kill(), self._patience_ns * 1e-9)
        except LinkError:
            self._session.kill()
            raise
        self._fading = False
        self._armed = self._commanding = True

    def read(self) -> RobotState:
        """Return the newest state, at once.

        Raises:
            LinkLostError: The port is gone, or was for a moment, or the board hears nothing.
            BoardResetError: The board started anew since it was armed.
            BoardClockError: The board's clock is not sound: the age of the state is not known.
            RobotFaultError: A leg came where the board takes it for being elsewhere.
        """
        try:
            self._link.poll()
            if self._armed:
                self._check_board()
            self._check_clock()
        except BridgeError:
            self._commanding = False
            raise
        state = self._session.state
        if state is None:
            raise LinkError(f"no state has come over {self._link}")
        return state

    def write(self, command: MotorCommand) -> MotorCommand:
        """Send a command; return what was sent, after the bounds of ``StockSession.command``.

        To a robot that is not armed, or was lost since, nothing is sent. Nothing is sent either
        while the last state is in doubt, since a board that just started anew would jump: it holds
        the command before, which is returned.

        Raises:
            WireError: A value is NaN or infinite, or the targets are not eight.
            LinkError: It cannot be sent, or the watchdog has killed the motors.
        """
        if not self._commanding or self._guard is None:
            return dataclasses.replace(command, kp=0.0, kd=0.0)
        try:
            if not self._guard.beat():
                raise LinkLostError(
                    f"the watchdog of {self._link} is gone or has killed the motors, as no "
                    f"command came for {self._patience_ns // 1_000_000} ms: stop other programs"
                )
            if self._session.in_doubt and self._sent is not None:
                return self._sent
            self._fading = command.kp <= 0.0
            if self._fading and self._session.pose_fault():  # folded up: there is no more to fade
                self.deactivate()
                return dataclasses.replace(command, kp=0.0, kd=0.0)
            packet, self._sent = self._session.command(command)
            self._link.send(packet)
        except LinkError:
            self._commanding = False
            raise
        return self._sent

    def deactivate(self) -> str:
        """Kill the motors at once; a loop has faded them before. Idempotent; never raises.

        Where the port is gone, the kills are sent as soon as it is back. The board confirms no
        kill: that it has heard one shows in the duty of its states, if there was any before.

        Returns:
            Why the motors may be on; "" if states that were made after the kill show no duty.
        """
        if not self._armed:
            return ""
        self._commanding = False
        guard, self._guard, self._sent = self._guard, None, None
        trouble = "the kill was interrupted"
        try:
            trouble = self._kill()
        except LinkError as error:
            trouble = f"the kill could not be sent: {error}"
        except Exception as error:
            _logger.exception("the kill failed")
            trouble = f"the kill failed: {error!r}"
        finally:
            self._armed = bool(trouble)
            if trouble:
                _logger.error("%s", MotorsOnError(trouble))
                self._session.kill_due = True
            if guard is not None and trouble:
                guard.kill_motors()
            elif guard is not None:
                guard.dismiss()
        return trouble

    def close(self) -> None:
        """Deactivate and release the link. Idempotent; never raises."""
        trouble, end_s = self.deactivate(), time.monotonic() + _BACK_S
        while self._armed and time.monotonic() < end_s:
            time.sleep(0.05)
            with contextlib.suppress(LinkError):
                trouble = self._kill()
                self._armed = bool(trouble)
        if self._armed:
            _logger.error("%s", MotorsOnError(trouble))
            self._armed = False
        self._link.close()

    def _kill(self) -> str:
        """Send kills; return why the motors may be on all the same, by the board's states.

        Raises:
            LinkError: They cannot be sent.
        """
        session, newer = self._session, 0
        for _ in range(KILLS):
            self._link.send(session.kill())
            self._link.poll()  # what waited while this process stalled is no answer
            newer = session.counters.states + _NEWER
            if self._link.wait(functools.partial(self._is_limp, newer), _LIMP_S):
                return ""
        if session.counters.states < newer:
            return f"no state of the board on {self._link} says that they are off"
        return (
            f"the board on {self._link} drives motors after {KILLS} kills: look at the wire to "
            "its RX"
        )

    def _is_limp(self, states: int) -> bool:
        """Return whether so many states have come, and the newest shows no duty."""
        return self._session.counters.states >= states and self._session.is_limp

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
                f"{counters.bytes_received} bytes came with {counters.states} states, and it was "
                f"sent nothing: is this the stock mainboard's port, at {BAUD} baud?"
            )
        raise NoBoardError(f"no stock mainboard on {self._link}: {what}")

    def _check_line(self) -> None:
        """Watch the states arrive for a moment; raise if no robot can be controlled by them."""
        before = self._session.counters
        self._link.wait(lambda: False, _WATCH_S)
        after = self._session.counters
        came = after.states - before.states
        expected = _WATCH_S * 1e3 / STATE_INTERVAL_MS
        what = f"{came} of {expected:.0f} states came over {self._link}"
        damaged = after.damaged + after.implausible - before.damaged - before.implausible
        if damaged and came < _BELIEVED * expected:
            raise LateStatesError(
                f"{what}, and {damaged} damaged ones: look at the cable and its ground, and "
                "whether another program uses the port"
            )
        overdue = 1e-9 * (after.overdue_ns - before.overdue_ns) / _WATCH_S
        if overdue > _OVERDUE or came < _BELIEVED * expected:
            raise LateStatesError(
                f"{what}, and the next one was overdue for {overdue:.0%} of the time: "
                f"{self._link.why_late()}"
            )

    def _check_board(self) -> None:
        if self._session.board_reset:
            raise BoardResetError(
                f"the board on {self._link} started anew: look at its battery and its plugs, then "
                "start again"
            )
        if self._session.deaf:
            raise LinkLostError(
                f"the board on {self._link} does not do what it is sent: look at the wire to its "
                "RX, and whether another program uses the port"
            )
        if not self._fading and (fault := self._session.pose_fault()):
            raise RobotFaultError(f"the motors are killed: {fault}")

    def _check_clock(self) -> None:
        fault = self._session.clock_fault
        if fault:
            raise BoardClockError(f"the clock of the board on {self._link} {fault}: switch it off")
