"""A world to look at the robot in: the full model with its meshes, posed and never simulated.

Needs PyBullet, which draws it and whose data hold the meshes; so nothing imports this module before
something is to be drawn.
"""

from __future__ import annotations

import itertools
import math
import os
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pybullet_data
from numpy.typing import NDArray

from robot_firmware_bridge.geometry import rotation_from_quaternion
from sim.engines.bullet import World, bullet
from sim.model.link_tree import PACKAGE_SCHEME
from sim.model.minitaur import DEFAULT_MODEL, load_tree, model_named
from sim.model.urdf import to_urdf
from sim.plant.params import PlantParams
from sim.plant.plant import Load
from sim.plant.terrain import MOST_PATCHES, PATCH_HALF_M, Boxes, Patches, ground_turn

Array = NDArray[np.float64]

# Period of the floor's pattern along x and y.
_PATTERN_M = 2.0
# Where the camera stands: to the robot's right, a little ahead and above.
_DISTANCE_M, _YAW_DEG, _PITCH_DEG = 0.9, 35.0, -18.0
# From the robot to the camera, level axes, of length 1.
_BACK = np.array(
    (
        math.cos(math.radians(_PITCH_DEG)) * math.sin(math.radians(_YAW_DEG)),
        -math.cos(math.radians(_PITCH_DEG)) * math.cos(math.radians(_YAW_DEG)),
        -math.sin(math.radians(_PITCH_DEG)),
    )
)
# Of the boxes of a terrain, so that one is told from the next.
_COLOURS = ((0.62, 0.56, 0.47, 1.0), (0.52, 0.5, 0.44, 1.0), (0.7, 0.62, 0.5, 1.0))
# Of a slippery patch: a film on the floor.
_PATCH_LOOK = {
    "halfExtents": (PATCH_HALF_M, PATCH_HALF_M, 0.002),
    "rgbaColor": (0.45, 0.68, 0.85, 1.0),
}


class Scene:
    """A world for pictures, apart from any physics.

    The picture of a robot far away is drawn near the origin, on the same squares of the floor:
    the drawn floor and the light of the shadows end, and pixels are computed in single precision.

    Args:
        model: A name in ``sim.model.minitaur.MODELS``.
        gui: Open a window on it, whose camera follows the robot.
    """

    def __init__(self, model: str = DEFAULT_MODEL, gui: bool = False) -> None:
        described = model_named(model)
        tree = load_tree(model, merged=False)
        self._gui = gui
        self._world = world = World(gui)
        if gui:
            world.configureDebugVisualizer(bullet.COV_ENABLE_GUI, 0)
        world.loadURDF(os.path.join(pybullet_data.getDataPath(), "plane.urdf"))
        urdf = to_urdf(tree, visuals=True, keep_collision=lambda _: False)
        package = f"{PACKAGE_SCHEME}{pybullet_data.__name__}"
        urdf = urdf.replace(package, escape(pybullet_data.getDataPath(), {'"': "&quot;"}))
        self._robot = world.load_urdf_text(urdf, (0.0, 0.0, 0.0))
        index = {
            world.getJointInfo(self._robot, j)[1].decode(): j
            for j in range(world.getNumJoints(self._robot))
        }
        self._joints = [index[n] for n in (*described.motor_joints, *described.knee_joints)]
        self._com, self._com_turn = world.getDynamicsInfo(self._robot, -1)[3:5]
        self._at = self._origin = np.zeros(3)
        self._load: int | None = None
        self._ground: PlantParams | None = None
        self._level = np.eye(3)  # from the ground's axes to level ones
        self._boxes: list[int] = []

    def show(self, position_m: Array, quaternion: Array, joint_positions: Array) -> None:
        """Pose the robot.

        Args:
            position_m: Origin of the body's link in the world, shape (3,).
            quaternion: Its orientation (x, y, z, w), shape (4,).
            joint_positions: Angles of motors, then knees, joint axes, shape (16,).
        """
        position_m = np.asarray(position_m, dtype=np.float64)
        self._origin = _PATTERN_M * np.round(position_m / _PATTERN_M) * (1.0, 1.0, 0.0)
        self._at = position_m - self._origin
        centre = self._at + rotation_from_quaternion(quaternion) @ self._com
        _, turn = bullet.multiplyTransforms(
            (0, 0, 0), list(quaternion), (0, 0, 0), list(self._com_turn)
        )
        self._world.resetBasePositionAndOrientation(self._robot, centre.tolist(), turn)
        angles = [[angle] for angle in joint_positions]
        self._world.resetJointStatesMultiDof(self._robot, self._joints, angles)
        if self._gui:
            self._world.resetDebugVisualizerCamera(
                _DISTANCE_M, _YAW_DEG, _PITCH_DEG, self._look_at()
            )

    def show_ground(self, params: PlantParams) -> None:
        """Show the ground of an episode about the robot, after the robot itself."""
        world = self._world
        if self._ground is not params:
            self._ground = params
            for box in self._boxes:
                world.removeBody(box)
            self._terrain, self._patches = Boxes(params), Patches(params)
            looks = [*map(_look, self._terrain.half_m.tolist(), itertools.count())]
            if self._patches.exist:
                looks += [_PATCH_LOOK] * MOST_PATCHES
            self._boxes = [
                world.createMultiBody(0, -1, world.createVisualShape(bullet.GEOM_BOX, **look))
                for look in looks
            ]
            turn = ground_turn(params)
            self._level = np.eye(3) if turn is None else rotation_from_quaternion(turn)
        x_m, y_m, _ = (self._at + self._origin).tolist()
        places, turns = self._terrain.centres_m(x_m, y_m), self._terrain.quaternions
        if self._patches.exist:
            self._patches.lay(x_m, y_m)
            places = np.concatenate((places, self._patches.places_m()))
            turns = np.concatenate((turns, [self._patches.quaternion] * MOST_PATCHES))
        places = places - self._origin
        for box, place, turned in zip(self._boxes, places.tolist(), turns.tolist(), strict=True):
            world.resetBasePositionAndOrientation(box, place, turned)

    def show_load(self, load: Load) -> None:
        """Pose the one thing that the robot carries, after the robot itself."""
        if self._load is None:
            path = os.path.join(pybullet_data.getDataPath(), load.urdf)
            self._load = int(self._world.loadURDF(path))
        at, quaternion = (load.position_m - self._origin).tolist(), load.quaternion.tolist()
        self._world.resetBasePositionAndOrientation(self._load, at, quaternion)

    def _look_at(self) -> tuple[float, float, float]:
        # A fixed height, so that the picture does not bob with the body.
        return float(self._at[0]), float(self._at[1]), 0.12

    def camera(self, width: int = 480, height: int = 270) -> NDArray[np.uint8]:
        """Return a picture from the robot's right front, shape (height, width, 3)."""
        # Level, on whatever slope the robot is.
        away = _DISTANCE_M * _BACK @ self._level
        view = bullet.computeViewMatrix(
            cameraEyePosition=(self._look_at() + away).tolist(),
            cameraTargetPosition=self._look_at(),
            cameraUpVector=self._level[2].tolist(),
        )
        lens = bullet.computeProjectionMatrixFOV(50.0, width / height, 0.05, 20.0)
        _, _, pixels, _, _ = self._world.getCameraImage(
            width,
            height,
            viewMatrix=view,
            projectionMatrix=lens,
            renderer=bullet.ER_TINY_RENDERER,
            shadow=1,
            lightDirection=(1.0, -1.5, 3.0),
            flags=bullet.ER_NO_SEGMENTATION_MASK,
        )
        image = np.asarray(pixels, dtype=np.uint8).reshape(height, width, 4)
        return image[:, :, :3].copy()

    def close(self) -> None:
        """Disconnect. Idempotent."""
        self._world.close()


def _look(half_m: list[float], number: int) -> dict[str, Any]:
    return {"halfExtents": half_m, "rgbaColor": _COLOURS[number % len(_COLOURS)]}
