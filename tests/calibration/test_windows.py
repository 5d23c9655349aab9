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
from calibration.windows import (
    Track,
    _between,
    cut,
    integrated,
    leg_length_m,
    smoothed,
    stance_velocity,
)
from robot_firmware_bridge.geometry import (
    leg_to_motor,
    quaternion_from_rpy,
    rotation_from_quaternion,
)

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
    assert windows.track is None


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
        with pytest.raises(RecordError, match="no 50 ms without a bad sample or a gap"):
            cut(made, None, (10, 50))
        return
    windows = cut(made, None, (10, 50))
    assert windows.t_s.tolist() == pytest.approx(expected)
    for each in dataclasses.fields(windows):
        if each.name != "track":
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
        (lambda: record(samples=6), "no 50 ms without a bad sample or a gap"),
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
    height, velocity = cut(made, None, (10, 50)).track.at(np.array((0.1, 0.2345)))
    # Heading 1.5 rad in the room is 0.3 rad for the IMU.
    expected = 0.4 * math.cos(-1.2), 0.4 * math.sin(-1.2), 0.1
    np.testing.assert_allclose(velocity, np.tile(expected, (2, 1)), atol=1e-9)
    np.testing.assert_allclose(height, (0.26, 0.27345), atol=1e-9)


def test_velocity_by_motion_capture_is_that_of_plain_differences():
    """No smoothing: a step of 11 mm is seen by its two neighbours alone."""
    t_s = np.delete(0.01 * np.arange(60), 20)  # a sample is missing
    where = np.stack((t_s**2, 0.011 * (t_s >= 0.4), 0.3 + 0.0 * t_s), axis=1)
    made = dataclasses.replace(record(), mocap=MotionCapture(t_s, where))
    track = cut(made, None, (10, 50)).track
    _, velocity = track.at(t_s)
    # Of a parabola exact, also where samples are 10 ms and 20 ms apart.
    np.testing.assert_allclose(velocity[1:-1, 0], 2.0 * t_s[1:-1], atol=1e-9)
    expected = np.where(np.isin(np.round(1e2 * t_s), (39, 40)), 0.55, 0.0)
    np.testing.assert_allclose(velocity[:, 1], expected, atol=1e-9)


def test_a_track_is_linear_between_its_samples():
    track = Track(
        np.array((0.0, 0.1)),
        np.array((0.2, 0.4)),
        np.array(((0.0, 1.0, -1.0), (1.0, 1.0, 1.0))),
        level_known=True,
    )
    height, velocity = track.at(np.array((0.025, 0.1)))
    assert height.tolist() == pytest.approx([0.25, 0.4])
    np.testing.assert_allclose(velocity, ((0.25, 1.0, -0.5), (1.0, 1.0, 1.0)))


@pytest.mark.parametrize("board", list(Board))
def test_only_logs_of_this_stack_know_where_the_floor_is(board):
    made = record()
    made = dataclasses.replace(
        made,
        source=dataclasses.replace(made.source, board=board),
        mocap=MotionCapture(made.motors.t_s, np.zeros((SAMPLES, 3))),
    )
    assert cut(made, None, (10, 50)).track.level_known is (board is Board.OWN)


def test_a_slow_camera_tells_no_motion():
    t_s = np.arange(0.0, 0.6, 1.0 / 40.0)
    made = dataclasses.replace(record(), mocap=MotionCapture(t_s, np.zeros((len(t_s), 3))))
    assert cut(made, None, (10, 50)).track is None


def turning(count=400, step_s=0.01):
    """A body that tilts and turns a lot, and the turn rates about its axes, worked out anew."""
    t_s = step_s * np.arange(count)

    def attitude(at_s):
        return np.stack(
            (0.3 * np.sin(9.0 * at_s), 0.2 * np.cos(11.0 * at_s), 0.5 * np.sin(2.0 * at_s)), axis=1
        )

    before, after = attitude(t_s - 1e-5), attitude(t_s + 1e-5)
    rates = []
    for rpy, past, then in zip(attitude(t_s), before, after, strict=True):
        body = rotation_from_quaternion(quaternion_from_rpy(rpy))
        turn = rotation_from_quaternion(quaternion_from_rpy(then))
        turn = turn - rotation_from_quaternion(quaternion_from_rpy(past))
        spin = body.T @ turn / 2e-5  # the cross product matrix of the rates
        rates.append((spin[2, 1], spin[0, 2], spin[1, 0]))
    return t_s, attitude(t_s), np.array(rates)


def rms(values):
    return float(np.sqrt(np.mean(values**2)))


def test_a_gyroscope_and_an_attitude_that_agree_stay_as_they_are():
    t_s, rpy, rate = turning()
    # What is left is the error of the trapezes of 10 ms, and no heading or tilt is lost.
    assert np.abs(integrated(t_s, rpy, rate) - rpy).max() < 1.5e-3


@pytest.mark.parametrize(("step_s", "share"), [(0.002, 1 / 10), (0.01, 1 / 5)])
def test_noise_of_an_attitude_goes_by_the_gyroscope(step_s, share):
    t_s, rpy, rate = turning(2000, step_s)
    noise = 0.05 * np.random.default_rng(0).standard_normal(rpy.shape)
    found = integrated(t_s, rpy + noise, rate)
    assert rms(found - rpy) < share * 0.05


def test_a_gyroscope_that_drifts_is_corrected_over_half_a_second():
    t_s, rpy, _ = turning()
    level = np.zeros_like(rpy)
    # A body at rest whose gyroscope says 0.1 rad/s: the drift around each sample cancels out, and
    # at an end, where a quarter of a second is on one side alone, 12.5 samples of it are left.
    found = integrated(t_s, level, np.tile((0.1, 0.0, 0.0), (len(t_s), 1)))
    np.testing.assert_allclose(found[25:-25], 0.0, atol=1e-9)
    assert found[[0, -1], 0].tolist() == pytest.approx([-0.0125, 0.0125])
    # A step of the attitude alone is spread over 51 samples.
    level[200:, 1] = 0.51
    found = integrated(t_s, level, np.zeros_like(rpy))
    ramp = 0.01 * np.clip(np.arange(len(t_s)) - 174, 0, 51)
    np.testing.assert_allclose(found[:, 1], ramp, atol=1e-9)


def test_samples_that_are_missing_cut_the_integral_and_stay_missing():
    t_s, rpy, rate = turning()
    rpy, rate = rpy.copy(), rate.copy()
    rpy[100], rate[250] = np.nan, np.nan
    t_s = t_s + np.where(np.arange(len(t_s)) >= 320, 5.0, 0.0)
    found = integrated(t_s, rpy, rate)
    missing = np.isin(np.arange(len(t_s)), (100, 250))
    assert (np.isnan(found).all(axis=1) == missing).all()
    assert np.abs(found - rpy)[~missing].max() < 3e-3


def test_windows_start_from_the_integrated_attitude_and_compare_with_it():
    t_s, rpy, rate = turning(SAMPLES)
    noise = 0.05 * np.random.default_rng(0).standard_normal(rpy.shape)
    made = record()
    made = dataclasses.replace(
        made, attitude=AttitudeSeries(t_s, np.ones(SAMPLES, bool), rpy + noise, rate)
    )
    windows = cut(made, None, (10, 25))
    found = integrated(t_s, rpy + noise, rate)
    rows = np.round(100.0 * windows.t_s).astype(int)
    np.testing.assert_allclose(windows.rpy_rad, found[rows])
    np.testing.assert_allclose(windows.rate_rad_s, smoothed(t_s, rate)[0][rows])
    np.testing.assert_allclose(windows.later_rp_rad[:, 0], found[rows + 1, :2])
    between = 0.5 * (found[rows + 2, :2] + found[rows + 3, :2])
    np.testing.assert_allclose(windows.later_rp_rad[:, 1], between, atol=1e-12)


@given(st.lists(st.floats(-9.0, 9.0), min_size=4, max_size=4), st.floats(0.0, 0.059))
def test_angles_between_samples_are_exact_for_cubics_if_speeds_are_reported(factors, at_s):
    t_s = np.array((0.0, 0.01, 0.025, 0.06))
    cubic = np.polynomial.Polynomial(factors)
    gains = np.arange(1.0, 9.0)
    motors = MotorSeries(
        t_s,
        np.ones(4, bool),
        cubic(20.0 * t_s)[:, None] * gains,
        velocity_rad_s=20.0 * cubic.deriv()(20.0 * t_s)[:, None] * gains,
    )
    found = _between(motors, np.array((at_s,)))
    np.testing.assert_allclose(found, [cubic(20.0 * at_s) * gains], atol=1e-9)


def test_later_angles_lie_on_the_cubic_between_samples():
    made = record()
    t_s = made.motors.t_s
    position = leg_angles(0.0, 2.0) + 5.0 * t_s[:, None] ** 2
    velocity = np.tile(10.0 * t_s[:, None], (1, 8))
    windows = cut(with_motors(made, position_rad=position, velocity_rad_s=velocity), None, (15, 50))
    expected = leg_angles(0.0, 2.0) + 5.0 * (windows.t_s[:, None] + 0.015) ** 2
    np.testing.assert_allclose(windows.later_position_rad[:, 0], expected, atol=1e-9)


def test_angles_between_samples_are_linear_without_speeds():
    motors = record().motors
    position = motors.position_rad.copy()
    position[30:] += 0.2
    made = MotorSeries(motors.t_s, motors.ok, position)
    expected = 0.75 * position[29] + 0.25 * position[30]
    np.testing.assert_allclose(_between(made, np.array((0.2925,)))[0], expected)
