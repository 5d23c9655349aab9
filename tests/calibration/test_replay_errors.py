"""Errors of a replay: none of a plant's own walk, and those of a changed record by hand."""

import dataclasses

import numpy as np
import pytest
from support.driven_plant import foot_commands

from calibration.closed_loop import replayed
from calibration.record import (
    Board,
    MotionCapture,
    MotorCommands,
    MotorSeries,
    Record,
    Source,
)
from calibration.replay_errors import ReplayErrors, is_replayed
from robot_firmware_bridge.geometry import quaternion_from_rpy, quaternion_product
from sim.engines.mujoco import MujocoEngine
from sim.plant.params import PlantParams
from sim.plant.plant import Plant

TRUTH = PlantParams(
    imu_noise_std=0.0, contact_friction=0.6, start_heading_rad=0.4, policy_latency_s=0.0
)
MOUNT_RAD = -2.0
STEP_S = 0.01
# Columns of a row: the way forward and to the left, roll, pitch, eight motors, current.
LEFT, PITCH, MOTOR_2, CURRENT = 1, 3, 6, 12
WIDTH = 13


@pytest.fixture(scope="module")
def plant():
    plant = Plant(MujocoEngine())
    yield plant
    plant.close()


def about_z(angle_rad):
    return quaternion_from_rpy(np.array((0.0, 0.0, angle_rad)))


@pytest.fixture(scope="module")
def replay(plant):
    """What the plant does under foot commands of 2.2 s."""
    still = MotionCapture(np.array((0.0, 2.2)), np.zeros((2, 3)))
    source = Source.of("feet.npz", b"feet", Board.FOOT_COMMANDS)
    plant.reset(TRUTH)
    return replayed(Record(source=source, mocap=still, commands=foot_commands(2.2)), plant)


def walked(replay, late_s=0.0, turned_rad=0.0):
    """The record of a replay, under motion capture in a room that is turned against the plant's.

    Everything that is measured has stamps that are late by some samples, and begins at rest.
    """
    late = round(late_s / STEP_S)
    t_s = STEP_S * np.arange(len(replay.t_s) + late)

    def begun(values):
        return np.concatenate((np.repeat(values[:1], late, axis=0), values))

    cosine, sine = np.cos(turned_rad), np.sin(turned_rad)
    x, y, z = begun(replay.position_m).T
    position = np.stack((cosine * x - sine * y + 1.0, sine * x + cosine * y - 2.0, z), axis=1)
    mount = about_z(-MOUNT_RAD)
    markers = [
        quaternion_product(about_z(turned_rad), quaternion_product(quaternion_from_rpy(rpy), mount))
        for rpy in begun(replay.rpy_rad)
    ]
    angles, current = begun(replay.motor_rad), begun(replay.current_a)
    return Record(
        source=Source.of("feet.npz", b"feet", Board.FOOT_COMMANDS),
        motors=MotorSeries(t_s, np.ones(len(t_s), bool), angles, current_a=current),
        mocap=MotionCapture(t_s, position, np.array(markers), MOUNT_RAD),
        commands=foot_commands(2.2),
    )


def errors(record, plant, **changes):
    plant.reset(dataclasses.replace(TRUTH, **changes))
    return ReplayErrors(record).errors(plant)


def moved(record, series, **columns):
    return dataclasses.replace(
        record, **{series: dataclasses.replace(getattr(record, series), **columns)}
    )


def test_the_plant_that_walked_has_no_errors(plant, replay):
    found = errors(walked(replay, turned_rad=1.0), plant)
    # 2.19 s are four whole stretches; then one row of distance and power.
    assert found.shape == (5, WIDTH)
    np.testing.assert_allclose(found[:, 2:], 0.0, atol=1e-6)
    # The heading is the mean of the first tenth of a second, in which the body already stirs.
    np.testing.assert_allclose(found[:, :2], 0.0, atol=5e-3)


def test_measurements_that_are_late_by_the_plants_latency_have_no_errors(plant, replay):
    late = walked(replay, 0.1)
    found = errors(late, plant, policy_latency_s=0.1)
    # 2.19 s less twice the latency, so that no stretch lacks measurements at an end.
    assert found.shape == (4, WIDTH)
    np.testing.assert_allclose(found[:-1, 2:], 0.0, atol=1e-6)
    np.testing.assert_allclose(found[:-1, :2], 0.0, atol=5e-3)
    worst = np.abs(errors(late, plant)[:-1]).max(axis=0)
    assert np.delete(worst, LEFT).min() > 0.01


def test_another_friction_shows(plant, replay):
    record = walked(replay)
    much, little = (errors(record, plant, contact_friction=mu)[:-1] for mu in (0.2, 0.5))
    assert (much**2).sum() > 3.0 * (little**2).sum() > 1e-2
    # On ice this walk goes forward at 0.13 m/s instead of backward at 0.1 m/s: 0.11 m a stretch.
    assert much[2, 0] * np.sqrt(WIDTH) == pytest.approx(0.11 / 0.03, rel=0.2)


def test_a_changed_record_has_the_errors_of_the_change(plant, replay):
    """One unit in a column each: 30 mm of way, 50 mrad of pitch, 0.1 rad of a motor, 3 A."""
    late_s = 0.05
    record = walked(replay, late_s)
    t_s, heading = record.mocap.t_s, TRUTH.start_heading_rad
    to_the_left = np.array((-np.sin(heading), np.cos(heading), 0.0))
    stretch = np.floor((t_s - late_s + 1e-9) / 0.5)
    wave = np.where(stretch % 2 == 0, 1.0, -1.0)  # one sign in each stretch
    wave[(stretch < 0) | (stretch > 3)] = 0.0
    nod = [
        quaternion_product(
            quaternion_product(markers, about_z(MOUNT_RAD)),
            quaternion_product(quaternion_from_rpy(np.array((0.0, angle, 0.0))), about_z(2.0)),
        )
        for markers, angle in zip(record.mocap.quaternion, 0.05 * wave, strict=True)
    ]
    angles = record.motors.position_rad.copy()
    angles[:, 2] += 0.1 * wave * (1.0 + stretch)  # more in each stretch
    current = record.motors.current_a
    changed = moved(
        record,
        "mocap",
        position_m=record.mocap.position_m + 0.03 * (t_s / 0.5)[:, None] * to_the_left,
        quaternion=np.array(nod),
    )
    changed = moved(
        changed, "motors", position_rad=angles, current_a=current + 3.0 * np.sign(current)
    )
    signs = np.array((1.0, -1.0, 1.0, -1.0))
    expected = np.zeros((4, WIDTH))
    expected[:, LEFT] = -1.0
    expected[:, PITCH] = -signs
    expected[:, MOTOR_2] = -signs * (1.0, 2.0, 3.0, 4.0)
    expected[:, CURRENT] = -1.0
    found = errors(changed, plant, policy_latency_s=late_s)[:-1] * np.sqrt(WIDTH)
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_distance_and_power_are_shares_of_the_recorded(plant, replay):
    record = walked(replay)
    samples = len(record.motors)
    # Eight motors of 0.5 Nm and 2 rad/s are 8 W.
    record = moved(
        record,
        "motors",
        torque_nm=np.full((samples, 8), -0.5),
        velocity_rad_s=np.full((samples, 8), 2.0),
    )
    ours = float(np.hypot(*(replay.position_m[-1] - replay.position_m[0])[:2]))
    farther = moved(record, "mocap", position_m=7.0 * record.mocap.position_m)
    row = errors(farther, plant)[-1]
    # A twentieth of the recorded way and 15 % of its power are one, and count as four stretches.
    assert row[0] == pytest.approx(-2.0 * (6.0 * ours) / (0.05 * 7.0 * ours), rel=1e-6)
    assert row[1] == pytest.approx(2.0 * (replay.power_w - 8.0) / (0.15 * 8.0), rel=1e-9)
    assert not row[2:].any()


def test_a_robot_that_neither_goes_nor_works_is_told_to_30_mm_and_a_fifth_of_a_watt(plant, replay):
    record = walked(replay)
    still = np.zeros((len(record.motors), 8))
    record = moved(record, "motors", torque_nm=still, velocity_rad_s=still)
    record = moved(record, "mocap", position_m=np.zeros((len(record.mocap), 3)))
    row = errors(record, plant)[-1]
    ours = float(np.hypot(*(replay.position_m[-1] - replay.position_m[0])[:2]))
    assert row[:2].tolist() == pytest.approx([2.0 * ours / 0.03, 2.0 * replay.power_w / 0.2])


def test_what_was_not_measured_makes_no_error(plant, replay):
    record = dataclasses.replace(walked(replay), motors=None)
    bare = moved(record, "mocap", quaternion=None, mount_yaw_rad=None)
    found = errors(bare, plant, contact_friction=0.3)
    assert found.shape == (5, WIDTH)
    assert (found[:-1, :2] != 0.0).all()
    assert not found[:-1, 2:].any()


def test_currents_that_came_seldom_count_where_they_came(plant, replay):
    record = walked(replay)
    current = np.full_like(record.motors.current_a, np.nan)
    current[60:70] = record.motors.current_a[60:70]  # 0.6 to 0.7 s, in the second stretch
    current[65] = 50.0
    found = errors(moved(record, "motors", current_a=current), plant)[:-1, CURRENT]
    over = 50.0 - np.abs(record.motors.current_a[65]).mean()
    assert found[1] * np.sqrt(WIDTH) == pytest.approx(-over / 3.0 / np.sqrt(10.0))
    assert not found[[0, 2, 3]].any()


class BreaksDown(Plant):
    """A plant whose simulation breaks down after half a second of the walk."""

    def truth(self):
        truth = super().truth()
        if self.t_ns > 1_500_000_000:
            return dataclasses.replace(truth, position_m=np.full(3, np.nan))
        return truth


def test_a_simulation_that_breaks_down_is_far_off_and_finite(replay):
    plant = BreaksDown(MujocoEngine())
    found = errors(walked(replay), plant)
    plant.close()
    assert np.isfinite(found).all()
    assert (found[2:4, :2] == 10.0).all()
    assert found[-1, 0] == 10.0


def test_only_walks_under_foot_commands_and_cameras_are_replayed(replay):
    record = walked(replay)
    assert is_replayed(record)
    assert not is_replayed(dataclasses.replace(record, mocap=None))
    targets = MotorCommands(np.zeros(1), np.ones((1, 8)), np.ones(1), np.zeros(1))
    assert not is_replayed(dataclasses.replace(record, commands=targets))
