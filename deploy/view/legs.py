"""Where the links of the legs are, from the motor angles alone: to be drawn, not to be controlled.

Body frame: x forward, y left, z up; its origin is that of the simulated body's link. A leg is two
chains of an upper and a lower link that meet in a pin. The rear chain, outside, has the longer
lower link, whose end is the foot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.robot import NUM_LEGS, NUM_MOTORS, RobotDescription

Array = NDArray[np.float64]

# Of the Minitaur as PyBullet's data describe it; tests hold it against the simulated model.
HIP_X_M, HIP_Y_M, HIP_Z_M = 0.2375, 0.1265, -0.0185
# How far outside of the middle of a leg the parts of its rear chain are; of the front one, inside.
MOTOR_M, UPPER_M, LOWER_M = 0.0275, 0.013, 0.0045
# How far the foot is below the pin, along the rear lower link.
FOOT_M = 0.036

# Left legs first, front before back, as in ``RobotDescription.leg_names``.
_LEFT = np.array((1.0, 1.0, -1.0, -1.0))
_FRONT = np.array((1.0, -1.0, 1.0, -1.0))
# Motor of each leg that drives its rear chain, and its front one: L and R on the left.
REAR, FORE = np.array((0, 2, 5, 7)), np.array((1, 3, 4, 6))


def _sides() -> tuple[Array, Array]:
    """Return -1 for a rear chain and 1 for a front one, and its outward direction, each (8,)."""
    forward, outward = np.empty(NUM_MOTORS), np.empty(NUM_MOTORS)
    forward[REAR], forward[FORE] = -1.0, 1.0
    outward[REAR], outward[FORE] = _LEFT, -_LEFT
    return forward, outward


FORWARD, OUTWARD = _sides()


def hips_m(beside_m: float) -> Array:
    """Return the axes of the motors at some distance from the legs' middles, shape (8, 3)."""
    hips = np.empty((NUM_MOTORS, 3))
    leg = np.arange(NUM_MOTORS) // 2
    hips[:, 0] = HIP_X_M * _FRONT[leg]
    hips[:, 1] = HIP_Y_M * _LEFT[leg] + beside_m * OUTWARD
    hips[:, 2] = HIP_Z_M
    return hips


@dataclass(frozen=True, slots=True)
class Legs:
    """The joints of all legs in the body frame, m.

    Attributes:
        hips: Axes of the motors, shape (8, 3).
        knees: Shape (8, 3).
        pins: Where the chains of a leg meet, shape (4, 3).
        feet: Shape (4, 3).
    """

    hips: Array
    knees: Array
    pins: Array
    feet: Array

    @staticmethod
    def at(motor_position_rad: Array, robot: RobotDescription) -> Legs:
        """Return the legs at motor angles, shape (8,).

        Angles that no closed leg can have, as of a wrong encoder, are drawn with the pin half-way
        between the knees.
        """
        angle = np.asarray(motor_position_rad)
        hips = hips_m(0.0)
        knees = hips.copy()
        knees[:, 0] += robot.upper_link_m * FORWARD * np.sin(angle)
        knees[:, 2] += robot.upper_link_m * np.cos(angle)
        rear, fore = knees[REAR], knees[FORE]
        half = 0.5 * (fore - rear)
        half_m = np.hypot(half[:, 0], half[:, 2])
        height_m = np.sqrt(np.maximum(robot.lower_link_m**2 - half_m**2, 0.0))
        # From rear to front, turned by a quarter: down, for a leg that is not turned over.
        down = np.zeros((NUM_LEGS, 3))
        down[:, 0], down[:, 2] = half[:, 2], -half[:, 0]
        pins = rear + half + down * (height_m / np.maximum(half_m, 1e-6))[:, None]
        return Legs(hips, knees, pins, pins + (pins - rear) * (FOOT_M / robot.lower_link_m))

    def lines(self) -> Array:
        """Return the links as lines from end to end, shape (16, 2, 3)."""
        upper = np.stack((self.hips, self.knees), axis=1)
        lower = np.stack((self.knees, np.repeat(self.pins, 2, axis=0)), axis=1)
        lower[REAR, 1] = self.feet
        return np.concatenate((upper, lower))


def tilts_rad(start: Array, end: Array) -> Array:
    """Return by how much links are turned about the y axis: 0 hangs straight down, shape (n,).

    Args:
        start: Upper ends, shape (n, 3).
        end: Lower ends, shape (n, 3).
    """
    along = end - start
    tilts: Array = np.arctan2(-along[:, 0], -along[:, 2])
    return tilts
