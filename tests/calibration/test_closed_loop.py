"""Replays of commands: of records that the same plant wrote, and figures worked out by hand."""

import dataclasses

import numpy as np
import pytest
from support.driven_plant import foot_commands, foot_duty

from calibration.closed_loop import compare, currents_a
from calibration.errors import RecordError
from calibration.record import (
    AttitudeSeries,
    Board,
    MotionCapture,
    MotorCommands,
    MotorSeries,
    Record,
    Source,
)
from robot_firmware_bridge.geometry import quaternion_from_rpy, quaternion_product
from sim.plant.drives import Actuators
from sim.plant.params import PlantParams

# The record's commands are carried out at once.
TRUTH = PlantParams(
    imu_noise_std=0.0, contact_friction=0.6, start_heading_rad=0.4, policy_latency_s=0.0
)
MOUNT_RAD = -2.0


@pytest.fixture(scope="module")
def walked(plant):
    """A record of foot commands: stands for a second, then is driven by a slow reference law.

    Under motion capture at 100 Hz whose markers are turned by 2 rad; angles at 20 Hz.
    """
    commands = foot_commands(1.5)
    plant.reset(TRUTH)
    poses, joints = [], []
    for tick in range(-1000, 1490):
        if tick >= 0 and tick % 10 == 0:
            poses.append((plant.truth().position_m, plant.truth().quaternion))
            if tick % 50 == 0:
                joints.append(plant.motor_truth())
        row = max(0, np.flatnonzero(commands.t_s <= 1e-3 * tick + 1e-9)[-1] if tick >= 0 else 0)
        seen = plant.controller_view(held=False)
        feet = commands.x_m[row], commands.y_m[row]
        state = seen.motor_position_rad, seen.motor_velocity_rad_s
        plant.drive(foot_duty(commands.gains, *feet, *state))
    where, turned = (np.array(each) for each in zip(*poses, strict=True))
    position, velocity, torque = (np.array(each) for each in zip(*joints, strict=True))
    mount = quaternion_from_rpy(np.array((0.0, 0.0, -MOUNT_RAD)))
    markers = np.array([quaternion_product(each, mount) for each in turned])
    t_s = 0.05 * np.arange(len(position))
    return Record(
        source=Source.of("feet.npz", b"feet", Board.FOOT_COMMANDS),
        motors=MotorSeries(
            t_s,
            np.ones(len(t_s), bool),
            position,
            velocity_rad_s=velocity,
            torque_nm=torque,
            current_a=np.tile(np.arange(-4.0, 4.0), (len(t_s), 1)),
        ),
        mocap=MotionCapture(0.01 * np.arange(len(where)), where, markers, MOUNT_RAD),
        commands=commands,
    )


def test_the_same_plant_does_the_same_again(plant, walked):
    ticks = []
    closed, robot, ours = compare(walked, plant, TRUTH, ticks.append)
    assert closed.seconds == pytest.approx(1.45, abs=0.011)
    assert sum(ticks) == pytest.approx(1e3 * closed.seconds)
    assert closed.fell_after_s is None
    assert closed.robot.distance_m > 0.02
    for name in ("distance_m", "forward_m", "speed_mps"):
        both = getattr(closed.robot, name), getattr(closed.simulator, name)
        assert both[0] == pytest.approx(both[1], rel=0.05, abs=2e-3)
    for name in ("turn_rad", "roll_rms_rad", "pitch_rms_rad", "roll_range_rad", "pitch_range_rad"):
        both = getattr(closed.robot, name), getattr(closed.simulator, name)
        assert both[0] == pytest.approx(both[1], abs=2e-3)
    assert closed.angles_rms_rad < 0.01
    assert len(closed.angles_rms_by_motor_rad) == 8
    np.testing.assert_allclose(
        np.interp(robot.way_t_s, ours.way_t_s, ours.way_m), robot.way_m, atol=3e-3
    )


def test_foot_commands_are_carried_out_late_by_the_latency_of_the_policy(plant, walked):
    late = dataclasses.replace(
        walked,
        motors=dataclasses.replace(walked.motors, t_s=walked.motors.t_s + 0.05),
        mocap=dataclasses.replace(walked.mocap, t_s=walked.mocap.t_s + 0.05),
    )
    params = dataclasses.replace(TRUTH, policy_latency_s=0.05)
    closed, robot, ours = compare(late, plant, params)
    assert closed.angles_rms_rad < 0.02
    np.testing.assert_allclose(
        np.interp(robot.way_t_s, ours.way_t_s, ours.way_m), robot.way_m, atol=3e-3
    )
    at_once, _, _ = compare(late, plant, TRUTH)
    assert at_once.angles_rms_rad > 0.06


def test_way_is_along_the_heading_that_the_markers_tell(plant, walked):
    closed, _, _ = compare(walked, plant, TRUTH)
    last = int(np.flatnonzero(walked.mocap.t_s <= closed.seconds + 1e-9)[-1])
    x, y, _ = walked.mocap.position_m[last] - walked.mocap.position_m[0]
    # The robot's heading at the start is 0.4 rad, up to what a second of standing turned it.
    forward = np.cos(0.4) * x + np.sin(0.4) * y
    assert closed.robot.forward_m == pytest.approx(forward, abs=2e-3)
    unknown = dataclasses.replace(
        walked, mocap=dataclasses.replace(walked.mocap, mount_yaw_rad=None)
    )
    closed, robot, _ = compare(unknown, plant, TRUTH)
    assert closed.robot.forward_m is None
    assert closed.robot.turn_rad is None
    assert closed.robot.distance_m == pytest.approx(np.hypot(x, y), abs=2e-3)
    assert robot.way_m.min() >= 0.0


def test_power_and_currents_are_the_records_own(plant, walked):
    closed, _, _ = compare(walked, plant, TRUTH)
    motors = walked.motors
    used = motors.t_s <= closed.seconds + 1e-9
    by_hand = np.abs(motors.torque_nm * motors.velocity_rad_s)[used].sum(axis=1).mean()
    assert closed.robot.power_w == pytest.approx(by_hand)
    assert closed.robot.current_a == pytest.approx([4, 3, 2, 1, 0, 1, 2, 3])
    # Sampled at 20 Hz, the record's power is near the mean over all ticks.
    assert closed.simulator.power_w == pytest.approx(by_hand, rel=0.4)


def test_another_plant_does_something_else(plant, walked):
    closed, _, _ = compare(walked, plant, dataclasses.replace(TRUTH, motor_strength_scale=0.7))
    assert closed.angles_rms_rad > 0.03


def test_a_robot_that_falls_is_told(plant):
    t_s = np.arange(0.0, 1.5, 0.01)
    commands = foot_commands(1.5)
    # The left legs fold away under it.
    x_m = np.where(t_s[:, None] > 0.2, (0.11, 0.11, 0.29, 0.29), 0.17)
    feet = dataclasses.replace(commands, t_s=t_s, x_m=x_m, y_m=np.zeros((len(t_s), 4)))
    record = Record(
        source=Source.of("feet.npz", b"feet", Board.FOOT_COMMANDS),
        mocap=MotionCapture(t_s, np.zeros((len(t_s), 3))),
        commands=feet,
    )
    strong = PlantParams(motor_strength_scale=4.0, base_inertia_scale=0.1, contact_friction=2.0)
    closed, _, _ = compare(record, plant, strong)
    assert closed.fell_after_s is not None
    assert 0.2 < closed.fell_after_s < 1.5


@pytest.fixture(scope="module")
def followed(plant):
    """A record of motor commands on the simulated robot, without motion capture."""
    params = dataclasses.replace(TRUTH, policy_latency_s=0.02)
    plant.reset(params)
    rows = []
    for tick in range(80):
        target = plant.robot.stance_pose_rad + 0.15 * np.sin(0.3 * tick + np.arange(8.0))
        seen = plant.sense()
        rows.append((seen.motor_position_rad, seen.motor_velocity_rad_s, seen.rpy_rad, target))
        plant.command(target, 1.0, 0.015)
        plant.advance(10)
    position, velocity, rpy, targets = (np.array(each) for each in zip(*rows, strict=True))
    t_s, ok = 0.01 * np.arange(80), np.ones(80, bool)
    return params, Record(
        source=Source.of("run.npz", b"run", Board.OWN, "sim"),
        motors=MotorSeries(t_s, ok, position, velocity_rad_s=velocity),
        attitude=AttitudeSeries(t_s, ok.copy(), rpy),
        commands=MotorCommands(t_s, targets, np.ones(80), np.full(80, 0.015)),
    )


def test_motor_commands_start_in_the_first_good_state(plant, followed):
    params, record = followed
    closed, robot, ours = compare(record, plant, params)
    # Two samples smooth the first state, which was true 20 ms before it was seen.
    assert closed.seconds == pytest.approx(0.79, abs=0.011)
    assert closed.angles_rms_rad < 0.03
    np.testing.assert_allclose(ours.motor_rad[0], record.motors.position_rad[2], atol=1e-6)
    assert robot.way_m is None
    assert closed.robot.distance_m is None
    assert closed.robot.power_w is None
    assert closed.robot.pitch_rms_rad is not None


def test_what_cannot_be_replayed_is_said_in_one_line(plant, walked):
    with pytest.raises(RecordError, match="neither duties nor commands"):
        compare(dataclasses.replace(walked, commands=None), plant, TRUTH)
    late = dataclasses.replace(
        walked, commands=dataclasses.replace(walked.commands, t_s=walked.commands.t_s + 1.3)
    )
    with pytest.raises(RecordError, match=r"share 0\.2 s"):
        compare(late, plant, TRUTH)


def test_currents_are_those_that_make_the_torque():
    params = PlantParams(
        motor_strength_scale=0.9,
        motor_viscous_nm_s_per_rad=0.02,
        motor_balance=(0.8, 1.2, *(1.0,) * 6),
    )
    drives = Actuators()
    drives.reset(params)
    duty, speed = np.linspace(-0.5, 0.5, 8), np.linspace(4.0, -4.0, 8)
    torque = drives.torque(duty, speed)
    expected = (duty * 16.0 - 0.0954 * speed) / 0.186
    np.testing.assert_allclose(currents_a(torque, speed, params), expected, atol=1e-9)
