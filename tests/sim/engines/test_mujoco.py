"""The robot in MuJoCo: right by hand-computed mechanics, and one robot with Bullet's by comparison.

Compared over short horizons and in the mean: a walk is chaotic from the first slipping toe on.
"""

import dataclasses
import math

import mujoco
import numpy as np
import pybullet as bullet
import pytest
from numpy.testing import assert_allclose
from support.mass_matrix import mass_matrix, relative_difference
from support.processes import run_python

import sim.engines.bullet
import sim.engines.mujoco
from robot_firmware_bridge.geometry import leg_to_motor
from sim.engines.bullet import BulletEngine
from sim.engines.mujoco import MujocoEngine, build, to_mjcf
from sim.model.link_tree import Geometry, ModelError
from sim.model.minitaur import MODELS, load_tree
from sim.model.urdf import to_urdf
from sim.plant.params import GRAVITY_M_S2, TICK_S, PlantParams
from sim.plant.randomization import TABLE1, sample
from sim.plant.registry import make_plant
from training.tasks.gaits import TROT

RAINBOW = "minitaur_rainbow_dash"
LIMP = np.zeros(8)


@pytest.fixture(scope="module")
def plants():
    """The same robot on Bullet and on MuJoCo."""
    pair = make_plant("pybullet"), make_plant("mujoco")
    yield pair
    for plant in pair:
        plant.close()


@pytest.fixture(scope="module")
def engine():
    return MujocoEngine(RAINBOW)


def fly(engine, params=None, velocity=(0.0, 0.0, 0.0), spin=(0.0, 0.0, 0.0)):
    """Put the robot in its stance 10 m up, with a velocity (world axes) and a spin (body axes)."""
    if params is not None:
        engine.reset(params)
    if isinstance(engine, MujocoEngine):
        engine._qpos[2] += 10.0
        engine._qvel[:6] = (*velocity, *spin)
        return
    client, robot = engine._client, engine._robot
    at, turn = bullet.getBasePositionAndOrientation(robot, physicsClientId=client)
    bullet.resetBasePositionAndOrientation(
        robot, np.add(at, (0.0, 0.0, 10.0)), turn, physicsClientId=client
    )
    bullet.resetBaseVelocity(robot, velocity, spin, physicsClientId=client)
    engine._forget_contacts()


def momentum(engine):
    """Velocity of the centre of mass (3,); angular momentum and energy of motion about it."""
    compiled, data = engine._compiled, engine._data
    mujoco.mj_forward(compiled, data)
    mujoco.mj_subtreeVel(compiled, data)
    carried = np.empty(compiled.nv)
    mujoco.mj_mulM(compiled, data, carried, data.qvel)
    # Number 0 is the world: all there is.
    velocity, spin = data.subtree_linvel[0].copy(), data.subtree_angmom[0].copy()
    energy = carried @ data.qvel / 2 - engine.mass_kg * velocity @ velocity / 2
    return velocity, spin, energy


def height(engine):
    """Of the centre of mass."""
    mujoco.mj_forward(engine._compiled, engine._data)
    return engine._data.subtree_com[0, 2]


def measured(engine):
    """Angles and speeds of the motors (8,) each, and the base (13,)."""
    position, velocity, base = np.zeros(8), np.zeros(8), np.zeros(13)
    engine.measure(position, velocity, base)
    return position, velocity, base


def moved(plant, ticks, target_at):
    """Base position, attitude, motor angles, motor torques and energy after every tick."""
    rows = []
    for tick in range(ticks):
        if tick % 6 == 0:
            plant.command(target_at(plant.t_ns * 1e-9), 1.0, 0.015)
        plant.advance(1)
        truth, (angles, _, torques) = plant.truth(), plant.motor_truth()
        rows.append(np.hstack((truth.position_m, truth.rpy_rad, angles, torques, plant.energy_j)))
    return np.array(rows)


def walk(plant, ticks):
    """Trot open loop; rows as of ``moved``."""
    return moved(plant, ticks, lambda t_s: leg_to_motor(TROT.leg_targets(t_s)))


# The same as Bullet's.


def mujoco_mass_matrix(engine, positions, quaternion):
    """Return what ``support.mass_matrix`` does, at an orientation of the body (x, y, z, w)."""
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
        params = sample({**TABLE1, "base_com_x_m": (-0.1, 0.1)}, rng)
        for engine in engines:
            engine.reset(params)
        assert engines[1].mass_kg == pytest.approx(engines[0].mass_kg, rel=1e-12)
        for _ in range(10):
            positions = {name: rng.uniform(-math.pi, math.pi) for name in joints}
            quaternion = rng.normal(size=4)
            one = mass_matrix(engines[0]._client, engines[0]._robot, positions)
            two = mujoco_mass_matrix(engines[1], positions, quaternion / np.linalg.norm(quaternion))
            assert relative_difference(two, one) < 1e-9
    engines[0].close()


@pytest.mark.parametrize("model", sorted(MODELS))
def test_both_stand_alike(model):
    means = []
    for name in ("pybullet", "mujoco"):
        plant = make_plant(name, model)
        rows = []
        plant.reset(PlantParams())
        plant.advance(500)
        for _ in range(30):  # it sways
            plant.advance(10)
            position, _, torque = plant.motor_truth()
            rows.append(np.concatenate(([plant.truth().position_m[2]], position, torque)))
        means.append(np.mean(rows, axis=0))
        plant.close()
    assert means[1][0] == pytest.approx(means[0][0], abs=1e-3)
    assert means[1][1:9] == pytest.approx(means[0][1:9], abs=6e-3)
    # How hard the toes press against each other is up to how friction took hold of them.
    assert means[1][9:].mean() == pytest.approx(means[0][9:].mean(), rel=0.05)


@pytest.mark.parametrize("coulomb", [0.0, 0.05])
def test_legs_swing_alike_in_the_air(plants, coulomb):
    """Drives, closed legs, dry friction and the body's reaction, without the floor."""
    rows = []
    for plant in plants:
        plant.reset(PlantParams(motor_coulomb_nm=coulomb))
        fly(plant.engine)
        rows.append(walk(plant, 600))
    one, two = rows
    assert np.ptp(one[:, 6:14], axis=0).min() > 0.5
    assert_allclose(two[:, 6:14], one[:, 6:14], atol=2e-3)
    assert_allclose(two[:, :6], one[:, :6], atol=2e-3)
    assert two[-1, -1] == pytest.approx(one[-1, -1], rel=1e-3)


def test_motors_turn_the_legs_alike_whatever_the_tick(monkeypatch):
    """What the pins of the closed legs need must not act on the motors."""
    speeds = {}
    for kind, module in ((BulletEngine, sim.engines.bullet), (MujocoEngine, sim.engines.mujoco)):
        for parts in (1, 4):
            with monkeypatch.context() as patch:
                patch.setattr(module, "TICK_S", TICK_S / parts)
                engine = kind(RAINBOW)
                fly(engine, PlantParams(motor_coulomb_nm=0.0, knee_coulomb_nm=0.0))
                for _ in range(20 * parts):
                    engine.step(np.full(8, 0.3), None)
                speeds[kind, parts] = measured(engine)[1]
                engine.close()
    first, *others = speeds.values()
    assert first.min() > 5.0
    for other in others:
        assert_allclose(other, first, rtol=1e-3)


def test_both_crouch_alike(plants):
    """Soft toes, weight and drives."""
    rows = []
    for plant in plants:
        plant.reset(PlantParams())
        rows.append(moved(plant, 150, lambda _: np.full(8, 1.7)))
    one, two = rows
    assert np.ptp(one[:, 2]) > 0.03
    assert_allclose(two[:, :3], one[:, :3], atol=5e-4)
    assert_allclose(two[:, 3:14], one[:, 3:14], atol=8e-3)


def test_both_trot_at_the_same_pace_and_power(plants):
    ends = []
    for plant in plants:
        plant.reset(PlantParams())
        ends.append(walk(plant, 2500)[-1, [0, -1]])
    assert ends[0][0] > 1.0
    assert ends[1] == pytest.approx(ends[0], rel=0.08)


# By hand.


def test_falls_by_the_law_of_falling(engine):
    fly(engine, PlantParams())
    start, ticks = height(engine), 400
    for _ in range(ticks):
        engine.step(LIMP, None)
    # Semi-implicit: the speed of a tick's end acts over the tick.
    fallen = 0.5 * GRAVITY_M_S2 * TICK_S**2 * ticks * (ticks + 1)
    assert start - height(engine) == pytest.approx(fallen, rel=1e-6)


def test_spins_without_losing_angular_momentum(engine):
    """And nothing rubs: no damping in any joint, no rotor that was not asked for."""
    fly(engine, PlantParams(), spin=(2.0, -1.0, 3.0))
    _, before, _ = momentum(engine)
    for _ in range(500):
        engine.step(LIMP, None)
    _, after, _ = momentum(engine)
    assert np.linalg.norm(before) > 0.3
    assert np.linalg.norm(after - before) < 0.01 * np.linalg.norm(before)
    for zero in ("dof_damping", "dof_armature", "jnt_stiffness"):
        assert not getattr(engine._compiled, zero).any()


def test_a_push_gives_its_momentum(engine):
    """F t / m to the robot, and to both engines' bodies the same speed, spin and leg motion."""
    push = np.array((40.0, -30.0, 0.0))
    engines = BulletEngine(RAINBOW), engine
    states = []
    for one in engines:
        fly(one, PlantParams())
        for _ in range(60):
            one.step(LIMP, push)
        _, velocity, base = measured(one)
        states.append(np.concatenate((base[7:13], velocity)))
    engines[0].close()
    gained, _, _ = momentum(engine)
    assert gained[:2] == pytest.approx(push[:2] * 0.06 / engine.mass_kg, rel=1e-4)
    assert states[1] == pytest.approx(states[0], abs=0.01 * np.abs(states[0]).max())


def test_motor_work_becomes_energy_of_motion(engine):
    """About the centre of mass, where gravity does no work."""
    fly(engine, PlantParams())
    torque = 0.5 * np.array((0.8, 0.8, 0.5, -0.5, -0.3, 0.6, 0.4, 0.4))
    work = 0.0
    for _ in range(60):
        before = measured(engine)[1]
        engine.step(torque, None)
        work += TICK_S * torque @ (before + measured(engine)[1]) / 2
    _, _, energy = momentum(engine)
    assert work > 0.5
    assert energy == pytest.approx(work, rel=0.03)


@pytest.mark.parametrize("friction", [0.1, 0.3])
def test_slides_to_a_stop_by_coulombs_law(plants, friction):
    """What friction takes is mu times what the floor bears, m (g T + the change of vz)."""
    plant = plants[1]
    engine = plant.engine
    plant.reset(PlantParams(contact_friction=friction))
    plant.advance(300)
    engine._qvel[1] += 1.0
    before, _, _ = momentum(engine)
    plant.advance(150)
    after, _, _ = momentum(engine)
    borne = GRAVITY_M_S2 * 0.15 + after[2] - before[2]
    assert before[1] - after[1] == pytest.approx(friction * borne, rel=0.02)


@pytest.mark.parametrize("speed", [0.0, 1.0])
def test_a_toe_presses_as_its_spring_and_damper_say_even_when_it_slides(plants, speed):
    """3000 N/m and 100 Ns/m at each corner, as Bullet reads the description."""
    plant = plants[1]
    plant.reset(PlantParams(contact_friction=0.3))
    plant.advance(100)
    data = plant.engine._data
    data.qvel[1] += speed
    worst, bearing = 0.0, 0
    for _ in range(30):
        plant.advance(1)
        rows = data.contact.efc_address
        force = -(3000.0 * data.efc_pos[rows] + 100.0 * data.efc_vel[rows])
        worst = max(worst, float(np.abs(data.efc_force[rows] - np.maximum(force, 0.0)).max()))
        bearing += int((data.efc_force[rows] > 3.0).sum())
    assert bearing > 100
    assert worst < 1.0


def test_motion_is_that_of_the_links_origin_in_world_axes(engine):
    """A quarter turn to the left: what the body feels about its x axis is a turn about y."""
    engine.reset(PlantParams())
    half = math.sqrt(0.5)
    engine._qpos[:7] = (0.1, 0.2, 0.3, half, 0.0, 0.0, half)
    engine._qvel[:6] = (1.0, 2.0, 3.0, 4.0, 0.0, 5.0)
    expected = (0.1, 0.2, 0.3, 0.0, 0.0, half, half, 1.0, 2.0, 3.0, 0.0, 4.0, 5.0)
    assert measured(engine)[2] == pytest.approx(expected, abs=1e-12)


def test_coulomb_friction_holds_a_motor_up_to_its_bound(engine):
    fly(engine, PlantParams(motor_coulomb_nm=0.05))
    speeds = []
    for torque in (0.049, 0.08):
        for _ in range(20):
            engine.step(np.full(8, torque), None)
        speeds.append(np.abs(measured(engine)[1]).min())
    assert speeds[0] < 1e-3
    assert speeds[1] > 0.1


@pytest.mark.parametrize("seed", range(6))
def test_legs_that_whip_round_turn_no_faster_than_in_bullet(seed):
    """Commands that no leg can follow: pins that are pulled apart, and joints that spin freely."""
    plant, fastest, rng = make_plant("mujoco"), 0.0, np.random.default_rng(seed)
    plant.reset(PlantParams(motor_strength_scale=1.2, battery_v=16.8))
    for target in rng.uniform(-4.0, 8.0, (20, 8)):
        plant.command(target, 4.0, 0.0)
        for _ in range(10):
            plant.advance(10)
            fastest = max(fastest, np.abs(plant.motor_truth()[1]).max())
        assert np.isfinite(plant.truth().position_m).all()
    plant.close()
    assert 90.0 < fastest <= 100.0


def test_pins_hold_while_walking(plants):
    plant = plants[1]
    plant.reset(PlantParams())
    worst = 0.0
    for _ in range(100):
        walk(plant, 6)
        for closure in MODELS[RAINBOW].closures:
            ends = [plant.engine._data.site(f"{link}_pin").xpos for link, _ in closure]
            worst = max(worst, float(np.linalg.norm(ends[0] - ends[1])))
    assert 0.0 < worst < 1e-3


def test_a_picture_shows_the_robot(plants):
    plants[1].reset(PlantParams())
    pictures = [plant.camera(160, 90) for plant in plants]
    assert pictures[1].std() > 15.0


# Refusals.


def test_without_mujoco_the_floor_imports_and_the_plant_says_what_to_install():
    script = (
        "import sys; sys.modules['mujoco'] = None\n"
        "from sim.errors import SimError\n"
        "from sim.plant.registry import make_plant\n"
        "try: make_plant('mujoco')\n"
        "except SimError as error: print(error)\n"
    )
    done = run_python("-c", script)
    assert done.stdout == "the MuJoCo plant needs mujoco: pip install '.[mujoco]'\n"
    assert done.stderr == ""


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


def test_numbers_of_numpy_are_written_as_numbers(engine):
    """repr(np.float64(1.1)) is no number in XML; a tree made in Python may hold such too."""
    plain = PlantParams(base_mass_scale=1.1, motor_coulomb_nm=0.02)
    params = PlantParams(base_mass_scale=np.float64(1.1), motor_coulomb_nm=np.float64(0.02))
    tree = load_tree(RAINBOW, merged=True)
    links = tuple(dataclasses.replace(link, mass=np.float64(link.mass)) for link in tree.links)
    made = dataclasses.replace(tree, links=links)
    text = to_mjcf(MODELS[RAINBOW], made, params)
    assert text == to_mjcf(MODELS[RAINBOW], tree, plain)
    urdfs = [to_urdf(one, visuals=True, keep_collision=lambda _: True) for one in (made, tree)]
    assert urdfs[0] == urdfs[1]
    engine.reset(params)
    assert engine.mass_kg == pytest.approx(1.1 * tree.link(tree.root).mass + _leg_mass(tree))


def _leg_mass(tree):
    return sum(link.mass for link in tree.links if link.name != tree.root)


def test_warnings_of_mujoco_go_to_a_log_and_to_no_file(tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.chdir(tmp_path)
    caplog.set_level("DEBUG", "sim.engines.mujoco")
    engine = MujocoEngine()
    engine.reset(PlantParams())
    engine._data.qvel[0] = np.nan
    engine.step(LIMP, None)
    assert "Nan, Inf or huge value" in caplog.text
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
