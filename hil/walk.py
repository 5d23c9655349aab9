"""A run of the unmodified control loop on a board, with something done to the board on the way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.loop.clock import WallClock, realtime
from deploy.loop.loop import ControlLoop, Tick
from deploy.loop.modes import Durations, LoopMode
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.policy.pipeline import Pipeline
from deploy.record.flight_log import FlightLog
from deploy.record.report import RunReport, summarise
from hil.bench import Bench
from hil.check import Disturbed
from robot_firmware_bridge.messages import MotorCommand, RobotState
from robot_firmware_bridge.mocap import MocapReader
from robot_firmware_bridge.robot import MINITAUR, RobotDescription
from robot_firmware_bridge.serial.robot import SerialRobot

# A loop that is later than this may end with an old state, or fall.
_LATE_PERIODS = 2.0


class Witness:
    """A robot whose true place is known, and that notes when its loop gave it up."""

    def __init__(self, robot: SerialRobot, truth: MocapReader) -> None:
        self._robot = robot
        self._truth = truth
        self.given_up_ns: int | None = None

    @property
    def description(self) -> RobotDescription:
        """The robot's."""
        return self._robot.description

    def activate(self) -> None:
        """Arm it."""
        self._robot.activate()

    def read(self) -> RobotState:
        """Its newest state."""
        return self._robot.read()

    def write(self, command: MotorCommand) -> MotorCommand:
        """Command it."""
        return self._robot.write(command)

    def deactivate(self) -> None:
        """Make it safe."""
        if self.given_up_ns is None:
            self.given_up_ns = time.monotonic_ns()
        self._robot.deactivate()

    def close(self) -> None:
        """Nothing: whoever opened the robot closes it."""

    def base_position_m(self) -> NDArray[np.float64]:
        """True position of the body, shape (3,)."""
        return self._truth.read().position_m


@dataclass(frozen=True, slots=True)
class Walk:
    """What came of a run.

    Attributes:
        faults: Names of the loop's faults, with their details.
        report: Its figures.
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
    def said(self) -> str:
        """The faults in a line."""
        return "; ".join(self.faults.values()) or "no fault"


def walk(bench: Bench, robot: SerialRobot, run_s: float, orders: Sequence[str] = ()) -> Walk:
    """Walk for a time; one second into it, give the board's console these orders.

    Raises:
        Disturbed: The run ended before that, or because the loop had no turn.
        CheckFailed: The console does not answer.
    """
    policy = OnnxPolicy.load(bench.policy, MINITAUR)
    truth = MocapReader(bench.rung.truth)
    witness = Witness(robot, truth)
    since = len(bench.rung.board.events())
    open_orders = list(orders)

    def look(tick: Tick) -> None:
        if open_orders and tick.mode is LoopMode.RUN and tick.elapsed_s >= 1.0:
            for order in orders:
                bench.rung.board.inject(order)
            open_orders.clear()

    pipeline = Pipeline(policy.contract, MINITAUR)
    loop = ControlLoop(
        witness, WallClock(), policy, pipeline, Durations(run_s=run_s), observer=look
    )
    with contextlib.closing(truth), realtime():
        loop.run()
    faults = {fault.name: fault.detail for fault in loop.faults}
    log = loop.log()
    noticed_ns, done_ns = _noticed_ns(log, witness), log.woke_ns[0] if len(log.woke_ns) else 0
    if open_orders:
        raise Disturbed(f"the run ended before its time: {'; '.join(faults.values())}")
    if orders:
        done_ns = bench.done(orders[-1], since)["at_ns"]
    late_periods = _late_periods(log, done_ns, noticed_ns)
    if late_periods > _LATE_PERIODS:
        bench.held_up.append(f"the loop had no turn for {late_periods:.0f} control periods")
    periods = (noticed_ns - done_ns) / 1e9 / log.period_s if orders else None
    report = summarise(log, loop.faults, policy=str(bench.policy), robot=bench.rung.kind.name)
    return Walk(faults, report, periods, late_periods)


def _late_periods(log: FlightLog, begin_ns: int, end_ns: int) -> float:
    """The most by which a tick was late in this time, in control periods."""
    woke_ns = np.append(log.woke_ns, end_ns)
    during = (woke_ns[1:] > begin_ns) & (woke_ns[:-1] < end_ns)
    apart = np.diff(woke_ns)[during] / 1e9 / log.period_s
    return max(0.0, float(apart.max()) - 1.0) if apart.size else 0.0


def _noticed_ns(log: FlightLog, witness: Witness) -> int:
    """When the loop stopped commanding a gait: it damped, or gave the robot up at once."""
    damped = log.woke_ns[log.mode == LoopMode.DAMP]
    given_up_ns = witness.given_up_ns or time.monotonic_ns()
    return min(int(damped[0]), given_up_ns) if len(damped) else given_up_ns
