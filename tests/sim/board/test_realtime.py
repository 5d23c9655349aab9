"""`python -m sim.board` as a process: a real terminal, the real link, and the robot behind it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from robot_firmware_bridge.errors import BoardResetError, LinkLostError
from robot_firmware_bridge.messages import Mode, MotorCommand
from robot_firmware_bridge.mocap import MocapError, MocapReader
from robot_firmware_bridge.robot import MINITAUR
from robot_firmware_bridge.serial.link import SerialLink
from robot_firmware_bridge.serial.robot import SerialRobot
from sim.board.process import BoardProcess

MS = 1_000_000
# No test needs this long; a shared machine may.
PATIENCE_S = 60.0
STAND = MotorCommand(MINITAUR.stance_pose_rad, MINITAUR.kp, MINITAUR.kd, 200 * MS)


@pytest.fixture
def start(tmp_path):
    """Starts boards at one path; stopped when the test ends."""
    boards = []

    def start(*arguments):
        boards.append(BoardProcess("sim.board", ["--link", str(tmp_path / "port"), *arguments]))
        return boards[-1]

    yield start
    for board in boards:
        board.stop()


def wait_event(board, name, **fields):
    wanted = {"event": name, **fields}.items()
    event = board.wait_event(lambda event: wanted <= event.items(), PATIENCE_S)
    assert event is not None, f"no {name} {fields} among {board.events()}"
    return event


def until(condition):
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def stand(robot, condition):
    """Arm the robot and let it stand until the condition holds."""
    robot.activate()
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s
        robot.write(STAND)
        time.sleep(0.005)


def test_a_host_finds_a_robot_moves_it_and_loses_it_as_a_real_one(start, tmp_path):
    board = start("--truth", str(tmp_path / "truth"))
    assert board.port == str(tmp_path / "port")
    wait_event(board, "boot", boot_count=1)
    truth = MocapReader(tmp_path / "truth")
    until(lambda: _published(truth))
    assert truth.read().position_m[2] == pytest.approx(0.25, abs=0.02)
    robot = SerialRobot(SerialLink(board.port))
    assert robot.identity.board_id.rstrip(b"\0") == b"emulated"

    stand(robot, lambda: robot.read().mode is Mode.ACTIVE)
    wait_event(board, "mode", mode="ACTIVE")
    wait_event(board, "off_stand")

    board.inject("reset")
    with pytest.raises(BoardResetError):
        until(lambda: robot.read() is None)
    wait_event(board, "boot", boot_count=2)
    robot.deactivate()

    stand(robot, lambda: robot.read().mode is Mode.ACTIVE)
    board.inject("unplug")
    with pytest.raises(LinkLostError):
        until(lambda: robot.read() is None)
    wait_event(board, "order", order="unplug")
    assert not (tmp_path / "port").exists()
    board.inject("replug")
    wait_event(board, "order", order="replug")
    robot.deactivate()
    until(lambda: _is_read(robot))
    robot.close()

    board.inject("quit")
    end = wait_event(board, "end")
    assert end["ticks"] > 0
    assert board._process.wait(PATIENCE_S) == 0
    assert not (tmp_path / "port").is_symlink()
    assert not (tmp_path / "truth").exists()
    truth.close()


def _published(truth):
    try:
        return truth.read() is not None
    except MocapError:
        return False


def _is_read(robot):
    try:
        return robot.read() is not None
    except LinkLostError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_goes_on_without_an_input_and_ends_when_asked_to(start, tmp_path, number):
    board = start("--at", "0.05 drop 0.5")
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), board._stdin.fileno())  # the end of its input
    wait_event(board, "order", order="drop 0.5")
    board._process.send_signal(number)
    wait_event(board, "end")
    assert board._process.wait(PATIENCE_S) == 0
    assert not (tmp_path / "port").is_symlink()


def test_missed_ticks_are_skipped_and_reported(start):
    board = start("--at", "0.01 cool")
    wait_event(board, "order", order="cool")
    board._process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    board._process.send_signal(signal.SIGCONT)
    late = wait_event(board, "late")
    assert late["skipped_ticks"] >= late["at_once"] > 300
    board.inject("quit")
    end = wait_event(board, "end")
    assert end["ticks"] + end["skipped_ticks"] >= 500


def test_it_ends_with_its_parent(orphan, ends, tmp_path):
    assert ends(orphan("sim.board", "--link", str(tmp_path / "port")))
    assert not (tmp_path / "port").is_symlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--at", "1 explode"], "no order 'explode'"),
        (["--link", os.devnull], "in the way"),
        (["--baud", "0"], "must be positive"),
        (["--truth", "/nowhere/truth"], "cannot publish"),
    ],
)
def test_bad_input_gets_one_line(tmp_path, arguments, message):
    done = subprocess.run(
        [sys.executable, "-m", "sim.board", "--link", str(tmp_path / "port"), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
