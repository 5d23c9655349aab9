"""The robot in PyBullet: joint torques and pushes in, motion out, one tick at a time.

Bullet reports and takes the base in the frame of its composite centre of mass, which moves when
links are merged and turns with the principal axes of inertia. This file converts to the origin of
the body's link, so that height, speed and thresholds mean the same for every model and engine.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.geometry import (
    cross_product,
    normalized,
    quaternion_from_rpy,
    quaternion_product,
    rotation_from_quaternion,
    turned,
)
from robot_firmware_bridge.robot import MINITAUR, RobotDescription
from sim.engines.bullet_tick import bullet_tick
from sim.engines.c_locale import decimal_points
from sim.engines.five_bar import Legs, closed_knees
from sim.engines.floor_friction import FloorFriction
from sim.engines.lowest_point import LowestPoint
from sim.errors import ParameterError
from sim.model.link_tree import check_mass, frozen
from sim.model.minitaur import DEFAULT_MODEL, load_tree, model_named
from sim.model.urdf import to_urdf
from sim.plant.compiled import EngineTick
from sim.plant.params import TICK_S, PlantParams, toe_contact
from sim.plant.plant import Load
from sim.plant.terrain import REACH_M, Boxes, Patches, gravity_m_s2
from sim.view.display import check_window

Array = NDArray[np.float64]

# Twice as many change the motion by less than a tick of 1 ms does (docs/results/solver.md).
_SOLVER_ITERATIONS = 10
# Height at which the robot is built before it is set on the floor.
_DROP_HEIGHT_M = 1.0
# Height from which no part of the robot is near the floor.
_AWAY_M = 100.0
# The floor is a box, as in the published environment: against a plane Bullet finds one corner of a
# toe per tick, the deepest, and a corner found late starts with its whole depth.
_FLOOR_HALF_M = (100.0, 100.0, 5.0)
# The box goes with the robot, so the floor has no end: this far from its middle, along x or y, the
# robot gets it anew, with the middle at the nearest multiple of the raster.
_FLOOR_EDGE_M, _FLOOR_RASTER_M = 98.0, 50.0
# Of a stand that holds the body: many times what a leg can do.
_STAND_N = 1e5
# Contact of the toes in rainbow_dash's file, beside their stiffness.
_STOCK_TOES = {"spinningFriction": 0.3, "frictionAnchor": 1}


# Those of Bullet's functions that read numbers from text files.
_READERS = frozenset(
    ("loadURDF", "loadSDF", "loadMJCF", "createCollisionShape", "createVisualShape")
)


@contextlib.contextmanager
def _silenced(*descriptors: int) -> Iterator[None]:
    """Lose what C code prints to these file descriptors; to those that are open."""
    null = os.open(os.devnull, os.O_WRONLY)
    kept: dict[int, int] = {}
    try:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):  # closed
                kept[descriptor] = os.dup(descriptor)
                os.dup2(null, descriptor)
        yield
    finally:
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)  # what C's buffers still hold
        for descriptor, copy in kept.items():
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(null)


def import_pybullet() -> Any:
    """Return the ``pybullet`` module, without what it prints when it is imported.

    Its C code prints its build time to the standard error of every worker process.
    """
    if "pybullet" in sys.modules:
        return sys.modules["pybullet"]
    with _silenced(2):
        return importlib.import_module("pybullet")


bullet = import_pybullet()


class World:
    """Bullet's functions, each for one world: this one.

    Args:
        gui: Open a window on it.

    Attributes:
        client: Bullet's number of it; negative when it is closed.

    Raises:
        SimError: No window can be opened.
    """

    def __init__(self, gui: bool = False) -> None:
        self.client = -1
        self._gui = gui
        if gui:
            check_window()
        with self._quiet():
            self.client = bullet.connect(bullet.GUI if gui else bullet.DIRECT)
            if gui:  # its thread prints up to the first picture; two are waited for here
                for _ in range(2):
                    self.getCameraImage(16, 16, renderer=bullet.ER_BULLET_HARDWARE_OPENGL)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = functools.partial(getattr(bullet, name), physicsClientId=self.client)
        return decimal_points()(function) if name in _READERS else function

    def _quiet(self) -> contextlib.AbstractContextManager[None]:
        """Return a context that loses the fifty lines about a window, if there is one."""
        return _silenced(1, 2) if self._gui else contextlib.nullcontext()

    def load_urdf_text(
        self, text: str, position_m: tuple[float, float, float], self_collision: bool = False
    ) -> int:
        """Load a URDF that is a text, with its inertias, and return Bullet's number of the body.

        Bullet caches a file's text by its name, and the name of a scratch file may come again, so
        the cache is switched off.
        """
        self.setPhysicsEngineParameter(enableFileCaching=0)
        handle, path = tempfile.mkstemp(suffix=".urdf")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            flags = bullet.URDF_USE_INERTIA_FROM_FILE
            if self_collision:
                flags |= bullet.URDF_USE_SELF_COLLISION_EXCLUDE_PARENT
            return int(self.loadURDF(path, position_m, flags=flags))
        finally:
            os.unlink(path)

    def close(self) -> None:
        """Disconnect. Idempotent."""
        if self.client >= 0:
            with self._quiet():
                self.disconnect()
            self.client = -1


class BulletEngine:
    """One robot on a ground without end in a Bullet world of its own.

    Args:
        model: A name in ``sim.model.minitaur.MODELS``.
        merged: Fold fixed links into their parents and keep only the shapes that touch the floor.
        self_collision: Let the robot's links touch each other, unless one carries the other.
        stock_contact: Bullet's friction pyramid and toes that resist spinning, as in the published
            environment, instead of friction alike in all directions and toes that spin. It has no
            slippery patches.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        merged: bool = True,
        self_collision: bool = False,
        stock_contact: bool = False,
        robot: RobotDescription = MINITAUR,
    ) -> None:
        self._model = model_named(model)
        self._tree = load_tree(model, merged=merged)
        self._body = self._tree.body()
        self._self_collision = self_collision
        self._stock_contact = stock_contact
        self._directions = robot.directions
        self._stance = robot.stance_pose_rad
        self._knees = closed_knees(self._tree, self._model, self._stance * self._directions)
        folded = load_tree(model, merged=True)
        self._legs = Legs(folded, self._model)
        self._lowest = LowestPoint(folded, self._model)
        self._merged = merged
        self._urdf = to_urdf(self._tree, visuals=False, keep_collision=self._keeps)
        self._world = World()
        self._client = self._world.client
        self._tick = bullet_tick(bullet, self._client)
        self._height_m: float | None = None
        self.mass_kg = 0.0
        self._robot = -1
        self._x_m = self._y_m = 0.0  # of the base, as last measured

    def reset(self, params: PlantParams) -> None:
        """Build the world anew: no other reset is the same bit for bit.

        Raises:
            ParameterError: There are slippery patches under the stock contact.
        """
        if self._stock_contact and params.patch_friction_scale != 1.0:
            raise ParameterError("the stock contact has no slippery patches: take another plant")
        world = self._world
        world.resetSimulation()
        world.setPhysicsEngineParameter(
            fixedTimeStep=TICK_S,
            numSolverIterations=_SOLVER_ITERATIONS,
            numSubSteps=0,
            deterministicOverlappingPairs=1,
            enableConeFriction=0 if self._stock_contact else 1,
        )
        world.setGravity(*gravity_m_s2(params).tolist())
        shape = world.createCollisionShape(bullet.GEOM_BOX, halfExtents=_FLOOR_HALF_M)
        at = (0.0, 0.0, -_FLOOR_HALF_M[2])
        self._floor = world.createMultiBody(0, shape, basePosition=at)
        self._floor_x_m = self._floor_y_m = 0.0
        self._make_terrain(params)
        grounds = range(self._floor, self._floor + 1 + len(self._boxes))
        for ground in grounds:
            # Bullet multiplies the frictions of two bodies; without this one's, ours acts alone.
            world.changeDynamics(ground, -1, lateralFriction=1.0 if self._stock_contact else 0.0)
        at = (0.0, 0.0, _DROP_HEIGHT_M)
        self._robot = world.load_urdf_text(self._described(params), at, self._self_collision)
        self._index_joints()
        self._close_legs()
        self._apply(params)
        self._stand(params.start_heading_rad, params.stand_height_m)
        self._friction = None
        if not self._stock_contact:
            self._friction = FloorFriction(
                bullet, self._client, self._robot, grounds, params.contact_friction, self._patches
            )
        if self._tick is not None:
            self._tick.begin(
                self._robot,
                grounds,
                [world.getJointInfo(self._robot, joint) for joint in self._motors],
                self._directions.tolist(),
                self._com.tolist(),
                self._to_link.tolist(),
                None if self._stock_contact else params.contact_friction,
            )

    def compiled(self) -> EngineTick | None:
        """Return ``step`` and ``measure`` in C; None where they cannot be had."""
        return self._tick

    def _make_terrain(self, params: PlantParams) -> None:
        """Make what lies on the floor near the start. The boxes' numbers follow the floor's."""
        world, terrain = self._world, Boxes(params)
        shapes = {
            size: world.createCollisionShape(bullet.GEOM_BOX, halfExtents=size)
            for size in map(tuple, np.unique(terrain.half_m, axis=0).tolist())
        }
        self._terrain, self._box_turns = terrain, terrain.quaternions.tolist()
        self._box_m = terrain.centres_m(0.0, 0.0)
        rows = zip(terrain.half_m.tolist(), self._box_m.tolist(), self._box_turns, strict=True)
        self._boxes = [
            world.createMultiBody(0, shapes[tuple(half)], basePosition=at, baseOrientation=turn)
            for half, at, turn in rows
        ]
        self._patches = Patches(params)
        self._has_terrain = bool(self._boxes) or self._patches.exist
        self._note_ground(0.0, 0.0)

    def prepare(self) -> None:
        """Move the ground under the robot."""
        self._x_m, self._y_m = bullet.getBasePositionAndOrientation(self._robot, self._client)[0][
            :2
        ]
        self._keep_on_ground()

    def _described(self, params: PlantParams) -> str:
        """Return the robot as URDF, with the body's centre of mass where it is in this episode."""
        if params.base_com_x_m == 0.0:
            return self._urdf
        shift = np.array((params.base_com_x_m, 0.0, 0.0))
        links = tuple(
            replace(link, com=frozen(link.com + self._body[link.name].rotation.T @ shift))
            if link.name in self._body
            else link
            for link in self._tree.links
        )
        tree = replace(self._tree, links=links)
        return to_urdf(tree, visuals=False, keep_collision=self._keeps)

    def _keeps(self, link: str) -> bool:
        """Return whether the shapes of an original link are simulated."""
        return not self._merged or self._model.touches_floor(link)

    def _index_joints(self) -> None:
        """Find Bullet's numbers of the joints and links, and the base's inertial frame."""
        world, robot = self._world, self._robot
        self._link_ids: dict[str, int] = {self._tree.root: -1}
        joints: dict[str, int] = {}
        for index in range(world.getNumJoints(robot)):
            info = world.getJointInfo(robot, index)
            joints[info[1].decode()] = index
            self._link_ids[info[12].decode()] = index
        self._motors = [joints[name] for name in self._model.motor_joints]
        self._knee_joints = [joints[name] for name in self._model.knee_joints]
        base = world.getDynamicsInfo(robot, -1)
        self._com, self._principal = np.array(base[3]), base[4]
        # Inverse of the turn from link axes to principal axes.
        self._to_link = np.array(base[4]) * (-1.0, -1.0, -1.0, 1.0)

    def _close_legs(self) -> None:
        """Join the two chains of every leg at the toe."""
        world, robot = self._world, self._robot
        for closure in self._model.closures:
            right, left = (self._link_ids[link] for link, _ in closure)
            # Bullet takes a pivot relative to the link's centre of mass.
            pivots = [
                np.subtract(point, world.getDynamicsInfo(robot, self._link_ids[link])[3]).tolist()
                for link, point in closure
            ]
            kind, axis = bullet.JOINT_POINT2POINT, (0, 0, 0)
            world.createConstraint(robot, right, robot, left, kind, axis, *pivots)

    def _apply(self, params: PlantParams) -> None:
        """Scale masses and inertias, set frictions, and take away Bullet's own damping."""
        world, robot = self._world, self._robot
        self.mass_kg = 0.0
        for name, link in self._link_ids.items():
            mass, _, inertia = world.getDynamicsInfo(robot, link)[:3]
            check_mass("Bullet", self._tree.link(name), mass)
            base = name in self._body
            mass_scale = params.base_mass_scale if base else params.leg_mass_scale
            inertia_scale = params.base_inertia_scale if base else params.leg_inertia_scale
            self.mass_kg += mass * mass_scale
            world.changeDynamics(
                robot,
                link,
                mass=mass * mass_scale,
                localInertiaDiagonal=[i * mass_scale * inertia_scale for i in inertia],
                lateralFriction=params.contact_friction,
                rollingFriction=0.0,
                spinningFriction=0.0,
                restitution=0.0,
                linearDamping=0.0,
                angularDamping=0.0,
                jointDamping=0.0,
            )
        if self._stock_contact:
            for name in self._model.lower_legs:
                world.changeDynamics(robot, self._link_ids[name], **_STOCK_TOES)
        for name in self._model.lower_legs:
            stiffness, damping = toe_contact(params, dict(self._tree.link(name).contact))
            world.changeDynamics(
                robot, self._link_ids[name], contactStiffness=stiffness, contactDamping=damping
            )
        viscous = params.knee_viscous_nm_s_per_rad
        for joint in self._knee_joints:
            world.changeDynamics(robot, joint, jointDamping=viscous)
        # A joint's default velocity motor is a brake. Held at zero speed with a bounded force, it
        # is exactly Coulomb friction.
        frictions = (
            (self._motors, params.motor_coulomb_nm),
            (self._knee_joints, params.knee_coulomb_nm),
        )
        for joints, force in frictions:
            world.setJointMotorControlArray(
                robot,
                joints,
                bullet.VELOCITY_CONTROL,
                targetVelocities=[0.0] * len(joints),
                forces=[force] * len(joints),
            )

    def _stand(self, heading_rad: float, lift_m: float) -> None:
        """Put the joints in the stance and the lowest toe on the floor, turned to a heading.

        Lifted by more than nothing, the body is held where it is.
        """
        world, robot = self._world, self._robot
        joints = [*self._motors, *self._knee_joints]
        angles = [*(self._stance * self._directions), *self._knees]
        for joint, angle in zip(joints, angles, strict=True):
            world.resetJointState(robot, joint, angle, 0.0)
        if self._height_m is None:
            world.performCollisionDetection()
            near = world.getClosestPoints(robot, self._floor, 10.0)
            self._height_m = _DROP_HEIGHT_M - min(point[8] for point in near)
        # Turned into Bullet's frame of the base: the link's origin stands above the world's.
        turn = quaternion_from_rpy(np.array((0.0, 0.0, heading_rad)))
        position = rotation_from_quaternion(turn) @ self._com + (
            *(0.0, 0.0),
            self._height_m + lift_m,
        )
        self._x_m, self._y_m = float(position[0]), float(position[1])
        quaternion = quaternion_product(turn, np.array(self._principal))
        world.resetBasePositionAndOrientation(robot, position.tolist(), quaternion.tolist())
        if lift_m > 0.0:
            held = world.createConstraint(
                *(robot, -1, -1, -1, bullet.JOINT_FIXED, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
                position.tolist(),
                (0.0, 0.0, 0.0, 1.0),
                quaternion.tolist(),
            )
            world.changeConstraint(held, maxForce=_STAND_N)

    def place(self, position_rad: Array, velocity_rad_s: Array, origin: Array) -> None:
        """Put the robot into a state of motion, as if nothing had been before; legs closed.

        Raises:
            SimError: No knees close the legs at these angles.
        """
        world, robot = self._world, self._robot
        motors, speeds = position_rad * self._directions, velocity_rad_s * self._directions
        knees, knee_speeds = self._legs.close(motors, speeds)
        # Out of reach of the floor, Bullet forgets the contacts and their forces. The ground
        # returns to where an episode begins; the next step moves it if need be.
        self._move_floor(0.0, 0.0)
        self._move_boxes(0.0, 0.0)
        world.resetBasePositionAndOrientation(robot, (0.0, 0.0, _AWAY_M), self._principal)
        world.performCollisionDetection()
        states = (
            (self._motors, motors, speeds),
            (self._knee_joints, knees, knee_speeds),
        )
        for joints, angles, rates in states:
            world.resetJointStatesMultiDof(
                robot, joints, angles[:, None].tolist(), rates[:, None].tolist()
            )
        com = rotation_from_quaternion(origin[3:7]) @ self._com
        position = (origin[0:3] + com).tolist()
        turn = quaternion_product(origin[3:7], np.array(self._principal))
        self._x_m, self._y_m = position[:2]
        world.resetBasePositionAndOrientation(robot, position, turn.tolist())
        linear = origin[7:10] + cross_product(origin[10:13], com)
        world.resetBaseVelocity(robot, linear.tolist(), origin[10:13].tolist())
        self._forget_contacts()

    def _forget_contacts(self) -> None:
        """Note that the robot was put somewhere else: it holds on to nothing there."""
        if self._friction is not None:
            self._friction.release()
        if self._tick is not None:
            self._tick.moved()

    def touching_height_m(self, position_rad: Array, quaternion: Array) -> float:
        """Return the height of the body's link origin at which the lowest toe touches the floor.

        Raises:
            SimError: No knees close the legs at these angles.
        """
        motors = position_rad * self._directions
        knees, _ = self._legs.close(motors, np.zeros_like(motors))
        return self._lowest.depth_m(motors, knees, quaternion)

    def measure(self, position_rad: Array, velocity_rad_s: Array, base: Array) -> None:
        """Write motor angles and speeds (8,), and the motion of the body's link (13,)."""
        client, robot = self._client, self._robot  # faster than by the world, once a tick
        states = bullet.getJointStates(robot, self._motors, client)
        position_rad[:] = [state[0] for state in states]
        velocity_rad_s[:] = [state[1] for state in states]
        position_rad *= self._directions
        velocity_rad_s *= self._directions
        at, quaternion = bullet.getBasePositionAndOrientation(robot, client)
        velocity, rate = map(np.array, bullet.getBaseVelocity(robot, client))
        turn = normalized(quaternion_product(np.array(quaternion), self._to_link))
        back = -turned(turn, self._com)
        base[:] = (*(at + back), *turn, *(velocity + cross_product(rate, back)), *rate)
        self._x_m, self._y_m = at[0], at[1]

    def step(self, torque_nm: Array, push_n: Array | None) -> None:
        """Advance one tick under motor torques (8,) and a force (3,) on the body."""
        client, robot = self._client, self._robot
        self._keep_on_ground()
        if push_n is not None:
            at = bullet.getBasePositionAndOrientation(robot, client)[0]
            self._world.applyExternalForce(robot, -1, push_n.tolist(), at, bullet.WORLD_FRAME)
        kind, forces = bullet.TORQUE_CONTROL, (torque_nm * self._directions).tolist()
        bullet.setJointMotorControlArray(
            robot, self._motors, kind, forces=forces, physicsClientId=client
        )
        if self._friction is not None:
            self._friction.apply()
        bullet.stepSimulation(client)

    def _keep_on_ground(self) -> None:
        """Move floor and boxes under a robot that has come near the end of what is there.

        The contacts with the floor are the same afterwards, but the solver takes them in another
        order: over the next tick the body moves otherwise by 0.01 mm or less.
        """
        x_m, y_m = self._x_m, self._y_m
        moved_m = max(abs(x_m - self._ground_x_m), abs(y_m - self._ground_y_m))
        if moved_m >= self._reach_m:  # no comparison with a NaN
            self._move_boxes(x_m, y_m)
            if max(abs(x_m - self._floor_x_m), abs(y_m - self._floor_y_m)) >= _FLOOR_EDGE_M:
                self._move_floor(
                    _FLOOR_RASTER_M * round(x_m / _FLOOR_RASTER_M),
                    _FLOOR_RASTER_M * round(y_m / _FLOOR_RASTER_M),
                )

    def _move_floor(self, x_m: float, y_m: float) -> None:
        """Put the middle of the floor to a place."""
        if (x_m, y_m) != (self._floor_x_m, self._floor_y_m):
            at = (x_m, y_m, -_FLOOR_HALF_M[2])
            self._world.resetBasePositionAndOrientation(self._floor, at, (0.0, 0.0, 0.0, 1.0))
        self._floor_x_m, self._floor_y_m = x_m, y_m
        if not self._has_terrain:
            self._note_ground(x_m, y_m)

    def _move_boxes(self, x_m: float, y_m: float) -> None:
        """Lay boxes and patches about a place; boxes that are there already stay untouched."""
        if not self._has_terrain:
            return
        centres = self._terrain.centres_m(x_m, y_m)
        for index in np.flatnonzero((centres != self._box_m).any(axis=1)):
            self._world.resetBasePositionAndOrientation(
                self._boxes[index], centres[index].tolist(), self._box_turns[index]
            )
        self._box_m = centres
        self._note_ground(x_m, y_m)

    def _note_ground(self, x_m: float, y_m: float) -> None:
        """Note where the middle of what lies there is, and how far from it the robot may be."""
        self._ground_x_m, self._ground_y_m = x_m, y_m
        self._reach_m = REACH_M if self._has_terrain else _FLOOR_EDGE_M
        self._patches.lay(x_m, y_m)
        if self._tick is not None:
            self._tick.terrain_is_at(x_m, y_m, self._reach_m, self._patches)

    @property
    def load(self) -> Load | None:
        """What the robot carries: nothing."""
        return None

    def joint_positions(self) -> Array:
        """Return the joint angles of motors, then knees, joint axes, shape (16,)."""
        joints = [*self._motors, *self._knee_joints]
        states = self._world.getJointStates(self._robot, joints)
        return np.array([state[0] for state in states])

    def close(self) -> None:
        """Disconnect. Idempotent."""
        if self._tick is not None:
            self._tick.close()
        self._world.close()
