"""Windows of a record: which are cut, what they start from, and the guesses that need no plant."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import RecordError
from calibration.record import (
    AttitudeSeries,
    Board,
    MotionCapture,
    MotorSeries,
    Record,
    Source,
    SpeedSeries,
)
from calibration.windows import cut, leg_length_m, smoothed, stance_velocity
from robot_firmware_bridge.geometry import leg_to_motor, quaternion_from_rpy

SAMPLES = 60


def leg_angles(swing, extension):
    return leg_to_motor(np.concatenate((np.broadcast_to(swing, 4), np.broadcast_to(extension, 4))))


def record(samples=SAMPLES, step_s=0.01, swing_rate=1.0, **changes):
    """Legs that swing at 1 rad/s from -0.3 rad on, a body that pitches by 0.5 rad/s."""
    t_s = step_s * np.arange(samples)
    position = np.array([leg_angles(-0.3 + swing_rate * t, 2.0) for t in t_s])
    rpy = np.stack((0.02 + 0.0 * t_s, -0.1 + 0.5 * t_s, 0.3 + 0.0 * t_s), axis=1)
    ok = np.ones(samples, bool)
    return dataclasses.replace(
        Record(
            source=Source.of("made.log", b"made", Board.MAINBOARD),
            motors=MotorSeries(t_s, ok, position, duty=np.zeros((samples, 8))),
            attitude=AttitudeSeries(t_s, ok.copy(), rpy),
        ),
        **changes,
    )


def with_motors(made, **changes):
    columns = {name: getattr(made.motors, name) for name in ("t_s", "ok", "position_rad", "duty")}
    return dataclasses.replace(made, motors=MotorSeries(**(columns | changes)))


def test_a_parabola_is_its_own_smoothing_and_its_slope_exact():
    t_s = 0.5 + 0.01 * np.arange(9)
    values = np.stack((3.0 - 2.0 * t_s + 7.0 * t_s**2, t_s), axis=1)
    value, slope = smoothed(t_s, values)
    np.testing.assert_allclose(value, values, atol=1e-12)
    np.testing.assert_allclose(slope[2:-2], np.stack((14.0 * t_s - 2.0, 1.0 + 0 * t_s), 1)[2:-2])
    assert np.isnan(slope[[0, 1, -2, -1]]).all()


def test_a_spike_is_smoothed_by_the_weights_of_savitzky_and_golay():
    values = np.zeros((7, 1))
    values[3] = 35.0
    value, slope = smoothed(np.arange(7.0), values)
    assert value[:, 0].tolist() == [0.0, 0.0, 12.0, 17.0, 12.0, 0.0, 0.0]
    # Of the slopes of two samples before to two after, (-2, -1, 0, 1, 2) / 10.
    assert slope[2:5, 0].tolist() == pytest.approx([3.5, 0.0, -3.5])


def test_windows_hold_the_state_and_what_came_later():
    windows = cut(record(), None, (10, 25, 50))
    # Two samples on either side smooth the state, and 50 ms must be left.
    assert windows.t_s.tolist() == pytest.approx([0.01 * k for k in range(2, 55)])
    row = 20
    t_s = windows.t_s[row]
    np.testing.assert_allclose(windows.position_rad[row], leg_angles(-0.3 + t_s, 2.0))
    np.testing.assert_allclose(windows.velocity_rad_s[row], leg_angles(1.0, 0.0), atol=1e-9)
    np.testing.assert_allclose(windows.rpy_rad[row], (0.02, -0.1 + 0.5 * t_s, 0.3), atol=1e-12)
    np.testing.assert_allclose(
        windows.rate_rad_s[row], (0.0, 0.5 * math.cos(0.02), -0.5 * math.sin(0.02)), atol=1e-9
    )
    # 25 ms is between two samples.
    np.testing.assert_allclose(
        windows.later_position_rad[row],
        [leg_angles(-0.3 + t_s + h, 2.0) for h in (0.01, 0.025, 0.05)],
    )
    np.testing.assert_allclose(
        windows.later_rp_rad[row, :, 1], -0.1 + 0.5 * (t_s + np.array((0.01, 0.025, 0.05)))
    )
    assert windows.left_out == 0
    assert np.isnan(windows.height_m).all()


def test_the_two_guesses():
    windows = cut(record(), None, (10, 50))
    angles, attitude = windows.held()
    assert (angles == windows.position_rad[:, None]).all()
    assert (attitude == windows.rpy_rad[:, None, :2]).all()
    # What turns evenly is predicted exactly by its speed.
    angles, attitude = windows.at_constant_speed()
    np.testing.assert_allclose(angles, windows.later_position_rad, atol=1e-9)
    np.testing.assert_allclose(attitude, windows.later_rp_rad, atol=1e-4)


@settings(max_examples=40)
@given(
    bad=st.sets(st.integers(0, SAMPLES - 1), max_size=4),
    gap=st.integers(1, SAMPLES - 1),
    gap_s=st.sampled_from((0.0, 0.005, 0.03)),
)
def test_no_window_touches_a_bad_sample_or_a_gap(bad, gap, gap_s):
    made = record()
    t_s = made.motors.t_s + np.where(np.arange(SAMPLES) >= gap, gap_s, 0.0)
    ok = np.array([k not in bad for k in range(SAMPLES)])
    made = dataclasses.replace(
        with_motors(made, t_s=t_s, ok=ok),
        attitude=AttitudeSeries(t_s, np.ones(SAMPLES, bool), made.attitude.rpy_rad),
    )

    def whole(start):
        needed = [k for k in range(SAMPLES) if start - 2 <= k <= start + 2]
        needed += [k for k in range(start, SAMPLES) if t_s[k] - t_s[start] < 0.05 - 1e-9]
        last = max(needed)
        if t_s[last] - t_s[start] < 0.05 - 1e-9:
            last += 1  # the sample at the horizon or behind it
        if start < 2 or last >= SAMPLES or start + 2 >= SAMPLES:
            return False
        broken = gap_s > 0.0075 and start - 2 < gap <= last
        return not broken and all(k not in bad for k in range(start - 2, last + 1))

    expected = [t_s[k] for k in range(SAMPLES) if whole(k)]
    if not expected:
        with pytest.raises(RecordError, match="in which the legs move"):
            cut(made, None, (10, 50))
        return
    windows = cut(made, None, (10, 50))
    assert windows.t_s.tolist() == pytest.approx(expected)
    for each in dataclasses.fields(windows):
        if each.name != "height_m":
            assert np.isfinite(getattr(windows, each.name)).all()


def test_a_count_spreads_the_windows_and_a_choice_keeps_the_rest_of_them():
    every = cut(record(), None, (10, 50))
    few = cut(record(), 3, (10, 50))
    assert few.t_s.tolist() == pytest.approx([0.02, 0.28, 0.54])
    chosen = every.chosen(np.array([0, 26, 52]))
    for field in dataclasses.fields(few):
        np.testing.assert_array_equal(getattr(chosen, field.name), getattr(few, field.name))


def test_a_robot_that_falls_or_flails_is_not_started_from():
    made = record()
    rpy = made.attitude.rpy_rad.copy()
    rpy[:, 1] = 0.0
    rpy[30:, 0] = 0.7
    position = made.motors.position_rad.copy()
    position[:10] = leg_angles((1.3, 0.0, 0.0, 0.0), 2.0)
    position[:10] += 0.01 * np.arange(10)[:, None]
    made = dataclasses.replace(
        with_motors(made, position_rad=position),
        attitude=AttitudeSeries(made.motors.t_s, np.ones(SAMPLES, bool), rpy),
    )
    windows = cut(made, None, (10, 50))
    # Smoothed roll passes 0.6 rad with sample 30, or a neighbour.
    assert windows.t_s.min() == pytest.approx(0.10)
    assert windows.t_s.max() == pytest.approx(0.29, abs=0.011)
    assert windows.left_out == 53 - len(windows)


def fallen():
    made = record()
    rpy = made.attitude.rpy_rad + np.array((1.0, 0.0, 0.0))
    return dataclasses.replace(
        made, attitude=AttitudeSeries(made.motors.t_s, np.ones(SAMPLES, bool), rpy)
    )


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: record(motors=None), "it lacks motor angles"),
        (lambda: record(attitude=None), "it lacks the attitude"),
        (lambda: record(step_s=0.1), "10 samples a second are too few"),
        (lambda: record(swing_rate=0.1), "in which the legs move"),
        (lambda: record(samples=6), "in which the legs move"),
        (fallen, "record a robot on its feet"),
        (
            lambda: with_motors(record(), position_rad=record().motors.position_rad - 2.0),
            "a log of another robot",
        ),
    ],
)
def test_what_cannot_be_predicted_is_said_in_one_line(made, message):
    with pytest.raises(RecordError, match=message) as raised:
        cut(made(), None, (10, 50))
    assert str(raised.value).startswith("made.log: ")
    assert "\n" not in str(raised.value)


@given(st.floats(0.1, 3.0))
def test_the_length_of_a_leg_is_that_of_two_rods(extension):
    length, slope = leg_length_m(np.array([extension]))
    # The knee turns about the hip at 0.1 m; the toe is on the axis below, 0.2 m from it. Extension
    # 0 points both upper links upwards.
    knee = 0.1 * np.array((math.sin(extension), -math.cos(extension)))
    assert math.hypot(knee[0], length[0] - knee[1]) == pytest.approx(0.2)
    nearby = leg_length_m(np.array([extension - 1e-6, extension + 1e-6]))[0]
    assert slope[0] == pytest.approx((nearby[1] - nearby[0]) / 2e-6, abs=1e-6)


def test_resting_toes_carry_the_body_as_the_legs_turn_and_lengthen():
    (length,), (slope,) = leg_length_m(np.array([2.0]))
    level, still = np.zeros(3), np.zeros(3)
    # Toes that move backwards below the hips at L rad/s push the body forward.
    at = leg_angles(0.0, 2.0), leg_angles(1.0, 0.0), level, still
    assert stance_velocity(*at) == pytest.approx((length, 0.0))
    at = leg_angles(0.0, 2.0), leg_angles(0.0, 0.5), level, still
    assert stance_velocity(*at) == pytest.approx((0.0, 0.5 * slope))
    # A body that pitches nose down with legs fixed to it, about toes below it.
    at = leg_angles(0.0, 2.0), np.zeros(8), level, np.array((0.0, 1.0, 0.0))
    forward, upward = stance_velocity(*at)
    assert forward == pytest.approx(length)
    # Front hips sink and back ones rise alike.
    assert upward == pytest.approx(0.0)


def test_only_toes_near_the_lowest_rest():
    position = leg_angles(0.0, (2.0, 2.0, 1.7, 1.7))  # left legs are longer
    moving = leg_angles((0.5, 0.7, 9.0, 9.0), 0.0)
    (length,), _ = leg_length_m(np.array([2.0]))
    assert stance_velocity(position, moving, np.zeros(3), np.zeros(3))[0] == pytest.approx(
        0.6 * length
    )


def test_velocity_is_half_the_boards_own_and_half_of_resting_toes_and_along_the_heading():
    made = record()
    flat = np.tile((0.0, 0.0, 0.3), (SAMPLES, 1))
    ok = np.ones(SAMPLES, bool)
    made = dataclasses.replace(
        made,
        attitude=AttitudeSeries(made.motors.t_s, ok, flat),
        speed=SpeedSeries(made.motors.t_s, ok, np.full(SAMPLES, 0.8)),
    )
    windows = cut(made, None, (10, 50))
    row = int(np.argmin(np.abs(windows.t_s - 0.3)))  # the swing is 0 there
    (length,), _ = leg_length_m(np.array([2.0]))
    speed = 0.5 * (0.8 + length)
    expected = speed * math.cos(0.3), speed * math.sin(0.3), 0.0
    np.testing.assert_allclose(windows.velocity_m_s[row], expected, atol=1e-9)
    # At another swing the toes' circles lower the body, by half of that here.
    swing = -0.3 + windows.t_s[0]
    assert windows.velocity_m_s[0, 2] == pytest.approx(-0.5 * length * math.sin(swing), abs=1e-9)


def test_motion_capture_gives_velocity_in_the_frame_of_the_imus_heading_and_height():
    made = record()
    t_s = np.arange(0.0, 0.6, 1.0 / 120.0)
    where = np.stack((0.4 * t_s, 0.0 * t_s, 0.25 + 0.1 * t_s), axis=1)
    # The body's x axis is 1.0 rad left of the marker frame's, and that 0.5 rad left of the room's.
    turned = np.tile(quaternion_from_rpy(np.array((0.0, 0.0, 0.5))), (len(t_s), 1))
    made = dataclasses.replace(made, mocap=MotionCapture(t_s, where, turned, 1.0))
    windows = cut(made, None, (10, 50))
    # Heading 1.5 rad in the room is 0.3 rad for the IMU.
    expected = 0.4 * math.cos(-1.2), 0.4 * math.sin(-1.2), 0.1
    np.testing.assert_allclose(windows.velocity_m_s[10], expected, atol=1e-9)
    np.testing.assert_allclose(windows.height_m, 0.25 + 0.1 * windows.t_s, atol=1e-9)


@pytest.mark.parametrize(("robot", "late_s"), [("", 0.0), ("sim", 0.015), ("emulator", 0.003)])
def test_the_odometry_of_a_simulator_is_younger_than_its_states(robot, late_s):
    made = record()
    t_s = np.arange(-0.1, 0.6, 0.01)
    where = np.stack((0.4 * t_s, 0.0 * t_s, 0.25 + t_s**2), axis=1)
    made = dataclasses.replace(
        made,
        source=dataclasses.replace(made.source, robot=robot),
        mocap=MotionCapture(t_s, where),
    )
    windows = cut(made, None, (10, 50))
    true_s = windows.t_s - late_s
    np.testing.assert_allclose(windows.height_m, 0.25 + true_s**2, atol=1e-4)
    np.testing.assert_allclose(windows.velocity_m_s[:, 2], 2.0 * true_s, atol=1e-9)
