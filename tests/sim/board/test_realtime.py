"""`python -m sim.board` as a process: a real terminal, the real link, and the robot behind it."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import numpy as np
import pytest
from support.processes import has_ended, orphan, run_python, until

from robot_firmware_bridge.errors import BoardResetError, LinkLostError
from robot_firmware_bridge.messages import Mode, MotorCommand
from robot_firmware_bridge.mocap import MocapError, MocapReader
from robot_firmware_bridge.robot import MINITAUR
from robot_firmware_bridge.serial.link import SerialLink
from robot_firmware_bridge.serial.robot import SerialRobot
from robot_firmware_bridge.serial.stock import StockLink, StockRobot
from robot_firmware_bridge.stock.session import SLEW_RAD

MS = 1_000_000
STAND = MotorCommand(MINITAUR.stance_pose_rad, MINITAUR.kp, MINITAUR.kd, 200 * MS)


def stand(robot):
    """Arm the robot and command it to stand until it is active."""
    robot.activate()
    until(lambda: robot.read().mode is Mode.ACTIVE, meanwhile=lambda: robot.write(STAND))


def succeeds(call, failure):
    """Whether a call does not raise this error."""
    with contextlib.suppress(failure):
        call()
        return True
    return False


def test_a_host_finds_a_robot_moves_it_and_loses_it_as_a_real_one(start, tmp_path):
    board = start("--truth", str(tmp_path / "truth"))
    assert board.port == str(tmp_path / "port")
    board.expect("boot", boot_count=1)
    truth = MocapReader(tmp_path / "truth")
    until(lambda: succeeds(truth.read, MocapError))
    assert truth.read().position_m[2] == pytest.approx(0.25, abs=0.02)
    # Its x axis is the heading at the start, whatever heading the plant was drawn with.
    np.testing.assert_allclose(truth.read().quaternion, (0, 0, 0, 1), atol=0.02)
    robot = SerialRobot(SerialLink(board.port))
    assert robot.identity.board_id.rstrip(b"\0") == b"emulated"

    stand(robot)
    board.expect("mode", mode="ACTIVE")
    board.expect("off_stand")

    board.inject("reset")
    with pytest.raises(BoardResetError):
        until(lambda: robot.read() is None)
    board.expect("boot", boot_count=2)
    robot.deactivate()

    stand(robot)
    board.inject("unplug")
    with pytest.raises(LinkLostError):
        until(lambda: robot.read() is None)
    board.expect("order", order="unplug")
    assert not (tmp_path / "port").exists()
    board.inject("replug")
    board.expect("order", order="replug")
    robot.deactivate()
    until(lambda: succeeds(robot.read, LinkLostError))
    robot.close()

    board.inject("quit")
    end = board.expect("end")
    assert end["ticks"] > 0
    assert board.exit_code() == 0
    assert not (tmp_path / "port").is_symlink()
    assert not (tmp_path / "truth").exists()
    truth.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_goes_on_without_an_input_and_ends_when_asked_to(start, tmp_path, number):
    board = start("--at", "0.05 drop 0.5")
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), board._stdin.fileno())  # the end of its input
    board.expect("order", order="drop 0.5")
    board.send_signal(number)
    board.expect("end")
    assert board.exit_code() == 0
    assert not (tmp_path / "port").is_symlink()


def test_missed_ticks_are_skipped_and_reported(start):
    board = start("--at", "0.01 cool")
    board.expect("order", order="cool")
    board.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    board.send_signal(signal.SIGCONT)
    late = board.expect("late")
    assert late["skipped_ticks"] >= late["at_once"] > 300
    board.inject("quit")
    end = board.expect("end")
    assert end["ticks"] + end["skipped_ticks"] >= 500


def test_it_ends_with_its_parent(tmp_path):
    board = orphan("sim.board", "--link", tmp_path / "port")
    until(lambda: has_ended(board))
    assert not (tmp_path / "port").is_symlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--at", "1 explode"], "no order 'explode'"),
        (["--link", os.devnull], "in the way"),
        (["--baud", "0"], "must be positive"),
        (["--truth", "/nowhere/truth"], "cannot publish"),
        (["--params", "nowhere.json"], "nowhere.json: cannot be read: No such file"),
        (["--randomization", "measured"], "needs a calibrated plant: name one (--params"),
    ],
)
def test_bad_input_gets_one_line(tmp_path, arguments, message):
    done = run_python("-m", "sim.board", "--link", tmp_path / "port", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_stock_mainboard_is_driven_over_a_real_terminal_and_left_with_its_motors_off(start):
    board = start("--kind", "stock")
    robot = StockRobot(StockLink(board.port))
    robot.activate()
    assert robot.read().mode is Mode.READY
    gains = []

    def command():
        gains.append(robot.write(STAND).kp)
        time.sleep(0.01)

    until(lambda: robot.read().mode is Mode.ACTIVE, meanwhile=command)
    board.expect("drivers", on=True)
    for _ in range(20):
        robot.read()
        command()
    np.testing.assert_allclose(np.diff(gains), 0.02, atol=1e-3)
    robot.deactivate()
    off = board.expect("drivers", on=False)
    assert off["packets"] >= 20
    assert off["most_step_rad"] <= SLEW_RAD
    board.expect("on_stand")  # where its legs are below its hips again
    # After too long a pause the watchdog has killed the motors, and nothing is sent any more.
    robot.activate()
    robot.write(STAND)

    def switched():
        return [event["on"] for event in board.events() if event["event"] == "drivers"]

    until(lambda: switched() == [True, False, True, False])
    with pytest.raises(LinkLostError, match="has killed the motors"):
        robot.write(STAND)
    assert robot.write(STAND).kp == 0.0
    robot.close()
    board.inject("quit")
    assert board.exit_code() == 0
