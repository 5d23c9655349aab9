"""The MuJoCo twin's model: of the same matter as Bullet's, and refused where it could not be."""

import dataclasses
import math

import mujoco
import numpy as np
import pybullet as bullet
import pytest
from numpy.testing import assert_allclose

from sim.engines.bullet import BulletEngine
from sim.engines.mujoco import MujocoEngine, build, to_mjcf
from sim.model.link_tree import Geometry, ModelError
from sim.model.minitaur import MODELS, load_tree
from sim.plant.params import PlantParams
from sim.plant.randomization import TABLE1, sample

RAINBOW = "minitaur_rainbow_dash"


def skew(vector):
    x, y, z = vector
    return np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))


def bullet_mass_matrix(engine, positions):
    """Over the link's spin, the velocity of its origin (both link axes) and the joints by name."""
    client, robot = engine._client, engine._robot
    columns = {}
    for index in range(bullet.getNumJoints(robot, physicsClientId=client)):
        info = bullet.getJointInfo(robot, index, physicsClientId=client)
        columns[info[1].decode()] = info[4]
    order = sorted(columns, key=columns.__getitem__)
    raw = np.array(
        bullet.calculateMassMatrix(robot, [positions[n] for n in order], physicsClientId=client)
    )
    _, _, _, com, turn = bullet.getDynamicsInfo(robot, -1, physicsClientId=client)[:5]
    axes = np.reshape(bullet.getMatrixFromQuaternion(turn), (3, 3))
    change = np.zeros_like(raw)
    change[:3, :3] = change[3:6, 3:6] = axes.T
    change[3:6, :3] = -axes.T @ skew(com)
    for row, name in enumerate(sorted(columns), start=6):
        change[columns[name], row] = 1.0
    return change.T @ raw @ change


def mujoco_mass_matrix(engine, positions, quaternion):
    """The same, at an orientation of the body (x, y, z, w)."""
    compiled, data = engine._compiled, engine._data
    data.qpos[3:7] = np.roll(quaternion, 1)
    for name, angle in positions.items():
        data.joint(name).qpos[0] = angle
    mujoco.mj_forward(compiled, data)
    raw = np.empty((compiled.nv, compiled.nv))
    for column, unit in enumerate(np.eye(compiled.nv)):
        mujoco.mj_mulM(compiled, data, raw[column], unit)
    change = np.zeros_like(raw)
    change[:3, 3:6] = np.reshape(data.body(engine._tree.root).xmat, (3, 3))
    change[3:6, :3] = np.eye(3)
    for row, name in enumerate(sorted(positions), start=6):
        change[compiled.joint(name).dofadr[0], row] = 1.0
    return change.T @ raw @ change


@pytest.mark.parametrize("model", sorted(MODELS))
def test_mass_matrices_agree_at_random_configurations_and_scales(model):
    rng = np.random.default_rng(0)
    engines = BulletEngine(model, merged=True), MujocoEngine(model)
    joints = [joint.name for joint in load_tree(model, merged=True).moving_joints]
    for _ in range(4):
        params = sample(TABLE1, rng)
        for engine in engines:
            engine.reset(params)
        assert engines[1].mass_kg == pytest.approx(engines[0].mass_kg, rel=1e-12)
        for _ in range(10):
            positions = {name: rng.uniform(-math.pi, math.pi) for name in joints}
            quaternion = rng.normal(size=4)
            one = bullet_mass_matrix(engines[0], positions)
            two = mujoco_mass_matrix(engines[1], positions, quaternion / np.linalg.norm(quaternion))
            size = np.sqrt(np.diag(one))
            assert_allclose(two / np.outer(size, size), one / np.outer(size, size), atol=1e-9)
    engines[0].close()


# Refusals.


def test_a_joint_that_mujoco_would_move_otherwise_is_refused():
    tree = load_tree(RAINBOW, merged=True)
    limited = dataclasses.replace(tree.joints[0], limit=(("lower", -1.0), ("upper", 1.0)))
    tree = dataclasses.replace(tree, joints=(limited, *tree.joints[1:]))
    with pytest.raises(ModelError, match=tree.joints[0].name):
        build(MODELS[RAINBOW], tree, PlantParams())


def test_a_shape_without_counterpart_is_refused():
    tree = load_tree(RAINBOW, merged=True)
    root = tree.link(tree.root)
    ball = dataclasses.replace(root.collisions[0], geometry=Geometry("sphere", (0.1,)))
    links = tuple(
        dataclasses.replace(link, collisions=(ball,)) if link is root else link
        for link in tree.links
    )
    with pytest.raises(ModelError, match="sphere"):
        to_mjcf(MODELS[RAINBOW], dataclasses.replace(tree, links=links), PlantParams())
