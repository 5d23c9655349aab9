"""A world to look at the robot in: the full model with its meshes, posed and never simulated.

Needs PyBullet, which draws it and whose data hold the meshes; so nothing imports this module before
something is to be drawn.
"""

from __future__ import annotations

import os
from xml.sax.saxutils import escape

import numpy as np
import pybullet_data
from numpy.typing import NDArray

from robot_firmware_bridge.geometry import rotation_from_quaternion
from sim.engines.bullet import World, bullet
from sim.model.link_tree import PACKAGE_SCHEME
from sim.model.minitaur import DEFAULT_MODEL, load_tree, model_named
from sim.model.urdf import to_urdf
from sim.plant.plant import Load

Array = NDArray[np.float64]

# Period of the floor's pattern along x and y.
_PATTERN_M = 2.0
# Where the camera stands: to the robot's right, a little ahead and above.
_DISTANCE_M, _YAW_DEG, _PITCH_DEG = 0.9, 35.0, -18.0


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
        view = bullet.computeViewMatrixFromYawPitchRoll(
            cameraTargetPosition=self._look_at(),
            distance=_DISTANCE_M,
            yaw=_YAW_DEG,
            pitch=_PITCH_DEG,
            roll=0.0,
            upAxisIndex=2,
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
