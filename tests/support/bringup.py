"""Robots on a stand behind emulated boards in lockstep, and a person who sees what moves."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from deploy.bringup.rig import LIFE_NS, STAND_RAD
from deploy.bringup.verdict import NAMES
from deploy.robots import Rig
from sim.board.lockstep import lockstep, stock_lockstep
from sim.board.plant import on_stand
from sim.board.wiring import Wiring
from sim.plant.params import PlantParams
from sim.plant.registry import make_plant

KINDS = {"core": lockstep, "stock": partial(stock_lockstep, patience_ns=LIFE_NS)}


class WatchedRobot:
    """A robot whose true motion between arming and disarming is seen, and whose writes are kept."""

    def __init__(self, bench):
        self._robot, self._bench = bench.robot, bench
        self._start = None
        self.moved_rad = np.zeros(8)
        self.armings = 0
        self.writes = []

    description = property(lambda self: self._robot.description)
    command_limits = property(lambda self: self._robot.command_limits)

    def activate(self):
        self._start = self._bench.odometry.motor_truth()[0]
        self.moved_rad = np.zeros(8)
        self.armings += 1
        self._robot.activate()

    def read(self):
        state = self._robot.read()
        if self._start is not None:
            moved = self._bench.odometry.motor_truth()[0] - self._start
            self.moved_rad = np.where(abs(moved) > abs(self.moved_rad), moved, self.moved_rad)
        return state

    def write(self, command):
        self.writes.append((self._bench.clock.now_ns(), command))
        return self._robot.write(command)

    def deactivate(self):
        self._start = None
        return self._robot.deactivate()

    def close(self):
        self._robot.close()


class Onlooker:
    """A person who says yes, and says truly what moved; ``answers`` come first."""

    def __init__(self, robot, answers=()):
        self._robot = robot
        self.answers = list(answers)
        self.asked = []

    def agrees(self, question):
        self.asked.append(question)
        return not self.answers or self.answers.pop(0) == "yes"

    def answer(self, question):
        self.asked.append(question)
        if self.answers:
            return self.answers.pop(0)
        moved = self._robot.moved_rad
        motor = int(np.argmax(np.abs(moved)))
        if abs(moved[motor]) < 0.03:
            return "none"
        leg, side = NAMES[motor][:-1], NAMES[motor][-1]
        letters = "".join(word[0] for word in leg.split("_"))
        return f"{letters}{side.lower()} {'up' if moved[motor] < 0.0 else 'down'}"


class Stand:
    """One robot on its stand: everything that a test looks at."""

    def __init__(self, plant, kind, wiring="", bent_rad=STAND_RAD, blocks_nm=0.13, **params):
        plant.reset(on_stand(PlantParams(**{"seed": 3, **params}), blocks_nm))
        self.wiring = Wiring.parse(wiring)
        self.bench = KINDS[kind](plant, wiring=self.wiring, bent_rad=bent_rad)
        self.robot = WatchedRobot(self.bench)
        self.rig = Rig(self.robot, self.bench.clock, 0.0, None, {}, self.robot.close)
        self.person = Onlooker(self.robot)

    def motors_are_safe(self):
        """Whether no bridge drives a motor, some time from now; a damping one only brakes."""
        clock, board = self.bench.clock, self.bench.board
        duties = []
        advance = board.plant.advance

        def note(drive):
            duties.append(drive.enabled * float(np.abs(drive.duty).max()))
            advance(drive)

        clock.sleep_until_ns(clock.now_ns() + 800_000_000)
        board.plant.advance = note
        clock.sleep_until_ns(clock.now_ns() + 100_000_000)
        board.plant.advance = advance
        return max(duties) < 0.001


@pytest.fixture(scope="module")
def hung():
    """Return a plant for robots on stands: the faster engine."""
    plant = make_plant("mujoco")
    yield plant
    plant.close()


@pytest.fixture
def on_a_stand(hung):
    """Return a function that hangs a robot behind a board of a kind."""
    return lambda kind, *arguments, **params: Stand(hung, kind, *arguments, **params)
