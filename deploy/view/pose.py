"""How the robot of a tick stands in the picture: in its place, over a ground that passes below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.view.legs import Legs
from robot_firmware_bridge.geometry import quaternion_from_rpy, rotation_from_quaternion
from robot_firmware_bridge.robot import RobotDescription

Array = NDArray[np.float64]

FOOT_RADIUS_M = 0.009
# Corners of what can lie on the ground when the robot has fallen: the body's box, its lid included.
_BODY = np.array(
    [(x, y, z) for x in (-0.27, 0.27) for y in (-0.17, 0.17) for z in (-0.06, 0.075)], np.float64
)
SECTION_M = 0.5
"""The ground's lines repeat after so much."""


@dataclass(frozen=True, slots=True)
class Pose:
    """A robot to draw.

    Attributes:
        height_m: Of the body's origin over the ground.
        quaternion: Attitude of the body (x, y, z, w); its heading counts from the first tick's.
        legs: As measured, body frame.
        targets: As commanded.
        ground_m: Where the ground's lines are, shape (2,); a robot whose position nobody knows
            stands still on it.
    """

    height_m: float
    quaternion: Array
    legs: Legs
    targets: Legs
    ground_m: Array

    @staticmethod
    def of(tick: Any, first_heading_rad: float, robot: RobotDescription, flat: bool) -> Pose:
        """Return the pose of a tick.

        Args:
            tick: One row, fields by name.
            first_heading_rad: Yaw of the first tick.
            robot: Lengths of its links.
            flat: Whether the ground is at height 0 of the measured positions. Where it is not, or
                nobody knows the position, the lowest point of the robot is put on the ground.
        """
        quaternion = quaternion_from_rpy(tick["rpy_rad"] - (0.0, 0.0, first_heading_rad))
        legs = Legs.at(tick["motor_position_rad"], robot)
        position_m = tick["base_position_m"]
        measured = bool(np.isfinite(position_m).all())
        height_m = float(position_m[2]) if measured and flat else _depth_m(legs, quaternion)
        ground_m = -position_m[:2] % SECTION_M if measured else np.zeros(2)
        return Pose(height_m, quaternion, legs, Legs.at(tick["target_rad"], robot), ground_m)


def _depth_m(legs: Legs, quaternion: Array) -> float:
    """Return how far the lowest point of a robot is below its body's origin."""
    up = rotation_from_quaternion(quaternion)[2]
    legs_m = np.concatenate((legs.feet, legs.knees)) @ up - FOOT_RADIUS_M
    return float(-min(legs_m.min(), (_BODY @ up).min()))
