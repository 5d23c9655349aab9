"""The loop on the simulated robot: the same promises on real physics."""

import contextlib
import dataclasses

import numpy as np
import pytest
from support.scripted_robot import VirtualClock

from deploy.errors import PolicyError
from deploy.loop.loop import ControlLoop
from deploy.loop.modes import Durations, LoopMode
from deploy.policy.controller import Controller
from robot_firmware_bridge.geometry import leg_to_motor
from robot_firmware_bridge.messages import Mode
from robot_firmware_bridge.robot import MINITAUR
from sim.engines.bullet import BulletEngine
from sim.engines.mujoco import MujocoEngine
from sim.plant.params import PlantParams
from sim.plant.plant import Plant
from sim.robot import SimClock, SimRobot
from training.tasks.gaits import TROT

MS = 1_000_000


class SpiedPlant(Plant):
    """Remembers the gains of every command."""

    def reset(self, params):
        self.gains = []
        super().reset(params)

    def command(self, target_rad, kp, kd):
        super().command(target_rad, kp, kd)
        self.gains.append((kp, kd))


@pytest.fixture(scope="module")
def body():
    plant = SpiedPlant(BulletEngine())
    yield plant
    plant.close()


@pytest.fixture
def build(body, contract):
    """Builds a loop of 0.2 s of RUN on the plant; with a wall clock, paced by it.

    Its policy leaves everything to the reference gait.
    """
    zeros = np.zeros(8, np.float32)

    def build(wall=None, gait=None, run_s=0.2, finish_s=0.1):
        body.reset(PlantParams())
        clock = SimClock(body, wall)
        robot = SimRobot(body, clock)
        durations = Durations(run_s=run_s, stand_up_s=0.3, finish_s=finish_s, damp_s=0.1)
        action = dataclasses.replace(contract.action, gait=gait or contract.action.gait)
        whole = dataclasses.replace(contract, action=action)
        controller = Controller(whole, lambda observation: zeros)
        return robot, ControlLoop(robot, clock, controller, durations, odometry=robot)

    return build


def test_standing_robot_stays_standing_through_every_mode(build, body):
    _, loop = build()
    loop.run()
    log = loop.log()
    assert loop.faults == []
    upright = log.mode <= LoopMode.FINISH
    assert log.base_position_m[upright, 2].min() > 0.2
    assert np.abs(log.rpy_rad[upright, :2]).max() < 0.1
    assert log.base_position_m[-1, 2] < log.base_position_m[0, 2]  # damped, it sinks
    assert body.gains[-1] == (0.0, 0.0)


def test_no_jump_where_one_mode_hands_over_to_the_next(build):
    gait = TROT
    _, loop = build(gait=gait)
    loop.run()
    log = loop.log()
    driven = log.kp > 0.0
    steps = np.abs(np.diff(log.target_rad[driven], axis=0))
    # The fastest that a motor's target moves is the gait with the stance's blend on top, in ticks
    # of 6 ms; an unblended return to the stance would be up to nine times that.
    swept_rad = gait.swing_amplitude_rad + gait.extension_amplitude_rad
    blended_rad = swept_rad + abs(2.0 - gait.extension_centre_rad)
    fastest_rad_s = 2.0 * np.pi * gait.frequency_hz * swept_rad + blended_rad / gait.ramp_s
    assert steps.max() < 0.006 * fastest_rad_s
    assert loop.saturations.rate_limited == 0


def test_a_robot_in_full_stride_comes_to_a_stand(build):
    _, loop = build(gait=TROT, run_s=5.0, finish_s=1.0)
    loop.run()
    assert loop.faults == []
    log = loop.log()
    x = log.base_position_m[:, 0]
    start, end = log.run.start, log.run.stop
    assert x[end] - x[start] > 2.0  # it did stride
    still = np.flatnonzero(log.mode == LoopMode.FINISH)[-10:]
    # From 1.3 m/s; then it rocks back on its legs, in both engines.
    assert np.ptp(x[still]) / 0.060 < 0.4  # m/s


class BugError(Exception):
    """Stands for any bug."""


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (PolicyError(), ["policy_error"]),
        (BugError(), ["internal_error"]),
        (KeyboardInterrupt(), []),
    ],
)
def test_zero_torque_comes_last_after_damping(build, body, on_inference, error, names):
    def fail():
        raise error

    on_inference(10, fail)
    robot, loop = build()
    raised = isinstance(error, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt) if raised else contextlib.nullcontext():
        loop.run()
    assert [fault.name for fault in loop.faults] == names
    assert body.gains[-1] == (0.0, 0.0)
    assert body.gains[-2] == (0.0, MINITAUR.kd)
    assert robot.read().mode is Mode.DISARMED


def test_a_loop_that_hangs_loses_its_robot_to_damping(build, body, on_inference):
    wall = VirtualClock()
    on_inference(10, lambda: wall.delay_ns(400 * MS))  # longer than a command lives
    _, loop = build(wall)
    loop.run()
    assert [fault.name for fault in loop.faults] == ["robot_fault"]
    assert "COMMAND_TIMEOUT; this computer was late by 39" in loop.faults[0].detail  # 400 less 6
    assert "--no-realtime" in loop.faults[0].detail
    assert np.isfinite(loop.log().action[:, 0]).sum() == 10
    assert body.gains[-1] == (0.0, 0.0)


@pytest.mark.parametrize("make", [BulletEngine, MujocoEngine])
def test_hardly_a_fall_is_taken_for_an_encoder_that_jumps(make, contract):
    """One in 40, in MuJoCo: a motor's housing struck the floor, which turned it by 75 rad/s."""
    plant = Plant(make())
    zeros = np.zeros(8, np.float32)
    trot = dataclasses.replace(contract, action=dataclasses.replace(contract.action, gait=TROT))
    shoves = {"push_force_low_n": 150.0, "push_force_high_n": 400.0, "push_duration_s": 0.1}
    ends = []
    for seed in range(6):
        plant.reset(PlantParams(seed=seed, policy_latency_s=0.02, push_interval_s=1.2, **shoves))
        clock = SimClock(plant)
        robot = SimRobot(plant, clock)
        durations = Durations(run_s=3.0, stand_up_s=0.5)
        loop = ControlLoop(robot, clock, Controller(trot, lambda observation: zeros), durations)
        loop.run()
        ends += [fault.name for fault in loop.faults]
    plant.close()
    assert ends.count("tilt") >= 5
    assert set(ends) <= {"tilt", "encoder_jump"}


def test_positive_swing_turns_the_toes_backwards(body):
    """So says ``pose_out_of_range``: with the toes on the floor, the body goes forwards."""
    body.reset(PlantParams())
    start_m = body.base_position_m()[0]
    for tick in range(100):
        swing = np.concatenate((np.full(4, 0.003 * tick), np.zeros(4)))
        body.command(MINITAUR.stance_pose_rad + leg_to_motor(swing), 1.0, 0.015)
        body.advance(6)
    assert body.base_position_m()[0] - start_m > 0.03


def test_a_simulated_robot_that_lies_on_its_floor_is_told_what_to_do(build, body):
    _, loop = build()
    for _ in range(1000):
        body.drive(None)
    loop.run()
    assert [fault.name for fault in loop.faults] == ["pose_out_of_range"]
    assert "lift it until its legs hang straight down (turn front_left" in loop.faults[0].detail


def test_a_slow_tick_is_skipped_not_caught_up(build, on_inference):
    wall = VirtualClock()
    on_inference(10, lambda: wall.delay_ns(20 * MS))
    _, loop = build(wall)
    loop.run()
    log = loop.log()
    assert loop.faults == []
    assert log.missed[log.run].tolist().count(3) == 1
    assert log.missed.sum() == 3
    np.testing.assert_array_equal(log.state_t_ns, log.woke_ns)  # and never a stale state
