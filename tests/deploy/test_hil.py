"""The ladder: what it refuses, how it asks, what it writes; and a few of its checks for real.

The whole of it is `make hil`, which CI runs; what is here holds the machinery.
"""

from __future__ import annotations

import io
import json
import random
import time
from pathlib import Path

import pytest
from rich.console import Console

from deploy.hil import __main__ as command
from deploy.hil import host as host_module
from deploy.hil import ladder, rungs
from deploy.hil.bench import Bench
from deploy.hil.check import Check, CheckFailed, CheckSkipped, Disturbed, Figure
from deploy.hil.checks import CHECKS
from deploy.hil.checks_protocol import _damaged
from deploy.hil.host import Host
from deploy.hil.rungs import KINDS, Kind, Rung
from robot_firmware_bridge.errors import LinkError
from robot_firmware_bridge.messages import Mode
from robot_firmware_bridge.protocol import Action, Result
from robot_firmware_bridge.wire import Command, Decoder, Hello, Request, encode

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


# ---- the machinery ---------------------------------------------------------------------------


def climb(checks, kind="real", port="/dev/null"):
    bench = Bench(Rung(KINDS[kind], port, 921600), 1.0, Path("."), Path(POLICY))
    said = []
    return list(ladder.climb(bench, checks, lambda rung, title: said.append((rung, title)))), said


def raising(error):
    def run(bench):
        raise error

    return run


def test_every_way_a_check_can_end_is_one_result():
    checks = [
        Check("a", "measures", lambda bench: Figure("1 ms", {"ms": 1.0})),
        Check("b", "fails", raising(CheckFailed("2 is not 3"))),
        Check("c", "skips", raising(CheckSkipped("no robot"))),
        Check("d", "loses", raising(LinkError("no answer"))),
        Check("e", "breaks", raising(OSError("input/output error"))),
        Check("f", "harms", lambda bench: Figure(), simulated=True),
        Check("g", "walks", lambda bench: Figure(), walks=True),
    ]
    results, said = climb(checks)
    assert [(r.check, r.outcome, r.figure) for r in results] == [
        ("a", "passed", "1 ms"),
        ("b", "failed", "2 is not 3"),
        ("c", "skipped", "no robot"),
        ("d", "failed", "no answer"),
        ("e", "failed", "the port failed: input/output error"),
        ("f", "skipped", "for simulated robots: it walks, or is done harm"),
        ("g", "skipped", "for simulated robots: it walks, or is done harm"),
    ]
    assert results[0].values == {"ms": 1.0}
    assert ladder.count(results) == {"passed": 1, "failed": 3, "skipped": 3}
    assert [title for _, title in said] == ["starting the board", *(c.title for c in checks)]


@pytest.fixture
def calm(monkeypatch):
    """A computer on which nobody need wait for peace."""
    monkeypatch.setattr(ladder, "_PATIENCE_S", 0.0)


@pytest.mark.parametrize(("disturbed", "outcome"), [(1, "passed"), (4, "passed"), (5, "failed")])
def test_a_disturbed_check_is_made_again_and_says_so(calm, disturbed, outcome):
    tries = []

    def run(bench):
        tries.append(1)
        if len(tries) <= disturbed:
            raise Disturbed("stale_state")
        return Figure("3 m/s")

    ((result,), _) = climb([Check("a", "walks", run)])
    assert result.outcome == outcome
    assert len(tries) == min(5, disturbed + 1)
    words = "3 m/s" if outcome == "passed" else "disturbed in every try"
    assert result.figure == f"{words} ({'; '.join(['before: stale_state'] * disturbed)})"


@pytest.mark.parametrize(
    ("kind", "walks", "outcome"),
    [
        ("emulated", True, "failed"),
        ("qemu", True, "skipped"),
        ("qemu", False, "failed"),
        ("real", False, "failed"),
    ],
)
def test_only_an_emulated_computer_is_excused_from_walking_in_time(kind, walks, outcome):
    """What walks there in real time was shown one rung below; all else must be shown on each."""
    check = Check("a", "walks", raising(Disturbed("stale_state")), walks=walks)
    assert ladder._unproved(Rung(KINDS[kind], None, 921600), check) == outcome


@pytest.mark.parametrize("error", [CheckFailed("late"), LinkError("late"), OSError("late")])
def test_a_failure_while_this_computer_stalled_says_nothing(calm, error):
    stalls = iter([True, False])

    def run(bench):
        if next(stalls):
            bench.held_up.append("the host had no turn for 99 ms")
        raise error

    ((result,), _) = climb([Check("a", "is in time", run)])
    assert result.outcome == "failed"  # and that without a stall
    assert result.figure.count("before: ") == 1
    assert "late, while the host had no turn for 99 ms" in result.figure


def test_what_holds_in_spite_of_a_stall_holds():
    def run(bench):
        bench.held_up.append("the host had no turn for 99 ms")
        return Figure("80 ms")

    ((result,), _) = climb([Check("a", "is in time", run)])
    assert (result.outcome, result.figure) == ("passed", "80 ms")


def test_on_a_computer_that_never_calms_the_climb_comes_to_an_end(calm, monkeypatch):
    monkeypatch.setattr(ladder, "_ALLOWANCE_S", 0.05)
    tries = []

    def run(bench):
        tries.append(1)
        time.sleep(0.03)
        raise Disturbed("stale_state")

    results, _ = climb([Check(name, "walks", run) for name in "abc"])
    assert [result.outcome for result in results] == ["failed"] * 3
    assert 3 <= len(tries) <= 5


def test_a_bug_in_a_check_is_no_result():
    with pytest.raises(ZeroDivisionError):
        climb([Check("a", "has a bug", raising(ZeroDivisionError()))])


def test_a_board_that_does_not_start_is_one_failure(monkeypatch):
    monkeypatch.setitem(KINDS, "broken", Kind("broken", "no such module", "no_such_module"))
    results, _ = climb([Check("a", "never", raising(AssertionError()))], kind="broken")
    ((outcome, figure),) = [(r.outcome, r.figure) for r in results]
    assert outcome == "failed"
    assert figure.startswith("cannot start the board: no_such_module stopped")


def test_what_is_not_installed_is_skipped_with_the_cure(monkeypatch):
    monkeypatch.setattr(rungs.shutil, "which", lambda name: None if "qemu" in name else "/bin/x")
    results, _ = climb([Check("a", "never", raising(AssertionError()))], kind="qemu")
    ((outcome, figure),) = [(r.outcome, r.figure) for r in results]
    assert outcome == "skipped"
    assert figure == "qemu-system-arm is not installed: apt-get install qemu-system-arm"


def test_the_table_shows_figures_as_they_are():
    results, _ = climb([Check("a", "counts", lambda bench: Figure("[1, 2] of [red]"))])
    stream = io.StringIO()
    Console(file=stream, width=100).print(ladder.table(results))
    assert "[1, 2] of [red]" in stream.getvalue()


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
    checks = (
        Check("good", "holds", lambda bench: Figure()),
        Check("bad", "adds up", raising(error)),
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
