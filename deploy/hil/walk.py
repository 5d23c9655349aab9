"""A run of the unmodified control loop on a board, with something done to the board on the way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.clock import WallClock, realtime
from deploy.hil.bench import Bench
from deploy.hil.check import Disturbed
from deploy.loop import ControlLoop, Tick
from deploy.modes import Durations, LoopMode
from deploy.pipeline import Pipeline
from deploy.policy import OnnxPolicy
from deploy.report import RunReport, summarise
from deploy.telemetry import FlightLog
from robot_firmware_bridge.messages import MotorCommand, RobotState
from robot_firmware_bridge.mocap import MocapReader
from robot_firmware_bridge.robot import MINITAUR, RobotDescription
from robot_firmware_bridge.serial_robot import SerialRobot


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
        periods: Control periods from the deed to the loop's last undisturbed command; None if
            nothing was done.
    """

    faults: dict[str, str]
    report: RunReport
    periods: float | None

    @property
    def said(self) -> str:
        """The faults in a line."""
        return "; ".join(self.faults.values()) or "no fault"


def walk(
    bench: Bench, robot: SerialRobot, run_s: float, deed: Callable[[], object] | None = None
) -> Walk:
    """Walk for a time; one second into it, do the deed.

    Raises:
        Disturbed: The run ended before that.
    """
    policy = OnnxPolicy.load(bench.policy, MINITAUR)
    truth = MocapReader(bench.rung.truth)
    witness = Witness(robot, truth)
    done_ns: list[int] = []

    def look(tick: Tick) -> None:
        if deed is not None and not done_ns and tick.mode is LoopMode.RUN and tick.elapsed_s >= 1.0:
            done_ns.append(time.monotonic_ns())
            deed()

    pipeline = Pipeline(policy.contract, MINITAUR)
    loop = ControlLoop(
        witness, WallClock(), policy, pipeline, Durations(run_s=run_s), observer=look
    )
    with contextlib.closing(truth), realtime():
        loop.run()
    faults = {fault.name: fault.detail for fault in loop.faults}
    if deed is not None and not done_ns:
        raise Disturbed(f"the run ended before its time: {'; '.join(faults.values())}")
    log = loop.log()
    periods = None
    if done_ns:
        periods = (_noticed_ns(log, witness) - done_ns[0]) / 1e9 / log.period_s
    report = summarise(log, loop.faults, policy=str(bench.policy), robot=bench.rung.kind.name)
    return Walk(faults, report, periods)


def _noticed_ns(log: FlightLog, witness: Witness) -> int:
    """When the loop stopped commanding a gait: it damped, or gave the robot up at once."""
    damped = log.woke_ns[log.mode == LoopMode.DAMP]
    given_up_ns = witness.given_up_ns or time.monotonic_ns()
    return min(int(damped[0]), given_up_ns) if len(damped) else given_up_ns
