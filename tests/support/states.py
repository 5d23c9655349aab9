"""Readings of a robot."""

import numpy as np

from robot_firmware_bridge.messages import RobotState
from robot_firmware_bridge.robot import MINITAUR


def standing(**fields):
    """Return the reading of a robot that stands upright and still, with any field replaced."""
    values = {"t_ns": 0, "motor_position_rad": MINITAUR.stance_pose_rad.copy(), "battery_v": 16.0}
    values |= {name: np.zeros(8) for name in ("motor_velocity_rad_s", "motor_torque_nm")}
    values |= {name: np.zeros(3) for name in ("rpy_rad", "angular_rate_rad_s")}
    return RobotState(**{**values, **fields})
