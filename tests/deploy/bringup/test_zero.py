"""Zeros of a robot in a jig: exact, named apart from whole turns, refused where they cannot be."""

import math

import numpy as np
import pytest

from deploy.bringup import zero as command
from deploy.bringup.robot_file import RobotFile, WiggleRecord, read_robot_file
from deploy.bringup.zero import Options, find_zeros, measure, zero
from deploy.errors import RunError, SafetyStop
from robot_firmware_bridge.errors import BridgeError
from robot_firmware_bridge.robot import MINITAUR
from robot_firmware_bridge.zeroed import MOST_STOCK_ZERO_RAD, ZeroedRobot
from sim.board.console import parse_order

POSE = MINITAUR.stance_pose_rad
OFFSETS = np.array((0.2, -0.05, 0.0, 0.31, -0.4, 0.012, 0.1, -0.1))


@pytest.mark.parametrize(("kind", "scale"), [("core", 1.0), ("stock", 0.29)])
def test_zeros_are_exact_to_the_encoders_resolution(on_a_stand, kind, scale, tmp_path, capsys):
    offsets = scale * OFFSETS
    wiring = ", ".join(f"offset {motor} {angle}" for motor, angle in enumerate(offsets))
    stand, path = on_a_stand(kind, wiring, 2.0), tmp_path / "bob.json"
    options = Options(robot_file=path, name="bob")
    assert zero(options, stand.rig, path, stand.person, "2026-12-01")
    robot = read_robot_file(path)
    # A state of our protocol has steps of 0.00025 rad.
    assert np.abs(np.array(robot.motor_zeros_rad) - offsets).max() < 0.00026
    assert (robot.name, robot.zeroed) == ("bob", "2026-12-01")
    assert f"{math.degrees(offsets[3]):+.2f}" in capsys.readouterr().out
    assert stand.robot.armings == 0
    assert stand.robot.writes == []


@pytest.mark.parametrize("angle", [1.5, 2.0])
def test_the_pose_in_the_jig_may_be_another(on_a_stand, angle):
    stand = on_a_stand("core", "offset 3 0.2", angle)
    found = measure(stand.rig, np.full(8, angle))
    assert found.faults == ()
    assert found.zeros_rad == pytest.approx(np.eye(8)[3] * 0.2, abs=0.0003)


def test_a_whole_turn_is_named_and_nothing_is_written(on_a_stand, tmp_path, capsys):
    stand, path = on_a_stand("core", "offset 0 -6.2332, offset 5 6.1", 2.0), tmp_path / "r.json"
    assert not zero(Options(), stand.rig, path, stand.person, "2026-12-01")
    printed = capsys.readouterr().out
    assert "front_leftL is one whole turn off, and +2.9 degrees: switch the board off" in printed
    assert "front_rightR is one whole turn off, and -10.5 degrees" in printed
    assert "nothing is written" in printed
    assert not path.exists()
    assert stand.person.asked == []


def test_without_a_yes_nothing_is_written(on_a_stand, tmp_path):
    stand, path = on_a_stand("stock", "offset 0 0.1", 2.0), tmp_path / "r.json"
    stand.person.answers = ["y"]
    assert not zero(Options(), stand.rig, path, stand.person, "2026-12-01")
    assert not path.exists()


def test_an_older_file_keeps_its_name(on_a_stand, tmp_path):
    stand, path = on_a_stand("core", "", 2.0), tmp_path / "r.json"
    RobotFile("rex", (0.5,) * 8).save(path)
    assert zero(Options(), stand.rig, path, stand.person, "2026-12-01")
    robot = read_robot_file(path)
    assert robot.name == "rex"
    assert np.abs(robot.motor_zeros_rad).max() < 0.0003


@pytest.mark.parametrize(("offset", "counts"), [(0.01, True), (0.1, False)])
def test_a_wiggle_is_over_with_the_zeros_that_it_was_done_with(
    on_a_stand, tmp_path, offset, counts
):
    stand, path = on_a_stand("core", f"offset 0 {offset}", 2.0), tmp_path / "r.json"
    RobotFile(wiggle=WiggleRecord("monday", True, True, ("ok",) * 8)).save(path)
    assert zero(Options(), stand.rig, path, stand.person, "2026-12-01")
    assert (read_robot_file(path).wiggle is not None) == counts


def test_a_name_that_no_file_can_have_is_refused_before_the_jig(tmp_path, error_line):
    path = tmp_path / "r.json"
    assert command.main(["--yes", "--robot-file", str(path), "--name", "x" * 80]) == 2
    assert "name must have" in error_line()
    assert not path.exists()


def test_the_stock_board_bears_only_small_zeros(on_a_stand):
    """Its own bounds on a leg would cut the stride."""
    offset = MOST_STOCK_ZERO_RAD + 0.01
    stand = on_a_stand("stock", f"offset 2 {offset}", 2.0)
    (fault,) = measure(stand.rig, POSE).faults
    assert fault.startswith("back_leftL is +7.4 degrees off, more than 6.9: look")
    with pytest.raises(BridgeError, match=r"within 0\.12 rad of 0; set larger ones in"):
        ZeroedRobot(stand.robot, offset * np.eye(8)[2])
    ZeroedRobot(stand.robot, MOST_STOCK_ZERO_RAD * np.eye(8)[2])


def faults(readings):
    return find_zeros(np.atleast_2d(readings), POSE).faults


def test_a_leg_mounted_a_tooth_off_is_fine():
    readings = POSE.copy()
    readings[2:4] += (0.26, -0.26)
    assert faults(readings) == ()


@pytest.mark.parametrize(
    ("motor", "reading", "says"),
    [
        (4, math.nan, "front_rightL reads no number"),
        (4, 2.9, "front_rightL is +51.6 degrees off, more than 45.8"),
        (4, -2.1, "front_rightL reads the pose with the other sign: is its encoder flipped?"),
        (1, 2.0 - 2 * math.pi, "front_leftR is one whole turn off, and "),
        (1, 2.1 + 4 * math.pi, "front_leftR is 2 whole turns off, and +5.7 degrees"),
    ],
)
def test_what_is_implausible_is_refused_by_name(motor, reading, says):
    readings = POSE.copy()
    readings[motor] = reading
    (fault,) = faults(readings)
    assert fault.startswith(says)


def test_an_uneven_leg_is_refused():
    readings = POSE.copy()
    readings[6:] += (0.4, -0.4)
    (fault,) = faults(readings)
    assert fault.startswith("back_right is uneven: its two zeros differ by 46 degrees")


def test_a_leg_that_moves_is_refused():
    (fault,) = faults(POSE + np.array([[0.0] * 8, [0.0] * 7 + [0.03]]))
    assert fault.startswith("back_rightR moves, by 1.7 degrees: hold its leg still")


@pytest.mark.parametrize("kind", ["core", "stock"])
def test_states_that_do_not_come_are_refused(on_a_stand, kind):
    stand = on_a_stand(kind, "", 2.0)
    parse_order("drop 1").act(stand.bench.board)
    with pytest.raises(SafetyStop, match=r"stale_state: only \d+ new states came in time"):
        measure(stand.rig, POSE)


@pytest.mark.parametrize("pose", [(2.0, 2.0), (9.0,), (math.nan,)])
def test_an_impossible_pose_is_refused(pose):
    with pytest.raises(RunError, match="pose-rad must be"):
        Options(pose_rad=pose).pose()


def test_the_command_needs_a_file_to_write(error_line):
    assert command.main(["--yes"]) == 2
    assert error_line().startswith("error: zero needs the file to write: --robot-file FILE")
