"""Sessions of the checks: refusals, questions, reruns, reports, and how they leave a robot.

The checks themselves are `make hil`, which CI runs.
"""

import itertools
import json
import os
import pty
import re
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from hil.__main__ import main
from robot_firmware_bridge.messages import Mode
from robot_firmware_bridge.protocol.layout import Action
from robot_firmware_bridge.protocol.wire import Command, Request

ROOT = Path(__file__).parents[2]


@pytest.fixture
def session(tmp_path):
    """Makes a session of the real checks, or of those in a text; its exit code, output, report."""
    report = tmp_path / "report" / "hil.json"

    def session(*arguments, checks=None, plugin="", **environment):
        (tmp_path / "extra_plugin.py").write_text(textwrap.dedent(plugin))
        command = [sys.executable, "-m", "hil", "-p", "extra_plugin"]
        if checks is not None:
            inner = tmp_path / "test_inner.py"
            inner.write_text(textwrap.dedent(checks))
            command = [sys.executable, "-m", "pytest", "-p", "hil.conftest", "-p", "extra_plugin"]
            command += [str(inner), "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, "--report", str(report), *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(tmp_path), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        data = json.loads(report.read_text()) if report.exists() else None
        return done.returncode, done.stdout, data

    return session


# --- refusals and questions ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--boards", "moon"],
            "there is no board kind 'moon'; there are emulated, qemu, stock, real",
        ),
        (["--boards", "emulated,moon"], "there is no board kind 'moon'"),
        (["--boards", "real"], "the real board needs its serial port"),
        (["--boards", "qemu", "--port", "/dev/x"], "--port is for the real board"),
        (["--seconds", "0"], "seconds must be positive"),
        (["--seconds", "ten"], "invalid float value: 'ten'"),
        (["--report", "hil.txt"], "must end in .json"),
        (["--policy", "nowhere.onnx"], "no policy file nowhere.onnx"),
        (["--port", "/dev/ttyUSB0"], "must be on a stand, hands clear: say so with --yes"),
    ],
)
def test_bad_input_is_exit_2_and_one_line(error_line, monkeypatch, arguments, message):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in error_line()


def test_help_teaches_and_no_check_of_that_name_is_bad_input(capsys, session):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    output = capsys.readouterr().out
    for word in ("emulated", "qemu", "real", "--boards", "Exit codes: 0", "on a stand"):
        assert word in output
    assert session("--boards", "emulated", "-k", "no_such_check")[0] == 2


def test_pytest_alone_does_not_touch_a_real_robot_either(session, board):
    b = board()
    code, output, _ = session("--port", b.path, checks="def test_it(host): pass")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "say so with --yes" in output
    assert b.received == []


@pytest.mark.parametrize(("answer", "code"), [("", 2), ("what", 2), ("y", 0)])
def test_a_real_robot_is_touched_only_after_a_yes(tmp_path, board, answer, code):
    """On a terminal, where the prompt is two lines of plain text."""
    b = board()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hil", "--port", b.path, "-k", "identity"]
    process = subprocess.Popen(
        [*command, "--report", str(tmp_path / "hil.json")],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    prompt = b""
    while b"[y/N]" not in prompt:
        prompt += os.read(ours, 4096)
    assert b.received == []
    first, second = prompt.decode().split("\r\n")
    assert b.path in first
    assert second.startswith("but a faulty controller may do anything.")
    assert "\\n" not in prompt.decode()
    os.write(ours, f"{answer}\n".encode())
    output = b""
    while process.poll() is None or not output:
        try:
            output += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    assert process.wait() == code
    os.close(ours)
    if code:
        assert b"error: not confirmed: nothing was armed" in output
        assert b.received == []
    else:
        assert b"1 passed" in output
        assert b.received
        assert all(m.kp == m.kd == 0.0 for m in b.received if isinstance(m, Command))


def test_no_check_of_a_real_robot_walks_or_injects_a_fault(session):
    arguments = ("--port", "/dev/x", "--yes", "--collect-only")
    _, output, _ = session(*arguments, "-m", "not simulated and not walks")
    real = set(re.findall(r"<Function test_(.+)\[real", output))
    assert real >= {"identity", "wrong_hash", "watchdog", "emergency_stop", "full_duplex"}
    wrong = {"without_hello", "protection", "noisy_line", "unplugged", "trot", "killed_host"}
    assert real.isdisjoint(wrong)
    assert len(real) == 16


# --- a robot is safe, however the session ends --------------------------------------------------


ENDS = """
    import os, signal, time
    import pytest

    @pytest.fixture
    def active_host(host):
        host.activate()
        return host

    @pytest.fixture
    def armed_robot(robot):
        robot.activate()
        return robot

    @pytest.fixture
    def crash(armed_robot):
        raise RuntimeError("a bug")

    @pytest.fixture
    def late_crash(active_host):
        yield
        raise RuntimeError("a bug")

    @pytest.fixture
    def interrupted(active_host):
        raise KeyboardInterrupt

    def test_failure(active_host):
        assert not active_host

    def test_bug(armed_robot):
        raise ZeroDivisionError

    def test_ctrl_c(active_host):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(9)

    def test_terminated(armed_robot):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(9)

    def test_crash_before(crash): pass
    def test_crash_after(late_crash): pass
    def test_interrupted_before(interrupted): pass
    """


FAILED = ("failure", "bug", "crash_before", "crash_after")
INTERRUPTED = ("ctrl_c", "terminated", "interrupted_before")


def armings(board):
    """The orders to arm and to disarm that a board received, repetitions left out."""
    orders = [m.action for m in board.received if isinstance(m, Request)]
    orders = [order for order in orders if order in (Action.ARM, Action.DISARM)]
    return [order for order, _ in itertools.groupby(orders)]


def test_however_a_check_fails_the_board_is_disarmed_before_the_next_one(session, board):
    """This board has no watchdog: it stays active unless it receives an order to disarm."""
    b = board()
    names = " or ".join(f"test_{end}" for end in FAILED)
    done, output, data = session("--port", b.path, "--yes", "-k", names, checks=ENDS)
    assert done == 1, output
    orders = armings(b)
    first = orders.index(Action.ARM)
    assert orders[first:] == [Action.ARM, Action.DISARM] * len(FAILED), output
    assert b.mode == Mode.DISARMED
    assert data is not None


@pytest.mark.parametrize("end", INTERRUPTED)
def test_however_a_session_is_interrupted_the_board_is_disarmed(session, board, end):
    b = board()
    done, output, data = session("--port", b.path, "--yes", "-k", f"test_{end}", checks=ENDS)
    assert done == 2, output
    orders = armings(b)
    assert Action.ARM in orders, output
    assert (orders[-1], b.mode) == (Action.DISARM, Mode.DISARMED)
    assert data is None  # no report of a session that was interrupted


def test_a_board_that_breaks_the_protocol_fails_its_check_and_is_left_disarmed(session, board):
    b = board()
    code, output, data = session("--port", b.path, "--yes", "-k", "watchdog")
    assert (code, data["failed"]) == (1, 1)
    figure = "no DAMPING within 1 s; last seen: ACTIVE, faults none"
    assert data["results"][0]["figure"] == figure
    assert "test_watchdog[real]" in output.splitlines()[-2]  # the end of the output names the check
    assert b.mode == Mode.DISARMED


# --- reruns and reports -------------------------------------------------------------------------

OUTCOMES = """
    import pytest
    from hil.boards import CheckFailed, Disturbed
    from robot_firmware_bridge.errors import LinkError

    tries = dict()

    def count(name):
        tries[name] = tries.get(name, 0) + 1
        return tries[name]

    def test_measures(record):
        '''Measures a time.'''
        record(after_ms=1.0, mode="[1, 2] of [red]")

    def test_fails():
        raise CheckFailed("2 is not 3")

    def test_loses():
        raise LinkError("no answer")

    def test_breaks():
        raise OSError("input/output error")

    def test_has_a_bug():
        1 / 0

    @pytest.mark.simulated
    def test_injects(): raise AssertionError

    @pytest.mark.walks
    def test_walks(): raise AssertionError

    @pytest.mark.parametrize("times", [1, 4, 5])
    def test_disturbed(times, record):
        if count(times) <= times:
            raise Disturbed("stale_state")
        record(speed_mps=3.0)

    @pytest.mark.parametrize("error", [AssertionError, CheckFailed, LinkError])
    def test_stalls_once(board, error):
        if count(error) == 1:
            board.stalls.append("the host had no turn for 99 ms")
        raise error("late")

    def test_holds_in_spite_of_a_stall(board, record):
        board.stalls.append("the host had no turn for 99 ms")
        record(after_ms=80.0)
    """


def test_every_way_a_check_can_end_is_one_result(session, board, tmp_path):
    junit = tmp_path / "hil.xml"
    arguments = ("--port", board().path, "--yes", "--patience", "0", "--junitxml", str(junit))
    code, output, data = session(*arguments, checks=OUTCOMES)
    found = {r["check"]: (r["outcome"], r["figure"]) for r in data["results"]}
    disturbed, no_console = "before: stale_state", "for simulated robots: a fault is injected, or"
    last = "disturbed in every try, at last: stale_state"
    late = "late (before: late, while the host had no turn for 99 ms)"
    assert found == {
        "measures": ("passed", "after_ms 1, mode [1, 2] of [red]"),
        "fails": ("failed", "2 is not 3"),
        "loses": ("failed", "no answer"),
        "breaks": ("failed", "the port failed: input/output error"),
        "has_a_bug": ("failed", "ZeroDivisionError: division by zero"),
        "injects": ("skipped", f"{no_console} the robot walks"),
        "walks": ("skipped", f"{no_console} the robot walks"),
        "disturbed[1]": ("passed", f"speed_mps 3 ({disturbed})"),
        "disturbed[4]": ("passed", f"speed_mps 3 ({'; '.join([disturbed] * 4)})"),
        "disturbed[5]": ("failed", f"{last} ({'; '.join([disturbed] * 4)})"),
        "stalls_once[AssertionError]": ("failed", late),
        "stalls_once[CheckFailed]": ("failed", late),
        "stalls_once[LinkError]": ("failed", late),
        "holds_in_spite_of_a_stall": ("passed", "after_ms 80"),
    }
    assert (code, data["passed"], data["failed"], data["skipped"]) == (1, 4, 8, 2)
    first = data["results"][0]
    assert first["values"] == {"after_ms": 1.0, "mode": "[1, 2] of [red]"}
    assert (first["board"], first["title"]) == ("real", "Measures a time.")
    for _, figure in found.values():
        assert figure in output
    cases = {case.get("name"): case for case in ET.parse(junit).iter("testcase")}
    assert len(cases) == 14
    assert cases["test_measures[real]"].find(".//property[@name='after_ms']").get("value") == "1.0"


KINDS = """
    from hil.boards import KINDS, Kind
    KINDS["slow"] = Kind("slow", None, keeps_time=False)
    KINDS["broken"] = Kind("broken", "no_such_module")
    """
NEVER_CALM = """
    import time
    import pytest
    from hil.boards import Disturbed

    @pytest.mark.walks
    def test_walks():
        raise Disturbed("stale_state")

    @pytest.mark.parametrize("number", range(3))
    def test_stands(number):
        time.sleep(0.1)
        print("a try")
        raise Disturbed("stale_state")
    """


def test_only_a_walk_on_a_slow_board_is_excused_and_an_absent_board_is_one_line(session):
    arguments = ("--boards", "slow,broken qemu", "--patience", "0", "--allowance", "0.2", "-s")
    code, output, data = session(*arguments, checks=NEVER_CALM, plugin=KINDS, PATH="/nowhere")
    found = [(r["board"], r["outcome"], r["figure"]) for r in data["results"]]
    assert [result[:2] for result in found] == [
        ("slow", "skipped"),
        *[("slow", "failed")] * 3,
        ("broken", "failed"),
        ("qemu", "skipped"),
    ]
    assert 3 <= output.count("a try") <= 5  # on a computer that never calms it comes to an end
    for _, _, figure in found[:4]:
        assert figure.startswith("disturbed in every try, at last: stale_state")
    assert found[4][2].startswith("cannot start the board: no_such_module stopped")
    cure = "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi"
    assert found[5][2] == f"arm-none-eabi-gcc is not installed: {cure}"
    assert code == 1


def test_a_short_session_on_the_emulated_board(session):
    names = "identity or (wrong_hash and robot) or life or emergency or (encoder and not walking)"
    code, output, data = session("--boards", "emulated", "-k", names)
    assert (code, data["passed"], data["failed"], data["skipped"]) == (0, 5, 0, 0), output
    values = {r["check"]: r["values"] for r in data["results"]}
    assert values["identity"]["boot_count"] == 1
    assert values["protection[encoder_jump]"]["fault"] == "ENCODER"
    assert "5 passed, 0 failed, 0 skipped" in output
