"""The simulated robot keeps the protocol: no torque unless armed, commands that expire."""

from __future__ import annotations

import numpy as np
import pytest
from support.scripted_robot import VirtualClock

from robot_firmware_bridge.errors import RobotFaultError
from robot_firmware_bridge.interface import Odometry
from robot_firmware_bridge.messages import Fault, Mode, MotorCommand
from robot_firmware_bridge.robot import MINITAUR
from sim.engines.bullet import BulletEngine
from sim.plant.plant import Plant
from sim.plant.registry import make_plant
from sim.robot import SimClock, SimRobot

MS = 1_000_000
STAND = MotorCommand(MINITAUR.stance_pose_rad, MINITAUR.kp, MINITAUR.kd, 100 * MS)


class SpiedPlant(Plant):
    """Remembers the gains of every command, and when it was given."""

    def reset(self, params):
        self.gains = []
        super().reset(params)

    def command(self, target_rad, kp, kd):
        super().command(target_rad, kp, kd)
        self.gains.append((self.t_ns, kp, kd))


@pytest.fixture(scope="module")
def body():
    plant = SpiedPlant(BulletEngine())
    yield plant
    plant.close()


@pytest.fixture
def clock(plant):
    return SimClock(plant)


@pytest.fixture
def robot(plant, clock):
    return SimRobot(plant, clock)


@pytest.fixture
def wall():
    return VirtualClock(5_000 * MS)


@pytest.fixture
def paced(plant, wall):
    return SimClock(plant, wall)


def height(robot):
    return robot.base_position_m()[2]


def test_it_knows_where_it_is(robot):
    assert isinstance(robot, Odometry)
    assert robot.base_position_m().shape == (3,)


def test_before_arming_it_is_limp_and_ignores_commands(robot, clock, plant):
    began = height(robot)
    assert robot.read().mode is Mode.DISARMED
    sent = robot.write(STAND)
    assert (sent.kp, sent.kd) == (0.0, 0.0)
    clock.sleep_until_ns(500 * MS)
    assert height(robot) < began - 0.03
    assert plant.gains[-1][1:] == (0.0, 0.0)


def test_armed_nothing_moves_before_the_first_command(robot, plant):
    robot.activate()
    assert robot.read().mode is Mode.READY
    assert plant.gains[-1][1:] == (0.0, 0.0)


def test_commanded_it_stands(robot, clock):
    robot.activate()
    began = height(robot)
    for k in range(100):
        assert robot.write(STAND) is STAND
        clock.sleep_until_ns((k + 1) * 6 * MS)
    assert robot.read().mode is Mode.ACTIVE
    assert height(robot) == pytest.approx(began, abs=0.03)


def test_a_command_expires_to_the_tick_and_damping_latches(robot, clock, plant):
    robot.activate()
    clock.sleep_until_ns(3 * MS)
    robot.write(STAND)
    clock.sleep_until_ns(102 * MS)
    assert robot.read().mode is Mode.ACTIVE
    clock.sleep_until_ns(300 * MS)
    assert plant.gains[-1] == (103 * MS, 0.0, MINITAUR.kd)
    state = robot.read()
    assert (state.mode, state.fault) == (Mode.DAMPING, Fault.COMMAND_TIMEOUT)
    sent = robot.write(STAND)  # too late: what it does instead is returned
    assert (sent.kp, sent.kd) == (0.0, MINITAUR.kd)
    assert plant.gains[-1][0] == 103 * MS
    robot.deactivate()
    with pytest.raises(RobotFaultError, match="COMMAND_TIMEOUT"):
        robot.activate()


def test_each_command_lives_from_its_own_writing(robot, clock):
    robot.activate()
    for k in range(10):
        robot.write(STAND)
        clock.sleep_until_ns((k + 1) * 99 * MS)
    assert robot.read().mode is Mode.ACTIVE


def test_deactivating_damps_first_and_then_holds_no_torque(robot, clock, plant):
    robot.activate()
    robot.write(STAND)
    clock.sleep_until_ns(12 * MS)
    robot.deactivate()
    (damped_ns, *damping), (limp_ns, *limp) = plant.gains[-2:]
    assert damping == [0.0, MINITAUR.kd]
    assert limp == [0.0, 0.0]
    assert limp_ns - damped_ns == 250 * MS
    robot.deactivate()
    robot.write(STAND)
    assert plant.gains[-1] == (limp_ns, 0.0, 0.0)


def test_limp_motors_are_the_last_word_though_the_plant_breaks(robot, plant, monkeypatch, caplog):
    robot.activate()
    robot.write(STAND)

    def broken(ticks):
        raise RuntimeError("the engine is gone")

    monkeypatch.setattr(plant, "advance", broken)
    robot.deactivate()
    assert plant.gains[-1][1:] == (0.0, 0.0)
    assert "failed while damping" in caplog.text


def test_closing_twice_is_harmless():
    plant = make_plant()
    robot = SimRobot(plant, SimClock(plant))
    robot.activate()
    robot.write(STAND)
    robot.close()
    robot.close()


def test_the_trace_has_its_rate(plant, clock):
    robot = SimRobot(plant, clock, trace_hz=50.0)
    clock.sleep_until_ns(200 * MS)
    times = [frame.t_ns for frame in robot.trace]
    assert times[0] <= 1 * MS
    assert set(np.diff(times[1:])) == {20 * MS}
    assert robot.trace[0].joint_positions.shape == (16,)
    assert robot.trace[-1].position_m[2] < robot.trace[0].position_m[2]


def test_no_trace_when_none_is_asked_for(plant, clock):
    robot = SimRobot(plant, clock, trace_hz=0.0)
    clock.sleep_until_ns(50 * MS)
    assert robot.trace == ()


# ---- the clock -------------------------------------------------------------------------------


def test_alone_the_clock_is_the_plants(plant, clock):
    assert clock.now_ns() == plant.t_ns == 0
    clock.sleep_until_ns(7 * MS)
    assert clock.now_ns() == plant.t_ns == 7 * MS
    clock.sleep_until_ns(3 * MS)  # past: at once
    assert plant.t_ns == 7 * MS


def test_it_is_never_early_between_two_ticks(plant, clock):
    clock.sleep_until_ns(4_600_000)
    assert clock.now_ns() == 5 * MS
    clock.sleep_until_ns(4_700_000)
    assert clock.now_ns() == 5 * MS


def test_paced_the_plant_is_at_the_deadline_when_the_wall_is_and_never_early(plant, wall, paced):
    assert paced.now_ns() == 0
    paced.sleep_until_ns(4_600_000)
    assert (paced.now_ns(), plant.t_ns) == (4_600_000, 4 * MS)
    paced.sleep_until_ns(6 * MS)
    assert (plant.t_ns, wall.now_ns(), paced.now_ns()) == (6 * MS, 5_006 * MS, 6 * MS)


def test_paced_time_counts_from_the_first_use(wall, paced):
    wall.delay_ns(1_000 * MS)  # whatever is loaded before the loop begins
    assert paced.now_ns() == 0


def test_paced_a_late_command_finds_the_plant_further_on(plant, wall, paced):
    robot = SimRobot(plant, paced)
    robot.activate()
    assert robot.read().t_ns == 0
    wall.delay_ns(4 * MS + 300_000)  # slow work between reading and writing
    robot.write(STAND)
    assert plant.t_ns == 4 * MS
    assert plant.gains[-1][0] == 4 * MS
    wall.delay_ns(9 * MS)
    assert robot.read().t_ns == 13 * MS
