"""A scripted robot on a virtual clock, and a control loop around it."""

import dataclasses
import itertools

import numpy as np
import pytest

from deploy import run as command
from deploy.loop import reactions, safety
from deploy.loop.loop import ControlLoop
from deploy.loop.modes import Durations
from deploy.policy.controller import Controller
from robot_firmware_bridge.messages import CommandLimits, Mode
from robot_firmware_bridge.robot import MINITAUR
from support.states import standing

PERIOD_NS = 6_000_000


class VirtualClock:
    """Time that passes only when slept on or delayed: for tests."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        """Return the time that was reached so far."""
        return self._now_ns

    def sleep_until_ns(self, deadline_ns: int) -> None:
        """Jump to the deadline; never back."""
        self._now_ns = max(self._now_ns, deadline_ns)

    def delay_ns(self, duration_ns: int) -> None:
        """Let time pass, as slow work or a late wake-up does."""
        self._now_ns += duration_ns


class ScriptedRobot:
    """A robot in perfect health, unless a script says otherwise.

    ``reading(number, state)`` may change or refuse a reading, ``writing(number)`` a write; both
    count from 0. ``events`` lists the calls, in order.
    """

    def __init__(self, clock):
        self.description = MINITAUR
        self.command_limits = CommandLimits(kp=4.0, kd=0.1, valid_for_ns=200_000_000)
        self.clock = clock
        self.mode = Mode.DISARMED
        self.events = []
        self.sent = []
        self.pose = MINITAUR.stance_pose_rad
        self.reading = lambda number, state: state
        self.writing = lambda number: None
        self._reads = itertools.count()
        self._writes = itertools.count()

    def activate(self):
        self.events.append("activate")
        self.mode = Mode.READY

    def read(self):
        state = standing(
            t_ns=self.clock.now_ns(), motor_position_rad=self.pose.copy(), mode=self.mode
        )
        return self.reading(next(self._reads), state)

    def write(self, command):
        self.writing(next(self._writes))
        self.events.append("write")
        self.sent.append(command)
        self.mode = Mode.ACTIVE
        return command

    def deactivate(self):
        self.events.append("deactivate")
        self.mode = Mode.DISARMED

    def close(self):
        self.deactivate()


@dataclasses.dataclass
class Bench:
    """A loop with everything around it at hand."""

    robot: ScriptedRobot
    clock: VirtualClock
    controller: Controller
    loop: ControlLoop

    @property
    def log(self):
        return self.loop.log()

    @property
    def fault_names(self):
        return [fault.name for fault in self.loop.faults]

    @property
    def details(self):
        return "\n".join(fault.detail for fault in self.loop.faults)


_BRIEF = Durations(run_s=0.060, stand_up_s=0.030, finish_s=0.012, damp_s=0.018)


@pytest.fixture
def bench(contract):
    """Builds a loop on a scripted robot: 5 ticks standing up, 10 of RUN, 2 of FINISH, 3 of DAMP."""

    def build(policy=None, contract=contract, durations=_BRIEF, limits=None, **options):
        clock = VirtualClock(1_000_000_000)
        robot = ScriptedRobot(clock)
        robot.command_limits = limits or robot.command_limits
        action = np.zeros(8, np.float32)
        controller = Controller(contract, policy or (lambda observation: action))
        loop = ControlLoop(robot, clock, controller, durations, **options)
        return Bench(robot, clock, controller, loop)

    return build


@pytest.fixture
def quick_and_patient(monkeypatch):
    """Runs over a real line: short, without a plot, and where a busy machine is no silent line."""
    monkeypatch.setattr(command.plots, "available", lambda: False)
    monkeypatch.setattr(
        command, "Durations", lambda run_s, stand_up_s: Durations(run_s, 0.4, 0.2, 0.1)
    )
    monkeypatch.setattr(safety, "STALE_PERIODS", 100)
    monkeypatch.setattr(reactions, "LATE_PERIODS", 100)
