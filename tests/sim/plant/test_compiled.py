"""The tick in C does what the tick in Python does, bit for bit, on either engine."""

import ctypes
import dataclasses
import logging

import numpy as np
import pytest

from robot_firmware_bridge.geometry import leg_to_motor
from sim.engines.bullet import BulletEngine
from sim.engines.mujoco import MujocoEngine
from sim.plant.compiled import EngineTick, library
from sim.plant.params import PlantParams
from sim.plant.plant import Plant
from sim.plant.randomization import RANDOMIZATIONS, sample
from training.tasks.gaits import TROT

# What no range of Table I draws.
ODD = PlantParams(
    pd_latency_s=0.0047,
    encoder_offset_rad=(0.02, -0.01, 0.0, 0.03, -0.02, 0.01, 0.005, -0.03),
    encoder_play_rad=0.03,
    motor_balance=(1.1, 0.9, 1.0, 0.5, 1.2, 0.8, 1.0, 1.05),
    policy_latency_jitter_s=0.01,
    command_loss=0.1,
    battery_resistance_ohm=0.05,
    winding_resistance_ohm=0.21,
    torque_constant_nm_per_a=0.09,
    motor_strength_scale=0.8,
    motor_viscous_nm_s_per_rad=0.01,
    contact_friction=0.4,
    push_force_low_n=60.0,
    push_force_high_n=120.0,
    push_interval_s=0.2,
    start_heading_rad=2.0,
)


@pytest.fixture(scope="module", params=[BulletEngine, MujocoEngine])
def pair(request):
    """The same plant twice: its ticks in Python, and in C."""
    in_python, in_c = Plant(request.param(), compiled=False), Plant(request.param())
    assert in_python._compiled is None
    assert in_c._compiled is not None
    yield in_python, in_c
    in_python.close()
    in_c.close()


def assert_equal(in_python, in_c):
    np.testing.assert_array_equal(in_c._row, in_python._row)
    np.testing.assert_array_equal(in_c._history.rows, in_python._history.rows)
    assert in_c.t_ns == in_python.t_ns
    assert in_c.energy_j == in_python.energy_j
    np.testing.assert_array_equal(in_c.drives.heat_j, in_python.drives.heat_j)
    assert in_c.drives.battery_v == in_python.drives.battery_v
    assert in_c.drives.stalled == in_python.drives.stalled
    np.testing.assert_array_equal(in_c.drives.enabled, in_python.drives.enabled)
    assert (in_c.push_n is None) == (in_python.push_n is None)
    if in_c.push_n is not None:
        np.testing.assert_array_equal(in_c.push_n, in_python.push_n)
    seen, expected = in_c.sense(), in_python.sense()
    for field in dataclasses.fields(seen):
        np.testing.assert_array_equal(getattr(seen, field.name), getattr(expected, field.name))


def trot(plants, steps, ticks=6):
    for step in range(steps):
        target = leg_to_motor(TROT.leg_targets(step * ticks * 0.001))
        for plant in plants:
            plant.command(target, 1.0, 0.015)
            plant.advance(ticks)
        assert_equal(*plants)


def drawn(seed):
    shoved = PlantParams(push_force_low_n=50.0, push_force_high_n=150.0, push_interval_s=0.3)
    return sample(RANDOMIZATIONS["beyond"], np.random.default_rng(seed), shoved)


@pytest.mark.parametrize("params", [PlantParams(), ODD, *map(drawn, range(3))], ids=lambda _: "")
def test_a_trot_is_the_same(pair, params):
    for plant in pair:
        plant.reset(params)
    trot(pair, 100)


def test_motors_that_stall_go_off_in_the_same_tick(pair):
    for plant in pair:
        plant.reset(PlantParams(base_mass_scale=4.0))  # more than the legs can carry for long
        plant.command(plant.robot.stance_pose_rad, 20.0, 0.1)
    for _ in range(60):
        for plant in pair:
            plant.advance(50)
        assert_equal(*pair)
    assert not pair[0].drives.enabled.all()


def test_open_bridges_and_duties_from_outside_are_the_same(pair):
    rng = np.random.default_rng(0)
    for plant in pair:
        plant.reset(ODD)
    trot(pair, 5)
    for plant in pair:
        plant.command(np.zeros(8), 0.0, 0.0)
        plant.advance(20)
    assert_equal(*pair)
    for duty in (*rng.uniform(-1.0, 1.0, (40, 8)), None, np.zeros(8), np.full(16, 0.3)[::2]):
        for plant in pair:
            plant.drive(duty)
        assert_equal(*pair)


def test_legs_that_whip_round_move_on_the_same(pair):
    rng = np.random.default_rng(0)
    for plant in pair:
        plant.reset(PlantParams(motor_strength_scale=1.2, battery_v=16.8))
    for target in rng.uniform(-4.0, 8.0, (15, 8)):
        for plant in pair:
            plant.command(target, 4.0, 0.0)
            plant.advance(60)
        assert_equal(*pair)
        assert np.isfinite(pair[0]._row).all()


def test_a_robot_that_is_placed_moves_on_the_same(pair):
    for plant in pair:
        plant.reset(ODD)
    trot(pair, 20)
    body = pair[0].truth()
    position, velocity, _ = pair[0].motor_truth()
    origin = np.concatenate(
        (body.position_m, body.quaternion, body.velocity_m_s, body.angular_velocity_rad_s)
    )
    for plant in pair:
        plant.place(position, velocity, origin)
    assert_equal(*pair)
    trot(pair, 20)


def test_a_target_that_is_no_number_is_none_in_c_either():
    plants = Plant(MujocoEngine(), compiled=False), Plant(MujocoEngine())
    for plant in plants:
        plant.command(np.full(8, np.nan), 1.0, 0.015)
        plant.advance(3)
    assert np.isnan(plants[1].motor_truth()[2]).all()
    np.testing.assert_array_equal(plants[1]._row, plants[0]._row)
    for plant in plants:
        plant.close()


def test_bullets_floor_goes_along_in_the_same_tick():
    plants = Plant(BulletEngine(), compiled=False), Plant(BulletEngine())
    for plant in plants:
        engine = plant.engine
        at, turn = engine._world.getBasePositionAndOrientation(engine._robot)
        far = [at[0] + 97.95, at[1], at[2]]  # 5 cm from where the floor moves
        engine._world.resetBasePositionAndOrientation(engine._robot, far, turn)
        engine._forget_contacts()
        plant.advance(1)
    trot(plants, 100, ticks=20)
    assert plants[0].engine._floor_x_m == plants[1].engine._floor_x_m == 100.0
    for plant in plants:
        plant.close()


def test_the_published_contact_and_the_whole_model_are_the_same():
    plants = tuple(
        Plant(BulletEngine(merged=False, self_collision=True, stock_contact=True), compiled=each)
        for each in (False, True)
    )
    trot(plants, 40)
    for plant in plants:
        plant.close()


def test_without_a_compiler_the_plant_runs_in_python(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    library.cache_clear()
    with caplog.at_level(logging.INFO):
        plant = Plant(MujocoEngine())
    library.cache_clear()
    assert plant._compiled is None
    assert "the plant runs in Python, which is slower: the tick is compiled C" in caplog.text
    plant.advance(10)
    plant.close()


def test_a_structure_that_c_declares_otherwise_is_refused(monkeypatch):
    class Shorter(ctypes.Structure):
        _fields_ = (("client", ctypes.c_void_p),)

    tick = BulletEngine().compiled()
    assert tick is not None
    with pytest.raises(AssertionError, match=r"bullet_t: \d+ bytes in C, 8 in Python"):
        EngineTick(tick.library, "bullet", Shorter())
