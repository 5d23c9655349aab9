"""The robot in MuJoCo: a second opinion on the physics, under the same drives and sensors.

A sibling of ``sim.engines.bullet``. Nothing here is tuned to a gait or a policy: a policy should
not depend on what the two engines disagree in. MuJoCo itself is imported when an engine is made.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.geometry import rotation_from_quaternion
from robot_firmware_bridge.robot import MINITAUR, RobotDescription
from sim.engines.five_bar import closed_knees
from sim.engines.mujoco_model import FLOOR, build, import_mujoco
from sim.model.minitaur import DEFAULT_MODEL, load_tree, model_named
from sim.plant.params import PlantParams
from sim.plant.plant import Load

Array = NDArray[np.float64]

# Farther from the floor than any shape of a robot whose body's origin is at the floor's height.
_REACH_M = 1.0
# Quaternion (x, y, z, w) out of MuJoCo's (w, x, y, z).
_XYZW = [4, 5, 6, 3]


class MujocoEngine:
    """One robot on a flat floor in a MuJoCo world of its own.

    Args:
        model: A name in ``sim.model.minitaur.MODELS``.
        robot: The robot description.

    Raises:
        SimError: MuJoCo is not installed, or the model is unknown.
    """

    def __init__(self, model: str = DEFAULT_MODEL, robot: RobotDescription = MINITAUR) -> None:
        self._mujoco = import_mujoco()
        self._model = model_named(model)
        self._tree = load_tree(model, merged=True)
        self._directions = robot.directions
        motors = robot.stance_pose_rad * self._directions
        knees = closed_knees(self._tree, self._model, motors)
        self._stance = np.concatenate((motors, knees))
        self.mass_kg = 0.0
        self.load: Load | None = None

    def reset(self, params: PlantParams) -> None:
        """Compile the robot with these parameters and put it in its stance on the floor."""
        compiled = build(self._model, self._tree, params)
        self.mass_kg = float(compiled.body_mass.sum())
        self._compiled, self._data = compiled, self._mujoco.MjData(compiled)
        names = (*self._model.motor_joints, *self._model.knee_joints)
        self._angles = np.array([compiled.joint(name).qposadr[0] for name in names])
        self._motor_angles = self._angles[:8]
        self._motor_speeds = np.array([compiled.joint(name).dofadr[0] for name in names[:8]])
        self._body = compiled.body(self._tree.root).id
        # Views of MuJoCo's own memory.
        self._qpos, self._qvel = self._data.qpos, self._data.qvel
        self._torque = self._data.qfrc_applied
        self._push = self._data.xfrc_applied[self._body, :3]
        self._qpos[self._angles] = self._stance
        self._qpos[2] -= self._lowest_m()

    def _lowest_m(self) -> float:
        """Height of the lowest shape's lowest point over the floor."""
        compiled, data = self._compiled, self._data
        self._mujoco.mj_kinematics(compiled, data)
        floor = compiled.geom(FLOOR).id
        distances = (
            self._mujoco.mj_geomDistance(compiled, data, floor, shape, _REACH_M, None)
            for shape in range(compiled.ngeom)
            if shape != floor
        )
        return float(min(distances))

    def measure(self, position_rad: Array, velocity_rad_s: Array, base: Array) -> None:
        """Write motor angles and speeds (8,), and MuJoCo's thirteen numbers of the base."""
        np.multiply(self._qpos[self._motor_angles], self._directions, out=position_rad)
        np.multiply(self._qvel[self._motor_speeds], self._directions, out=velocity_rad_s)
        base[:7] = self._qpos[:7]
        base[7:] = self._qvel[:6]

    def origin_state(self, base: Array) -> Array:
        """Position, quaternion, velocity, angular velocity of the body's link origin, (13,)."""
        quaternion = base[_XYZW]
        quaternion /= np.linalg.norm(quaternion)
        out = np.empty(13)
        out[0:3] = base[0:3]
        out[3:7] = quaternion
        out[7:10] = base[7:10]
        # A free joint turns about its body's own axes.
        out[10:13] = rotation_from_quaternion(quaternion) @ base[10:13]
        return out

    def step(self, torque_nm: Array, push_n: Array | None) -> None:
        """Advance one tick under motor torques (8,) and a force (3,) on the body."""
        self._torque[self._motor_speeds] = torque_nm * self._directions
        self._push[:] = 0.0 if push_n is None else push_n
        self._mujoco.mj_step(self._compiled, self._data)

    def joint_positions(self) -> Array:
        """Joint angles of the eight motors, then of the eight knees, joint axes, shape (16,)."""
        angles: Array = self._qpos[self._angles]
        return angles

    def close(self) -> None:
        """Nothing to release: MuJoCo's memory goes with the engine."""
