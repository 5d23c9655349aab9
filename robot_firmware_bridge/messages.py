"""What travels between a control loop and a robot: state up, command down.

Angles in rad, motor space (see ``robot.py``); times in ns on the clock of the loop that reads
them. Attitude is roll, pitch, yaw in the aerospace order: the body frame (x forward, y left,
z up) is reached from the world frame by yaw about z, then pitch about y, then roll about x.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.robot import NUM_MOTORS

Array = NDArray[np.float64]

_UNKNOWN = np.full(NUM_MOTORS, np.nan)
_UNKNOWN.setflags(write=False)


class Mode(enum.IntEnum):
    """What the motor controller is doing, as it reports."""

    DISARMED = 0
    READY = 1
    ACTIVE = 2
    DAMPING = 3
    FAULT = 4


class Fault(enum.IntFlag):
    """Reasons for which a motor controller stops on its own."""

    NONE = 0
    OVERHEAT = 1
    UNDERVOLTAGE = 2
    COMMAND_TIMEOUT = 4
    STALL = 8
    EMERGENCY_STOP = 16
    ENCODER = 32
    IMU = 64
    OVERCURRENT = 128


def fault_names(fault: Fault) -> str:
    """Return the faults by name, for people: "OVERHEAT, STALL"; "none" if there is none."""
    names = [str(member.name) for member in Fault if member in fault]
    unknown = fault.value & ~sum(Fault)
    return ", ".join([*names, *([f"0x{unknown:x}"] if unknown else [])]) or "none"


@dataclass(frozen=True, slots=True)
class RobotState:
    """One reading of the robot.

    Attributes:
        t_ns: Time at which the reading was true, on the loop's clock.
        motor_position_rad: Motor angles, shape (8,).
        motor_velocity_rad_s: Motor speeds, shape (8,).
        motor_torque_nm: Torque of each drive as the controller knows it, shape (8,).
        rpy_rad: Roll, pitch, yaw of the body, shape (3,).
        angular_rate_rad_s: Gyroscope: turn rates about the body's x, y, z, shape (3,).
        battery_v: Battery voltage.
        mode: Mode of the motor controller.
        fault: Why it stopped, if it did.
        winding_temperature_c: Temperature of each motor's winding as the controller models it,
            shape (8,); NaN where it is unknown.
    """

    t_ns: int
    motor_position_rad: Array
    motor_velocity_rad_s: Array
    motor_torque_nm: Array
    rpy_rad: Array
    angular_rate_rad_s: Array
    battery_v: float
    mode: Mode = Mode.ACTIVE
    fault: Fault = Fault.NONE
    winding_temperature_c: Array = field(default_factory=lambda: _UNKNOWN)


@dataclass(frozen=True, slots=True)
class MotorCommand:
    """One command to all motors: ``duty = clip(kp (target - position) - kd velocity)``.

    With ``kp = 0`` the command damps. It holds for ``valid_for_ns`` after it was written; a robot
    that has no newer one by then damps and latches.

    Attributes:
        target_rad: Motor angles to reach, shape (8,).
        kp: Proportional gain, duty per rad.
        kd: Derivative gain, duty per rad/s.
        valid_for_ns: Life of the command.
    """

    target_rad: Array
    kp: float
    kd: float
    valid_for_ns: int


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """Greatest values of a command that a motor controller carries out as they are.

    Attributes:
        kp: Proportional gain, duty per rad.
        kd: Derivative gain, duty per rad/s.
        valid_for_ns: Life of a command.
        board: Kind of the motor controller, as a policy's contract names it; None for one that is
            whatever the policy needs, as in simulation.
        state_delay_ns: How old a state of this controller may be when all is well: on a slow line,
            and sent seldom.
    """

    kp: float
    kd: float
    valid_for_ns: int
    board: str | None = None
    state_delay_ns: int = 0
