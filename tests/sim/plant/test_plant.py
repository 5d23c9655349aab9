"""The plant on real PyBullet: repeatable, physical, and late by exactly its latencies."""

import dataclasses

import numpy as np
import pytest

from robot_firmware_bridge.geometry import leg_to_motor, motor_to_leg
from robot_firmware_bridge.messages import Fault
from sim.engines.bullet import BulletEngine
from sim.plant.params import PlantParams
from sim.plant.plant import Plant
from sim.plant.randomization import TABLE1, sample
from sim.plant.registry import make_plant
from training.tasks.gaits import TROT


def walk(plant: Plant, steps: int) -> list[np.ndarray]:
    """Trot open loop; every control step, what the policy senses, and where body and load are."""
    rows = []
    for _ in range(steps):
        plant.command(leg_to_motor(TROT.leg_targets(plant.t_ns * 1e-9)), 1.0, 0.015)
        plant.advance(6)
        state = plant.sense()
        row = (plant.truth().position_m, state.rpy_rad, state.motor_position_rad)
        load = (
            ()
            if plant.engine.load is None
            else (plant.engine.load.position_m, plant.engine.load.quaternion)
        )
        rows.append(np.concatenate((*row, *load)))
    return rows


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("pybullet", "minitaur_rainbow_dash"),
        ("pybullet", "minitaur"),
        ("pybullet-duck", "minitaur_rainbow_dash"),
        ("mujoco", "minitaur_rainbow_dash"),
    ],
)
def test_same_seed_same_run_bit_for_bit(name, model):
    randomized = sample(TABLE1, np.random.default_rng(11))
    pushed = dataclasses.replace(randomized, push_force_low_n=20.0, push_force_high_n=40.0)
    first, second = make_plant(name, model), make_plant(name, model)
    runs = []
    for plant in (first, first, second):
        if runs:  # what went before must not matter
            plant.reset(PlantParams())
            walk(plant, 20)
        plant.reset(pushed)
        runs.append(np.array(walk(plant, 250)))
    first.close()
    second.close()
    assert (runs[0] == runs[1]).all()
    assert (runs[0] == runs[2]).all()
    assert np.ptp(runs[0], axis=0).min() > 1e-3


def test_episodes_differ_by_seed(plant):
    plant.reset(PlantParams(imu_noise_std=0.02, seed=1))
    one = plant.sense().rpy_rad
    plant.reset(PlantParams(imu_noise_std=0.02, seed=2))
    assert (one != plant.sense().rpy_rad).all()


def test_merged_and_full_model_move_alike(plant):
    """Over a short horizon: from the first new toe contact on, a walk is chaotic."""
    full = Plant(BulletEngine(merged=False))
    full.reset(PlantParams())
    merged_walk, full_walk = np.array(walk(plant, 9)), np.array(walk(full, 9))
    assert plant.engine.mass_kg == pytest.approx(full.engine.mass_kg, rel=1e-12)
    full.close()
    assert np.abs(merged_walk - full_walk).max() < 1e-4


def test_stands_still_and_bears_its_weight(plant):
    plant.advance(1000)
    truth, (position, velocity, torque) = plant.truth(), plant.motor_truth()
    assert truth.tilt_rad < 0.02
    assert truth.position_m[2] == pytest.approx(0.25, abs=0.02)
    assert np.abs(velocity).max() < 0.2
    # What the motors bear is what the PD gives for the sag: duty times 16 V / 0.186 ohm * 0.1.
    sag = 2.0 - position
    assert torque == pytest.approx(sag * 16.0 / 0.186 * 0.1, abs=0.1)
    assert 0.3 < torque.mean() < 2.0


def test_mass_scales_reach_the_engine(plant):
    nominal = plant.engine.mass_kg
    assert nominal == pytest.approx(7.47, abs=0.05)
    plant.reset(PlantParams(base_mass_scale=1.2, leg_mass_scale=1.2))
    assert plant.engine.mass_kg == pytest.approx(1.2 * nominal)


def test_a_heavier_robot_sags_more(plant):
    sags = []
    for scale in (0.8, 1.2):
        plant.reset(PlantParams(base_mass_scale=scale, leg_mass_scale=scale))
        plant.advance(500)
        sags.append(2.0 - motor_to_leg(plant.motor_truth()[0])[4:].mean())
    assert sags[1] / sags[0] == pytest.approx(1.5, abs=0.25)


def test_push_gives_its_momentum(plant):
    """In the air, a force of 50 N for 60 ms changes the velocity by F t / m."""
    plant.reset(
        PlantParams(push_force_low_n=50.0, push_force_high_n=50.0, push_interval_s=0.08, seed=3)
    )
    # Kick off the floor: both legs stretch; then the push falls into the flight.
    plant.command(np.full(8, 2.75), 1.0, 0.015)
    velocities = []
    for _ in range(140):
        plant.advance(1)
        velocities.append(plant.truth().velocity_m_s.copy())
    speeds = np.linalg.norm(np.array(velocities)[:, :2], axis=1)
    assert speeds.max() == pytest.approx(50.0 * 0.06 / plant.engine.mass_kg, rel=0.5)


def test_no_torque_without_gains(plant):
    plant.command(np.full(8, 2.5), 0.0, 0.0)
    for _ in range(40):
        plant.advance(10)
        assert (plant.motor_truth()[2] == 0.0).all()
    assert plant.truth().position_m[2] < 0.2


def test_damping_lowers_the_robot_gently(plant):
    """Slower than the free fall of limp motors, and with a torque against the motion."""
    heights = []
    for kd in (0.0, 0.015):
        plant.reset(PlantParams())
        plant.command(np.full(8, 2.5), 0.0, kd)
        plant.advance(150)
        _, velocity, torque = plant.motor_truth()
        heights.append(plant.truth().position_m[2])
    assert (torque * velocity <= 0.0).all()
    assert heights[1] > heights[0] + 0.01


def test_policy_sees_the_past(plant):
    plant.reset(PlantParams(policy_latency_s=0.0))
    plant.command(np.full(8, 2.4), 1.0, 0.015)
    seen = []
    for _ in range(40):
        plant.advance(1)
        seen.append(plant.motor_truth()[0])
    plant.reset(PlantParams(policy_latency_s=0.0125))
    plant.command(np.full(8, 2.4), 1.0, 0.015)
    plant.advance(40)
    expected = 0.5 * (seen[39 - 12] + seen[39 - 13])
    state = plant.sense()
    assert state.motor_position_rad == pytest.approx(expected, abs=1e-12)
    assert np.isnan(state.winding_temperature_c).all()  # no board models it here


def test_pd_latency_delays_the_reaction(plant):
    torques = []
    for latency in (0.0, 0.02):
        plant.reset(PlantParams(pd_latency_s=latency))
        plant.command(np.full(8, 2.3), 1.0, 0.015)
        plant.advance(12)
        torques.append(plant.motor_truth()[2].mean())
    # By then the undelayed loop has seen the legs move and brakes; the delayed one still pushes.
    assert torques[1] > torques[0] + 0.3


def test_imu_bias_and_noise(plant):
    plant.reset(PlantParams(imu_roll_bias_rad=0.05, imu_pitch_bias_rad=-0.04, imu_noise_std=0.02))
    readings = np.array([plant.sense().rpy_rad for _ in range(2000)])
    expected = plant.truth().rpy_rad + np.array((0.05, -0.04, 0.0))
    assert readings.mean(axis=0) == pytest.approx(expected, abs=5e-3)
    assert readings.std(axis=0) == pytest.approx((0.02,) * 3, rel=0.1)


def test_gyroscope_matches_the_attitude(plant):
    """In the body frame: integrating the rates gives the change of small roll and pitch."""
    plant.reset(PlantParams(policy_latency_s=0.0))
    leg = np.array((0.0, 0.0, 0.0, 0.0, 2.3, 1.8, 2.3, 1.8))  # pitches the body up
    plant.command(leg_to_motor(leg), 1.0, 0.015)
    before, turned = plant.sense().rpy_rad, np.zeros(3)
    for _ in range(60):
        plant.advance(1)
        turned += 1e-3 * plant.sense().angular_rate_rad_s
    after = plant.sense().rpy_rad
    assert abs(after[1] - before[1]) > 0.05
    assert (after - before)[:2] == pytest.approx(turned[:2], abs=0.01)


def test_energy_is_the_sum_of_absolute_powers(plant):
    energy = 0.0
    for _ in range(300):
        plant.command(leg_to_motor(TROT.leg_targets(plant.t_ns * 1e-9)), 1.0, 0.015)
        speed = plant.motor_truth()[1]
        plant.advance(1)
        energy += 1e-3 * np.abs(plant.motor_truth()[2] * speed).sum()
    assert plant.energy_j == pytest.approx(energy, rel=1e-9)
    assert energy > 1.0


def test_overheat_is_reported(plant):
    plant.command(np.full(8, 0.2), 1.0, 0.0)  # crouch against the stop of the five-bar
    plant.advance(300)
    assert plant.sense().fault == Fault.NONE
    plant.command(np.array((3.0, 0.2) * 4), 3.0, 0.0)
    plant.advance(2500)
    assert plant.sense().fault == Fault.OVERHEAT


def test_looking_does_not_change_the_run(plant):
    unseen = np.array(walk(plant, 20))
    plant.reset(PlantParams())
    half = walk(plant, 10)
    picture = plant.camera(160, 90)
    seen = np.array(half + walk(plant, 10))
    assert picture.shape == (90, 160, 3)
    # The robot is in the picture: its dark body against a bright floor and sky.
    assert picture.std() > 15.0
    assert (unseen == seen).all()


# What a calibration may find different.

OFFSETS = (0.05, -0.03, 0.0, 0.1, 0.0, -0.02, 0.01, -0.07)


@pytest.mark.parametrize("name", ["pybullet", "mujoco"])
def test_encoders_read_their_offsets_wherever_they_are_read(name):
    plant = make_plant(name)
    plant.reset(PlantParams(encoder_offset_rad=OFFSETS, policy_latency_s=0.0, pd_latency_s=0.0))
    position, velocity, _ = plant.motor_truth()
    seen = plant.sense(), plant.controller_view(held=False), plant.controller_view(held=True)
    for state in seen:
        assert state.motor_position_rad == pytest.approx(position + OFFSETS, abs=1e-12)
    np.testing.assert_array_equal(seen[0].motor_velocity_rad_s, velocity)
    # The controller pulls from where it believes the motor to be: 0.1 Nm per A.
    target = position + 0.04
    plant.command(target, 1.0, 0.0)
    plant.advance(1)
    drive_v = 16.0 * (0.04 - np.array(OFFSETS)) - 0.0954 * velocity
    assert np.abs(drive_v).max() < 1.86  # 10 A, up to which the curve is straight
    assert plant.motor_truth()[2] == pytest.approx(0.1 * drive_v / 0.186, abs=1e-9)
    plant.close()


def test_a_robot_with_turned_encoders_stands_as_it_reads(plant):
    """A crooked leg looks straight to its controller."""
    plant.reset(PlantParams(encoder_offset_rad=(0.06,) * 8))
    plant.advance(500)
    low = plant.motor_truth()[0]
    plant.reset(PlantParams())
    plant.advance(500)
    assert low - plant.motor_truth()[0] == pytest.approx(np.full(8, -0.06), abs=0.02)


@pytest.mark.parametrize("name", ["pybullet", "mujoco"])
def test_the_sensed_battery_sags_with_the_load_and_as_late_as_all_else(name):
    plant = make_plant(name)
    plant.reset(PlantParams(battery_resistance_ohm=0.186, policy_latency_s=0.002))
    emf_v = 0.0954 * plant.motor_truth()[1]
    plant.drive(np.full(8, 0.1))
    loaded = plant.drives.battery_v
    assert loaded == pytest.approx((16.0 + 0.1 * emf_v.sum()) / 1.08)
    plant.drive(None)
    plant.drive(None)
    assert plant.sense().battery_v == loaded
    plant.drive(None)
    assert plant.sense().battery_v == 16.0
    plant.close()


def test_a_battery_without_resistance_does_not_sag(plant):
    plant.reset(PlantParams(battery_v=15.0))
    plant.advance(20)
    assert plant.sense().battery_v == 15.0


@pytest.mark.parametrize("name", ["pybullet", "mujoco"])
def test_each_motor_has_its_own_strength(name):
    plant = make_plant(name)
    plant.reset(PlantParams(motor_balance=(0.5,) + (1.0,) * 7, pd_latency_s=0.0))
    position, velocity, _ = plant.motor_truth()
    plant.command(position + 0.04, 1.0, 0.0)
    plant.advance(1)
    torque = 0.1 * (16.0 * 0.04 - 0.0954 * velocity) / 0.186
    assert plant.motor_truth()[2] == pytest.approx(torque * (0.5, *(1.0,) * 7), abs=1e-9)
    plant.close()


@pytest.mark.parametrize("name", ["pybullet", "mujoco"])
def test_an_encoder_with_play_follows_once_the_slack_is_used_up(name):
    plant = make_plant(name)
    plant.reset(PlantParams(encoder_play_rad=0.1, policy_latency_s=0.0))
    angle, reading = [], []
    for step in range(60):
        side = 0.2 if step % 20 < 10 else -0.2
        plant.command(plant.robot.stance_pose_rad + side, 1.0, 0.015)
        plant.advance(6)
        angle.append(plant.motor_truth()[0])
        reading.append(plant.sense().motor_position_rad)
    off = np.array(reading) - np.array(angle)
    assert np.abs(off).max() == pytest.approx(0.05)  # half of the play, never more
    assert off.min() < -0.04 < 0.04 < off.max()  # on either side, as the leg turns back
    plant.close()


def test_latency_jitter_makes_states_older_and_never_brings_an_old_one_back(plant):
    plant.reset(
        PlantParams(policy_latency_s=0.002, policy_latency_jitter_s=0.02, imu_noise_std=0.0, seed=4)
    )
    ages_ms = []
    passed = [plant.motor_truth()[0]]
    for step in range(120):
        target = plant.robot.stance_pose_rad + 0.3 * np.sin(0.05 * step)
        plant.command(target, 1.0, 0.015)
        plant.advance(1)
        passed.append(plant.motor_truth()[0])
        seen = plant.sense().motor_position_rad
        past = np.abs(np.array(passed) - seen).max(axis=1)
        ages_ms.append(step + 1 - int(np.argmin(past)))
    ages_ms = np.array(ages_ms[30:])
    assert ages_ms.min() <= 3
    assert 8 <= ages_ms.max() <= 22
    assert np.diff(ages_ms).max() <= 1  # time passes: no state is older than the one before


def test_a_lost_command_changes_nothing_but_damping_and_open_bridges_arrive(plant):
    plant.reset(PlantParams(command_loss=1.0))
    before = plant.motor_truth()[0]
    plant.command(before + 0.5, 1.0, 0.015)
    plant.advance(50)
    assert plant.motor_truth()[0] == pytest.approx(before, abs=0.02)
    plant.command(before, 0.0, 0.02)
    plant.advance(50)
    assert plant.motor_truth()[0] != pytest.approx(before, abs=0.02)  # the legs give way
    plant.command(before, 0.0, 0.0)
    plant.advance(1)
    assert (plant.motor_truth()[2] == 0.0).all()


def test_the_share_of_lost_commands(plant):
    plant.reset(PlantParams(command_loss=0.25, seed=1))
    lost = 0
    for step in range(400):
        target = np.full(8, 1.0 + 1e-6 * step)
        plant.command(target, 1.0, 0.015)
        lost += not np.array_equal(plant._target, target)
    assert 80 <= lost <= 120
