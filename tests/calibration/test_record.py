"""The series of a record, and what later parts compute from them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import RecordError
from calibration.record import (
    AttitudeSeries,
    Board,
    FootCommands,
    MotionCapture,
    MotorCommands,
    MotorSeries,
    Reason,
    Record,
    Source,
    count_flags,
    finite_differences,
    held_rows,
    rate_hz,
    stretches,
)
from calibration.summary import describe
from robot_firmware_bridge.geometry import leg_to_motor


def series(t_s, ok=None, **columns):
    t_s = np.asarray(t_s, float)
    ok = np.ones(len(t_s), bool) if ok is None else np.asarray(ok, bool)
    columns.setdefault("position_rad", np.ones((len(t_s), 8)))
    return MotorSeries(t_s, ok, **columns)


def test_stretches_end_at_flags_and_at_gaps():
    t_s = np.array([0.0, 0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9])
    ok = np.array([1, 1, 1, 1, 1, 0, 1, 1], bool)
    assert stretches(t_s, ok) == [slice(0, 4), slice(4, 5), slice(6, 8)]
    assert stretches(t_s, ok, min_s=0.05) == [slice(0, 4), slice(6, 8)]
    assert stretches(t_s, ok, min_s=0.25) == [slice(0, 4)]


def test_stretches_of_nothing_and_of_one_sample():
    assert stretches(np.empty(0), np.empty(0, bool)) == []
    assert stretches(np.array([3.0]), np.array([True])) == [slice(0, 1)]
    assert stretches(np.array([3.0]), np.array([False])) == []


@given(st.lists(st.tuples(st.sampled_from((0.01, 0.012, 0.05)), st.booleans()), max_size=40))
def test_stretches_hold_every_good_sample_once_and_no_other(samples):
    t_s = np.cumsum([gap for gap, _ in samples])
    ok = np.array([good for _, good in samples], bool)
    spans = stretches(t_s, ok)
    rows = [row for span in spans for row in range(span.start, span.stop)]
    assert rows == list(np.flatnonzero(ok))
    for span in spans:
        inner = np.diff(t_s[span])
        assert not len(inner) or inner.max() <= 1.75 * np.median(np.diff(t_s)) + 1e-12


def test_finite_differences_of_a_parabola_are_exact_inside_and_never_cross_a_flag():
    t_s = np.arange(10) * 0.1
    ok = np.ones(10, bool)
    ok[[4, 8]] = False
    speeds = finite_differences(t_s, np.where(ok, t_s**2, 99.0), ok)
    np.testing.assert_allclose(speeds[[1, 2, 6]], 2.0 * t_s[[1, 2, 6]], atol=1e-12)
    # One-sided at the ends of a stretch: the slope of a chord is the speed in its middle.
    np.testing.assert_allclose(speeds[[0, 3, 5, 7]], (0.1, 0.5, 1.1, 1.3), atol=1e-12)
    assert np.isnan(speeds[[4, 8, 9]]).all()  # flagged twice, and alone between flag and end


def test_reported_speeds_come_before_finite_differences():
    t_s = np.arange(4) * 0.1
    position = np.outer(t_s, np.arange(8.0))
    assert series(t_s, position_rad=position).speeds_rad_s() == pytest.approx(
        np.tile(np.arange(8.0), (4, 1))
    )
    reported = np.full((4, 8), 7.0)
    given_both = series(t_s, position_rad=position, velocity_rad_s=reported)
    assert (given_both.speeds_rad_s() == 7.0).all()


def test_attitude_rates_are_differences_where_none_are_reported():
    t_s = np.arange(4) * 0.1
    attitude = AttitudeSeries(t_s, np.ones(4, bool), np.outer(t_s, (1.0, 2.0, 3.0)))
    assert attitude.rates_rad_s() == pytest.approx(np.tile((1.0, 2.0, 3.0), (4, 1)))
    reported = AttitudeSeries(t_s, attitude.ok, attitude.rpy_rad, np.zeros((4, 3)))
    assert not reported.rates_rad_s().any()


def test_leg_space_is_that_of_the_stack():
    leg = np.array((0.1, -0.2, 0.3, -0.4, 1.1, 1.2, 1.3, 1.4))
    swing, extension = series([0.0], position_rad=leg_to_motor(leg)[None]).leg_space()
    assert swing[0] == pytest.approx(leg[:4])
    assert extension[0] == pytest.approx(leg[4:])


def test_a_command_holds_until_the_next():
    at_s = np.array((0.5, 1.0, 1.5, 2.0, 9.0))
    assert list(held_rows(np.array((1.0, 2.0)), at_s)) == [-1, 0, 0, 1, 1]


def test_a_toe_ahead_of_the_hip_is_a_negative_swing():
    commands = FootCommands(np.zeros(1), np.full((1, 4), 0.1), np.array([[0.1, -0.1, 0.0, 0.0]]))
    swing, length = commands.leg_targets()
    assert swing[0] == pytest.approx((-math.pi / 4, math.pi / 4, 0.0, 0.0))
    assert length[0] == pytest.approx((math.sqrt(0.02), math.sqrt(0.02), 0.1, 0.1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"t_s": [0.0, 0.0]}, "increase strictly"),
        ({"t_s": [1.0, 0.0]}, "increase strictly"),
        ({"t_s": [0.0, math.nan]}, "finite"),
        ({"ok": [True]}, "ok has shape"),
        ({"position_rad": np.ones((2, 7))}, "position_rad has shape"),
        ({"duty": np.ones((3, 8))}, "duty has shape"),
        ({"current_a": np.ones((3, 8))}, "current_a has shape"),
        ({"torque_nm": np.full((2, 8), math.nan)}, "torque_nm of a good sample"),
    ],
)
def test_series_that_cannot_be_are_refused(change, words):
    with pytest.raises(RecordError, match=words):
        series(**{"t_s": [0.0, 0.1], **change})


def test_a_flagged_sample_may_be_nan():
    position = np.ones((2, 8))
    position[1] = math.nan
    assert len(series([0.0, 0.1], [True, False], position_rad=position).stretches()) == 1


def test_series_cannot_be_written_to():
    motors = series([0.0, 0.1])
    with pytest.raises(ValueError, match="read-only"):
        motors.position_rad[0, 0] = 5.0


def test_rates_and_net_distance():
    assert rate_hz(np.array((0.0, 0.01, 0.02, 0.5))) == pytest.approx(100.0)
    assert rate_hz(np.array((0.0,))) == 0.0
    path = np.array(((0.0, 0.0, 5.0), (9.0, 9.0, 9.0), (3.0, 4.0, 1.0)))
    assert MotionCapture(np.arange(3.0), path).distance_m == pytest.approx(5.0)


def test_flags_are_added_up_by_reason():
    counts = [(Reason.DUTY_RANGE, 2), (Reason.DAMAGED, 1), (Reason.DUTY_RANGE, 3)]
    flags = count_flags([*counts, (Reason.PAUSE, 0)])
    assert [(each.reason, each.samples) for each in flags] == [
        (Reason.DAMAGED, 1),
        (Reason.DUTY_RANGE, 5),
    ]


def test_a_record_lasts_from_its_first_to_its_last_sample():
    source = Source.of("a.log", b"abc", Board.OWN)
    motors = series([1.0, 2.0])
    commands = MotorCommands(np.array((0.5, 1.5)), np.ones((2, 8)), np.ones(2), np.zeros(2))
    record = Record(source, motors=motors, commands=commands)
    assert record.span_s == (0.5, 2.0)
    assert record.seconds == 1.5
    assert Record(source).seconds == 0.0
    assert source.sha256.startswith("ba7816bf8f01cfea")  # FIPS 180-2, appendix B.1


def test_stretches_of_a_record_need_the_attitude_too_if_it_has_the_same_times():
    motors = series(np.arange(6) * 0.1, [1, 1, 1, 1, 1, 0])
    ok = np.array([1, 0, 1, 1, 1, 1], bool)
    attitude = AttitudeSeries(motors.t_s, ok, np.zeros((6, 3)))
    source = Source.of("a.log", b"", Board.MAINBOARD)
    assert Record(source, motors, attitude).stretches() == [slice(0, 1), slice(2, 5)]
    assert Record(source, motors, attitude).stretches(0.15) == [slice(2, 5)]
    later = AttitudeSeries(motors.t_s + 0.01, ok, np.zeros((6, 3)))
    assert Record(source, motors, later).stretches() == [slice(0, 5)]
    assert Record(source).stretches() == []


def test_description_names_signals_and_flags():
    record = Record(
        Source.of("a.log", b"", Board.MAINBOARD),
        motors=series(np.arange(11) * 0.1, duty=np.zeros((11, 8))),
        flags=count_flags([(Reason.ENCODER_JUMP, 3)]),
    )
    text = describe(record)
    assert "a.log: stock mainboard, 1.0 s" in text
    assert "motors: angles, duties; 10 Hz, 11 of 11 samples good" in text
    assert "3  encoder that jumped" in text
    assert "nothing flagged" in describe(Record(record.source))
