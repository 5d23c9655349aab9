"""Every row of the safety table, at its boundary."""

import dataclasses
import math

import numpy as np
import pytest
from support.states import standing

from deploy.errors import SafetyStop
from deploy.loop.safety import BATTERY_TICKS, LOOK_STATES, TILT_TICKS, Safety
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
    with pytest.raises(SafetyStop, match=f"^non_finite_state: .*{field} is {bad}"):
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


def test_a_limp_robots_battery_does_not_sag_so_a_low_one_is_refused_sooner(safety):
    low = dataclasses.replace(GOOD, battery_v=MINITAUR.min_battery_v - 0.01)
    for _ in range(LOOK_STATES - 1):
        safety.check_state(low, 0, armed=False)
    with stops("battery_low"):
        safety.check_state(low, 0, armed=False)


def pose(**angles):
    """The stance, with the angles of some motors by name."""
    position_rad = MINITAUR.stance_pose_rad.copy()
    for name, angle in angles.items():
        position_rad[MINITAUR.motor_names.index(name)] = angle
    return position_rad


@pytest.mark.parametrize("angle", [3.6 + 0.51, 0.2 - 0.51, 40.0, math.nan])
def test_a_pose_that_cannot_be_true_stops_before_the_first_move(safety, angle):
    with pytest.raises(SafetyStop, match="pose_out_of_range: motor back_leftR"):
        safety.check_first_pose(pose(back_leftR=angle))


def test_a_robot_that_lies_is_told_which_legs_to_turn_how_far_and_where(safety):
    """Motors of a leg are e -+ side * s: (1.93, -1.39) on the left is s = -1.66 rad, -95 degrees.

    (-1.46, 1.92) on the right is the same side of the body, s = -1.69 rad, and (3.4, -0.4) at the
    back right is s = +1.9 rad. Positive swing is toes to the back: those turn forwards.
    """
    lying = pose(
        front_leftL=1.93, front_leftR=-1.39, front_rightL=-1.46, front_rightR=1.92,
        back_rightL=3.4, back_rightR=-0.4,
    )  # fmt: skip
    with stops("pose_out_of_range") as stop:
        safety.check_first_pose(lying)
    text = str(stop.value)
    assert "motor front_rightL measures -1.46 rad, its range is [0.2, 3.6]" in text
    turns = "front_left 95 degrees backwards, front_right 97 degrees backwards"
    assert f"(turn {turns}, back_right 109 degrees forwards)" in text
    assert "hold it and start again" in text
    assert "\n" not in text


def test_an_angle_that_no_leg_can_have_is_an_encoders_zero(safety):
    with pytest.raises(SafetyStop, match="no leg can be there, set the zero of its encoder"):
        safety.check_first_pose(pose(back_leftR=40.0))


# ---- an encoder against what its motor can do: 3.5 Nm on a rotor of 2.18e-4 kg m^2 ---------------


def moved(safety, before, after, dt_s, armed=True):
    """Check one state, and a second one that much later."""
    first = dataclasses.replace(GOOD, t_ns=10**9, **before)
    t_ns = first.t_ns + round(dt_s * 1e9)
    safety.check_state(first, first.t_ns, armed)
    safety.check_state(dataclasses.replace(GOOD, t_ns=t_ns, **after), t_ns, armed)


def speeds(rad_s):
    return {"motor_velocity_rad_s": np.full(8, rad_s)}


# 0.1 rad of margin and 16055 rad/s^2 x dt^2 / 4.
@pytest.mark.parametrize(("dt_s", "bound"), [(0.0, 0.1), (0.006, 0.2445), (0.012, 0.678)])
@pytest.mark.parametrize("rad_s", [0.0, 30.0, -30.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("armed", [True, False])
def test_an_encoder_may_move_as_its_motor_can_and_no_more(dt_s, bound, rad_s, sign, armed):
    def check(jump_rad):
        swept = np.full(8, 2.0 + rad_s * dt_s)
        swept[4] += sign * jump_rad
        after = speeds(rad_s) | {"motor_position_rad": swept}
        moved(Safety(MINITAUR, PERIOD_S), speeds(rad_s), after, dt_s, armed)

    check(bound - 0.001)
    with pytest.raises(SafetyStop, match="encoder_jump: motor front_rightL jumped by"):
        check(bound + 0.001)


def test_a_motor_that_starts_with_all_its_torque_does_not_jump(safety):
    """From rest, with the torque of a stalled drive on the bare rotor: 0.29 rad in 6 ms."""
    speed = 3.5 / 2.18e-4 * 0.006
    after = speeds(speed) | {"motor_position_rad": np.full(8, 2.0 + 0.5 * speed * 0.006)}
    moved(safety, speeds(0.0), after, 0.006)


def test_a_slip_of_an_encoder_in_full_stride_is_seen(safety):
    """0.4 rad, against the motion, at the speed of a gallop."""
    slipped = np.full(8, 2.0 - 30.0 * 0.006)
    slipped[2] += 0.4
    with stops("encoder_jump"):
        moved(safety, speeds(-30.0), speeds(-30.0) | {"motor_position_rad": slipped}, 0.006)


def test_a_time_stamp_that_goes_back_gives_no_room_and_no_error(safety):
    moved(safety, {}, {}, -0.003)
    with stops("encoder_jump"):
        moved(Safety(MINITAUR, PERIOD_S), {}, {"motor_position_rad": pose(back_leftL=2.2)}, -0.003)


@pytest.mark.parametrize("angle", [3.6 + 0.49, 0.2 - 0.49, 2.0])
def test_a_pose_near_the_range_may_be_stood_up_from(safety, angle):
    safety.check_first_pose(np.full(8, angle))
