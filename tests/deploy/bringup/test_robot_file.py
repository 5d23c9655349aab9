"""The file of a robot: read back as it was written, and refused by one clear line."""

import json
from pathlib import Path

import pytest

from deploy.bringup.robot_file import (
    LatencyRecord,
    RobotFile,
    WiggleRecord,
    read_robot_file,
    update_robot_file,
)
from deploy.errors import RunError
from deploy.options import Options


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "robot.json"
    robot = RobotFile(
        "rex",
        (0.1,) * 7 + (-0.2,),
        "2026-12-01",
        "0a1b",
        WiggleRecord("2026-12-01", False, True, ("front_leftL: ok",) * 8),
        LatencyRecord("2026-12-01", 4.5, 0.2, 2.0, 6.5),
    )
    robot.save(path)
    assert read_robot_file(path) == robot


def test_where_there_is_no_file_zeros_are_none(tmp_path):
    assert read_robot_file(tmp_path / "none.json") == read_robot_file(None) == RobotFile()
    assert not any(RobotFile().motor_zeros_rad)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"motor_zeros_rad": [0.0] * 7}, "must have 8 values, has 7"),
        ({"motor_zeros_rad": [6.3] + [0.0] * 7}, r"must be in \[-0.8, 0.8\] \(a larger one must"),
        ({"motor_zeros_rad": ["a"] * 8}, "must be float, is str"),
        ({"zeros": 1}, "has unknown fields: zeros"),
    ],
)
def test_a_malformed_file_is_one_line(tmp_path, change, says):
    path = tmp_path / "robot.json"
    RobotFile().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunError, match=says) as caught:
        read_robot_file(path)
    assert str(caught.value).startswith(f"{path}: robot file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"not json", b"\xff\xfe", b"[NaN]"])
def test_what_is_no_json_is_one_line(tmp_path, data):
    path = tmp_path / "robot.json"
    path.write_bytes(data)
    with pytest.raises(RunError, match="mend it, or remove it"):
        read_robot_file(path)


@pytest.mark.parametrize(
    ("robot", "says"),
    [
        (RobotFile(name="x" * 80), "name must have 1 to 64 characters, has 80"),
        (RobotFile(motor_zeros_rad=(0.9,) + (0.0,) * 7), r"must be in \[-0.8, 0.8\]"),
        (RobotFile(latency=LatencyRecord("monday", 4.0, 0.1, -0.2, 3.8)), "state_age_ms must be"),
        (RobotFile(zeroed="x" * 500), "zeroed"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path, robot, says):
    path = tmp_path / "robot.json"
    RobotFile("rex").save(path)
    with pytest.raises(RunError, match=says):
        robot.save(path)
    assert read_robot_file(path) == RobotFile("rex")


def test_a_file_belongs_to_the_first_board_that_it_is_used_with(tmp_path):
    path = tmp_path / "robot.json"
    update_robot_file(path, "", name="rex")
    assert read_robot_file(path) == RobotFile("rex")
    update_robot_file(path, "0a1b", zeroed="monday")
    update_robot_file(path, "0a1b", zeroed="tuesday")
    update_robot_file(path, "", zeroed="friday")  # one that does not say who it is
    with pytest.raises(RunError, match="rex, whose board is 0a1b, and this board is 0c: take"):
        update_robot_file(path, "0c", zeroed="sunday")
    assert read_robot_file(path) == RobotFile("rex", zeroed="friday", board_id="0a1b")


def test_a_file_without_a_board_is_an_older_one(tmp_path):
    path = tmp_path / "robot.json"
    RobotFile("rex").save(path)
    data = json.loads(path.read_text())
    del data["board_id"]
    path.write_text(json.dumps(data))
    assert read_robot_file(path) == RobotFile("rex")


def test_a_run_refuses_a_file_that_is_not_there(tmp_path):
    """A slip of the pen would be a run with zeros of 0."""
    with pytest.raises(RunError, match=r"no robot file .*rexx\.json: look at its name"):
        Options(robot="emulator", robot_file=tmp_path / "rexx.json").check()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"robot_file": Path("x.json")}, "--robot-file needs a motor controller"),
        ({"wiring": "flip 0"}, "need ROBOT=emulator, not sim"),
        ({"stand": 1.8}, "need ROBOT=emulator, not sim"),
    ],
)
def test_a_run_that_would_ignore_it_refuses_it(options, says):
    with pytest.raises(RunError, match=says):
        Options(robot="sim", **options).check()
