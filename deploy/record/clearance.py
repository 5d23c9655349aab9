"""How high a gait lifts its feet and carries its body, from the motors' angles and the attitude.

No sensor sees the ground. Heights are therefore those above the lowest toe of the same moment,
which stands on it: a run on a robot and one in a simulator tell them alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.geometry import MOTOR_TO_LEG
from robot_firmware_bridge.robot import MINITAUR, RobotDescription

Array = NDArray[np.float64]

# Of the robot's published file: where the hips are in the frame of the body's link (ahead of its
# origin, beside and below it), and how far a toe reaches below the pin that closes its leg.
_HIP_AHEAD_M, _HIP_BESIDE_M, _HIP_BELOW_M = 0.2375, 0.1265, 0.0185
_TOE_BELOW_M = 0.036
# The motors at the hips are the lowest of the body: their radius.
_MOTOR_RADIUS_M = 0.0425
_AHEAD_M = _HIP_AHEAD_M * np.array((1.0, -1.0, 1.0, -1.0))
_BESIDE_M = _HIP_BESIDE_M * np.array((1.0, 1.0, -1.0, -1.0))
# A robot on a slope seems to stand on toes of two heights; so does one with a stone under a foot.
_LOW_PERCENT = 5.0


@dataclass(frozen=True, slots=True)
class Clearance:
    """How far a robot kept off the ground.

    Attributes:
        toe_m: How far a toe is lifted in a stride; mean over legs and strides.
        body_m: Height of the body's lowest part, vertically above the lowest toe; its 5th
            percentile. On a slope that is less than the distance from the ground.
    """

    toe_m: float
    body_m: float


def clearance(
    motor_rad: Array, rpy_rad: Array, stride_ticks: int, robot: RobotDescription = MINITAUR
) -> Clearance | None:
    """Return the clearances over some ticks; None for less than a stride.

    Args:
        motor_rad: Motor angles, shape (T, 8).
        rpy_rad: Roll, pitch and yaw, shape (T, 3).
        stride_ticks: Ticks in a stride, at least 1.
        robot: Its links' lengths.
    """
    strides = len(motor_rad) // stride_ticks
    if strides == 0:
        return None
    hips_m, toes_m = heights_m(motor_rad, rpy_rad, robot)
    lowest_m = toes_m.min(axis=1, keepdims=True)
    lifted_m = (toes_m - lowest_m)[: strides * stride_ticks].reshape(strides, stride_ticks, -1)
    body_m = hips_m.min(axis=1) - _MOTOR_RADIUS_M - lowest_m[:, 0]
    return Clearance(
        float(np.ptp(lifted_m, axis=1).mean()), float(np.percentile(body_m, _LOW_PERCENT))
    )


def heights_m(
    motor_rad: Array, rpy_rad: Array, robot: RobotDescription = MINITAUR
) -> tuple[Array, Array]:
    """Return the heights of hips and toes above the origin of the body's link, both (T, 4).

    Args:
        motor_rad: Motor angles, shape (T, 8).
        rpy_rad: Roll, pitch and yaw, shape (T, 3).
        robot: Its links' lengths.
    """
    swing, extension = np.split(motor_rad @ MOTOR_TO_LEG.T, 2, axis=1)
    upper_m, lower_m = robot.upper_link_m, robot.lower_link_m
    # The knees of a five-bar leg are as far to either side of the line from hip to pin.
    leg_m = np.sqrt(lower_m**2 - (upper_m * np.sin(extension)) ** 2) - upper_m * np.cos(extension)
    roll, pitch = rpy_rad[:, 0:1], rpy_rad[:, 1:2]

    def above_origin(ahead_m: Array, up_m: Array | float) -> Array:
        across = np.cos(pitch) * np.sin(roll)
        height: Array = -np.sin(pitch) * ahead_m + across * _BESIDE_M
        return height + np.cos(pitch) * np.cos(roll) * up_m

    hips_m = above_origin(_AHEAD_M, -_HIP_BELOW_M)
    toes_m = above_origin(_AHEAD_M - leg_m * np.sin(swing), -_HIP_BELOW_M - leg_m * np.cos(swing))
    return hips_m, toes_m - _TOE_BELOW_M
