"""Motor zeros on the host: what is read and sent, and the promises of a robot that stay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scripted_robot import ScriptedRobot, VirtualClock

from robot_firmware_bridge.errors import BridgeError, LinkLostError
from robot_firmware_bridge.interface import Robot
from robot_firmware_bridge.messages import MotorCommand
from robot_firmware_bridge.robot import MINITAUR
from robot_firmware_bridge.zeroed import MOST_ZERO_RAD, ZeroedRobot

ZEROS = np.array((0.1, -0.2, 0.0, 0.3, 0.0, 0.0, -0.5, 0.8))


@pytest.fixture
def inner():
    return ScriptedRobot(VirtualClock(5))


def command(target, kp=1.0):
    return MotorCommand(target, kp, 0.015, 80_000_000)


def test_states_lose_the_zeros_and_commands_get_them(inner):
    robot: Robot = ZeroedRobot(inner, ZEROS)
    inner.pose = MINITAUR.stance_pose_rad + ZEROS
    read = robot.read()
    np.testing.assert_allclose(read.motor_position_rad, MINITAUR.stance_pose_rad)
    assert read.motor_position_rad.dtype == np.float64
    assert read.t_ns == 5
    sent = robot.write(command(MINITAUR.stance_pose_rad))
    np.testing.assert_allclose(inner.sent[0].target_rad, MINITAUR.stance_pose_rad + ZEROS)
    np.testing.assert_allclose(sent.target_rad, MINITAUR.stance_pose_rad)
    assert (sent.kp, sent.kd, sent.valid_for_ns) == (1.0, 0.015, 80_000_000)


def test_nothing_that_others_hold_is_changed(inner):
    zeros, target = ZEROS.copy(), MINITAUR.stance_pose_rad
    kept = target.copy()
    robot = ZeroedRobot(inner, zeros)
    zeros[:] = 9.0
    robot.write(command(target))
    np.testing.assert_array_equal(target, kept)
    np.testing.assert_array_equal(inner.sent[0].target_rad, target + ZEROS)
    state = inner.read()
    inner.reading = lambda number, _: state
    robot.read()
    np.testing.assert_array_equal(state.motor_position_rad, MINITAUR.stance_pose_rad)


@settings(deadline=None)
@given(st.lists(st.floats(-MOST_ZERO_RAD, MOST_ZERO_RAD), min_size=8, max_size=8))
def test_what_was_sent_comes_back_as_it_was_cut(zeros):
    inner = ScriptedRobot(VirtualClock())
    inner.write = lambda command: command
    robot = ZeroedRobot(inner, np.array(zeros))
    target = np.linspace(0.2, 3.6, 8)
    np.testing.assert_allclose(robot.write(command(target)).target_rad, target, atol=1e-12)


def test_the_rest_is_the_robots_own(inner):
    robot = ZeroedRobot(inner, ZEROS)
    assert robot.description is inner.description
    assert robot.command_limits is inner.command_limits
    robot.activate()
    robot.deactivate()
    robot.close()
    assert inner.events == ["activate", "deactivate", "deactivate"]

    def lost(number, state):
        raise LinkLostError("gone")

    inner.reading = lost
    with pytest.raises(LinkLostError, match="gone"):
        robot.read()


@pytest.mark.parametrize("zeros", [np.zeros(7), np.full(8, np.nan), 6.3 * np.eye(8)[2]])
def test_zeros_that_no_command_can_bear_are_refused(inner, zeros):
    with pytest.raises(BridgeError, match=r"must be eight, each within 0\.8 rad of 0"):
        ZeroedRobot(inner, zeros)
