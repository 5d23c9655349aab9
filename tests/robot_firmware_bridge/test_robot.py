"""The robot description: its hash is its identity."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.edits import edited
from support.processes import run_python

from robot_firmware_bridge.json_values import JsonValueError
from robot_firmware_bridge.robot import MINITAUR, MotorConstants, RobotDescription


def changed(value):
    """A value of the same shape that differs."""
    if isinstance(value, tuple):
        return (changed(value[0]), *value[1:])
    return f"{value}x" if isinstance(value, str) else value * 1.0000001 + 1e-9


@pytest.mark.parametrize(
    "name", [field.name for field in dataclasses.fields(RobotDescription) if field.name != "motor"]
)
def test_every_field_is_part_of_the_hash(name):
    other = dataclasses.replace(MINITAUR, **{name: changed(getattr(MINITAUR, name))})
    assert other.hash() != MINITAUR.hash()


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(MotorConstants)])
def test_every_motor_constant_is_part_of_the_hash(name):
    motor = dataclasses.replace(MINITAUR.motor, **{name: changed(getattr(MINITAUR.motor, name))})
    assert dataclasses.replace(MINITAUR, motor=motor).hash() != MINITAUR.hash()


def test_the_hash_is_the_same_in_another_process():
    code = "from robot_firmware_bridge.robot import MINITAUR; print(MINITAUR.hash())"
    # Another hash seed: an order that came from a set would show.
    assert run_python("-c", code, PYTHONHASHSEED="7").stdout.strip() == MINITAUR.hash()
    assert len(MINITAUR.hash()) == 64


def test_json_round_trip_keeps_value_and_hash():
    again = RobotDescription.from_json(MINITAUR.to_json())
    assert again == MINITAUR
    assert again.hash() == MINITAUR.hash()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("upper_link_m", -0.1), r"robot.upper_link_m must be in \[0.01, 10\], is -0.1"),
        (("motor_directions", [1] * 7), "robot.motor_directions must have 8 values, has 7"),
        (("motor_limits_rad", 1, 1e9), r"robot.motor_limits_rad\[1\] must be in"),
        (("motor", "resistance_ohm", 0.0), r"robot.motor.resistance_ohm must be in"),
    ],
)
def test_an_impossible_robot_in_a_file_is_named(edit, message):
    with pytest.raises(JsonValueError, match=message):
        RobotDescription.from_json(edited(MINITAUR.to_json(), *edit))


def test_the_description_is_consistent():
    assert len(MINITAUR.motor_names) == len(MINITAUR.motor_directions) == 8
    assert [name[:-1] for name in MINITAUR.motor_names[::2]] == list(MINITAUR.leg_names)
    assert set(MINITAUR.directions) == {-1.0, 1.0}
    low, high = MINITAUR.motor_limits_rad
    assert ((low < MINITAUR.stance_pose_rad) & (MINITAUR.stance_pose_rad < high)).all()
    assert np.all(np.diff(MINITAUR.motor.current_table_a) > 0)
    assert np.all(np.diff(MINITAUR.motor.torque_table_nm) > 0)


def test_the_stance_is_a_fresh_array_each_time():
    MINITAUR.stance_pose_rad[:] = 0.0
    np.testing.assert_array_equal(MINITAUR.stance_pose_rad, np.full(8, 2.0))
