"""The ladder: what it refuses, how it asks, what it writes; and a few of its checks for real.

The whole of it is `make hil`, which CI runs; the machinery is held by test_hil_ladder.py.
"""

from __future__ import annotations

import io
import json
import random
import time
from pathlib import Path

import pytest

from hil import __main__ as command
from hil import host as host_module
from hil.check import Check, CheckFailed, CheckSkipped, Figure
from hil.checks import CHECKS
from hil.checks_protocol import _damaged
from hil.host import Host
from robot_firmware_bridge.messages import Mode
from robot_firmware_bridge.protocol.layout import Action, Result
from robot_firmware_bridge.protocol.wire import Command, Decoder, Hello, Request, encode

POLICY = str(Path(__file__).parents[2] / "policies" / "trot.onnx")


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Calls the command; its exit code and its report."""
    monkeypatch.chdir(Path(__file__).parents[2])
    report = tmp_path / "hil.json"

    def call(*arguments):
        code = command.main(["--report", str(report), *arguments])
        return code, json.loads(report.read_text()) if report.exists() else None

    return call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rungs", "moon"], "there is no 'moon'; there are emulated, qemu, real"),
        (["--only", "identiy"], "there is no 'identiy'; there are identity,"),
        (["--rungs", "real"], "the real rung needs its serial port"),
        (["--rungs", "qemu", "--port", "/dev/x"], "--port is for the real rung"),
        (["--seconds", "0"], "seconds must be positive"),
        (["--report", "hil.txt"], "must end in .json"),
        (["--policy", "nowhere.onnx"], "no policy file nowhere.onnx"),
        (["--port", "/dev/ttyUSB0"], "must be on a stand, hands clear: say so with --yes"),
    ],
)
def test_bad_input_is_exit_2_and_one_line(call, capsys, arguments, message):
    code, report = call(*arguments)
    said = capsys.readouterr()
    assert (code, report) == (2, None)
    assert said.err.startswith("error: ")
    assert message in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("answer", ["", "n", "no", "what"])
def test_a_real_robot_is_touched_only_after_a_yes(call, board, capsys, monkeypatch, answer):
    b = board()
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert call("--port", b.path, "--rungs", "real")[0] == 2
    assert "not confirmed: nothing was armed" in capsys.readouterr().err
    assert b.heard == []


class Terminal(io.StringIO):
    """Somebody who types one answer."""

    def __init__(self, answer):
        super().__init__(f"{answer}\n")

    def isatty(self):
        return True


@pytest.mark.parametrize("way", ["--yes", "y"])
def test_a_real_robot_is_checked_without_torque(call, board, capsys, monkeypatch, way):
    b = board()
    if way == "y":
        monkeypatch.setattr("sys.stdin", Terminal("y"))
    arguments = ["--yes"] if way == "--yes" else []
    code, data = call("--port", b.path, "--rungs", "real", "--only", "identity", *arguments)
    assert code == 0
    assert [r["outcome"] for r in data["results"]] == ["passed"]
    assert all(m.kp == m.kd == 0.0 for m in b.heard if isinstance(m, Command))


def test_no_check_of_a_real_robot_walks_or_does_it_harm():
    """What a real board is put through has no torque but where its commands must be ignored."""
    real = {check.name for check in CHECKS if not check.simulated and not check.walks}
    assert {"identity", "watchdog", "emergency_stop", "full_duplex"} <= real
    assert {"trot", "killed_host", "unplugged", "encoder_jump"}.isdisjoint(real)
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_with_a_port_the_real_board_alone_is_checked():
    kinds, checks = command._choose(command.Options(policy=Path(POLICY)))
    assert [kind.name for kind in kinds] == ["emulated", "qemu"]
    assert len(checks) == len(CHECKS)
    kinds, _ = command._choose(command.Options(port="/dev/x", policy=Path(POLICY)))
    assert [kind.name for kind in kinds] == ["real"]


# ---- its own hands ---------------------------------------------------------------------------


def test_a_damaged_frame_is_one_bad_chunk_for_the_decoder():
    rng = random.Random(5)
    decoder = Decoder()
    frame = encode(Request(0, 1))
    for _ in range(300):
        decoder.feed(_damaged(frame, rng) + frame)
    assert decoder.frames == 300
    assert decoder.crc_errors + decoder.framing_errors == 300


def test_the_host_finds_the_reply_to_its_own_request(board):
    b = board()
    with Host(b.path, 921600) as host:
        host.hello()
        assert host.demand(Action.ARM, Result.DONE, Mode.READY).sequence == 1
        host.stream(0.05)
        assert host.await_echo().mode == Mode.ACTIVE
        assert host.first(Mode.ACTIVE).mode == Mode.ACTIVE
        with pytest.raises(CheckFailed, match="DISARM was answered DONE, DISARMED, faults none"):
            host.demand(Action.DISARM, Result.FAULTY)
        with pytest.raises(CheckFailed, match=r"no DAMPING within 0\.05 s; last seen: DISARMED"):
            host.wait_mode(Mode.DAMPING, 0.05)
    assert isinstance(b.heard[0], Hello)


def test_a_question_is_over_when_every_repeat_of_it_is_answered(board, monkeypatch):
    """Or the repeat of an old request would be acted upon after a newer one."""
    monkeypatch.setattr(host_module, "_REPEAT_S", 0.1)
    b = board()
    with Host(b.path, 921600) as host:
        host.hello()
        answer, held = b._answer, []

        def slow(message):
            if isinstance(message, Request) and len(held) < 3:
                held.append(message)
            if len(held) == 3:
                for late in held:
                    answer(late)
                b._answer = answer

        b._answer = slow
        host.request(Action.ARM)
        assert [m.action for m in held] == [Action.ARM] * 3
        host.request(Action.DISARM)
        assert b.actions() == [Action.ARM] * 3 + [Action.DISARM]
        assert host.fresh_state().mode == Mode.DISARMED


def test_a_host_notes_when_it_had_no_turn_but_not_what_it_waited_for(board):
    b = board()
    with Host(b.path, 921600) as host:
        host.hello()
        host.forget_delays()
        time.sleep(0.2)
        host.receive()
        assert host.held_up_s >= 0.2
        b.mute = True
        host.forget_delays()
        host.listen(0.3)  # no byte comes
        assert host.held_up_s < 0.15


def test_a_board_that_says_nothing_is_a_failure_not_a_hang(board, monkeypatch):
    monkeypatch.setattr(host_module, "_ANSWER_S", 0.3)
    b = board()
    b.close()
    with pytest.raises(OSError, match="No such file"), Host(b.path, 921600):
        pass
    b = board()
    b.mute = True
    with Host(b.path, 921600) as host, pytest.raises(CheckFailed, match="no answer to identity"):
        host.hello()
    with Host(b.path, 921600) as host, pytest.raises(CheckFailed, match="sends no states"):
        _ = host.state


# ---- for real --------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_the_end_of_the_output_tells_what_did_not_pass_and_why(
    call, board, capsys, monkeypatch, outcome
):
    error = (CheckFailed if outcome == "failed" else CheckSkipped)("2 is " + "not 3 " * 30)

    def bad(bench):
        raise error

    checks = (
        Check("good", "holds", lambda bench: Figure()),
        Check("bad", "adds up", bad),
    )
    monkeypatch.setattr(command, "CHECKS", checks)
    code, _ = call("--port", board().path, "--yes")
    assert code == (1 if outcome == "failed" else 0)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split(" (")[0] == f"{outcome:8}real      adds up"
    assert last.rstrip().endswith(str(error).rstrip())


def test_a_short_climb_on_the_emulated_board(call, capsys):
    names = ("identity", "wrong_protocol", "life", "emergency_stop", "encoder_jump")
    code, data = call("--rungs", "emulated", "--only", *names)
    said = capsys.readouterr()
    found = {r["check"]: (r["outcome"], r["figure"]) for r in data["results"]}
    assert {name: outcome for name, (outcome, _) in found.items()} == dict.fromkeys(names, "passed")
    assert (code, data["passed"], data["failed"], data["skipped"]) == (0, 5, 0, 0)
    assert data["results"][0]["values"]["boot_count"] == 1
    assert "5 passed, 0 failed, 0 skipped" in said.out
    assert "FAULT by ENCODER" in said.out
    assert said.err.count("passed") == 5
