"""The host's side of the conversation with the stock mainboard: no I/O, and time is an argument.

The board checks nothing, so this side does. Of the states that arrive it believes those that can
follow the one before. What it sends never jumps: the first packet is for where the legs are, within
``SLEW_RAD``, every other within that of the one before, and gains begin at 0.

A link feeds it the bytes that arrive. One thread may feed while another commands: what passes
between them is single assignments of values that never change, and each is written by one of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.errors import RobotFaultError, WireError
from robot_firmware_bridge.geometry import leg_to_motor, motor_to_leg
from robot_firmware_bridge.messages import Fault, Mode, MotorCommand, RobotState
from robot_firmware_bridge.protocol.board_clock import BoardClock, ahead, line_ns
from robot_firmware_bridge.robot import NUM_LEGS, NUM_MOTORS, MotorConstants, RobotDescription
from robot_firmware_bridge.stock.wire import (
    BAUD,
    EXTENSION_RAD,
    MAX_DUTY,
    MAX_GAIN,
    STATE_BYTES,
    STATE_INTERVAL_MS,
    SWING_RAD,
    StateScanner,
    StockState,
    decode_command,
    encode_kill,
    encode_position,
)

Array = NDArray[np.float64]

SLEW_RAD = 0.3
"""Greatest change of a leg's swing or extension from one packet to the next: 30 rad/s.

A start from a pose that is farther than this from what may be sent is refused.
"""

GAIN_STEP = 0.02
"""Greatest change of the gain from one packet to the next: half a second from 0 to 1."""

KILLS = 3
"""Kills that are sent in a row. One may be torn by bytes that were lost before it."""

_U32 = 0xFFFFFFFF
_LINE_NS = line_ns(STATE_BYTES, BAUD)
# What a state may differ by from the one before, beyond noise: faster than a motor turns without
# load at the board's greatest duty, than a falling body turns, than a battery sags.
_MOTOR_RAD_S, _BODY_RAD_S, _NOISE_RAD, _BATTERY_V = 120.0, 20.0, 0.15, 6.0
# By so much a state may be ahead of the time that passed since the one before came: that one was
# late. A state may come as late as it likes, as after this computer stalled.
_AHEAD_MS = 60
# A board whose time is less than this, and behind the newest one by more than that, started anew.
_YOUNG_MS, _BACK_MS = 5000, 1000
# What was sent goes to the wire in the nearest floats that it bears, 0.004 rad apart at most.
_STEP_RAD = SLEW_RAD - 0.008
# So many states in a row that contradict the newest one, but not each other, are true.
_PROOF = 3
# Encoders read one turn; motors are commanded from 0.2 to 3.6 rad. A turn that begins here has its
# seam far from all of that.
_TURN_BEGINS_RAD = -0.5 * math.pi
# The board takes a leg that is stretched, at an extension of pi, for a folded one, and what it does
# where an encoder passes its own seam, at 0, is not known. Motors and extensions must be this far
# from both: before a start, and while the motors are on.
_START_MARGIN_RAD, _MARGIN_RAD, _MOST_SWING_RAD = 0.2, 0.02, 1.4
_BEND = "put its toe below its hip, knees out, the leg half bent"
# The duty in a state is that of one of the newest commands, give or take this. Where it is not, for
# so many states in a row, the board does not hear what is sent.
_DUTY, _NEWEST, _UNEXPLAINED = 0.15, 6, 20


@dataclass(slots=True)
class StockCounters:
    """How the line did since the session began.

    Attributes:
        bytes_received: Bytes, good or bad.
        states: States that were believed.
        damaged: Packets with an impossible value.
        skipped_bytes: Bytes that belong to no packet.
        late: States no newer than the newest one.
        lost: States that did not come, by the board's clock.
        implausible: States that cannot follow the newest one.
        overdue_ns: Time for which the next state was late by more than the interval of states.
        reconnects: Times that the link came back.
        board_resets: Times that the board started anew.
    """

    bytes_received: int = 0
    states: int = 0
    damaged: int = 0
    skipped_bytes: int = 0
    late: int = 0
    lost: int = 0
    implausible: int = 0
    overdue_ns: int = 0
    reconnects: int = 0
    board_resets: int = 0


class StockSession:
    """One host's conversation with one stock mainboard.

    Args:
        description: The robot; its motor constants turn duty into torque.

    Attributes:
        mode: What this side knows: ready after :meth:`begin`, active after the first command,
            disarmed after :meth:`kill`.
        board_reset: The board started anew since this was last set to False.
        kill_due: Kills are to be sent as soon as the link is back.
    """

    def __init__(self, description: RobotDescription) -> None:
        self._motor, self._leg_names = description.motor, description.leg_names
        self._scanner = StateScanner()
        self._clock = BoardClock(_LINE_NS)
        self._counters = StockCounters()
        self._newest: tuple[StockState, int] | None = None  # and when it arrived
        self._doubted: list[tuple[StockState, int]] = []
        self._state: RobotState | None = None
        self._encoder_jumped = False
        self._unexplained = 0
        # What was commanded last: legs, gain; and the newest commands, to compare duties with.
        self._leg_rad = motor_to_leg(description.stance_pose_rad)
        self._gain = 0.0
        self._commands: tuple[tuple[Array, float], ...] = ()
        self.mode = Mode.DISARMED
        self.board_reset = False
        self.kill_due = False

    @property
    def state(self) -> RobotState | None:
        """Newest state, stamped with the host's time of its reading; None before the first.

        The board reports no fault. ``ENCODER`` means that angles jumped, and stayed where they
        jumped to, while the motors were on.
        """
        state = self._state
        if state is None:
            return None
        fault = Fault.ENCODER if self._encoder_jumped else Fault.NONE
        return replace(state, mode=self.mode, fault=fault)

    @property
    def counters(self) -> StockCounters:
        """A copy of the counters so far."""
        scanner = self._scanner
        return replace(self._counters, damaged=scanner.damaged, skipped_bytes=scanner.skipped_bytes)

    @property
    def clock_fault(self) -> str:
        """What is wrong with the board's clock, as the rest of a sentence; "" if nothing is."""
        return self._clock.fault

    @property
    def in_doubt(self) -> bool:
        """Whether the last packet was not believed: the board may just have started anew."""
        return bool(self._doubted)

    @property
    def is_limp(self) -> bool:
        """Whether the newest state says that no motor is driven."""
        newest = self._newest
        return newest is not None and not newest[0].duty.any()

    @property
    def deaf(self) -> bool:
        """Whether the board has not done for some states what it is commanded."""
        return self._unexplained >= _UNEXPLAINED

    def pose_fault(self) -> str:
        """Return which leg is where it must not be, and the cure; "" for none.

        That is where the board would take it for another pose or, before a start, farther than
        ``SLEW_RAD`` from what may be sent.
        """
        state = self._state
        if state is None:
            return "where the legs are is not known: no state has come"
        starts = self.mode is Mode.DISARMED
        margin = _START_MARGIN_RAD if starts else _MARGIN_RAD
        leg = motor_to_leg(state.motor_position_rad)
        off = np.abs(_within_bounds(leg) - leg).reshape(2, NUM_LEGS).max(axis=0)
        for i, name in enumerate(self._leg_names):
            swing, extension = float(leg[i]), float(leg[NUM_LEGS + i])
            least = min(float(state.motor_position_rad[2 * i : 2 * i + 2].min()), extension)
            if least < margin or extension > math.pi - margin or abs(swing) > _MOST_SWING_RAD:
                return (
                    f"{name} is at swing {swing:.2f}, extension {extension:.2f} rad, which this "
                    f"board takes for another pose: {_BEND}"
                )
            if starts and off[i] > SLEW_RAD:
                return (
                    f"{name} is at swing {swing:.2f}, extension {extension:.2f} rad, and would "
                    f"jump by {off[i]:.2f} rad to what this board may be sent: {_BEND}"
                )
        return ""

    # --- to the board -------------------------------------------------------------------------

    def begin(self) -> None:
        """Command from where the legs are now, with gains that begin at 0.

        Raises:
            RobotFaultError: A leg is where it must not be: :meth:`pose_fault`.
        """
        state, fault = self._state, self.pose_fault()
        if state is None or fault:
            raise RobotFaultError(f"nothing is armed: {fault}")
        self._leg_rad = _within_bounds(motor_to_leg(state.motor_position_rad))
        self._gain, self._commands, self._unexplained = 0.0, (), 0
        self._encoder_jumped = self.kill_due = False
        self.mode = Mode.READY

    def command(self, command: MotorCommand) -> tuple[bytes, MotorCommand]:
        """Return the packet of a command, and the command that the board reads in it.

        Legs and gain go towards the command by ``SLEW_RAD`` and ``GAIN_STEP`` at most. The board
        has no damping. A command that damps, with a gain of 0, lets the legs follow where they are
        while the gain fades.

        Raises:
            WireError: A value is NaN or infinite, or the targets are not eight.
        """
        target = np.asarray(command.target_rad, np.float64)
        if target.shape != (NUM_MOTORS,) or not np.isfinite([*target, command.kp]).all():
            raise WireError(f"command {target}, kp {command.kp}: eight finite angles and a gain")
        if command.kp <= 0.0 and self._state is not None:
            target = self._state.motor_position_rad
        wanted = _within_bounds(motor_to_leg(target))
        leg = self._leg_rad + np.clip(wanted - self._leg_rad, -_STEP_RAD, _STEP_RAD)
        gain = min(max(command.kp, 0.0), MAX_GAIN)
        gain = min(max(gain, self._gain - GAIN_STEP), self._gain + GAIN_STEP)
        packet = encode_position(_within_bounds(leg), gain)
        _, self._leg_rad, gains = decode_command(packet)
        self._gain = float(gains[0])
        self._commands = (*self._commands[1 - _NEWEST :], (leg_to_motor(self._leg_rad), self._gain))
        self.mode = Mode.ACTIVE
        sent = leg_to_motor(self._leg_rad)
        return packet, MotorCommand(sent, self._gain, 0.0, command.valid_for_ns)

    def kill(self) -> bytes:
        """Return ``KILLS`` packets that switch the motors off."""
        self._gain, self._commands = 0.0, ()
        self.mode = Mode.DISARMED
        return KILLS * encode_kill()

    def due(self, now_ns: int) -> bytes:
        """Return what must be sent now: kills, if those of the end of a run may be lost."""
        del now_ns
        if not self.kill_due:
            return b""
        self.kill_due = False
        return KILLS * encode_kill()

    def reconnected(self) -> None:
        """Start anew after the link came back: the board may hold its last command."""
        self._scanner.reset()
        self._counters.reconnects += 1
        self.kill_due = True

    # --- from the board -----------------------------------------------------------------------

    def receive(self, data: bytes, now_ns: int) -> None:
        """Take bytes that arrived; never raises, whatever they are."""
        self._counters.bytes_received += len(data)
        for state in self._scanner.feed(data):
            self._on_state(state, now_ns)

    def _on_state(self, state: StockState, now_ns: int) -> None:
        newest, doubted = self._newest, self._doubted
        # Two states that are 20 ms apart may differ by much, so one that goes with a doubted state
        # is doubted, too.
        if newest is not None and (
            not _follows(state, now_ns, *newest)
            or (doubted and _follows(state, now_ns, *doubted[-1]))
        ):
            self._doubt(state, now_ns, newest[0])
            return
        dt_ms = 0 if newest is None else ahead(state.t_ms, newest[0].t_ms, _U32)
        self._counters.lost += max(0, round(dt_ms / STATE_INTERVAL_MS) - 1)
        self._believe(state, now_ns, dt_ms)

    def _doubt(self, state: StockState, now_ns: int, newest: StockState) -> None:
        """Drop a state, unless enough of its kind came in a row."""
        ahead_ms = ahead(state.t_ms, newest.t_ms, _U32)
        if ahead_ms <= 0:
            self._counters.late += 1
        else:
            self._counters.implausible += 1
        if self._doubted and not _follows(state, now_ns, *self._doubted[-1]):
            self._doubted.clear()
        self._doubted.append((state, now_ns))
        if len(self._doubted) < _PROOF:
            return
        if ahead_ms < -_BACK_MS and state.t_ms < _YOUNG_MS:
            self._counters.board_resets += 1
            self.board_reset = True
        elif _leapt_rad(self._doubted[0][0], newest) > _NOISE_RAD:
            self._encoder_jumped = self.mode is not Mode.DISARMED
        self._clock.restart()
        self._believe(state, now_ns, 0)

    def _believe(self, state: StockState, now_ns: int, dt_ms: int) -> None:
        """Take a state as the newest; ``dt_ms`` is the time since the one before, 0 if unknown."""
        position = _in_turn(state.motor_position_rad)
        velocity = np.zeros(NUM_MOTORS)
        if self._newest is not None and dt_ms:
            velocity = _shortest(position - self._newest[0].motor_position_rad) / (1e-3 * dt_ms)
        if self._newest is not None:
            gap_ns = now_ns - self._newest[1]
            self._counters.overdue_ns += max(0, gap_ns - 2 * 10**6 * STATE_INTERVAL_MS)
        self._counters.states += 1
        self._newest = state, now_ns
        self._doubted = []
        self._compare(position, state.duty)
        t_ns = self._clock.to_host_ns(1000 * state.t_ms & _U32, now_ns)
        self._state = RobotState(
            t_ns,
            position,
            velocity,
            _torque_nm(self._motor, state, velocity),
            state.rpy_rad,
            state.angular_rate_rad_s,
            state.battery_v,
        )

    def _compare(self, position_rad: Array, duty: Array) -> None:
        """Count the states in a row whose duty none of the newest commands explains."""
        commands = self._commands
        if not commands:
            return
        off = min(
            float(np.abs(np.clip(gain * (at - position_rad), -MAX_DUTY, MAX_DUTY) - duty).max())
            for at, gain in commands
        )
        self._unexplained = self._unexplained + 1 if off > _DUTY else 0


def _follows(state: StockState, now_ns: int, last: StockState, last_ns: int) -> bool:
    """Return whether a state can come after another, given when both arrived."""
    dt_ms = ahead(state.t_ms, last.t_ms, _U32)
    if dt_ms <= 0 or dt_ms - (now_ns - last_ns) / 1e6 > _AHEAD_MS:
        return False
    turned = np.abs(_shortest(state.rpy_rad - last.rpy_rad)).max()
    sagged = abs(state.battery_v - last.battery_v)
    body_rad = _NOISE_RAD + _BODY_RAD_S * 1e-3 * dt_ms
    return bool(_leapt_rad(state, last) <= _NOISE_RAD and turned <= body_rad) and (
        sagged <= _BATTERY_V
    )


def _leapt_rad(state: StockState, last: StockState) -> float:
    """Return how much farther than it can turn the farthest motor is from where it was."""
    dt_s = 1e-3 * max(0, ahead(state.t_ms, last.t_ms, _U32))
    moved = np.abs(_shortest(state.motor_position_rad - last.motor_position_rad)).max()
    return float(moved) - _MOTOR_RAD_S * dt_s


def _shortest(angles_rad: Array) -> Array:
    """Return angles less whole turns, in [-pi, pi)."""
    shortest: Array = (angles_rad + np.pi) % (2.0 * np.pi) - np.pi
    return shortest


def _in_turn(angles_rad: Array) -> Array:
    """Return angles in the turn in which legs are commanded, [-pi/2, 3 pi/2)."""
    wrapped: Array = (angles_rad - _TURN_BEGINS_RAD) % (2.0 * np.pi) + _TURN_BEGINS_RAD
    return wrapped


def _within_bounds(leg_rad: Array) -> Array:
    """Return legs (swings, extensions) within what may be sent."""
    swing = np.clip(leg_rad[:NUM_LEGS], -SWING_RAD, SWING_RAD)
    return np.concatenate((swing, np.clip(leg_rad[NUM_LEGS:], *EXTENSION_RAD)))


def _torque_nm(motor: MotorConstants, state: StockState, velocity_rad_s: Array) -> Array:
    """Return what each motor's duty yields at its speed, by the identified motor, shape (8,)."""
    back_emf_v = motor.torque_constant_nm_per_a * velocity_rad_s
    current_a = (state.battery_v * state.duty - back_emf_v) / motor.resistance_ohm
    size_nm = np.interp(np.abs(current_a), motor.current_table_a, motor.torque_table_nm)
    return np.copysign(size_nm, current_a)
