"""The file of a robot: read back as it was written, and refused by one clear line."""

import json

import pytest

from deploy.bringup.robot_file import LatencyRecord, RobotFile, WiggleRecord, read_robot_file
from deploy.errors import RunError
from deploy.options import Options


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "robot.json"
    robot = RobotFile(
        "rex",
        (0.1,) * 7 + (-0.2,),
        "2026-12-01",
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
    ("options", "says"),
    [
        ({"robot_file": "x.json"}, "--robot-file needs a motor controller"),
        ({"wiring": "flip 0"}, "need ROBOT=emulator, not sim"),
        ({"stand": 1.8}, "need ROBOT=emulator, not sim"),
    ],
)
def test_a_run_that_would_ignore_it_refuses_it(options, says):
    with pytest.raises(RunError, match=says):
        Options(robot="sim", **options).check()
