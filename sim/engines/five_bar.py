"""Knee angles that close the five-bar legs of a model at given motor angles.

A URDF is a tree; each leg's two chains meet at the toe only through a constraint. To start an
episode without a jolt, the knees must already satisfy it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.errors import SimError
from sim.model.link_tree import LinkTree
from sim.model.minitaur import MinitaurModel

Array = NDArray[np.float64]

_STEP_RAD = 1e-6
# The two chains of a leg run in planes a few millimetres apart; only the rest can be closed.
_TOLERANCE_M = 1e-9


def closed_knees(tree: LinkTree, model: MinitaurModel, motor_joints_rad: Array) -> Array:
    """Solve the knees of all legs by Gauss-Newton from the model's start pose.

    Args:
        tree: The model's links and joints, merged or not.
        model: Names, loop closures and start pose.
        motor_joints_rad: Angles of the motor joints, joint axes, shape (8,).

    Returns:
        Angles of the knee joints in the same order, joint axes, shape (8,).

    Raises:
        SimError: The legs cannot be closed at these angles.
    """
    knees = np.array([model.start_positions[joint] for joint in model.knee_joints])
    for _ in range(50):
        gap = _gaps(tree, model, motor_joints_rad, knees)
        jacobian = np.empty((gap.size, knees.size))
        for column in range(knees.size):
            moved = knees.copy()
            moved[column] += _STEP_RAD
            change = _gaps(tree, model, motor_joints_rad, moved) - gap
            jacobian[:, column] = change / _STEP_RAD
        step = np.linalg.lstsq(jacobian, -gap, rcond=None)[0]
        # Half a radian at most, so that a knee does not snap through to its other bend.
        knees += np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < _TOLERANCE_M:
            return knees
    raise SimError(f"the legs of {model.name} cannot be closed at motor angles {motor_joints_rad}")


def _gaps(tree: LinkTree, model: MinitaurModel, motors: Array, knees: Array) -> Array:
    """Return the distance vectors between the two anchors of every leg, root frame, flattened."""
    names = (*model.motor_joints, *model.knee_joints)
    poses = tree.poses(dict(zip(names, (*motors, *knees), strict=True)))
    pins = [[poses[link].apply(point) for link, point in closure] for closure in model.closures]
    return np.concatenate([right - left for right, left in pins])
