"""`python -m sim.board` as a process: a real terminal, the real link, and the robot behind it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from robot_firmware_bridge.errors import BoardResetError, LinkLostError
from robot_firmware_bridge.messages import Mode, MotorCommand
from robot_firmware_bridge.mocap import MocapError, MocapReader
from robot_firmware_bridge.robot import MINITAUR
from robot_firmware_bridge.serial.link import SerialLink
from robot_firmware_bridge.serial.robot import SerialRobot

MS = 1_000_000
# No test needs this long; a shared machine may.
PATIENCE_S = 60.0
STAND = MotorCommand(MINITAUR.stance_pose_rad, MINITAUR.kp, MINITAUR.kd, 200 * MS)


class Board:
    """A running board: type orders, wait for events."""

    def __init__(self, link, *arguments, stdin=subprocess.PIPE):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sim.board", "--link", str(link), *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._changed = threading.Condition()
        self._lines = []
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = self._wait(lambda lines: lines and lines[0].split()[1])

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _wait(self, found):
        with self._changed:
            self._changed.wait_for(lambda: found(self._lines) or self._ended, PATIENCE_S)
            return found(self._lines)

    def type(self, order):
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()

    def wait_event(self, name, **fields):
        def found(lines):
            events = [json.loads(line) for line in lines[1:]]
            wanted = {"event": name, **fields}.items()
            return next((event for event in events if wanted <= event.items()), None)

        event = self._wait(found)
        assert event is not None, f"no {name} {fields} among {self._lines}"
        return event

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def start(tmp_path):
    boards = []

    def start(*arguments, **options):
        boards.append(Board(tmp_path / "port", *arguments, **options))
        return boards[-1]

    yield start
    for board in boards:
        board.end()


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
    board.wait_event("boot", boot_count=1)
    truth = MocapReader(tmp_path / "truth")
    until(lambda: _published(truth))
    assert truth.read().position_m[2] == pytest.approx(0.25, abs=0.02)
    robot = SerialRobot(SerialLink(board.port))
    assert robot.identity.board_id.rstrip(b"\0") == b"emulated"

    stand(robot, lambda: robot.read().mode is Mode.ACTIVE)
    board.wait_event("mode", mode="ACTIVE")
    board.wait_event("off_stand")

    board.type("reset")
    with pytest.raises(BoardResetError):
        until(lambda: robot.read() is None)
    board.wait_event("boot", boot_count=2)
    robot.deactivate()

    stand(robot, lambda: robot.read().mode is Mode.ACTIVE)
    board.type("unplug")
    with pytest.raises(LinkLostError):
        until(lambda: robot.read() is None)
    board.wait_event("order", order="unplug")
    assert not (tmp_path / "port").exists()
    board.type("replug")
    board.wait_event("order", order="replug")
    robot.deactivate()
    until(lambda: _hears(robot))
    robot.close()

    board.type("quit")
    end = board.wait_event("end")
    assert end["ticks"] > 0
    assert board.process.wait(PATIENCE_S) == 0
    assert not (tmp_path / "port").is_symlink()
    assert not (tmp_path / "truth").exists()
    truth.close()


def _published(truth):
    try:
        return truth.read() is not None
    except MocapError:
        return False


def _hears(robot):
    try:
        return robot.read() is not None
    except LinkLostError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_goes_on_without_an_input_and_ends_when_asked_to(start, tmp_path, number):
    board = start("--at", "0.05 drop 0.5", stdin=subprocess.DEVNULL)
    board.wait_event("order", order="drop 0.5")
    board.process.send_signal(number)
    board.wait_event("end")
    assert board.process.wait(PATIENCE_S) == 0
    assert not (tmp_path / "port").is_symlink()


def test_what_it_sleeps_through_is_skipped_and_told(start):
    board = start("--at", "0.01 cool")
    board.wait_event("order", order="cool")
    board.process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    board.process.send_signal(signal.SIGCONT)
    late = board.wait_event("late")
    assert late["skipped_ticks"] >= late["at_once"] > 300
    board.type("quit")
    end = board.wait_event("end")
    assert end["ticks"] + end["skipped_ticks"] >= 500


def test_it_ends_with_its_parent(tmp_path):
    """Started by a process that ends at once."""
    script = (
        "import subprocess, sys\n"
        "board = subprocess.Popen([sys.executable, '-m', 'sim.board', '--exit-with-parent',\n"
        "    '--link', sys.argv[1]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)\n"
        "board.stdout.readline()\n"
        "print(board.pid, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "port")],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    board = int(done.stdout)
    until(lambda: not _lives(board))
    assert not (tmp_path / "port").is_symlink()


def _lives(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


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
