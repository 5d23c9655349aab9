"""Leg space and the five-bar kinematics of a Minitaur leg.

Leg space describes leg ``i`` by its *swing* ``s`` (turns the whole leg about the hip) and its
*extension* ``e`` (opens or closes the five-bar)::

    motor[2i]     = e - side_i * s          side_i = +1 on the left legs, -1 on the right legs
    motor[2i + 1] = e + side_i * s

Source: Tan et al. 2018 (arXiv 1804.10332), section III-B, and the leg order of ``robot.py``.
Vectors in leg space are ``(swing of 4 legs, extension of 4 legs)``, shape (8,), rad.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.robot import MINITAUR, NUM_LEGS, NUM_MOTORS, RobotDescription

Array = NDArray[np.float64]

# +1 for the left legs (index 0, 1), -1 for the right ones (index 2, 3).
_SIDE = np.array([1.0, 1.0, -1.0, -1.0])


def _leg_to_motor_matrix() -> Array:
    matrix = np.zeros((NUM_MOTORS, NUM_MOTORS))
    for leg in range(NUM_LEGS):
        matrix[2 * leg, leg] = -_SIDE[leg]
        matrix[2 * leg + 1, leg] = _SIDE[leg]
        matrix[2 * leg : 2 * leg + 2, NUM_LEGS + leg] = 1.0
    return matrix


LEG_TO_MOTOR = _leg_to_motor_matrix()
MOTOR_TO_LEG = np.linalg.inv(LEG_TO_MOTOR)
LEG_TO_MOTOR.setflags(write=False)
MOTOR_TO_LEG.setflags(write=False)


def leg_to_motor(leg: Array) -> Array:
    """Motor angles of a leg-space vector, both of shape (8,), rad."""
    return LEG_TO_MOTOR @ leg


def motor_to_leg(motor: Array) -> Array:
    """Leg-space vector ``(swing x 4, extension x 4)`` of motor angles, both (8,), rad."""
    return MOTOR_TO_LEG @ motor


def leg_length(extension_rad: float, robot: RobotDescription = MINITAUR) -> float:
    """Distance from hip axis to toe at an extension, in m.

    The hip, a knee and the toe form a triangle with sides ``l1``, ``l2`` and the leg length ``r``;
    the angle at the hip is ``pi - e``, so ``r = -l1 cos e + sqrt(l2^2 - l1^2 sin^2 e)``. Rises
    from ``l2 - l1`` at ``e = 0`` to ``l1 + l2`` at ``e = pi``.
    """
    l1, l2 = robot.upper_link_m, robot.lower_link_m
    return -l1 * math.cos(extension_rad) + math.sqrt(l2**2 - (l1 * math.sin(extension_rad)) ** 2)


def leg_extension(length_m: float, robot: RobotDescription = MINITAUR) -> float:
    """Extension at which the leg has this length, the inverse of :func:`leg_length`, in rad.

    Raises:
        ValueError: The length is out of reach.
    """
    l1, l2 = robot.upper_link_m, robot.lower_link_m
    if not l2 - l1 <= length_m <= l1 + l2:
        raise ValueError(f"leg length {length_m} m is out of reach [{l2 - l1}, {l1 + l2}] m")
    cosine = (l1**2 + length_m**2 - l2**2) / (2.0 * l1 * length_m)
    return math.pi - math.acos(min(1.0, max(-1.0, cosine)))


def toe_position(
    swing_rad: float, extension_rad: float, robot: RobotDescription = MINITAUR
) -> tuple[float, float]:
    """Toe in the leg's plane relative to the hip: ``(x forward, z up)`` in m.

    A positive swing brings the toe behind the hip.
    """
    length = leg_length(extension_rad, robot)
    return -length * math.sin(swing_rad), -length * math.cos(swing_rad)


def leg_angles(x_m: float, z_m: float, robot: RobotDescription = MINITAUR) -> tuple[float, float]:
    """Swing and extension, in rad, that put the toe at ``(x, z)``: inverse of ``toe_position``.

    Raises:
        ValueError: The point is out of reach.
    """
    return math.atan2(-x_m, -z_m), leg_extension(math.hypot(x_m, z_m), robot)
