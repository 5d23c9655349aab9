"""The checks of what the robot reports, and the names of all that ends a run.

A violation has one of two ends. What a robot can bear is saturated and counted. What it cannot bear
is a named stop, after which the loop damps the motors and ends:

| checked | condition | end | name |
|---|---|---|---|
| state | a value is NaN or infinite | stop | non_finite_state |
| state | older than ``STALE_PERIODS`` control periods, or from the future | stop | stale_state |
| state | the motor controller reports a fault | stop | robot_fault |
| state | the motor controller is not executing commands | stop | robot_mode |
| state | tilt past the robot's limit for ``TILT_TICKS`` ticks | stop | tilt |
| state | battery under the robot's limit for ``BATTERY_TICKS`` ticks | stop | battery_low |
| first pose | ``POSE_MARGIN_RAD`` or more out of a motor's range | stop | pose_out_of_range |
| observation, action, target | a value is NaN or infinite | stop | non_finite_* |
| action | out of [-1, 1] | saturate | action_clipped |
| target | out of the motor's range | saturate | target_clipped |
| target | faster than the robot's rate limit since the last target sent | saturate | rate_limited |

The last four rows are ``deploy.policy.controller``'s, since training runs them too.

A silent link is noticed by the age of its last state: with one every 2 ms and ``STALE_PERIODS`` of
3, no later than in the fourth tick after the silence began, while the motors still hold the last
target. A link that is known to be lost ends the run in the next tick.

A tilt must last for consecutive ticks: one glitch of the IMU must not drop a walking robot, and a
fall takes a hundred ticks. A low battery must last because it sags for milliseconds at every step.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from deploy.errors import SafetyStop
from deploy.policy.controller import check_finite
from robot_firmware_bridge.messages import Fault, Mode, RobotState, fault_names
from robot_firmware_bridge.robot import RobotDescription

Array = NDArray[np.float64]

STALE_PERIODS = 3
TILT_TICKS = 3
BATTERY_TICKS = 20
POSE_MARGIN_RAD = 0.5


class Safety:
    """The checks of one run, by the limits of a robot; the control period bounds a state's age."""

    def __init__(self, robot: RobotDescription, period_s: float) -> None:
        self._robot = robot
        self._stale_ns = round(STALE_PERIODS * period_s * 1e9)
        self._min_up = math.cos(robot.max_tilt_rad)
        self._tilted_ticks = 0
        self._low_battery_ticks = 0

    def check_state(self, state: RobotState, now_ns: int, armed: bool) -> None:
        """Stop on a state that is broken, old, or in which the robot must not go on.

        ``now_ns`` is of the clock that stamped the state. ``armed`` says that the motor controller
        is expected to take commands.

        Raises:
            SafetyStop: See the module's table.
        """
        for values in (
            state.motor_position_rad,
            state.motor_velocity_rad_s,
            state.motor_torque_nm,
            state.rpy_rad,
            state.angular_rate_rad_s,
        ):
            check_finite("state", values)
        if not math.isfinite(state.battery_v):
            raise SafetyStop("non_finite_state", f"battery voltage is {state.battery_v}")
        if self.is_stale(state, now_ns):
            age_ms, bound_ms = (now_ns - state.t_ns) / 1e6, self._stale_ns / 1e6
            raise SafetyStop("stale_state", f"{age_ms:.1f} ms old, bound {bound_ms:.1f} ms")
        self._check_controller(state, armed)
        self._check_tilt(state)
        self._check_battery(state)

    def is_stale(self, state: RobotState, now_ns: int) -> bool:
        """Return whether a state is too old to act on, or from the future."""
        return abs(now_ns - state.t_ns) > self._stale_ns

    def check_first_pose(self, position_rad: Array) -> None:
        """Stop before the first move if a measured motor angle, shape (8,), cannot be true.

        Raises:
            SafetyStop: pose_out_of_range.
        """
        low, high = self._robot.motor_limits_rad
        beyond = np.maximum(low - position_rad, position_rad - high)
        worst = int(np.argmax(beyond))
        if beyond[worst] > POSE_MARGIN_RAD:
            raise SafetyStop(
                "pose_out_of_range",
                f"motor {self._robot.motor_names[worst]} measures {position_rad[worst]:.2f} rad, "
                f"its range is [{low}, {high}]; check its encoder's zero",
            )

    def _check_controller(self, state: RobotState, armed: bool) -> None:
        if state.fault is not Fault.NONE:
            cure = "" if armed else "; look for the cause, then run with --clear-fault"
            names = fault_names(state.fault)
            raise SafetyStop("robot_fault", f"the motor controller reports {names}{cure}")
        if armed and state.mode not in (Mode.READY, Mode.ACTIVE):
            raise SafetyStop("robot_mode", f"the motor controller is {state.mode.name}")

    def _check_tilt(self, state: RobotState) -> None:
        up = math.cos(state.rpy_rad[0]) * math.cos(state.rpy_rad[1])
        self._tilted_ticks = self._tilted_ticks + 1 if up < self._min_up else 0
        if self._tilted_ticks >= TILT_TICKS:
            raise SafetyStop(
                "tilt", f"{math.acos(up):.2f} rad, bound {self._robot.max_tilt_rad:.2f} rad"
            )

    def _check_battery(self, state: RobotState) -> None:
        low = state.battery_v < self._robot.min_battery_v
        self._low_battery_ticks = self._low_battery_ticks + 1 if low else 0
        if self._low_battery_ticks >= BATTERY_TICKS:
            raise SafetyStop(
                "battery_low", f"{state.battery_v:.2f} V, bound {self._robot.min_battery_v} V"
            )
