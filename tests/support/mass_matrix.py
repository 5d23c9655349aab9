"""Mass matrices of robots in Bullet, in coordinates that every model and engine shares."""

import numpy as np
import pybullet as bullet


def mass_matrix(client, robot, positions):
    """Return a robot's mass matrix, Bullet's own frame of the base undone.

    Rows and columns are the base link's spin, the velocity of its origin, both in link axes, and
    the moving joints by name.
    """
    columns = {}
    for index in range(bullet.getNumJoints(robot, physicsClientId=client)):
        info = bullet.getJointInfo(robot, index, physicsClientId=client)
        if info[2] != bullet.JOINT_FIXED:
            columns[info[1].decode()] = info[4]  # velocity index, the base's 6 included
    order = sorted(columns, key=columns.__getitem__)
    raw = np.array(
        bullet.calculateMassMatrix(robot, [positions[n] for n in order], physicsClientId=client)
    )
    _, _, _, (x, y, z), turn = bullet.getDynamicsInfo(robot, -1, physicsClientId=client)[:5]
    axes = np.reshape(bullet.getMatrixFromQuaternion(turn), (3, 3))
    change = np.zeros_like(raw)
    change[:3, :3] = change[3:6, 3:6] = axes.T
    change[3:6, :3] = -axes.T @ np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))
    for row, name in enumerate(sorted(columns), start=6):
        change[columns[name], row] = 1.0
    return change.T @ raw @ change


def relative_difference(left, right):
    """Return the largest difference of entries, relative to their row's and column's diagonal."""
    scale = np.sqrt(np.diag(right))
    return float(np.max(np.abs(left - right) / np.outer(scale, scale)))
