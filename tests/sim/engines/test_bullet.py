"""The robot in Bullet: its merged model against the file as it ships."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pybullet as bullet
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from pybullet_utils.bullet_client import BulletClient
from support.mass_matrix import mass_matrix, relative_difference

from sim.model.derive import data_folder
from sim.model.minitaur import MODELS, load_tree
from sim.model.urdf import merge_fixed, parse_urdf, to_urdf

Array = NDArray[np.float64]
CONFIGURATIONS = 100


class Body:
    """A robot in Bullet, read about the base link's own frame instead of Bullet's base frame."""

    def __init__(self, client: BulletClient, path: Path) -> None:
        self.client = client
        self.number = client.loadURDF(str(path), flags=bullet.URDF_USE_INERTIA_FROM_FILE)
        self.joints: dict[str, int] = {}
        damping = {"linearDamping": 0, "angularDamping": 0, "jointDamping": 0}
        client.changeDynamics(self.number, -1, **damping)
        for index in range(client.getNumJoints(self.number)):
            client.changeDynamics(self.number, index, **damping)
            info = client.getJointInfo(self.number, index)
            if info[2] != bullet.JOINT_FIXED:
                self.joints[info[1].decode()] = index
                client.setJointMotorControl2(self.number, index, bullet.VELOCITY_CONTROL, force=0)
        _, _, _, self.com, self.turn, *_ = client.getDynamicsInfo(self.number, -1)

    def set_base(self, pose: tuple[Array, Array]) -> None:
        """Put the link frame at (position, quaternion) in the world."""
        at, turn = self.client.multiplyTransforms(*pose, self.com, self.turn)
        self.client.resetBasePositionAndOrientation(self.number, at, turn)

    def joint_speeds(self) -> dict[str, float]:
        return {
            name: self.client.getJointState(self.number, index)[1]
            for name, index in self.joints.items()
        }


def load_text(client: BulletClient, path: Path, text: str) -> Body:
    path.write_text(text)
    return Body(client, path)


@pytest.fixture
def client() -> Iterator[BulletClient]:
    client = BulletClient(bullet.DIRECT)
    # Else a second file of the same name is never read.
    client.setPhysicsEngineParameter(enableFileCaching=0)
    yield client
    client.disconnect()


@pytest.fixture
def pair(client: BulletClient, name: str, tmp_path: Path) -> tuple[Body, Body]:
    """The model with all links of its file, and with its fixed joints folded away."""
    full, merged = (
        load_text(
            client,
            tmp_path / f"{merged}.urdf",
            to_urdf(
                load_tree(name, merged=merged),
                visuals=False,
                keep_collision=MODELS[name].touches_floor if merged else lambda _: True,
            ),
        )
        for merged in (False, True)
    )
    return full, merged


def random_pose(rng: np.random.Generator) -> tuple[Array, Array]:
    quaternion = rng.normal(size=4)
    return rng.normal(size=3), quaternion / np.linalg.norm(quaternion)


def test_merged_mass_matrix_equals_that_of_the_full_model(
    pair: tuple[Body, Body], client: BulletClient
) -> None:
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
        matrices = [mass_matrix(client._client, body.number, positions) for body in (merged, full)]
        assert matrices[0].shape == (22, 22)
        worst = max(worst, relative_difference(*matrices))
    assert worst < 1e-10


def throw(body: Body, at: Array, turn: Array, spin: Array, states: dict[str, Array]) -> None:
    """Sets the same motion of the link frame whichever frame Bullet has, and joint torques."""
    body.set_base((at, turn))
    centre = body.client.getBasePositionAndOrientation(body.number)[0]
    linear = np.cross(spin, np.array(centre) - at)
    body.client.resetBaseVelocity(body.number, linear, spin)
    for name, (position, speed, torque) in states.items():
        index = body.joints[name]
        body.client.resetJointState(body.number, index, position, speed)
        body.client.setJointMotorControl2(body.number, index, bullet.TORQUE_CONTROL, force=torque)


def test_merged_model_accelerates_as_the_full_one(
    pair: tuple[Body, Body], client: BulletClient
) -> None:
    """One step at random orientation, spin, joint speeds and torques: Coriolis and gravity too."""
    client.setGravity(0, 0, -9.81)
    rng = np.random.default_rng(1)
    for _ in range(10):
        (at, turn), spin = random_pose(rng), rng.uniform(-3, 3, size=3)
        states = {name: rng.uniform(-3, 3, size=3) for name in pair[0].joints}
        throw(pair[0], at, turn, spin, states)
        throw(pair[1], at + np.array((5.0, 0.0, 0.0)), turn, spin, states)  # not touching
        client.stepSimulation()
        full, merged = (body.joint_speeds() for body in pair)
        change = max(abs(full[name] - states[name][1]) for name in full)
        assert change > 1e-3
        assert_allclose([merged[n] for n in full], list(full.values()), atol=1e-9 * change)


def test_merged_shapes_are_chosen_by_original_link(pair: tuple[Body, Body], name: str) -> None:
    _, merged = pair
    shapes = {
        link.name: {shape.source for shape in link.collisions}
        for link in load_tree(name, merged=True).links
    }
    body = MODELS[name].body_collisions[0]
    assert shapes[body] == {"base_chassis_link", "chassis_left", "chassis_right"}
    text = to_urdf(
        load_tree(name, merged=True), visuals=False, keep_collision=lambda link: link == body
    )
    assert text.count("<collision") == text.count(f'source="{body}"') > 0
    assert "<visual" not in text
    # The feet keep the file's friction and contact stiffness.
    foot = merged.joints[MODELS[name].knee_joints[0]]
    info = merged.client.getDynamicsInfo(merged.number, foot)
    contact = dict(load_tree(name, merged=False).link(MODELS[name].lower_legs[0]).contact)
    assert (info[1], info[9]) == (contact["lateral_friction"], contact["stiffness"])


def test_meshes_load_from_a_file_elsewhere(client: BulletClient, name: str, tmp_path: Path) -> None:
    tree = merge_fixed(parse_urdf(data_folder() / MODELS[name].file))
    text = to_urdf(tree, visuals=True, keep_collision=lambda _: True)
    body = load_text(client, tmp_path / "elsewhere.urdf", text)
    shapes = client.getVisualShapeData(body.number)
    meshes = [os.fsdecode(shape[4]) for shape in shapes if shape[2] == bullet.GEOM_MESH]
    assert len(shapes) == sum(len(link.visuals) for link in tree.links)
    assert len(meshes) == 8
    assert all(Path(mesh).is_file() for mesh in meshes)
