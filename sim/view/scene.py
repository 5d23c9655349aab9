"""A stage to look at the robot on: the full model with its meshes, posed and never simulated."""

from __future__ import annotations

import os

import numpy as np
import pybullet_data
from numpy.typing import NDArray

from sim.engines.pybullet_io import import_pybullet, load_urdf_text
from sim.model.minitaur import load_tree, model_named
from sim.model.urdf import to_urdf
from sim.plant.sensors import rotation_from_quaternion

bullet = import_pybullet()

Array = NDArray[np.float64]

# Where the camera stands: to the robot's right, a little ahead and above.
_DISTANCE_M, _YAW_DEG, _PITCH_DEG = 0.9, 35.0, -18.0


class Scene:
    """A world for pictures, apart from any physics.

    Args:
        model: A name in ``sim.model.minitaur.MODELS``.
        gui: Open a window on it, whose camera follows the robot.
    """

    def __init__(self, model: str = "minitaur_rainbow_dash", gui: bool = False) -> None:
        described = model_named(model)
        tree = load_tree(model, merged=False)
        self._gui = gui
        self._client = bullet.connect(bullet.GUI if gui else bullet.DIRECT)
        if gui:
            bullet.configureDebugVisualizer(bullet.COV_ENABLE_GUI, 0, physicsClientId=self._client)
        floor = os.path.join(pybullet_data.getDataPath(), "plane.urdf")
        bullet.loadURDF(floor, physicsClientId=self._client)
        urdf = to_urdf(tree, visuals=True, keep_collision=lambda _: False)
        self._robot = load_urdf_text(urdf, self._client, (0.0, 0.0, 0.0))
        index = {
            bullet.getJointInfo(self._robot, j, self._client)[1].decode(): j
            for j in range(bullet.getNumJoints(self._robot, self._client))
        }
        self._joints = [index[n] for n in (*described.motor_joints, *described.knee_joints)]
        self._com = np.array(bullet.getDynamicsInfo(self._robot, -1, self._client)[3])
        self._com_turn = bullet.getDynamicsInfo(self._robot, -1, self._client)[4]
        self._at = np.zeros(3)
        self._load: int | None = None

    def show(self, position_m: Array, quaternion: Array, joint_positions: Array) -> None:
        """Pose the robot.

        Args:
            position_m: Origin of the body's link in the world, shape (3,).
            quaternion: Its orientation (x, y, z, w), shape (4,).
            joint_positions: Angles of motors, then knees, joint axes, shape (16,).
        """
        centre = np.asarray(position_m) + rotation_from_quaternion(quaternion) @ self._com
        _, turn = bullet.multiplyTransforms(
            (0, 0, 0), list(quaternion), (0, 0, 0), list(self._com_turn)
        )
        bullet.resetBasePositionAndOrientation(
            self._robot, centre.tolist(), turn, physicsClientId=self._client
        )
        bullet.resetJointStatesMultiDof(
            self._robot,
            self._joints,
            [[angle] for angle in joint_positions],
            physicsClientId=self._client,
        )
        self._at = np.asarray(position_m, dtype=np.float64)
        if self._gui:
            bullet.resetDebugVisualizerCamera(
                _DISTANCE_M, _YAW_DEG, _PITCH_DEG, self._look_at(), physicsClientId=self._client
            )

    def show_load(self, file: str, centre_m: Array, quaternion: Array) -> None:
        """Pose the one thing that the robot carries.

        Args:
            file: Its URDF, relative to the folder of ``pybullet_data``; always the same one.
            centre_m: Its centre of mass in the world, shape (3,).
            quaternion: Its orientation (x, y, z, w), shape (4,).
        """
        if self._load is None:
            path = os.path.join(pybullet_data.getDataPath(), file)
            self._load = int(bullet.loadURDF(path, physicsClientId=self._client))
        bullet.resetBasePositionAndOrientation(
            self._load, centre_m.tolist(), quaternion.tolist(), physicsClientId=self._client
        )

    def _look_at(self) -> tuple[float, float, float]:
        # A fixed height, so that the picture does not bob with the body.
        return float(self._at[0]), float(self._at[1]), 0.12

    def camera(self, width: int = 480, height: int = 270) -> NDArray[np.uint8]:
        """A picture from the robot's right front, shape (height, width, 3)."""
        view = bullet.computeViewMatrixFromYawPitchRoll(
            cameraTargetPosition=self._look_at(),
            distance=_DISTANCE_M,
            yaw=_YAW_DEG,
            pitch=_PITCH_DEG,
            roll=0.0,
            upAxisIndex=2,
        )
        lens = bullet.computeProjectionMatrixFOV(50.0, width / height, 0.05, 20.0)
        _, _, pixels, _, _ = bullet.getCameraImage(
            width,
            height,
            viewMatrix=view,
            projectionMatrix=lens,
            renderer=bullet.ER_TINY_RENDERER,
            shadow=1,
            lightDirection=(1.0, -1.5, 3.0),
            flags=bullet.ER_NO_SEGMENTATION_MASK,
            physicsClientId=self._client,
        )
        image = np.asarray(pixels, dtype=np.uint8).reshape(height, width, 4)
        return image[:, :, :3].copy()

    def close(self) -> None:
        """Disconnect. Idempotent."""
        if self._client >= 0:
            bullet.disconnect(self._client)
            self._client = -1
