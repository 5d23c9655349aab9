"""Runs of the unmodified control loop on a board: in this process, or as a user starts them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.arming import OTHERWISE
from deploy.loop.clock import WallClock, realtime
from deploy.loop.loop import ControlLoop, Tick
from deploy.loop.modes import Durations, LoopMode
from deploy.loop.reactions import NO_REACTIONS
from deploy.policy.controller import Controller
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.record.flight_log import FlightLog
from deploy.record.report import RunReport, summarise
from hil.boards import Board, CheckFailed, Disturbed
from hil.fault_injection import await_done, clear
from hil.raw_host import STATE_INTERVAL_MS
from robot_firmware_bridge.robot import MINITAUR
from robot_firmware_bridge.serial.link import SerialLink
from robot_firmware_bridge.serial.robot import SerialRobot

# A loop that is later than this may end with an old state, or fall.
_LATE_PERIODS = 2.0
_FINISH_S = 300.0


class CheckedRobot(SerialRobot):
    """The robot by the real link, which notes when its loop gave it up.

    Attributes:
        given_up_ns: When it was first deactivated since a walk began.
    """

    def __init__(self, link: SerialLink) -> None:
        super().__init__(link, state_interval_ms=STATE_INTERVAL_MS)
        self.link = link
        self.given_up_ns: int | None = None

    def deactivate(self) -> str:
        """Record the time, and make the robot safe."""
        self.given_up_ns = self.given_up_ns or time.monotonic_ns()
        return super().deactivate()


@contextlib.contextmanager
def connected(board: Board) -> Iterator[CheckedRobot]:
    """Connect the real link to a board that stands, disarmed and without a fault.

    However it is left, the robot is disarmed before the port is closed.

    Raises:
        BridgeError: The board cannot be reached, or is not fit to move.
    """
    with (
        contextlib.closing(SerialLink(board.port, board.baud, realtime=True)) as link,
        contextlib.closing(CheckedRobot(link)) as robot,
    ):
        clear(robot)
        board.stand()
        yield robot


@dataclass(frozen=True, slots=True)
class Walk:
    """What came of a run in this process.

    Attributes:
        faults: Names of the loop's faults, with their details.
        periods: Control periods from when the board carried the last order out to the loop's last
            undisturbed command; None if it was given none.
        late_periods: The most by which the loop was late meanwhile; in the whole run if nothing was
            ordered.
    """

    faults: dict[str, str]
    report: RunReport
    periods: float | None
    late_periods: float

    @property
    def ending(self) -> str:
        """The faults in a line."""
        return "; ".join(self.faults.values()) or "no fault"


def walk(board: Board, robot: CheckedRobot, policy: Path, run_s: float, *orders: str) -> Walk:
    """Walk for a time; one second into it, give the board's console these orders.

    Raises:
        Disturbed: The run ended before that, or because the loop had no turn.
        CheckFailed: The console does not answer.
    """
    since = len(board.process.events())
    open_orders = list(orders)

    def give_orders(tick: Tick) -> None:
        if open_orders and tick.mode is LoopMode.RUN and tick.elapsed_s >= 1.0:
            for order in orders:
                board.process.inject(order)
            open_orders.clear()

    network = OnnxPolicy.load(policy, MINITAUR)
    loop = ControlLoop(
        robot,
        WallClock(),
        Controller(network.contract, network, MINITAUR),
        Durations(run_s=run_s),
        odometry=board.started.odometry,
        rules=NO_REACTIONS,  # what is checked is the board, whatever this computer is busy with
        observers=(give_orders,),
    )
    robot.given_up_ns = None
    with realtime():
        loop.run()
    if loop.crash is not None:
        raise loop.crash
    log, faults = loop.log(), {fault.name: fault.detail for fault in loop.faults}
    given_up_ns = robot.given_up_ns or time.monotonic_ns()
    damped_ns = log.woke_ns[log.mode == LoopMode.DAMP][:1]
    # The loop stopped commanding a gait: it damped, or gave the robot up at once.
    noticed_ns = min([given_up_ns, *damped_ns.tolist()])
    if open_orders:
        raise Disturbed(f"the run ended before its time: {'; '.join(faults.values())}")
    done_ns = log.woke_ns[0] if len(log.woke_ns) else 0
    if orders:
        done_ns = await_done(board, orders[-1], since)["at_ns"]
    late_periods = _late_periods(log, done_ns, noticed_ns)
    if late_periods > _LATE_PERIODS:
        board.stalls.append(f"the loop had no turn for {late_periods:.0f} control periods")
    periods = (noticed_ns - done_ns) / 1e9 / log.period_s if orders else None
    report = summarise(log, loop.faults, policy=str(policy), robot=board.kind.name)
    return Walk(faults, report, periods, late_periods)


def _late_periods(log: FlightLog, begin_ns: int, end_ns: int) -> float:
    """Return the most by which a tick was late in this time, in control periods."""
    woke_ns = np.append(log.woke_ns, end_ns)
    during = (woke_ns[1:] > begin_ns) & (woke_ns[:-1] < end_ns)
    apart = np.diff(woke_ns)[during] / 1e9 / log.period_s
    return max(0.0, float(apart.max()) - 1.0) if apart.size else 0.0


@dataclass(frozen=True, slots=True)
class Command:
    """The command `deploy.run` with one policy, as a user types it.

    Attributes:
        folder: Folder of the reports, one per run, by the run's name.
    """

    policy: Path
    folder: Path

    def start(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a run; answer yes to one that asks whether to arm."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "deploy.run", "--policy", str(self.policy)]
        command += ["--report", str(self.folder / f"{name}.json"), *arguments]
        pipe = subprocess.PIPE
        run = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )
        answer(run)
        return run

    def finish(self, name: str, *arguments: str) -> tuple[int, str]:
        """Make a run to its end; return its exit code and its output in one line.

        Raises:
            CheckFailed: It does not end.
        """
        with self.start(name, *arguments) as run:
            try:
                output, _ = run.communicate(timeout=_FINISH_S)
            except subprocess.TimeoutExpired as error:
                raise CheckFailed(f"{name} did not end within {_FINISH_S:.0f} s") from error
            finally:
                run.kill()
        return run.returncode, one_line(output)

    def succeed(self, name: str, *arguments: str) -> dict[str, Any]:
        """Make a run that must be good; return its report.

        Raises:
            CheckFailed: It fails.
            Disturbed: It fails because this computer stalled.
        """
        code, output = self.finish(name, *arguments)
        if "stale_state" in output:
            raise Disturbed(f"{name}: {output}")
        if code:
            raise CheckFailed(f"{name} ended with {code}: {output}")
        report: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
        return report


def answer(run: subprocess.Popen[str]) -> None:
    """Put a yes on the input of a run that has just been started."""
    if run.stdin is not None:
        with contextlib.suppress(BrokenPipeError):  # it was refused by now
            run.stdin.write("yes\n")
            run.stdin.flush()


def one_line(output: str) -> str:
    """Return a program's output in one line, from a run's question on if it was asked."""
    return " | ".join(output.rpartition(OTHERWISE)[2].split("\n")).strip(" |")
