"""The robot as a motor controller has it: the seam in the plant, the stand, failing sensors."""

import dataclasses

import numpy as np
import pytest
from support.scripted_board import ROBOT_HASH

from robot_firmware_bridge.firmware.library import Drive, FirmwareBoard, Sensors
from robot_firmware_bridge.geometry import leg_to_motor
from robot_firmware_bridge.limits import LIMITS
from robot_firmware_bridge.protocol.layout import MESSAGES, PROTOCOL_HASH, Action
from robot_firmware_bridge.protocol.wire import Command, Hello, Request, encode
from robot_firmware_bridge.robot import MINITAUR
from sim.board.plant import LIFT_TICKS, PICK_UP_TICKS, BoardPlant
from sim.errors import ParameterError
from sim.plant.drives import pd_duty
from sim.plant.params import PlantParams
from training.tasks.gaits import TROT

KP, KD = MINITAUR.kp, MINITAUR.kd
# Of small steps: how far rounding drives two walks apart within half a second depends on the gait.
GAIT = dataclasses.replace(TROT, swing_amplitude_rad=0.35)
TARGET_STEP = next(f.scale for f in MESSAGES["command"].fields if f.name == "target_rad")


@pytest.fixture
def robot(plant):
    return BoardPlant(plant)


@pytest.fixture
def sensors():
    return Sensors()


def drive(duty=0.0, enabled=True):
    drive = Drive()
    drive.duty[:] = duty
    drive.enabled = enabled
    return drive


def target(tick):
    """The trot, changed every control step, in numbers that the wire has."""
    exact = leg_to_motor(GAIT.leg_targets(tick // 6 * 0.006))
    return np.rint(exact / TARGET_STEP) * TARGET_STEP


def pose(plant):
    """Return the position of the body and the angles of the motors, shape (11,)."""
    return np.concatenate((plant.truth().position_m, plant.motor_truth()[0]))


def test_a_controller_outside_that_does_the_same_moves_the_plant_the_same_bit_for_bit(plant):
    inside = []
    for tick in range(300):
        plant.command(target(tick), KP, KD)
        plant.advance(1)
        inside.append(pose(plant))
    plant.reset(PlantParams())
    for tick in range(300):
        seen = plant.controller_view(held=False)
        position, velocity = seen.motor_position_rad, seen.motor_velocity_rad_s
        plant.drive(pd_duty(target(tick), position, velocity, KP, KD))
        assert (pose(plant) == inside[tick]).all()


def test_open_bridges_give_no_torque_and_a_duty_of_zero_brakes(plant):
    plant.advance(50)
    plant.drive(None)
    assert (plant.motor_truth()[2] == 0.0).all()
    speed = plant.motor_truth()[1]
    plant.drive(np.zeros(8))
    assert (plant.motor_truth()[2] * speed < 0.0).all()


def test_whoever_drives_from_outside_protects_the_motors_itself(plant):
    for _ in range(1_200):
        plant.drive(np.full(8, 0.9))  # stalled against the stretch of the legs
    assert np.abs(plant.motor_truth()[2]).max() > MINITAUR.motor.overheat_torque_nm


def test_the_controller_sees_what_the_plants_own_does(plant):
    plant.reset(PlantParams(pd_latency_s=0.003, policy_latency_s=0.015))
    positions = [plant.motor_truth()[0]]
    for tick in range(30):
        plant.command(target(tick), KP, KD)
        plant.advance(1)
        positions.append(plant.motor_truth()[0])
    seen = plant.controller_view(held=False)
    np.testing.assert_array_equal(seen.motor_position_rad, positions[-4])
    assert seen.motor_velocity_rad_s.any()


def test_the_firmware_moves_the_plant_as_its_own_pd_does(plant):
    """From the stand on, over half a second of trot: the same law, in 32-bit floats."""
    robot, board, sensors = BoardPlant(plant), FirmwareBoard(), Sensors()
    board.start(1)
    board.receive(encode(Hello(PROTOCOL_HASH, ROBOT_HASH, 0, 0)))
    board.receive(encode(Request(1, Action.ARM)))
    rows = []
    for tick in range(500):
        if tick % 6 == 0:
            board.receive(encode(Command(1 + tick // 6, 80, KP, KD, target(tick))))
        robot.sense(sensors)
        robot.advance(board.tick(tick * 1000, sensors))
        rows.append(pose(plant))
    plant.reset(PlantParams())
    expected = []
    for tick in range(500):
        seen = plant.controller_view(held=tick == 0)
        duty = pd_duty(target(tick), seen.motor_position_rad, seen.motor_velocity_rad_s, KP, KD)
        bound = (tick + 1) / LIMITS.soft_start_ms
        plant.drive(np.clip(duty, -bound, bound))
        expected.append(pose(plant))
    expected = np.array(expected)
    difference = np.abs(np.array(rows) - expected)
    assert np.ptp(expected[:, 3:], axis=0).min() > 0.3  # it did step
    assert difference[:60].max() < 1e-3
    assert difference[:, 3:].max() < 0.05
    assert difference[:, :3].max() < 0.01


def test_an_imu_without_noise_is_refused(plant):
    plant.reset(PlantParams(imu_noise_std=0.0))
    with pytest.raises(ParameterError, match="dead IMU"):
        BoardPlant(plant)


def test_on_its_stand_nothing_moves_but_the_noise(robot, plant, sensors):
    readings = []
    for _ in range(200):
        robot.sense(sensors)
        robot.advance(drive(0.5, enabled=False))
        readings.append(np.concatenate((sensors.rpy_rad, sensors.angular_rate_rad_s)))
    assert robot.on_stand
    assert plant.t_ns == 0
    assert (sensors.motor_velocity_rad_s == 0.0).all()
    readings = np.array(readings)
    assert readings.std(axis=0) == pytest.approx([0.001] * 6, rel=0.3)
    assert readings[:, 3:].mean(axis=0) == pytest.approx([0.0] * 3, abs=0.0005)


def test_driven_once_it_is_off_the_stand_for_good(robot, plant):
    robot.advance(drive())
    assert not robot.on_stand
    for _ in range(200):
        robot.advance(drive(enabled=False))
    assert plant.t_ns == 201_000_000
    assert plant.truth().position_m[2] < 0.2
    assert not robot.on_stand


def test_lying_limp_it_is_picked_up(robot, plant):
    start = plant.motor_truth()[0]
    robot.advance(drive())
    for _ in range(PICK_UP_TICKS - 1):
        robot.advance(drive(enabled=False))
    robot.advance(drive())  # driven again: it begins to count anew
    for _ in range(PICK_UP_TICKS - 1):
        robot.advance(drive(enabled=False))
    assert not robot.on_stand
    robot.advance(drive(enabled=False))
    for _ in range(LIFT_TICKS):
        assert not robot.on_stand
        robot.advance(drive())  # in vain: hands hold it
    assert robot.on_stand
    np.testing.assert_array_equal(plant.motor_truth()[0], start)


def test_the_encoders_see_it_lifted_not_thrown(robot, plant, sensors):
    """A leg that is put back within a tick would be a broken encoder to the firmware."""
    robot.advance(drive())
    readings = []
    for _ in range(PICK_UP_TICKS + LIFT_TICKS + 1):
        robot.sense(sensors)
        readings.append(sensors.motor_position_rad.copy())
        robot.advance(drive(enabled=False))
    lying, standing = readings[PICK_UP_TICKS - 1], readings[-1]
    assert np.abs(lying - standing).max() > LIMITS.encoder_jump_rad
    lift = np.diff(readings[PICK_UP_TICKS - 1 :], axis=0)
    assert np.abs(lift).max() < 0.05
    held = plant.controller_view(held=True).motor_position_rad
    assert standing == pytest.approx(held, abs=1e-6)


def test_a_frozen_imu_repeats_itself_until_it_thaws(robot, sensors):
    def imu():
        robot.sense(sensors)
        return (*sensors.rpy_rad, *sensors.angular_rate_rad_s)

    first = imu()
    robot.freeze_imu()
    assert [imu(), imu()] == [first, first]
    robot.thaw_imu()
    assert not set(imu()) & set(first)


def test_a_slipped_encoder_reads_more_for_good(robot, sensors):
    robot.sense(sensors)
    before = sensors.motor_position_rad.copy()
    robot.slip_encoder(2, 0.75)
    robot.sense(sensors)
    slip = sensors.motor_position_rad - before
    assert slip == pytest.approx([0, 0, 0.75, 0, 0, 0, 0, 0], abs=1e-6)


def test_battery_and_housings_read_what_is_set(robot, sensors):
    robot.sense(sensors)
    assert sensors.battery_v == 16.0
    assert np.isnan(sensors.housing_temperature_c).all()
    robot.read_battery(12.5)
    robot.heat(3, 90.0)
    robot.sense(sensors)
    assert sensors.battery_v == 12.5
    assert sensors.housing_temperature_c[3] == 90.0
    assert np.isnan(sensors.housing_temperature_c).sum() == 7
    robot.cool()
    robot.sense(sensors)
    assert np.isnan(sensors.housing_temperature_c).all()
