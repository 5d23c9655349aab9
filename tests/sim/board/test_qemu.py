"""`python -m sim.board.qemu`, all of it: QEMU, PyBullet and a pseudo terminal, in real time."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from robot_firmware_bridge.errors import LinkError
from robot_firmware_bridge.messages import Fault, MotorCommand
from robot_firmware_bridge.serial.link import SerialLink
from robot_firmware_bridge.serial.robot import SerialRobot

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0


@pytest.fixture
def command(firmware_image, tmp_path):
    """`python -m sim.board.qemu`, with its port announced."""
    link = tmp_path / "port"
    process = subprocess.Popen(
        [sys.executable, "-m", "sim.board.qemu", "--image", firmware_image, "--link", link],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout.readline() == f"port {link}\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_host_moves_the_legs_of_the_simulated_robot(command, tmp_path):
    robot = SerialRobot(SerialLink(str(tmp_path / "port")))
    start = robot.read().motor_position_rad
    robot.activate()
    target = start + 0.1
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        robot.write(MotorCommand(target, 2.0, 0.015, 150_000_000))
        state = robot.read()
        if state.fault is Fault.COMMAND_TIMEOUT:  # this process had no turn for so long
            with contextlib.suppress(LinkError):  # nor had the board
                robot.clear_fault()
                robot.activate()
            continue
        assert state.fault is Fault.NONE
        if (state.motor_position_rad - start).mean() > 0.02:
            break
        time.sleep(0.01)
    assert (state.motor_position_rad - start).mean() > 0.02
    assert np.abs(state.motor_torque_nm).max() > 0.0
    robot.close()
    events, _ = command.communicate("reset\nquit\n", timeout=PATIENCE_S)
    assert command.returncode == 0
    assert '"mode": "ACTIVE"' in events
    assert '"event": "off_stand"' in events
    assert '"event": "end"' in events
    assert not (tmp_path / "port").is_symlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_qemu_outlives_the_command(command, number):
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
    assert len(children) == 1
    command.send_signal(number)
    command.wait(PATIENCE_S)
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s and running(children[0]):
        time.sleep(0.01)
    assert not running(children[0])


def test_it_ends_with_its_parent_and_leaves_no_link(firmware_image, tmp_path):
    """Started by a process that ends at once."""
    script = (
        "import subprocess, sys\n"
        "board = subprocess.Popen([sys.executable, '-m', 'sim.board.qemu', '--exit-with-parent',\n"
        "    '--image', sys.argv[1], '--link', sys.argv[2]],\n"
        "    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)\n"
        "board.stdout.readline()\n"
        "print(board.pid, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, firmware_image, tmp_path / "port"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s and running(done.stdout.strip()):
        time.sleep(0.01)
    assert not running(done.stdout.strip())
    assert not (tmp_path / "port").is_symlink()


def test_ticks_that_it_sleeps_through_are_told(command):
    (qemu,) = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
    while json.loads(command.stdout.readline())["event"] != "boot":
        pass
    os.kill(int(qemu), signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(int(qemu), signal.SIGCONT)
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        event = json.loads(command.stdout.readline())
        if event["event"] == "late" and event["at_once"] > 100:
            break
    assert event["skipped_ticks"] >= event["at_once"] > 100


def running(pid):
    """Whether a process is there and not just waiting to be noticed as dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def refusal(*arguments, **environment):
    run = subprocess.run(
        [sys.executable, "-m", "sim.board.qemu", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    assert run.returncode == 2
    assert run.stdout == ""
    return run.stderr.strip().splitlines()


@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="not installed: qemu-system-arm")
def test_a_missing_image_is_told_with_its_cure(tmp_path):
    (line,) = refusal("--image", str(tmp_path / "none.elf"))
    assert line.startswith("error: no image")
    assert line.endswith("make -C robot_firmware_bridge/firmware")


def test_a_missing_qemu_is_told_with_its_cure(tmp_path):
    (line,) = refusal(PATH=str(tmp_path))
    assert "no qemu-system-arm" in line
    assert "apt-get install qemu-system-arm" in line
