"""The checks of what the robot reports, and the names of all that ends a run.

A violation has one of two ends. What a robot can bear is saturated and counted, by
``deploy.policy.controller``, which training runs too. What it cannot bear is a named stop, after
which the loop damps the motors and ends: ``STOPS`` has them all. Trouble that grows slowly gets a
milder answer before, see ``deploy.loop.reactions``.

Before the motors are armed, ``LOOK_STATES`` new states in a row must pass. That is long enough for
every check to decide, so a robot that lies on its side is never armed. A robot at rest draws no
current: its battery does not sag, and a low one is refused after as many states.

On a slow line a state may be older by what it takes there (``CommandLimits.state_delay_ns``).

A silent link is noticed by the age of its last state: with one every 2 ms and ``STALE_PERIODS`` of
3, no later than in the fourth tick after the silence began, while the motors still hold the last
target. A link that is known to be lost ends the run in the next tick.

A tilt must last for consecutive ticks: one glitch of the IMU must not drop a walking robot, and a
fall takes a hundred ticks. A low battery must last because it sags for milliseconds at every step.
For the same reasons there is no stop for an attitude or a battery voltage that jumps: what comes
back at once may be borne, and what stays is a tilt or a low battery.

``encoder_jump`` compares the change of an angle between two states with the mean of both measured
speeds. Within the time ``dt`` a motor can part from that by ``a dt^2 / 4`` at most, where ``a`` is
the greatest torque over the inertia of the bare rotor. Lost states give more time, hence more room.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.errors import SafetyStop
from deploy.loop.pace import MAX_MISSED_SHARE
from deploy.policy.controller import check_finite
from robot_firmware_bridge.geometry import motor_to_leg
from robot_firmware_bridge.messages import Fault, Mode, RobotState, fault_names
from robot_firmware_bridge.robot import MINITAUR, NUM_LEGS, RobotDescription

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stop:
    """An end of a run, for people.

    Attributes:
        name: Stable name, as in ``faults`` of a report.
        meaning: What was found.
        cure: What to do about it.
    """

    name: str
    meaning: str
    cure: str


STALE_PERIODS = 3
TILT_TICKS = 3
BATTERY_TICKS = 20
POSE_MARGIN_RAD = 0.5
# What the checks of a robot that is still limp need: every one of them decides by then.
LOOK_STATES = TILT_TICKS
# Inertia of a motor's rotor about its axis: the motor links of minitaur_rainbow_dash.urdf, as
# PyBullet ships it. The links add to it, which only makes a motor slower.
ROTOR_KG_M2 = 2.18e-4
# On top of what a motor can do: noise, and speeds that a board filters. In trots and gallops, under
# shoves, and over the emulated line, at most 0.085 rad were seen in all.
JUMP_MARGIN_RAD = 0.1

STOPS = (
    Stop(
        "tilt",
        f"the body leaned by more than {MINITAUR.max_tilt_rad} rad in {TILT_TICKS} ticks in a row, "
        "or lay before the start",
        "put the robot upright",
    ),
    Stop(
        "stale_state",
        f"no new state for {STALE_PERIODS} periods, or one from the future",
        "cable, adapter (latency timer), load of this computer; the line says by how much this "
        "computer was late, if it was",
    ),
    Stop(
        "battery_low",
        f"under {MINITAUR.min_battery_v} V for {BATTERY_TICKS} ticks; for {LOOK_STATES} before "
        "arming",
        "charge it",
    ),
    Stop(
        "pose_out_of_range",
        f"a motor is {POSE_MARGIN_RAD} rad or more out of its range before the first move: a leg "
        "is folded, or an encoder's zero is wrong",
        'lift the robot, see "Before each start"; the line names legs, degrees and direction',
    ),
    Stop(
        "encoder_jump",
        "an angle changed by more than its motor can do",
        "magnet and wiring of the encoder that the line names",
    ),
    Stop(
        "robot_fault",
        "the motor controller reports a fault, by its name",
        "see the table of the board's faults",
    ),
    Stop(
        "robot_mode",
        "the motor controller takes no commands",
        "another program commands it, or its disarming was not over",
    ),
    Stop(
        "robot_link",
        "the robot cannot be reached, or was away",
        "see the table of what the line says",
    ),
    Stop(
        "overruns",
        f"more than {MAX_MISSED_SHARE:.0%} of the ticks of a second were missed",
        "close other programs, or take a faster computer",
    ),
    *(
        Stop(f"non_finite_{what}", f"a value of the {what} is NaN or infinite", cure)
        for what, cure in (
            ("state", "that sensor"),
            ("observation", "the policy"),
            ("action", "the policy"),
            ("target", "the policy"),
        )
    ),
    Stop(
        "motors_on",
        "the run has ended, and nothing says that the motors are off",
        "cut their power now; then the wire to the board's RX",
    ),
    Stop("policy_error", "the policy's network failed", "the report has the error"),
    Stop(
        "internal_error",
        "any other error: a bug, or no memory",
        "please report a bug with its traceback",
    ),
)
"""Every name that ends a run, but for those of reactions."""


_MEASURED = (
    "motor_position_rad",
    "motor_velocity_rad_s",
    "motor_torque_nm",
    "rpy_rad",
    "angular_rate_rad_s",
)


class Safety:
    """The checks of one run, by the limits of a robot.

    The control period bounds a state's age, and so does ``state_delay_ns``: how old a state of this
    robot's motor controller may be when all is well.

    Attributes:
        stale_ns: Age from which on a state is too old to act on.
    """

    def __init__(self, robot: RobotDescription, period_s: float, state_delay_ns: int = 0) -> None:
        self._robot = robot
        self.stale_ns = round(STALE_PERIODS * period_s * 1e9) + state_delay_ns
        self._min_up = math.cos(robot.max_tilt_rad)
        self._max_acceleration_rad_s2 = robot.motor.torque_table_nm[-1] / ROTOR_KG_M2
        self._tilted_ticks = 0
        self._low_battery_ticks = 0
        self._last: RobotState | None = None

    def check_state(self, state: RobotState, now_ns: int, armed: bool) -> None:
        """Stop on a state that is broken, old, or in which the robot must not go on.

        ``now_ns`` is of the clock that stamped the state. ``armed`` says that the motor controller
        is expected to take commands.

        Raises:
            SafetyStop: Named as in ``STOPS``.
        """
        self.check_values(state)
        if self.is_stale(state, now_ns):
            age_ms, bound_ms = (now_ns - state.t_ns) / 1e6, self.stale_ns / 1e6
            raise SafetyStop(
                "stale_state",
                f"the newest state is {age_ms:.1f} ms old, bound {bound_ms:.1f} ms: check cable, "
                "adapter and the load of this computer",
            )
        self.check_controller(state, armed)
        self.check_jump(state)
        self.check_tilt(state)
        self.check_battery(state, BATTERY_TICKS if armed else LOOK_STATES)

    def check_values(self, state: RobotState) -> None:
        """Stop on a value that is no number; raise as :meth:`check_state` does."""
        for name in _MEASURED:
            check_finite("state", getattr(state, name), name)
        if not math.isfinite(state.battery_v):
            raise SafetyStop("non_finite_state", f"battery_v is {state.battery_v}")

    def is_stale(self, state: RobotState, now_ns: int) -> bool:
        """Return whether a state is too old to act on, or from the future."""
        return abs(now_ns - state.t_ns) > self.stale_ns

    def check_first_pose(self, position_rad: Array) -> None:
        """Stop before the first move if a measured motor angle, shape (8,), cannot be true.

        Raises:
            SafetyStop: pose_out_of_range.
        """
        low, high = self._robot.motor_limits_rad
        beyond = np.maximum(low - position_rad, position_rad - high)
        worst = int(np.argmax(beyond))
        if not beyond[worst] <= POSE_MARGIN_RAD:
            raise SafetyStop(
                "pose_out_of_range",
                f"motor {self._robot.motor_names[worst]} measures {position_rad[worst]:.2f} rad, "
                f"its range is [{low}, {high}]: {self._cure_of_pose(position_rad, beyond)}",
            )

    def _cure_of_pose(self, position_rad: Array, beyond_rad: Array) -> str:
        """Return what to do about motor angles, shape (8,), that are so far out of their range."""
        swing, extension = np.split(motor_to_leg(position_rad), 2)
        legs = np.flatnonzero(beyond_rad.reshape(NUM_LEGS, 2).max(axis=1) > POSE_MARGIN_RAD)
        possible = (np.abs(swing) <= math.pi) & (np.abs(extension - 0.5 * math.pi) <= math.pi)
        if not possible[legs].all():
            return "no leg can be there, set the zero of its encoder"
        turns = ", ".join(
            f"{self._robot.leg_names[leg]} {abs(math.degrees(swing[leg])):.0f} degrees "
            f"{'forwards' if swing[leg] > 0.0 else 'backwards'}"
            for leg in legs
        )
        return (
            "a robot that lies does not stand up by itself; lift it until its legs hang straight "
            f"down (turn {turns}), hold it and start again; if they do already, set the zero of "
            "that encoder"
        )

    def check_controller(self, state: RobotState, armed: bool) -> None:
        """Stop on what the motor controller reports; raise as :meth:`check_state` does."""
        if state.fault is not Fault.NONE:
            cure = "" if armed else ": look for the cause, then run with --clear-fault"
            names = fault_names(state.fault)
            raise SafetyStop("robot_fault", f"the motor controller reports {names}{cure}")
        if armed and state.mode not in (Mode.READY, Mode.ACTIVE):
            raise SafetyStop(
                "robot_mode",
                f"the motor controller is {state.mode.name} and takes no commands: look whether "
                "another program commands it, then start again",
            )

    def check_tilt(self, state: RobotState) -> None:
        """Stop on a body that leans in ``TILT_TICKS`` states in a row."""
        up = math.cos(state.rpy_rad[0]) * math.cos(state.rpy_rad[1])
        self._tilted_ticks = self._tilted_ticks + 1 if up < self._min_up else 0
        if self._tilted_ticks >= TILT_TICKS:
            raise SafetyStop(
                "tilt",
                f"the body leans by {math.acos(up):.2f} rad, bound "
                f"{self._robot.max_tilt_rad:.2f} rad: put the robot upright",
            )

    def check_jump(self, state: RobotState) -> None:
        """Stop on an angle that changed by more than its motor can do since the last state."""
        last, self._last = self._last, state
        if last is None:
            return
        dt_s = max(0.0, (state.t_ns - last.t_ns) * 1e-9)
        mean_rad_s = 0.5 * (last.motor_velocity_rad_s + state.motor_velocity_rad_s)
        changed_rad = state.motor_position_rad - last.motor_position_rad
        unexplained_rad = np.abs(changed_rad - mean_rad_s * dt_s)
        bound_rad = JUMP_MARGIN_RAD + 0.25 * self._max_acceleration_rad_s2 * dt_s**2
        if unexplained_rad.max() > bound_rad:
            worst = int(np.argmax(unexplained_rad))
            raise SafetyStop(
                "encoder_jump",
                f"motor {self._robot.motor_names[worst]} jumped by {changed_rad[worst]:.2f} rad in "
                f"{dt_s * 1e3:.1f} ms, {unexplained_rad[worst]:.2f} rad more than its speed "
                f"explains, bound {bound_rad:.2f}: check its encoder's magnet and wiring",
            )

    def check_battery(self, state: RobotState, ticks: int) -> None:
        """Stop on a battery that is low in so many states in a row."""
        low = state.battery_v < self._robot.min_battery_v
        self._low_battery_ticks = self._low_battery_ticks + 1 if low else 0
        if self._low_battery_ticks >= ticks:
            raise SafetyStop(
                "battery_low",
                f"{state.battery_v:.2f} V, bound {self._robot.min_battery_v} V: charge the battery",
            )
