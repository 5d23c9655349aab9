"""`python -m deploy.run --robot serial` against real pseudo terminals, as a user types it."""

import io
import json
import os
import shutil
import subprocess
import sys
import tty

import pytest

from deploy import run as command
from deploy.record.flight_log import FlightLog
from robot_firmware_bridge.messages import Fault
from robot_firmware_bridge.protocol.layout import PROTOCOL_HASH, Action
from robot_firmware_bridge.protocol.wire import Command
from robot_firmware_bridge.robot import MINITAUR

ROBOT_HASH = int(MINITAUR.hash()[:16], 16)


@pytest.fixture
def policy(write_policy):
    return write_policy()


@pytest.fixture
def call(policy, quick_and_patient, tmp_path, monkeypatch):
    """Calls the command on a port; its exit code, and its report if it wrote one."""
    report = tmp_path / "run.json"

    def call(port, *arguments, answer=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        code = command.main(
            [
                *("--policy", str(policy), "--robot", "serial", "--port", str(port)),
                *("--no-plot", "--report", str(report), "--seconds", "0.4", *arguments),
            ]
        )
        return code, json.loads(report.read_text()) if report.exists() else None

    return call


@pytest.fixture
def refused(call, error_line):
    """Calls the command on a port; the one line of its refusal, which names the port."""

    def refused(port):
        assert call(port) == (2, None)
        line = error_line()
        assert str(port) in line
        return line

    return refused


def test_a_good_run_reports_board_and_line(board, call, capsys):
    b = board()
    code, data = call(b.path, "--arm", answer="yes\n")
    assert (code, data["faults"]) == (0, [])
    assert data["would_send"] is None
    assert data["robot"] == "serial"
    assert data["setup"]["board"]["firmware_id"] == "scripted"
    assert data["setup"]["board"]["boot_count"] == 7
    assert data["setup"]["board"]["robot_hash"] == f"{ROBOT_HASH:016x}"
    assert data["link"]["baud"] == 921600
    assert data["link"]["states"] > 100
    assert data["link"]["reconnects"] == 0
    assert data["link"]["round_trip_us"]["p50"] > 0.0
    assert data["speed_mps"] is None
    printed = capsys.readouterr().out
    assert "link     921600 baud" in printed
    assert "  ok    battery      16.0 V, 3.3 V above" in printed
    assert "dry" not in printed
    assert b.actions()[0] is Action.ARM
    assert b.actions()[-1] is Action.DISARM
    commands = [m for m in b.received if isinstance(m, Command)]
    assert {m.valid_ms for m in commands} == {80}
    assert commands[-1].kp == 0.0


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_a_run_that_is_not_to_be_armed_neither_arms_nor_commands(board, call, capsys, arguments):
    b = board()
    code, data = call(b.path, *arguments)
    assert (code, data["faults"]) == (0, [])
    assert data["setup"]["dry_run"] is True
    assert data["would_send"]["fastest_rad_s"] >= 0.0
    printed = capsys.readouterr().out
    assert "serial, dry run: " in printed
    assert "next     --arm (ARM=1) energises the motors" in printed
    assert "Type yes" not in printed
    assert not b.moved


def test_after_a_dry_run_with_a_fault_nobody_is_told_to_arm(board, call, capsys):
    code, data = call(board(fault=Fault.STALL).path)
    assert (code, data["faults"]) == (1, ["robot_fault"])
    printed = capsys.readouterr().out
    assert "serial, dry run: " in printed
    assert "--arm" not in printed


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("", "the input ended without an answer"),
        ("y\n", "the answer was not yes"),
        ("no\n", "not yes"),
    ],
)
def test_another_answer_than_yes_arms_nothing(board, call, capsys, answer, said):
    b = board()
    assert call(b.path, "--arm", answer=answer) == (2, None)
    printed = capsys.readouterr()
    assert "Type yes to energise the motors and run policy for 0.4 s" in printed.out
    assert printed.err.startswith("error: nothing is armed: ")
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert b.actions() == []
    assert not b.moved


def test_what_stops_is_not_even_asked_about(board, call, capsys):
    b = board(fault=Fault.STALL)
    assert call(b.path, "--arm", answer="yes\n") == (2, None)
    printed = capsys.readouterr()
    assert "  STOP  board        the motor controller reports STALL" in printed.out
    assert "Type yes" not in printed.out
    assert "nothing is armed: board: the motor controller reports STALL" in printed.err
    assert "--clear-fault" in printed.err


def test_a_robot_that_a_reaction_would_end_at_once_is_not_asked_about(
    board, call, capsys, tmp_path
):
    b, rules = board(), tmp_path / "rules.toml"
    rules.write_text("[battery]\nwarn = 16.4\nslow = 16.3\nsit = 16.2\n")
    assert call(b.path, "--arm", "--reactions", str(rules), answer="yes\n") == (2, None)
    printed = capsys.readouterr()
    assert "  STOP  battery      16.00 V before arming, bound 16.20 V: charge" in printed.out
    assert "Type yes" not in printed.out
    assert b.actions() == []
    assert not b.moved


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"protocol_hash": PROTOCOL_HASH ^ 1}, ("protocol", "reflash")),
        ({"robot_hash": ROBOT_HASH ^ 1}, ("robot", "minitaur", "reflash")),
    ],
)
def test_another_protocol_or_robot_is_refused(board, refused, other, words):
    b = board(**other)
    line = refused(b.path)
    assert all(word in line for word in words)
    assert not b.moved


def test_a_port_that_is_not_a_board_is_refused(refused):
    board_fd, host_fd = os.openpty()
    tty.setraw(host_fd)
    try:
        assert "no board answers" in refused(os.ttyname(host_fd))
    finally:
        os.close(board_fd)
        os.close(host_fd)


def test_a_port_in_use_is_refused(board, refused):
    b = board()
    opening = f"import serial; p = serial.Serial({b.path!r}, exclusive=True)"
    command = [sys.executable, "-c", f"{opening}; print(flush=True); input()"]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with other:
        other.stdout.readline()
        line = refused(b.path)
        other.stdin.close()
    assert "in use" in line
    assert not b.moved


def test_a_port_that_is_not_there_is_refused(refused, tmp_path):
    assert "no serial port" in refused(tmp_path / "ttyUSB0")


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="needs setpriv")
def test_a_port_without_permission_is_refused(board, policy, tmp_path):
    b = board()
    os.chmod(b.path, 0o000)
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    drop += ["--inh-caps=-dac_override,-dac_read_search"]
    run = subprocess.run(
        [
            *(drop if os.geteuid() == 0 else []),
            *(sys.executable, "-m", "deploy.run", "--robot", "serial", "--port", b.path),
            *("--policy", str(policy), "--report", str(tmp_path / "run.json")),
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert run.stderr.startswith(f"error: no permission to open {b.path}: ")
    assert run.stderr.count("\n") == 1
    assert b.received == []


def test_a_latched_fault_is_named_and_not_armed_over(board, call, capsys):
    b = board(fault=Fault.COMMAND_TIMEOUT)
    code, data = call(b.path)
    assert (code, data["faults"]) == (1, ["robot_fault"])
    assert "COMMAND_TIMEOUT" in data["fault_details"][0]
    assert "--clear-fault" in capsys.readouterr().out
    assert not b.moved


def test_a_latched_fault_is_cleared_on_request_only(board, call):
    b = board(fault=Fault.COMMAND_TIMEOUT)
    code, _ = call(b.path, "--clear-fault", "--arm", answer="yes\n")
    assert code == 0
    assert b.actions()[:2] == [Action.CLEAR_FAULT, Action.ARM]


def test_a_dry_run_clears_a_fault_and_moves_nothing(board, call):
    b = board(fault=Fault.COMMAND_TIMEOUT)
    assert call(b.path, "--clear-fault")[0] == 0
    assert b.actions() == [Action.CLEAR_FAULT]
    assert not b.moved


def test_a_cable_pulled_in_the_run_is_reported_in_words(board, call, tmp_path, on_inference):
    b = board()
    on_inference(5, b.close)
    code, data = call(b.path, "--arm", answer="yes\n")
    assert code == 1
    assert data["faults"] == ["robot_link"]
    assert "was lost" in data["fault_details"][0]
    assert data["ticks"] <= 6
    assert len(FlightLog.load(tmp_path / "run.npz")) > 0
