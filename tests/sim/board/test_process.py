"""A board as a child process: its port, its events, its end."""

from __future__ import annotations

import os
import signal
import textwrap

import pytest
from support.processes import has_ended, run_python, until

from sim.board import process as board_process
from sim.board.process import BoardProcess
from sim.errors import SimError

ECHO = """
    import json, sys
    print("port /dev/echo", flush=True)
    for line in sys.stdin:
        print(json.dumps({"event": "order", "order": line.strip(), "arguments": sys.argv[1:]}))
        sys.stdout.flush()
        if line.strip() == "quit":
            break
        if line.strip() == "die":
            print('{"event": "half', end="", flush=True)
            sys.exit("first\\nerror: out of memory")
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a module of this text; stopped when the test ends."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    started = []

    def start(text, *arguments):
        (tmp_path / "fake_board.py").write_text(textwrap.dedent(text))
        started.append(BoardProcess("fake_board", arguments))
        return started[-1]

    yield start
    for board in started:
        board.stop()


def test_it_tells_its_port_and_answers_orders(start):
    board = start(ECHO, "--seed", "3")
    assert board.port == "/dev/echo"
    board.inject("unplug")
    event = board.wait_event(lambda e: e["event"] == "order", 10.0)
    assert (event["order"], event["arguments"]) == ("unplug", ["--seed", "3"])
    assert board.events() == [event]


def test_an_event_is_waited_for_from_a_number_on(start):
    board = start(ECHO)
    board.inject("one")
    assert board.wait_event(lambda e: e["order"] == "one", 10.0)
    assert board.wait_event(lambda e: True, 0.05, since=1) is None
    board.inject("two")
    assert board.wait_event(lambda e: True, 10.0, since=1)["order"] == "two"


def test_it_has_a_process_group_of_its_own(start):
    board = start(ECHO)
    assert os.getpgid(board._process.pid) == board._process.pid


def test_stopped_it_is_gone_and_stopping_again_is_nothing(start):
    board = start(ECHO)
    board.stop()
    assert board._process.returncode == 0
    board.stop()


def test_one_that_does_not_listen_is_killed(start, monkeypatch):
    monkeypatch.setattr(board_process, "_STOP_TIMEOUT_S", 0.1)
    board = start("""
        import signal, time
        print("port /dev/deaf", flush=True)
        time.sleep(60)
    """)
    board.stop()
    assert board._process.returncode == -signal.SIGKILL


def test_one_that_does_not_start_says_why_in_one_line(start):
    with pytest.raises(SimError) as caught:
        start("import sys; print('warning'); sys.exit('note\\nerror: there is no cc: install gcc')")
    reason = "cannot start the board: fake_board stopped (exit 1): there is no cc: install gcc"
    assert str(caught.value) == reason


def test_one_that_never_offers_a_port_is_given_up_and_killed(start, monkeypatch):
    monkeypatch.setattr(board_process, "START_TIMEOUT_S", 0.2)
    monkeypatch.setattr(board_process, "_STOP_TIMEOUT_S", 0.1)
    with pytest.raises(SimError, match="offers no port after"):
        start("import time; time.sleep(60)")


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "board.close()"])
def test_nothing_is_left_behind_by_a_board_or_a_parent_that_was_killed(tmp_path, end):
    script = (
        "import os\n"
        "from sim.board.process import StartedBoard\n"
        "board = StartedBoard()\n"
        "board.odometry.base_position_m\n"
        "print(board.process._process.pid, flush=True)\n"
        f"{end}\n"
    )
    done = run_python("-c", script, TMPDIR=str(tmp_path))
    until(lambda: has_ended(int(done.stdout)))
    assert list(tmp_path.iterdir()) == []


def test_a_board_that_must_be_killed_leaves_nothing_behind(tmp_path):
    script = (
        "import os, signal\n"
        "from sim.board.process import StartedBoard\n"
        "board = StartedBoard()\n"
        "os.kill(board.process._process.pid, signal.SIGKILL)\n"
        "board.close()\n"
    )
    assert run_python("-c", script, TMPDIR=str(tmp_path)).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_its_death_is_reported_with_its_own_error(start):
    board = start(ECHO)
    assert not board.died()
    board.inject("die")
    assert board.died(within_s=10.0)
    assert [event["order"] for event in board.events()] == ["die"]  # and not the half line
    assert board.wait_event(lambda e: e["event"] == "half", 10.0) is None
    assert board.failure() == "fake_board stopped (exit 1): out of memory"
    with pytest.raises(SimError, match="out of memory"):
        board.inject("anything")
