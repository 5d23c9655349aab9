"""A world to look at the robot in: the full model with its meshes, posed and never simulated."""

from __future__ import annotations

import os
import time

import numpy as np
import pybullet_data
from numpy.typing import NDArray

from robot_firmware_bridge.geometry import rotation_from_quaternion
from sim.engines.bullet import World, bullet
from sim.model.minitaur import DEFAULT_MODEL, load_tree, model_named
from sim.model.urdf import to_urdf
from sim.plant.plant import Load, Plant

Array = NDArray[np.float64]

# Plant time between two pictures in a window.
_FRAME_NS = 40_000_000
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


class PlantViewer:
    """Draws a plant, in a window and as pictures.

    Each has a scene of its own, so that looking at a run does not change it.

    Args:
        model: The robot to draw, a name in ``sim.model.minitaur.MODELS``.
        gui: Open a window that shows the robot as it moves.
    """

    def __init__(self, model: str, gui: bool) -> None:
        self._model = model
        self._scene: Scene | None = None
        self._window = Scene(model, gui=True) if gui else None
        self._shown_ns = -_FRAME_NS
        self._frame_due_s = 0.0

    def follow(self, plant: Plant) -> None:
        """Show the plant in the window, no faster than real time; without a window, do nothing."""
        if self._window is None or 0 <= plant.t_ns - self._shown_ns < _FRAME_NS:
            return
        _pose(self._window, plant)
        time.sleep(max(0.0, self._frame_due_s - time.monotonic()))
        self._shown_ns = plant.t_ns
        self._frame_due_s = time.monotonic() + _FRAME_NS * 1e-9

    def camera(self, plant: Plant, width: int, height: int) -> NDArray[np.uint8]:
        """Return a picture from a camera that follows the robot, shape (height, width, 3)."""
        if self._scene is None:
            self._scene = Scene(self._model)
        _pose(self._scene, plant)
        return self._scene.camera(width, height)

    def close(self) -> None:
        """Release the scene and the window. Idempotent."""
        for scene in (self._scene, self._window):
            if scene is not None:
                scene.close()
        self._scene = self._window = None


def _pose(scene: Scene, plant: Plant) -> None:
    truth = plant.truth()
    scene.show(truth.position_m, truth.quaternion, plant.engine.joint_positions())
    if (load := plant.engine.load) is not None:
        scene.show_load(load)
