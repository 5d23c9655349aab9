"""What drives a plant as a record says, against slow references written out here."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.driven_plant import driven_record, foot_commands, foot_duty

from calibration.errors import RecordError
from calibration.record import FootGains, MotorCommands
from calibration.stimulus import (
    BOARD_LINE_S,
    Duties,
    FootTargets,
    MotorTargets,
    commanded,
    stimulus_of,
)
from robot_firmware_bridge.geometry import leg_to_motor
from sim.plant.params import PlantParams

QUIET = PlantParams(imu_noise_std=0.0)


@pytest.fixture(scope="module")
def record(plant):
    return driven_record(plant, QUIET, 0.3)


def angles_after(plant, run):
    plant.reset(QUIET)
    run()
    return plant.motor_truth()[0]


def test_duties_are_linear_between_samples_and_taken_in_the_middle_of_a_tick(plant, record):
    t_s, duty = record.motors.t_s, record.motors.duty

    def by_hand():
        for tick in range(73):
            at_s = 0.0443 + 1e-3 * tick + 0.5e-3
            plant.drive(np.array([np.interp(at_s, t_s, column) for column in duty.T]))

    ours = angles_after(plant, lambda: Duties(record.motors).run(plant, 0.0443, 73))
    np.testing.assert_allclose(ours, angles_after(plant, by_hand), atol=1e-9)


def test_duties_are_held_before_the_first_and_after_the_last(plant, record):
    def by_hand():
        for _ in range(20):
            plant.drive(record.motors.duty[-1])

    ours = angles_after(plant, lambda: Duties(record.motors).run(plant, 1.0, 20))
    np.testing.assert_array_equal(ours, angles_after(plant, by_hand))


def test_a_command_of_motors_acts_from_its_time_to_the_next(plant):
    targets = np.array([leg_to_motor(np.repeat((0.1 * k, 1.9), 4)) for k in range(4)])
    commands = MotorCommands(
        np.array((0.0, 0.0066, 0.0125, 0.02)),
        targets,
        np.array((1.0, 0.8, 1.0, 0.9)),
        np.full(4, 0.02),
    )

    def by_hand():
        # 20 ms from 4 ms on. In the tick from 6 to 7 ms the second command holds for 0.4 of the
        # time, in that from 12 to 13 ms the third for half of it.
        for tick in range(4, 24):
            row = 0 if tick < 7 else 1 if tick < 13 else 2 if tick < 20 else 3
            target, kp = targets[row], float(commands.kp[row])
            if tick == 6:
                target, kp = 0.6 * targets[0] + 0.4 * targets[1], 0.6 * 1.0 + 0.4 * 0.8
            if tick == 12:
                target, kp = 0.5 * (targets[1] + targets[2]), 0.9
            plant.command(target, kp, 0.02)
            plant.advance(1)

    ours = angles_after(plant, lambda: MotorTargets(commands).run(plant, 0.004, 20))
    np.testing.assert_allclose(ours, angles_after(plant, by_hand), atol=1e-9)


def test_of_commands_that_come_within_one_tick_each_has_its_share(plant):
    targets = np.array([leg_to_motor(np.repeat((0.2 * k, 1.9), 4)) for k in range(3)])
    commands = MotorCommands(np.array((0.0, 0.0102, 0.0107)), targets, np.ones(3), np.zeros(3))

    def by_hand():
        for tick in range(5, 15):
            target = targets[0] if tick < 10 else targets[2]
            if tick == 10:
                target = 0.2 * targets[0] + 0.5 * targets[1] + 0.3 * targets[2]
            plant.command(target, 1.0, 0.0)
            plant.advance(1)

    ours = angles_after(plant, lambda: MotorTargets(commands).run(plant, 0.005, 10))
    np.testing.assert_allclose(ours, angles_after(plant, by_hand), atol=1e-9)


def test_before_the_first_command_the_first_one_acts(plant):
    target = leg_to_motor(np.repeat((0.2, 1.9), 4))[None]
    commands = MotorCommands(np.array((5.0,)), target, np.array((1.0,)), np.array((0.02,)))

    def by_hand():
        plant.command(target[0], 1.0, 0.02)
        plant.advance(30)

    ours = angles_after(plant, lambda: MotorTargets(commands).run(plant, 0.0, 30))
    np.testing.assert_array_equal(ours, angles_after(plant, by_hand))


numbers = st.lists(st.floats(-1.0, 1.0), min_size=8, max_size=8).map(np.array)


@given(numbers, numbers, numbers)
@settings(max_examples=50)
def test_the_foot_law_is_that_of_a_slow_reference(feet, angles, speeds):
    commands = dataclasses.replace(foot_commands(0.01), gains=FootGains(length_kp=40.0))
    x_m, y_m = 0.16 + 0.05 * feet[:4], 0.05 * feet[4:]
    position, velocity = 1.6 + 0.7 * angles, 8.0 * speeds
    swing, length = np.arctan2(-y_m, x_m), np.hypot(x_m, y_m)
    ours = FootTargets(commands).duty(swing, length, position, velocity)
    slow = foot_duty(commands.gains, x_m, y_m, position, velocity)
    np.testing.assert_allclose(ours, slow, atol=1e-5)


def test_feet_are_followed_by_what_the_controller_sees(plant):
    commands = foot_commands(0.3)

    def by_hand():
        for tick in range(150, 200):
            row = np.flatnonzero(commands.t_s <= 1e-3 * tick + 1e-9)[-1]
            seen = plant.controller_view(held=False)
            position, velocity = seen.motor_position_rad, seen.motor_velocity_rad_s
            feet = commands.x_m[row], commands.y_m[row]
            plant.drive(foot_duty(commands.gains, *feet, position, velocity))

    ours = angles_after(plant, lambda: FootTargets(commands).run(plant, 0.15 + 1e-9, 50))
    np.testing.assert_allclose(ours, angles_after(plant, by_hand), atol=1e-4)


def test_a_record_is_driven_by_what_it_knows_most_directly(record):
    motors = dataclasses.replace(record.motors, duty=None)
    targets = MotorCommands(np.zeros(1), np.ones((1, 8)), np.ones(1), np.zeros(1))
    both = dataclasses.replace(record, commands=targets)
    assert isinstance(stimulus_of(both), Duties)
    assert isinstance(commanded(both), MotorTargets)
    undriven = dataclasses.replace(record, motors=motors)
    assert isinstance(stimulus_of(dataclasses.replace(undriven, commands=targets)), MotorTargets)
    feet = dataclasses.replace(undriven, commands=foot_commands())
    assert isinstance(stimulus_of(feet), FootTargets)
    with pytest.raises(RecordError, match="neither duties nor commands"):
        stimulus_of(undriven)
    with pytest.raises(RecordError, match="no duties"):
        Duties(motors)


def test_states_are_as_old_as_their_reader_sees_them(record):
    params = PlantParams(pd_latency_s=0.004, policy_latency_s=0.02)
    targets = MotorCommands(np.zeros(1), np.ones((1, 8)), np.ones(1), np.zeros(1))
    made = dataclasses.replace(record, commands=targets)
    simulated = dataclasses.replace(made, source=dataclasses.replace(made.source, robot="sim"))
    assert stimulus_of(record).age_s(params) == 0.004
    assert commanded(simulated).age_s(params) == 0.02
    assert commanded(made).age_s(params) == 0.004 + BOARD_LINE_S
    assert FootTargets(foot_commands()).age_s(params) == 0.004
