"""A plant in a measured state: the state itself, closed legs, and what follows from it."""

import math

import mujoco
import numpy as np
import pybullet as bullet
import pytest

from robot_firmware_bridge.geometry import leg_to_motor
from sim.engines.mujoco import MujocoEngine
from sim.errors import ParameterError, SimError
from sim.model.minitaur import MODELS, load_tree
from sim.plant.drives import Actuators
from sim.plant.params import PlantParams
from sim.plant.plant import Plant
from sim.plant.randomization import drawn
from sim.plant.registry import make_plant

PLANTS = ("pybullet", "mujoco")
UPRIGHT = np.array((0.0, 0.0, 0.0, 1.0))
STANCE = np.full(8, 2.0)
STILL = np.zeros(8)


@pytest.fixture(params=PLANTS)
def placed(request, plants) -> Plant:
    """Each plant in turn, nominal."""
    plant: Plant = plants[request.param]
    plant.reset(PlantParams())
    return plant


def state(seed: int, height_m: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Motor angles, speeds and origin of a robot in lively motion."""
    rng = np.random.default_rng(seed)
    leg = np.concatenate((rng.uniform(-0.4, 0.4, 4), rng.uniform(1.3, 2.5, 4)))
    quaternion = np.append(rng.uniform(-0.3, 0.3, 3), 1.0)
    origin = np.concatenate(
        (rng.uniform(-1.0, 1.0, 2), (height_m,), quaternion / np.linalg.norm(quaternion))
    )
    return leg_to_motor(leg), rng.uniform(-10, 10, 8), np.append(origin, rng.uniform(-2, 2, 6))


def upright(height_m: float, x_m: float = 0.0) -> np.ndarray:
    return np.concatenate(((x_m, 0.0, height_m), UPRIGHT, np.zeros(6)))


def knee_speeds(plant: Plant) -> np.ndarray:
    engine = plant.engine
    if isinstance(engine, MujocoEngine):
        return np.array(engine._qvel[engine._speeds[8:]])
    states = bullet.getJointStates(engine._robot, engine._knee_joints, engine._client)
    return np.array([each[1] for each in states])


def contacts(plant: Plant) -> list[float]:
    """Distances of what touches the floor, m, all of them 0 or less."""
    engine = plant.engine
    if isinstance(engine, MujocoEngine):
        mujoco.mj_forward(engine._compiled, engine._data)
        return [float(distance) for distance in engine._data.contact.dist if distance <= 0.0]
    bullet.performCollisionDetection(engine._client)
    points = bullet.getContactPoints(engine._robot, engine._floor, physicsClientId=engine._client)
    return [point[8] for point in points if point[8] <= 0.0]


def run(plant: Plant, ticks: int) -> np.ndarray:
    """Motor angles and the body's position and attitude, every tick under the same duties."""
    rows = []
    for tick in range(ticks):
        plant.drive(0.1 * np.sin(np.arange(8) + 0.1 * tick))
        truth = plant.truth()
        rows.append(np.concatenate((plant.motor_truth()[0], truth.position_m, truth.rpy_rad)))
    return np.array(rows)


@pytest.mark.parametrize("seed", range(5))
def test_the_state_is_there(placed, seed):
    position, velocity, origin = state(seed)
    placed.place(position, velocity, origin)
    found, speed, torque = placed.motor_truth()
    assert found == pytest.approx(position, abs=1e-12)
    assert speed == pytest.approx(velocity, abs=1e-12)
    assert not torque.any()
    truth = placed.truth()
    motion = (truth.velocity_m_s, truth.angular_velocity_rad_s)
    got = np.concatenate((truth.position_m, truth.quaternion, *motion))
    assert got == pytest.approx(origin, abs=1e-12)


@pytest.mark.parametrize("name", PLANTS)
@pytest.mark.parametrize("model", sorted(MODELS))
def test_the_legs_are_closed_and_move_as_closed_legs_do(name, model):
    plant = make_plant(name, model)
    description, tree = MODELS[model], load_tree(model, merged=True)
    names = (*description.motor_joints, *description.knee_joints)
    step = 1e-6
    for seed in range(5):
        position, velocity, origin = state(seed)
        plant.place(position, velocity, origin)
        angles = plant.engine.joint_positions()
        speeds = np.concatenate((velocity * plant.robot.directions, knee_speeds(plant)))
        gaps = []
        for at in (angles - step * speeds, angles, angles + step * speeds):
            poses = tree.poses(dict(zip(names, at, strict=True)))
            pins = [[poses[link].apply(point) for link, point in c] for c in description.closures]
            gaps.append(np.array([left - right for right, left in pins]))
        assert np.linalg.norm(gaps[1], axis=1).max() < 1e-4
        assert np.linalg.norm(gaps[2] - gaps[0], axis=1).max() / (2 * step) < 1e-3
    plant.close()


@pytest.mark.parametrize("randomization", ["none", "table1"])
def test_what_was_before_does_not_matter(placed, randomization):
    """Bit for bit: neither contacts nor forces of an earlier state, nor a floor that moved."""
    params = drawn(randomization, 3)
    position = STANCE + 0.01 * np.arange(8)
    origin = upright(placed.engine.touching_height_m(position, UPRIGHT) - 0.002, 60.0)
    far = upright(origin[2], 120.0)
    runs = []
    for ticks, earlier in ((0, ()), (40, (origin,)), (90, (far, origin, origin))):
        placed.reset(params)
        placed.command(STANCE + 0.003 * ticks, 1.0, 0.015)
        placed.advance(ticks)
        for before in earlier:
            placed.place(position, STILL, before)
            run(placed, 3)
        placed.place(position, STILL, origin)
        runs.append(run(placed, 60))
    assert (runs[0] == runs[1]).all()
    assert (runs[0] == runs[2]).all()
    assert np.ptp(runs[0], axis=0).max() > 0.02


@pytest.mark.parametrize("seed", range(6))
def test_both_engines_move_alike_from_one_state_in_the_air(plants, seed):
    rows = []
    for plant in plants.values():
        plant.reset(PlantParams())
        plant.place(*state(seed))
        rows.append(run(plant, 30))
    assert np.ptp(rows[0][:, :8], axis=0).min() > 0.01
    assert rows[1][:, :8] == pytest.approx(rows[0][:, :8], abs=5e-4)
    assert rows[1][:, 8:] == pytest.approx(rows[0][:, 8:], abs=5e-5)


@pytest.mark.parametrize("seed", range(6))
def test_the_lowest_toe_touches_at_one_height_in_both_engines(plants, seed):
    position, _, origin = state(seed)
    heights = []
    for plant in plants.values():
        plant.reset(PlantParams())
        height_m = plant.engine.touching_height_m(position, origin[3:7])
        heights.append(height_m)
        for above_m, touches in ((1e-4, False), (-1e-4, True)):
            origin[2] = height_m + above_m
            plant.place(position, STILL, origin)
            assert bool(contacts(plant)) is touches
        assert min(contacts(plant)) == pytest.approx(-1e-4, abs=1e-6)
    assert heights[0] == heights[1]


def test_a_robot_that_is_placed_in_its_stance_stands(placed):
    """Also where no floor was: at 150 m the floor has moved."""
    for x_m in (0.0, 150.0):
        placed.place(STANCE, STILL, upright(placed.engine.touching_height_m(STANCE, UPRIGHT), x_m))
        placed.command(STANCE, 1.0, 0.015)
        placed.advance(500)
        truth = placed.truth()
        assert truth.tilt_rad < 0.02
        assert truth.position_m == pytest.approx((x_m, 0.0, 0.258), abs=0.01)


def test_time_begins_anew_with_open_bridges_and_a_past_like_the_present(placed):
    placed.reset(PlantParams(policy_latency_s=0.04, imu_noise_std=0.0, seed=4))
    placed.advance(50)
    position, velocity, origin = state(1)
    placed.place(position, velocity, origin)
    assert (placed.t_ns, placed.energy_j) == (0, 0.0)
    sensed = placed.sense()
    assert sensed.t_ns == 0
    assert sensed.motor_position_rad == pytest.approx(position, abs=1e-12)
    assert sensed.motor_velocity_rad_s == pytest.approx(velocity, abs=1e-12)
    assert sensed.rpy_rad == pytest.approx(placed.truth().rpy_rad, abs=1e-12)
    placed.advance(5)
    assert not placed.motor_truth()[2].any()
    assert placed.t_ns == 5_000_000


@pytest.mark.parametrize("latency_s", [0.0, 0.003, 0.0064])
def test_the_motors_turned_at_their_speeds_before_and_the_body_rested(placed, latency_s):
    placed.reset(PlantParams(pd_latency_s=latency_s, imu_noise_std=0.0))
    position, velocity, origin = state(1)
    placed.place(position, velocity, origin)
    rpy = placed.truth().rpy_rad
    for passed_s in (0.0, 0.001, 0.002, 0.003):
        if passed_s <= latency_s + 1e-9:
            seen = placed.controller_view(held=False)
            expected = position - velocity * (latency_s - passed_s)
            assert seen.motor_position_rad == pytest.approx(expected, abs=1e-12)
            assert seen.motor_velocity_rad_s == pytest.approx(velocity, abs=1e-12)
            assert seen.rpy_rad == pytest.approx(rpy, abs=1e-12)
        placed.drive(np.zeros(8))


def test_the_first_torque_of_a_placed_robot_is_that_of_angles_that_are_old(placed):
    placed.reset(PlantParams(pd_latency_s=0.005, imu_noise_std=0.0))
    position, velocity, origin = state(1)
    placed.place(position, velocity, origin)
    placed.command(position, 0.02, 0.0)
    placed.advance(1)
    # A duty of gain times what the motor turned in 5 ms; then bridge, motor and back-EMF.
    reference = Actuators(placed.robot)
    reference.reset(placed.params)
    expected = reference.torque(0.02 * 0.005 * velocity, velocity)
    assert placed.motor_truth()[2] == pytest.approx(expected, abs=1e-9)
    assert np.abs(expected).max() > 0.1


def test_a_placed_robot_repeats_its_noise_and_its_pushes(placed):
    placed.reset(
        PlantParams(
            imu_noise_std=0.02,
            push_force_low_n=40.0,
            push_force_high_n=60.0,
            push_interval_s=0.01,
            push_duration_s=0.005,
            seed=4,
        )
    )
    seen = []
    for _ in range(2):
        placed.place(*state(1))
        placed.advance(12)
        seen.append((placed.sense().rpy_rad, placed.push_n))
    np.testing.assert_array_equal(seen[0][0], seen[1][0])
    np.testing.assert_array_equal(seen[0][1], seen[1][1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position": np.append(STILL[1:], math.nan)}, "13 finite numbers"),
        ({"velocity": np.zeros(7)}, "8 angles, 8 speeds and 13 finite numbers"),
        ({"origin": np.zeros(13)}, "must have length 1"),
    ],
)
def test_what_is_no_state_is_refused(placed, change, message):
    whole = {"position": STANCE, "velocity": STILL, "origin": upright(0.3)} | change
    with pytest.raises(ParameterError, match=message):
        placed.place(whole["position"], whole["velocity"], whole["origin"])


def test_legs_that_cannot_be_closed_are_refused(placed):
    with pytest.raises(SimError, match="leg 3 of minitaur_rainbow_dash cannot be closed"):
        placed.place(np.append(STANCE[:6], (0.0, 0.0)), STILL, upright(1.0))
    with pytest.raises(SimError, match="cannot be closed"):
        placed.engine.touching_height_m(STILL, UPRIGHT)


def test_a_robot_with_a_load_is_refused():
    plant = make_plant("pybullet-duck")
    with pytest.raises(SimError, match="carries something cannot be placed"):
        plant.place(STANCE, STILL, upright(0.3))
    plant.close()
