"""The Minitaur's own mainboard: a walk, what harms it, and motors that are off after every end.

That board has no timeout and checks nothing it receives, so what keeps the robot safe is the host
(``robot_firmware_bridge.stock``). The checks start the command that a user types.
"""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from hil.boards import Board, CheckFailed, Record
from hil.fault_injection import inject
from hil.loop_run import Command, one_line
from robot_firmware_bridge.serial.stock import COMMAND_LIFE_NS
from robot_firmware_bridge.stock.session import SLEW_RAD
from sim.board.process import Event

pytestmark = [pytest.mark.stock, pytest.mark.walks]

_POLICY = Path("policies/trot-stock.onnx")
# The time within which the motors are off after a process has ended, whatever ended it.
_OFF_MS = 50.0
_FINISH_S = 60.0
_READY_S = 30.0
# How long after the motors are on: the robot stands up for 2 s, walks for 3, fades for 1, damps.
_MODES = {"stand_up": 1.0, "run": 3.5, "finish": 5.4}
_RUN_S = 3.0
_EVERY = 1e-4
_GENTLE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@pytest.fixture
def stock(command: Command) -> Command:
    """The command with the policy for this board."""
    if not _POLICY.is_file():
        pytest.skip(
            f"there is no {_POLICY} yet: make train CONFIG=trot_stock, then export it there"
        )
    return Command(_POLICY, command.folder)


def start(board: Board, stock: Command, name: str, seconds: float) -> subprocess.Popen[str]:
    """Start a run, as a user does."""
    return stock.start(
        name, "--robot", "minitaur", "--port", board.port, "--arm", "--seconds", f"{seconds:g}",
        "--no-plot",
    )  # fmt: skip


def await_drivers(board: Board, on: bool, since: int, timeout_s: float = _READY_S) -> Event:
    """Wait until the motor drivers go on, or off."""
    return board.await_event(
        lambda event: event["event"] == "drivers" and event["on"] is on,
        f"drivers {'on' if on else 'off'}",
        since,
        timeout_s,
    )


def off_at_end(board: Board, since: int) -> Event:
    """Return the last event of the drivers, which must be off; of several, the last counts.

    Raises:
        CheckFailed: They are on.
    """
    time.sleep(0.2)  # a packet that was under way
    drivers = [e for e in board.process.events()[since:] if e["event"] == "drivers"]
    if not drivers or drivers[-1]["on"]:
        raise CheckFailed(f"the motor drivers are on: {drivers[-3:]}")
    return drivers[-1]


def finish(run: subprocess.Popen[str]) -> tuple[int, str, int]:
    """Wait for the end of a run; return its exit code, output, and the time of its end in ns."""
    with run:
        try:
            code = run.wait(_FINISH_S)
        except subprocess.TimeoutExpired as error:
            run.kill()
            raise CheckFailed(f"no end within {_FINISH_S:.0f} s") from error
        ended_ns = time.monotonic_ns()
        output = "" if run.stdout is None else one_line(run.stdout.read())
    return code, output, ended_ns


def steps_are_small(off: Event) -> None:
    """Check that no leg was commanded farther than the slew from one packet to the next."""
    assert off["most_step_rad"] <= SLEW_RAD + 1e-6, f"a step of {off['most_step_rad']:.2f} rad"


def test_walks(
    board: Board, stock: Command, record: Record, request: pytest.FixtureRequest
) -> None:
    """It walks in real time, without a fault, by small steps, and ends with the motors off."""
    seconds = request.config.option.seconds
    since = len(board.process.events())
    report: dict[str, Any] = stock.succeed(
        "stock-walk", "--robot", "minitaur", "--port", board.port, "--arm", "--seconds",
        f"{seconds:g}", "--no-plot",
    )  # fmt: skip
    off = off_at_end(board, since)
    steps_are_small(off)
    assert report["faults"] == []
    moved_s = report["seconds"]
    assert moved_s >= seconds - 0.1
    record(seconds=moved_s, packets=off["packets"], most_step_rad=off["most_step_rad"])
    board.stand()


@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize(
    "number",
    [*_GENTLE, signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP],
    ids=lambda number: number.name,
)
def test_signal(
    board: Board, stock: Command, record: Record, number: signal.Signals, mode: str
) -> None:
    """Every signal in every mode ends with the motors off, within 50 ms of the process's end."""
    since = len(board.process.events())
    run = start(board, stock, f"stock-{number.name}-{mode}", _RUN_S)
    try:
        await_drivers(board, True, since)
        time.sleep(_MODES[mode])
        sent_ns = time.monotonic_ns()
        run.send_signal(number)
        if number == signal.SIGSTOP:
            off = await_drivers(board, False, since)
            late_ms = (off["at_ns"] - sent_ns - COMMAND_LIFE_NS) / 1e6
            run.send_signal(signal.SIGCONT)
            code, output, _ = finish(run)
            assert code == 1, f"a process that was stopped goes on as if nothing were: {output}"
        else:
            code, output, ended_ns = finish(run)
            off = off_at_end(board, since)
            late_ms = (off["at_ns"] - ended_ns) / 1e6
            assert code == (130 if number in _GENTLE else -number), f"exit code {code}: {output}"
    finally:
        run.kill()
    steps_are_small(off_at_end(board, since))
    assert late_ms <= _OFF_MS, f"the motors were on for {late_ms:.0f} ms more"
    record(off_after_ms=round(late_ms, 1))
    board.stand()


@pytest.mark.parametrize(
    ("name", "orders", "mends"),
    [
        ("flip", (f"flip {_EVERY}",), ("flip 0",)),
        ("drop", (f"drop {_EVERY}",), ("drop 0",)),
        ("duplicate", (f"duplicate {_EVERY}",), ("duplicate 0",)),
        ("torn", ("drop 0.002",), ("drop 0",)),
        ("delay", ("delay 5",), ("delay 0",)),
        ("late", ("delay 50",), ("delay 0",)),
        ("held", ("hold 16",), ("hold 0",)),
        ("stall", ("stall 300",), ()),
        ("reset", ("reset",), ()),
        ("encoder", ("encoder-jump 3 2",), ("encoder-jump 3 -2",)),
        ("battery", ("battery 11",), ("battery 16",)),
    ],
)
def test_harm(
    board: Board,
    stock: Command,
    record: Record,
    name: str,
    orders: tuple[str, ...],
    mends: tuple[str, ...],
) -> None:
    """Whatever happens on the line or to the board: it walks on or stops, and the motors go off."""
    since = len(board.process.events())
    run = start(board, stock, f"stock-{name}", 4.0)
    try:
        await_drivers(board, True, since)
        time.sleep(_MODES["run"])
        for order in orders:
            inject(board, order)
        code, output, _ = finish(run)
    finally:
        run.kill()
        for order in mends:
            inject(board, order)
    off_at_end(board, since)
    assert code in (0, 1), f"exit code {code}: {output}"
    record(exit=code, ended=output.split(" | ")[0][:60])
    board.stand()


def test_unplugged(board: Board, stock: Command, record: Record) -> None:
    """A pulled cable ends the run, which says to cut the power; the next one begins with a kill."""
    since = len(board.process.events())
    run = start(board, stock, "stock-unplugged", 6.0)
    try:
        await_drivers(board, True, since)
        time.sleep(_MODES["run"])
        inject(board, "unplug")
        code, output, _ = finish(run)
        assert code == 1
        assert "robot_link" in output, output
        inject(board, "replug")
        code, output = stock.finish(
            "stock-replugged", "--robot", "minitaur", "--port", board.port, "--seconds", "0.5",
            "--no-plot",
        )  # fmt: skip
    finally:
        run.kill()
        inject(board, "replug")
    off_at_end(board, since)
    record(next_run=output.split(" | ")[0][:60])
    board.stand()


@pytest.mark.parametrize("policy", ["trot", "walk"])
def test_a_policy_for_another_board_is_refused(board: Board, command: Command, policy: str) -> None:
    """A policy that was not trained for this board is refused by name, before anything moves."""
    since = len(board.process.events())
    other = Command(Path(f"policies/{policy}.onnx"), command.folder)
    code, output = other.finish(
        f"stock-{policy}", "--robot", "minitaur", "--port", board.port, "--arm", "--seconds", "1"
    )
    assert code == 2
    assert "contract.board is core, this robot's motor controller is stock" in output
    assert not [e for e in board.process.events()[since:] if e["event"] == "drivers" and e["on"]]
