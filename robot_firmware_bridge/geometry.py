"""Leg space of a Minitaur, attitude and quaternions (x, y, z, w).

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

from robot_firmware_bridge.robot import NUM_LEGS, NUM_MOTORS

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
    """Return the motor angles of a leg-space vector, both of shape (8,), rad."""
    return LEG_TO_MOTOR @ leg


def motor_to_leg(motor: Array) -> Array:
    """Return the leg-space vector of motor angles, both of shape (8,), rad."""
    return MOTOR_TO_LEG @ motor


def rpy_from_quaternion(quaternion: Array) -> Array:
    """Return roll, pitch, yaw (rad, shape (3,)) of a quaternion (x, y, z, w), of any length.

    Rotation order of ``robot_firmware_bridge.messages``: yaw, then pitch, then roll.
    """
    x, y, z, w = quaternion.tolist()
    norm = x * x + y * y + z * z + w * w
    sin_pitch = 2.0 * (w * y - z * x) / norm
    return np.array(
        (
            math.atan2(2.0 * (w * x + y * z), w * w - x * x - y * y + z * z),
            math.asin(min(1.0, max(-1.0, sin_pitch))),
            math.atan2(2.0 * (w * z + x * y), w * w + x * x - y * y - z * z),
        )
    )


def quaternion_from_rpy(rpy_rad: Array) -> Array:
    """Return the quaternion (x, y, z, w), shape (4,), of roll, pitch and yaw, shape (3,)."""
    roll, pitch, yaw = (0.5 * rpy_rad).tolist()
    sr, sp, sy = math.sin(roll), math.sin(pitch), math.sin(yaw)
    cr, cp, cy = math.cos(roll), math.cos(pitch), math.cos(yaw)
    return np.array(
        (
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
            cr * cp * cy + sr * sp * sy,
        )
    )


def body_to_world(rpy_rad: Array, vector: Array) -> Array:
    """Return a vector of the body frame, shape (3,), in the world frame."""
    roll, pitch, yaw = rpy_rad.tolist()
    sr, sp, sy = math.sin(roll), math.sin(pitch), math.sin(yaw)
    cr, cp, cy = math.cos(roll), math.cos(pitch), math.cos(yaw)
    x, y, z = vector.tolist()
    y, z = cr * y - sr * z, sr * y + cr * z  # undo the roll
    x, z = cp * x + sp * z, cp * z - sp * x  # undo the pitch
    return np.array((cy * x - sy * y, sy * x + cy * y, z))  # undo the yaw


def rotation_from_quaternion(quaternion: Array) -> Array:
    """Return the rotation matrix, shape (3, 3), body to world, of a quaternion (x, y, z, w)."""
    x, y, z, w = normalized(quaternion).tolist()
    return np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
        )
    )


def normalized(quaternion: Array) -> Array:
    """Return a quaternion (x, y, z, w) with length 1."""
    x, y, z, w = quaternion.tolist()
    length = math.sqrt(x * x + y * y + z * z + w * w)
    return np.array((x / length, y / length, z / length, w / length))


def quaternion_product(a: Array, b: Array) -> Array:
    """Return the product of two quaternions (x, y, z, w): rotate by ``b``, then by ``a``."""
    ax, ay, az, aw = a.tolist()
    bx, by, bz, bw = b.tolist()
    return np.array(
        (
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        )
    )


def turned(quaternion: Array, vector: Array) -> Array:
    """Return a vector, shape (3,), turned by a quaternion (x, y, z, w) of length 1.

    Equal to ``rotation_from_quaternion(quaternion) @ vector``, and faster for one vector.
    """
    x, y, z, w = quaternion.tolist()
    vx, vy, vz = vector.tolist()
    # Twice the cross product of the quaternion's vector with the other.
    tx, ty, tz = 2.0 * (y * vz - z * vy), 2.0 * (z * vx - x * vz), 2.0 * (x * vy - y * vx)
    return np.array(
        (
            vx + w * tx + (y * tz - z * ty),
            vy + w * ty + (z * tx - x * tz),
            vz + w * tz + (x * ty - y * tx),
        )
    )


def cross_product(a: Array, b: Array) -> Array:
    """Return the cross product of two vectors of shape (3,), faster than NumPy's."""
    ax, ay, az = a.tolist()
    bx, by, bz = b.tolist()
    return np.array((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx))
