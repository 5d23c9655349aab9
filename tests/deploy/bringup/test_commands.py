"""The commands over a real pseudo terminal, and a run that takes the robot file."""

import io
import sys

import numpy as np
import pytest
from support.processes import ROOT

from deploy.bringup import latency, wiggle, zero
from deploy.bringup.person import TerminalPerson
from deploy.bringup.robot_file import RobotFile, read_robot_file
from deploy.errors import RunError
from deploy.loop.loop import ControlLoop
from deploy.loop.modes import Durations
from deploy.options import Options
from deploy.policy.controller import Controller
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.robots import open_robot
from robot_firmware_bridge.zeroed import ZeroedRobot
from sim.board.lockstep import lockstep
from sim.board.wiring import Wiring
from sim.plant.params import PlantParams


def typed(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_a_person_types_yes_and_no_other_word(monkeypatch, capsys):
    typed(monkeypatch, "yes\ny\nfll up\n")
    person = TerminalPerson()
    assert person.agrees("Ready?")
    assert not person.agrees("Ready?")
    assert person.answer("What?") == "fll up"
    for nobody in (None, io.StringIO(""), io.TextIOWrapper(io.BytesIO(b"\xff\n"), "utf-8")):
        monkeypatch.setattr(sys, "stdin", nobody)
        with pytest.raises(RunError, match="nobody answers on standard input"):
            person.answer("What?")
    assert "Ready? Type yes: " in capsys.readouterr().out
    assert TerminalPerson(yes=True).agrees("Ready?")


@pytest.mark.parametrize("command", [wiggle, latency])
def test_without_a_yes_no_robot_is_opened(monkeypatch, command):
    typed(monkeypatch, "no\n")
    assert command.main(["--robot", "minitaur", "--port", "/dev/none"]) == 1


@pytest.mark.parametrize("command", [zero, wiggle, latency])
def test_a_malformed_robot_file_is_refused_before_anything(tmp_path, command, error_line):
    path = tmp_path / "robot.json"
    path.write_text("{}")
    assert command.main(["--yes", "--robot-file", str(path)]) == 2
    assert error_line().startswith(f"error: {path}: robot file lacks fields: ")


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        (wiggle, ["--motors", "8"], "motor must be 0 to 7, is 8"),
        (wiggle, ["--motors"], "motors must be numbers, each once"),
        (latency, ["--steps", "2"], "steps must be in [4, 1000], is 2"),
        (latency, ["--robot", "minitaur"], "ROBOT=minitaur needs its port"),
        (wiggle, ["--robot", "serial", "--wiring", "flip 0"], "need ROBOT=emulator, not serial"),
    ],
)
def test_bad_input_is_one_line(command, arguments, says, error_line):
    assert command.main(["--yes", *arguments]) == 2
    assert says in error_line()


def test_a_wiring_that_is_none_is_refused_before_a_board_is_started():
    with pytest.raises(RunError, match="wiring 'flip' must be flip A"):
        open_robot(Options(robot="emulator", wiring="flip"))


@pytest.mark.parametrize("board", ["core", "stock"])
def test_over_a_serial_port_zeros_are_found_and_written(tmp_path, board):
    path = tmp_path / "robot.json"
    arguments = ["--yes", "--board", board, "--robot-file", str(path)]
    assert zero.main([*arguments, "--wiring", "offset 0 0.1"]) == 0
    robot = read_robot_file(path)
    assert robot.motor_zeros_rad == pytest.approx(np.eye(8)[0] * 0.1, abs=0.0003)
    assert robot.board_id == (b"emulated".ljust(12, b"\0").hex() if board == "core" else "")


def test_a_run_takes_the_zeros_of_its_robot(tmp_path):
    path = tmp_path / "robot.json"
    RobotFile("rex", (0.2,) + (0.0,) * 7).save(path)
    options = Options(robot="emulator", robot_file=path, wiring="offset 0 0.2", stand=2.0)
    rig = open_robot(options)
    try:
        angles = rig.robot.read().motor_position_rad
        assert angles == pytest.approx(np.full(8, 2.0), abs=0.0003)
        assert rig.setup["robot_file"]["name"] == "rex"
    finally:
        rig.close()


def test_the_file_of_another_robot_is_refused(tmp_path):
    path = tmp_path / "robot.json"
    RobotFile("rex", board_id="0a1b").save(path)
    with pytest.raises(RunError, match=r"robot\.json: .* rex, whose board is 0a1b, and this board"):
        open_robot(Options(robot="emulator", robot_file=path))


def test_with_its_zeros_a_robot_walks_as_a_right_one_does(hung):
    policy = OnnxPolicy.load(ROOT / "policies" / "trot.onnx")
    zeros = np.array((0.25, 0.0, -0.25, 0.0, 0.1, 0.0, 0.0, -0.1))
    text = ", ".join(f"offset {motor} {angle}" for motor, angle in enumerate(zeros))
    logs = []
    for wiring in ("", text):
        hung.reset(PlantParams(seed=4))
        bench = lockstep(hung, wiring=Wiring.parse(wiring))
        robot = ZeroedRobot(bench.robot, zeros) if wiring else bench.robot
        durations = Durations(run_s=0.3, stand_up_s=0.3, finish_s=0.1, damp_s=0.1)
        loop = ControlLoop(robot, bench.clock, Controller(policy.contract, policy), durations)
        loop.run()
        assert loop.faults == []
        logs.append(loop.log())
    right, zeroed = logs
    np.testing.assert_allclose(zeroed.target_rad, right.target_rad, atol=0.02)
    np.testing.assert_allclose(zeroed.motor_position_rad, right.motor_position_rad, atol=0.02)
