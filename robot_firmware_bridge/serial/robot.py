"""The robot at the other end of a link: a motor controller behind the Robot protocol.

A sibling of the simulated robot. What keeps the motors safe runs on the board. This side arms the
board, commands it in time, and never goes on with a board that was away.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import logging

import numpy as np

from robot_firmware_bridge.errors import (
    BoardClockError,
    BoardResetError,
    LateStatesError,
    LinkError,
    LinkLostError,
    MismatchError,
    NoBoardError,
    RobotFaultError,
    WireError,
)
from robot_firmware_bridge.messages import (
    CommandLimits,
    Fault,
    Mode,
    MotorCommand,
    RobotState,
    fault_names,
)
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH, Action, Result
from robot_firmware_bridge.protocol.session import Counters, Quantiles, Session
from robot_firmware_bridge.protocol.wire import Hello, Identity, Reply, encode
from robot_firmware_bridge.robot import MINITAUR, RobotDescription
from robot_firmware_bridge.serial.link import Link

_HELLO_S = 1.0
_STATE_S = 0.5
_TRY_S = 0.05
_TRIES = 3
_DAMPED_S = 1.0
# How long the arrival of states is watched before arming, and how many of them there are at least.
_WATCH_S, _WATCHED_STATES = 0.3, 10
# New states may be this much later than their interval. A control loop of 6 ms wants states that
# are no older than three periods, 18 ms. With an interval of 2 ms, 1 ms on the line and 2 ms for
# the newest state of a burst to be made, a state is then at most 15 ms old when the next arrives.
# The rest is for a loop that is a little late itself.
_LATE_NS = 10_000_000
_SAFE_MODES = (Mode.DISARMED, Mode.DAMPING, Mode.FAULT)

_logger = logging.getLogger(__name__)


class SerialRobot:
    """A Minitaur whose motor controller is at the other end of a link.

    Args:
        link: The link; closed with the robot, and at once if there is no such robot behind it.
        description: The robot that must be there.
        state_interval_ms: Wanted time between two states; the board may answer with a longer one.
        compensate_battery: Let the board scale its duty by nominal over measured battery voltage.

    Raises:
        NoBoardError: Nothing answers as a board does.
        MismatchError: The board has another protocol or drives another robot.
        LinkError: The link fails meanwhile.
    """

    def __init__(
        self,
        link: Link[Session],
        description: RobotDescription = MINITAUR,
        *,
        state_interval_ms: int = 2,
        compensate_battery: bool = False,
    ) -> None:
        self._link, self._session = link, link.session
        self.description = description
        self._robot_hash = int(description.hash()[:16], 16)
        self._armed = False  # the board may hold torque: it is to be disarmed
        self._in_use = False  # the board must be the one that was armed
        self._commanding = False  # commands may be sent
        self._known: Identity | None = None  # the board that was armed
        try:
            self._session.introduce(
                Hello(PROTOCOL_HASH, self._robot_hash, state_interval_ms, int(compensate_battery))
            )
            self._await_identity()
            self._await_state()
        except LinkError:
            link.close()
            raise

    @property
    def identity(self) -> Identity:
        """Who the board is.

        Raises:
            LinkError: It has not answered since the link was lost.
        """
        identity = self._session.identity
        if identity is None:
            raise LinkError(f"the board on {self._link} has not answered since the link was lost")
        return identity

    @property
    def command_limits(self) -> CommandLimits:
        """What the board cuts a command to.

        Raises:
            LinkError: It has not answered since the link was lost.
        """
        board = self.identity
        return CommandLimits(board.max_kp, board.max_kd, board.max_valid_ms * 1_000_000, "core")

    @property
    def counters(self) -> Counters:
        """How the line did so far."""
        return self._session.counters

    @property
    def round_trip(self) -> Quantiles | None:
        """Time from a command to the first state that echoes it; None before the first."""
        return self._session.round_trip()

    @property
    def arrival_gap(self) -> Quantiles | None:
        """Time between two arrivals of new states since arming began; None before the second."""
        return self._session.arrival_gap()

    @property
    def reported_fault(self) -> Fault:
        """Faults in the newest state of the board, after the end of a run too; never raises."""
        state = self._session.state
        return Fault.NONE if state is None else state.fault

    def activate(self) -> None:
        """Arm the board; nothing moves until the first write.

        Raises:
            RobotFaultError: A fault is latched or present, or the board refuses.
            LateStatesError: States arrive too late to control the robot by them.
            BoardClockError: The board's clock is not sound.
            LinkError: The board does not answer, or is another one than expected.
        """
        self._commanding = False
        self._await_readiness()
        self._check_line()
        self._session.board_reset = False
        # From here on the board may be armed even if its answer is lost.
        self._armed = self._in_use = True
        reply = self._request(Action.ARM)
        if reply.result != Result.DONE:
            self.deactivate()
            raise _refusal("arm", reply)
        if not self._link.wait(lambda: self._mode() in (Mode.READY, Mode.ACTIVE), _STATE_S):
            self.deactivate()
            raise LinkError(
                f"the board on {self._link} accepted the request to arm, but is not ready"
            )
        self._known = self.identity
        self._commanding = True

    def read(self) -> RobotState:
        """Return the newest state, at once.

        Raises:
            LinkLostError: The port is gone, or was for a moment.
            BoardResetError: The board started anew since it was armed.
            BoardClockError: The board's clock is not sound: the age of the state is not known.
        """
        try:
            self._link.poll()
            if self._in_use:
                self._check_same_board()
            self._check_clock()
        except LinkError:
            self._commanding = False
            raise
        return self._newest()

    def write(self, command: MotorCommand) -> MotorCommand:
        """Send a command; return what was sent, after the board's limits and the wire's rounding.

        To a robot that is not armed, or was lost since, nothing is sent.

        Raises:
            WireError: A value is NaN or infinite, or the targets are not eight.
            LinkError: It cannot be sent.
        """
        if not self._commanding:
            return dataclasses.replace(command, kp=0.0, kd=0.0)
        try:
            board = self._check_same_board()
            command = self._limited(command, board)
            frame, sent = self._session.command(command, self._link.now_ns())
            self._link.send(frame)
        except LinkError:
            self._commanding = False
            raise
        return sent

    def deactivate(self) -> str:
        """Disarm the board: it damps, then opens its bridges. Idempotent; never raises.

        Returns:
            Why the board did not disarm; "" if it did, or cannot be reached: then it damps by
            itself.
        """
        if not self._armed:
            return ""
        self._commanding = self._in_use = False
        try:
            reply = self._request(Action.DISARM)
            # Not before: whoever interrupts this, or has no answer, finds a robot to disarm again.
            self._armed = reply.mode not in _SAFE_MODES
            if self._armed:
                refusal = _refusal("disarm", reply)
                _logger.error("the board on %s does not disarm: %s", self._link, refusal)
                return f"the board on {self._link} does not disarm: {refusal}"
            # So that the newest state shows it, too.
            self._link.wait(lambda: self._mode() in _SAFE_MODES, _TRY_S)
        except LinkError as error:
            _logger.warning("cannot disarm, the board damps by itself: %s", error)
        except Exception:  # it must not raise; without commands the board damps by itself
            _logger.exception("cannot disarm, the board damps by itself")
        return ""

    def close(self) -> None:
        """Deactivate and release the link. Idempotent; never raises."""
        self.deactivate()
        self._link.close()

    def clear_fault(self) -> None:
        """Clear the board's faults, which leaves it disarmed. Look for the cause first.

        Raises:
            RobotFaultError: A cause is still there, or the robot is armed.
            LinkError: The board does not answer.
        """
        reply = self._request(Action.CLEAR_FAULT)
        if reply.result != Result.DONE:
            raise _refusal("clear its faults", reply)
        if not self._link.wait(lambda: self._mode() is Mode.DISARMED, _DAMPED_S):
            raise LinkError(f"the board on {self._link} cleared its faults, but does not show it")

    def emergency_stop(self) -> None:
        """Damp now, and until :meth:`clear_fault`, whatever else is sent.

        Raises:
            LinkError: The board does not confirm it: switch the robot off.
        """
        self._commanding = False
        request = self._session.request(Action.EMERGENCY_STOP)
        frame = encode(request)
        for _ in range(_TRIES):  # one should arrive; none waits, none stops at an error
            with contextlib.suppress(LinkError):
                self._link.send(frame)
        if not self._link.wait(
            lambda: self._session.reply_to(request) is not None, _TRIES * _TRY_S
        ):
            raise LinkError(
                f"the board on {self._link} does not confirm the emergency stop: cut its power"
            )
        self._link.wait(lambda: Fault.EMERGENCY_STOP in self._fault(), _TRY_S)

    # --- the conversation ---------------------------------------------------------------------

    def _await_identity(self) -> None:
        """Wait until the board has identified itself; check that it is the right one."""
        if not self._link.wait(lambda: self._session.identity is not None, _HELLO_S):
            counters = self._session.counters
            what = (
                f": {counters.bytes_received} bytes came, with {counters.frames} good frames; "
                "is this the board's port, and its baud rate?"
            )
            if counters.bytes_received == 0:
                what = ", not a byte came: is it powered, and are RX and TX the right way round?"
            raise NoBoardError(f"no board answers on {self._link}{what}")
        identity = self.identity
        who = identity.firmware_id.rstrip(b"\0").decode("ascii", "replace")
        if identity.protocol_hash != PROTOCOL_HASH:
            raise MismatchError(
                f"the board on {self._link} ({who}) has protocol {identity.protocol_hash:016x}, "
                f"this program {PROTOCOL_HASH:016x}: reflash the board, or use its version of this"
            )
        if identity.robot_hash != self._robot_hash:
            raise MismatchError(
                f"the board on {self._link} ({who}) is for robot {identity.robot_hash:016x}, "
                f"not for {self.description.name} {self._robot_hash:016x}: reflash the board"
            )

    def _await_state(self) -> None:
        """Wait for a new state of the board that is there now."""
        before = self._session.raw_state
        if not self._link.wait(lambda: self._session.raw_state is not before, _STATE_S):
            raise NoBoardError(f"the board on {self._link} identifies itself, but sends no state")

    def _await_readiness(self) -> None:
        """Wait until arming makes sense: a known board, at rest, without a fault."""
        self._link.poll()
        self._await_identity()
        self._check_clock()
        self._await_state()
        # A board that was just disarmed damps for a moment before it lets go.
        self._link.wait(lambda: bool(self._fault()) or self._mode() is not Mode.DAMPING, _DAMPED_S)
        if self._fault():
            raise RobotFaultError(
                f"the robot is stopped by {fault_names(self._fault())}: look for the cause, then "
                "clear it (clear_fault, or --clear-fault)"
            )

    def _check_line(self) -> None:
        """Watch the states arrive for a moment; raise if no robot can be controlled by them."""
        interval_ms = self.identity.state_interval_ms
        watch_s = max(_WATCH_S, _WATCHED_STATES * interval_ms / 1e3)
        self._session.measure_arrivals()
        self._link.wait(lambda: bool(self._session.clock_fault), watch_s)
        self._check_clock()
        gap = self._session.arrival_gap()
        most_us = 1e3 * interval_ms + _LATE_NS / 1e3
        if gap is None:
            raise LateStatesError(f"the board on {self._link} stopped sending states")
        if gap.p50_us > most_us:
            raise LateStatesError(
                f"states arrive over {self._link} every {gap.p50_us / 1e3:.0f} ms instead of every "
                f"{interval_ms} ms: {self._link.why_late()}"
            )
        if gap.max_us > most_us:
            _logger.warning(
                "a state arrived over %s %.0f ms after the one before, not %d ms: this computer or "
                "a USB hub is busy",
                self._link,
                gap.max_us / 1e3,
                interval_ms,
            )

    def _check_clock(self) -> None:
        if self._session.clock_fault:
            raise BoardClockError(
                f"the clock of the board on {self._link} {self._session.clock_fault}: check the "
                "board's crystal and the frequency that its firmware takes it for, or wait until "
                "this computer's clock is set (NTP); then restart the board"
            )

    def _request(self, action: Action) -> Reply:
        """Send a request until there is a reply; return the reply."""
        request = self._session.request(action)
        frame = encode(request)
        for _ in range(_TRIES):
            self._link.send(frame)
            self._link.wait(lambda: self._session.reply_to(request) is not None, _TRY_S)
            reply = self._session.reply_to(request)
            if reply is not None:
                return reply
        raise LinkError(f"the board on {self._link} does not answer: {action.name.lower()}")

    def _check_same_board(self) -> Identity:
        """Return the board that was armed; raise if it was away since, for however short a time.

        Raises:
            BoardResetError: It started anew.
            LinkLostError: It was away.
            BoardClockError: Its clock is not sound.
        """
        if self._session.board_reset:
            raise BoardResetError(
                f"the board on {self._link} started anew: check its supply, then arm it again"
            )
        if self._known is None or self._session.identity is not self._known:
            raise LinkLostError(f"the board on {self._link} was away: arm it again")
        self._check_clock()
        return self._known

    def _limited(self, command: MotorCommand, board: Identity) -> MotorCommand:
        """Return the command as the board will take it, so that the record shows what is done."""
        if not np.isfinite(command.target_rad).all():
            raise WireError(f"target is {command.target_rad} rad: no command may have such numbers")
        low, high = self.description.motor_limits_rad
        return MotorCommand(
            np.minimum(np.maximum(command.target_rad, low), high),
            min(command.kp, board.max_kp),
            min(command.kd, board.max_kd),
            min(command.valid_for_ns, board.max_valid_ms * 1_000_000),
        )

    def _newest(self) -> RobotState:
        state = self._session.state
        if state is None:
            raise NoBoardError(f"the board on {self._link} has sent no state")
        return state

    def _mode(self) -> Mode:
        return self._newest().mode

    def _fault(self) -> Fault:
        return self._newest().fault


def _refusal(what: str, reply: Reply) -> RobotFaultError:
    """Return an error with the board's answer to a request that it did not carry out."""
    faults, mode = fault_names(Fault(reply.fault)), _name(Mode, reply.mode)
    why = f"it answers {_name(Result, reply.result)}"
    if reply.result == Result.NOT_INTRODUCED:
        why = "it does not know this program; it may have just started"
    elif reply.result == Result.WRONG_MODE:
        why = f"it is {mode}"
    elif reply.result == Result.FAULTY:
        why = f"it is stopped by {faults}; remove the cause, then clear the fault"
    return RobotFaultError(f"the robot does not {what}: {why}")


def _name(kind: type[enum.IntEnum], number: int) -> str:
    """Return the name of a number from the wire, or the number if it is unknown."""
    return next((member.name for member in kind if member == number), str(number))
