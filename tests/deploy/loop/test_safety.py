"""Every row of the safety table, at its boundary."""

import dataclasses
import math

import numpy as np
import pytest
from support.states import standing

from deploy.errors import SafetyStop
from deploy.loop.safety import BATTERY_TICKS, TILT_TICKS, Safety
from robot_firmware_bridge.messages import Fault, Mode
from robot_firmware_bridge.robot import MINITAUR

PERIOD_S = 0.006
GOOD = standing()


@pytest.fixture
def safety():
    return Safety(MINITAUR, PERIOD_S)


def stops(name):
    return pytest.raises(SafetyStop, match=f"^{name}: ")


def test_a_good_state_passes(safety):
    safety.check_state(GOOD, 0, armed=True)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "field",
    [
        "motor_position_rad",
        "motor_velocity_rad_s",
        "motor_torque_nm",
        "rpy_rad",
        "angular_rate_rad_s",
        "battery_v",
    ],
)
def test_a_non_finite_state_stops(safety, field, bad):
    value = getattr(GOOD, field)
    if isinstance(value, np.ndarray):
        value = value.copy()
        value[-1] = bad
    else:
        value = bad
    with stops("non_finite_state"):
        safety.check_state(dataclasses.replace(GOOD, **{field: value}), 0, armed=True)


def test_a_state_may_be_three_periods_old_and_no_older(safety):
    safety.check_state(GOOD, 18_000_000, armed=True)
    with stops("stale_state"):
        safety.check_state(GOOD, 18_000_001, armed=True)
    with stops("stale_state"):  # a state from the future
        safety.check_state(dataclasses.replace(GOOD, t_ns=18_000_001), 0, armed=True)


@pytest.mark.parametrize("fault", [Fault.OVERHEAT, Fault.STALL | Fault.ENCODER])
@pytest.mark.parametrize("armed", [True, False])
def test_a_robots_own_fault_stops_armed_or_not(safety, fault, armed):
    with pytest.raises(SafetyStop, match="robot_fault") as caught:
        safety.check_state(dataclasses.replace(GOOD, fault=fault), 0, armed=armed)
    assert all(flag.name in str(caught.value) for flag in fault)
    assert ("--clear-fault" in str(caught.value)) is not armed


@pytest.mark.parametrize("mode", list(Mode))
def test_only_a_controller_that_takes_commands_may_go_on(safety, mode):
    state = dataclasses.replace(GOOD, mode=mode)
    safety.check_state(state, 0, armed=False)
    if mode in (Mode.READY, Mode.ACTIVE):
        safety.check_state(state, 0, armed=True)
    else:
        with pytest.raises(SafetyStop, match=f"robot_mode: .*{mode.name}"):
            safety.check_state(state, 0, armed=True)


def tilted(roll, pitch):
    return dataclasses.replace(GOOD, rpy_rad=np.array((roll, pitch, 3.0)))


@pytest.mark.parametrize(("roll", "pitch"), [(0.51, 0.0), (0.0, -0.51), (-0.37, 0.37), (3.1, 0.0)])
def test_a_lasting_tilt_stops(safety, roll, pitch):
    for _ in range(TILT_TICKS - 1):
        safety.check_state(tilted(roll, pitch), 0, armed=True)
    with stops("tilt"):
        safety.check_state(tilted(roll, pitch), 0, armed=True)


@pytest.mark.parametrize(("roll", "pitch"), [(0.499, 0.0), (0.0, 0.499), (0.35, -0.35)])
def test_a_tilt_within_bounds_may_last(safety, roll, pitch):
    for _ in range(10 * TILT_TICKS):
        safety.check_state(tilted(roll, pitch), 0, armed=True)


def test_a_glitch_of_the_imu_does_not_drop_the_robot(safety):
    for _ in range(10):
        for _ in range(TILT_TICKS - 1):
            safety.check_state(tilted(1.0, 0.0), 0, armed=True)
        safety.check_state(GOOD, 0, armed=True)


def test_a_battery_may_sag_but_not_stay_low(safety):
    low = dataclasses.replace(GOOD, battery_v=MINITAUR.min_battery_v - 0.01)
    for _ in range(BATTERY_TICKS - 1):
        safety.check_state(low, 0, armed=True)
    safety.check_state(dataclasses.replace(GOOD, battery_v=12.7), 0, armed=True)
    for _ in range(BATTERY_TICKS - 1):
        safety.check_state(low, 0, armed=True)
    with stops("battery_low"):
        safety.check_state(low, 0, armed=True)


@pytest.mark.parametrize("angle", [3.6 + 0.51, 0.2 - 0.51, 40.0])
def test_a_pose_that_cannot_be_true_stops_before_the_first_move(safety, angle):
    pose = np.full(8, 2.0)
    pose[3] = angle
    with pytest.raises(SafetyStop, match="pose_out_of_range: motor back_leftR"):
        safety.check_first_pose(pose)


@pytest.mark.parametrize("angle", [3.6 + 0.49, 0.2 - 0.49, 2.0])
def test_a_pose_near_the_range_may_be_stood_up_from(safety, angle):
    safety.check_first_pose(np.full(8, angle))
