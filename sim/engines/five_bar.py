"""Knee angles that close the five-bar legs of a model at given motor angles.

A URDF is a tree; each leg's two chains meet at the toe only through a constraint. To start without
a jolt, the knees must already satisfy it. :func:`closed_knees` finds them for a stance, of any
tree; :class:`Legs` for any state of motion of the planar legs, in closed form, some hundred times
as fast.
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
# Knees this near each other count as one point.
_NEAR_M = 0.005


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


class Legs:
    """The five-bar legs of a model in any state of motion, in closed form.

    The two chains of a leg move in planes a few millimetres apart; seen along the motors' axes,
    points are complex numbers here and turns are products. Two knees and the pin make a triangle of
    which two sides are known. It keeps the sense of rotation that it has in the model's start pose:
    that holds for all extensions from 0 to pi, at whose ends the knees meet.

    Args:
        tree: The model's links and joints, merged.
        model: Names, loop closures and start pose.
    """

    def __init__(self, tree: LinkTree, model: MinitaurModel) -> None:
        self._model = model
        joints = {joint.name: joint for joint in tree.joints}
        motors = [joints[name] for name in model.motor_joints]
        knees = [joints[name] for name in model.knee_joints]
        number = {joint.child: index for index, joint in enumerate(knees)}
        pins = dict(anchor for closure in model.closures for anchor in closure)
        self._right, self._left = (
            np.array([number[closure[side][0]] for closure in model.closures]) for side in (0, 1)
        )
        poses = tree.poses({})
        size = len(motors)
        hip, upper, lower = (np.empty(size, dtype=np.complex128) for _ in range(3))
        self._motor_sign, self._knee_sign = np.empty(size), np.empty(size)
        for leg, right in enumerate(self._right):
            # The two axes of a leg differ by the rounding of the file's angles.
            axes = [
                poses[motors[index].child].rotation @ motors[index].axis
                for index in (right, self._left[leg])
            ]
            axis = axes[0] + np.sign(axes[0] @ axes[1]) * axes[1]
            across, along = _plane(axis / np.linalg.norm(axis))
            for index in (right, self._left[leg]):
                motor, lower_leg = poses[motors[index].child], poses[knees[index].child]
                pin = lower_leg.apply(pins[knees[index].child])
                points = np.array((motor.xyz, lower_leg.xyz, pin))
                at = points @ across + 1j * (points @ along)
                hip[index], upper[index], lower[index] = at[0], at[1] - at[0], at[2] - at[1]
                self._motor_sign[index] = np.sign(motor.rotation @ motors[index].axis @ axis)
                self._knee_sign[index] = np.sign(lower_leg.rotation @ knees[index].axis @ axis)
        self._hip, self._upper, self._lower = hip, upper, lower
        lengths = np.abs(lower)
        self._right_m = lengths[self._right]
        self._sides_m2 = self._right_m**2 - lengths[self._left] ** 2
        start = model.start_positions
        self._start = np.array([start[joint] for joint in model.knee_joints])
        # What turns a rod of the start pose back to where it is at a knee angle of 0.
        self._unturn = np.exp(-1j * self._knee_sign * self._start)
        turn = np.exp(1j * self._motor_sign * [start[joint] for joint in model.motor_joints])
        knee = hip + turn * upper
        rod = (turn * lower / self._unturn)[self._right]
        # Twice the area of the triangle of right knee, left knee and pin has a sign.
        apart = (knee[self._left] - knee[self._right]).conj()
        self._side = 1j * np.sign((apart * rod).imag)

    def close(self, position_rad: Array, velocity_rad_s: Array) -> tuple[Array, Array]:
        """Return knee angles and speeds that close the legs and keep them closed.

        Args:
            position_rad: Angles of the motor joints, joint axes, shape (8,).
            velocity_rad_s: Their speeds, shape (8,).

        Returns:
            Angles (rad) and speeds (rad/s) of the knee joints, joint axes, each (8,).

        Raises:
            SimError: A leg cannot be closed: its knees are too near each other or too far apart.
        """
        right, left = self._right, self._left
        turn = np.exp(1j * self._motor_sign * position_rad)
        upper = turn * self._upper
        knee = self._hip + upper
        apart = knee[left] - knee[right]
        distance = np.abs(apart)
        # From the right knee to the foot of the triangle's height, times twice the distance.
        foot = distance * distance + self._sides_m2
        # Knees that meet leave the direction of the pin open.
        distance[distance < _NEAR_M] = np.nan
        square = (2.0 * distance * self._right_m) ** 2 - foot * foot
        if not square.min() > 0.0:
            leg = int(np.argmin(square))  # the first that is not a number, if there is one
            angles = [round(float(position_rad[i]), 3) for i in (right[leg], left[leg])]
            raise SimError(
                f"leg {leg} of {self._model.name} cannot be closed at motor joint angles {angles}"
            )
        rod = np.empty_like(knee)
        rod[right] = (foot + self._side * np.sqrt(square)) * apart / (2.0 * distance * distance)
        rod[left] = rod[right] - apart
        turned = rod / (turn * self._lower) * self._unturn
        knees = self._start + self._knee_sign * np.angle(turned)

        rate = self._motor_sign * velocity_rad_s
        knee_speed = 1j * rate * upper
        # No rod gets longer: along it, the pin is as fast as the knee.
        along = (rod.conj() * knee_speed).real
        area = (rod[right].conj() * rod[left]).imag
        pin_speed = -1j * (along[right] * rod[left] - along[left] * rod[right]) / area
        relative = -knee_speed
        relative[right] += pin_speed
        relative[left] += pin_speed
        rod_rate = (rod.conj() * relative).imag / (rod.conj() * rod).real
        return knees, self._knee_sign * (rod_rate - rate)


def _plane(axis: Array) -> tuple[Array, Array]:
    """Return two unit vectors across an axis, (3,) each; a positive turn goes first to second."""
    across = np.array((1.0, 0.0, 0.0)) - axis[0] * axis
    across /= np.linalg.norm(across)
    return across, np.cross(axis, across)
