"""How far the lowest point of a robot reaches below its body's origin, from its description alone.

With it a measured attitude and measured joint angles give the height of the body: of a robot that
stands or walks, the lowest toe is on the floor. No engine is asked, so both give one answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.geometry import rotation_from_quaternion
from sim.model.link_tree import Joint, LinkTree, ModelError
from sim.model.minitaur import MinitaurModel

Array = NDArray[np.float64]


class LowestPoint:
    """The shapes of a model that touch the floor, on the body, its motors and its lower legs.

    Args:
        tree: The model's links and joints, merged.
        model: Names, and which shapes touch the floor.

    Raises:
        ModelError: Such a shape is neither a box nor a cylinder.
    """

    def __init__(self, tree: LinkTree, model: MinitaurModel) -> None:
        joints = {joint.name: joint for joint in tree.joints}
        self._motors = _Turns([joints[name] for name in model.motor_joints])
        self._knees = _Turns([joints[name] for name in model.knee_joints])
        links = [tree.root, *self._motors.links, *self._knees.links]
        owner, centres, axes, sizes, round_ = [], [], [], [], []
        for number, name in enumerate(links):
            for shape in tree.link(name).collisions:
                if not model.touches_floor(shape.source):
                    continue
                kind, size = shape.geometry.kind, shape.geometry.size
                if kind not in ("box", "cylinder"):
                    raise ModelError(f"link {shape.source}: the lowest point of a {kind}")
                owner.append(number)
                centres.append(shape.origin.xyz)
                axes.append(shape.origin.rotation)
                round_.append(kind == "cylinder")
                sizes.append(
                    (size[0], 0.0, 0.5 * size[1]) if kind == "cylinder" else np.multiply(0.5, size)
                )
        self._owner, self._round = np.array(owner), np.array(round_)
        self._centres, self._axes, self._sizes = np.array(centres), np.array(axes), np.array(sizes)

    def depth_m(self, motors_rad: Array, knees_rad: Array, quaternion: Array) -> float:
        """Return how far the lowest point is below the origin of the body's link.

        Args:
            motors_rad: Angles of the motor joints, joint axes, shape (8,).
            knees_rad: Angles of the knee joints, joint axes, shape (8,).
            quaternion: Orientation of the body's link (x, y, z, w), shape (4,).
        """
        # The world's upward axis in each link's frame, and the height of each link's origin.
        up = rotation_from_quaternion(quaternion)[2:3]
        motors_up, motors_m = self._motors.below(motors_rad, np.repeat(up, len(motors_rad), axis=0))
        knees_up, knees_m = self._knees.below(knees_rad, motors_up)
        ups = np.concatenate((up, motors_up, knees_up))[self._owner]
        heights = np.concatenate(((0.0,), motors_m, motors_m + knees_m))[self._owner]
        heights += np.einsum("ni,ni->n", ups, self._centres)
        slope = np.abs(np.einsum("nij,ni->nj", self._axes, ups))
        # A cylinder reaches as far as a box whose side is turned to the floor.
        slope[self._round, 0] = np.hypot(slope[self._round, 0], slope[self._round, 1])
        return float(-(heights - np.einsum("ni,ni->n", slope, self._sizes)).min())


class _Turns:
    """Joints that turn side by side, each below a link of its own."""

    def __init__(self, joints: list[Joint]) -> None:
        self.links = [joint.child for joint in joints]
        self._origin = np.array([joint.origin.xyz for joint in joints])
        self._rotation = np.array([joint.origin.rotation for joint in joints])
        # A turn by q is I + sin(q) K + (1 - cos(q)) K K.
        quarter = np.array([joint.motion(0.5 * np.pi).rotation for joint in joints])
        half = np.array([joint.motion(np.pi).rotation for joint in joints])
        self._twice = 0.5 * (half - np.eye(3))
        self._once = quarter - np.eye(3) - self._twice

    def below(self, angles_rad: Array, up: Array) -> tuple[Array, Array]:
        """Return the upward axis in the frames below, (n, 3), and those frames' heights, (n,).

        Args:
            angles_rad: Joint angles, shape (n,).
            up: The upward axis in the frames of the links above, shape (n, 3).
        """
        sine, cosine = np.sin(angles_rad)[:, None, None], np.cos(angles_rad)[:, None, None]
        turn = np.eye(3) + sine * self._once + (1.0 - cosine) * self._twice
        heights = np.einsum("ni,ni->n", up, self._origin)
        return np.einsum("nij,ni->nj", self._rotation @ turn, up), heights
