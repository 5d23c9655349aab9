import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pybullet as bullet
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from sim.minitaur import MODELS, load_tree, model_named
from sim.model import LinkTree, ModelError, Pose, merge_fixed, parse_urdf, to_urdf
from sim.tree import rotation_from_rpy, rpy_from_rotation

Array = NDArray[np.float64]
CONFIGURATIONS = 100


@dataclass
class Body:
    """A robot in Bullet, read about the base link's own frame instead of Bullet's base frame."""

    client: int
    number: int

    def __post_init__(self) -> None:
        self.joints: dict[str, int] = {}
        self.columns: dict[str, int] = {}
        for index in range(bullet.getNumJoints(self.number, physicsClientId=self.client)):
            info = bullet.getJointInfo(self.number, index, physicsClientId=self.client)
            if info[2] != bullet.JOINT_FIXED:
                self.joints[info[1].decode()] = index
                self.columns[info[1].decode()] = info[4]  # velocity index, the base's 6 included
        base = bullet.getDynamicsInfo(self.number, -1, physicsClientId=self.client)
        self.com = np.array(base[3])
        self.turn = base[4]
        self.axes = np.array(bullet.getMatrixFromQuaternion(base[4])).reshape(3, 3)

    def mass_matrix(self, positions: dict[str, float]) -> Array:
        """Rows: base angular, base linear (link frame, about its origin), joints by name."""
        order = sorted(self.columns, key=self.columns.__getitem__)
        raw = np.array(
            bullet.calculateMassMatrix(
                self.number, [positions[name] for name in order], physicsClientId=self.client
            )
        )
        # Velocity of Bullet's base frame from that of the link frame.
        x, y, z = self.com
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        change = np.zeros_like(raw)
        change[:3, :3] = change[3:6, 3:6] = self.axes.T
        change[3:6, :3] = -self.axes.T @ cross
        for row, name in enumerate(sorted(self.columns), start=6):
            change[self.columns[name], row] = 1.0
        return np.asarray(change.T @ raw @ change)

    def set_base(self, pose: tuple[Array, Array]) -> None:
        """Puts the link frame at (position, quaternion) in the world."""
        at, turn = bullet.multiplyTransforms(*pose, self.com, self.turn)
        bullet.resetBasePositionAndOrientation(self.number, at, turn, physicsClientId=self.client)

    def joint_speeds(self) -> dict[str, float]:
        return {
            name: bullet.getJointState(self.number, index, physicsClientId=self.client)[1]
            for name, index in self.joints.items()
        }


def load(client: int, path: Path) -> Body:
    number = bullet.loadURDF(
        str(path), flags=bullet.URDF_USE_INERTIA_FROM_FILE, physicsClientId=client
    )
    for link in range(-1, bullet.getNumJoints(number, physicsClientId=client)):
        bullet.changeDynamics(
            number, link, linearDamping=0, angularDamping=0, jointDamping=0, physicsClientId=client
        )
    body = Body(client, number)
    for index in body.joints.values():
        bullet.setJointMotorControl2(
            number, index, bullet.VELOCITY_CONTROL, force=0, physicsClientId=client
        )
    return body


def load_text(client: int, path: Path, text: str) -> Body:
    path.write_text(text)
    return load(client, path)


@pytest.fixture
def client() -> Iterator[int]:
    number = bullet.connect(bullet.DIRECT)
    yield number
    bullet.disconnect(number)


@pytest.fixture(params=sorted(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pair(client: int, name: str, tmp_path: Path) -> tuple[Body, Body]:
    """The file as it ships, and its merged, visual-free form."""
    model = MODELS[name]
    text = to_urdf(
        load_tree(name, merged=True), visuals=False, keep_collision=model.touches_floor
    )
    return load(client, model.urdf_path), load_text(client, tmp_path / "merged.urdf", text)


def random_pose(rng: np.random.Generator) -> tuple[Array, Array]:
    quaternion = rng.normal(size=4)
    return rng.normal(size=3), quaternion / np.linalg.norm(quaternion)


def relative_difference(left: Array, right: Array) -> float:
    """Largest difference of entries, each measured against its row's and column's diagonal."""
    scale = np.sqrt(np.diag(right))
    return float(np.max(np.abs(left - right) / np.outer(scale, scale)))


def test_merged_mass_matrix_equals_that_of_the_full_model(pair: tuple[Body, Body]) -> None:
    full, merged = pair
    assert sorted(full.joints) == sorted(merged.joints)
    assert len(merged.joints) == 16
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(CONFIGURATIONS):
        positions = {name: rng.uniform(-math.pi, math.pi) for name in full.joints}
        pose = random_pose(rng)
        for body in pair:
            body.set_base(pose)
        matrices = merged.mass_matrix(positions), full.mass_matrix(positions)
        assert matrices[0].shape == (22, 22)
        worst = max(worst, relative_difference(*matrices))
    assert worst < 1e-10


def test_merged_model_accelerates_as_the_full_one(pair: tuple[Body, Body], client: int) -> None:
    """One step at random orientation, spin, joint speeds and torques: Coriolis and gravity too."""
    bullet.setGravity(0, 0, -9.81, physicsClientId=client)
    rng = np.random.default_rng(1)
    for _ in range(10):
        pose, spin = random_pose(rng), rng.uniform(-3, 3, size=3)
        states = {name: rng.uniform(-3, 3, size=3) for name in pair[0].joints}
        for far, body in enumerate(pair):
            # Side by side, so that they do not touch.
            body.set_base((pose[0] + (5.0 * far, 0, 0), pose[1]))
            arm = np.array(
                bullet.getBasePositionAndOrientation(body.number, physicsClientId=client)[0]
            ) - (pose[0] + (5.0 * far, 0, 0))
            bullet.resetBaseVelocity(
                body.number, np.cross(spin, arm), spin, physicsClientId=client
            )
            for name, (position, speed, torque) in states.items():
                index = body.joints[name]
                bullet.resetJointState(
                    body.number, index, position, speed, physicsClientId=client
                )
                bullet.setJointMotorControl2(
                    body.number, index, bullet.TORQUE_CONTROL, force=torque, physicsClientId=client
                )
        bullet.stepSimulation(physicsClientId=client)
        full, merged = (body.joint_speeds() for body in pair)
        change = max(abs(full[name] - states[name][1]) for name in full)
        assert change > 0.1
        assert_allclose([merged[n] for n in full], list(full.values()), atol=1e-9 * change)


def test_merging_keeps_mass_and_centre_of_mass(name: str) -> None:
    full, merged = load_tree(name, merged=False), load_tree(name, merged=True)
    assert (len(full.joints), len(merged.joints)) == (26, 16)
    assert merged.mass == pytest.approx(full.mass, rel=1e-14)
    rng = np.random.default_rng(2)
    positions = {joint.name: rng.uniform(-3, 3) for joint in full.moving_joints}
    assert_allclose(merged.com(positions), full.com(positions), atol=1e-14)
    for poses, other in ((merged.poses(positions), full.poses(positions)),):
        for link, pose in poses.items():
            assert_allclose(pose.xyz, other[link].xyz, atol=1e-14)
            assert_allclose(pose.rotation, other[link].rotation, atol=1e-14)


def test_merging_keeps_every_shape_where_it_was(name: str) -> None:
    full, merged = load_tree(name, merged=False), load_tree(name, merged=True)
    places = []
    for tree in (full, merged):
        poses = tree.poses(MODELS[name].start_positions)
        places.append(
            sorted(
                (shape.source, shape.geometry.kind, *np.round(poses[link.name] @ shape.origin).xyz)
                if False
                else (shape.source, *(poses[link.name] @ shape.origin).xyz.round(9) + 0.0)
                for link in tree.links
                for shape in link.collisions
            )
        )
    assert places[0] == places[1]
    assert sum(len(link.visuals) for link in merged.links) == sum(
        len(link.visuals) for link in full.links
    )
