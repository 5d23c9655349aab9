"""Logs of the stock mainboard: what is in them, and what is wrong with them."""

import math
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from calibration.errors import RecordError
from calibration.readers import read_openlog
from calibration.record import Board, Reason

STALL_NM = 0.0954 * 16.0 / 0.186


def flags(record):
    return {flag.reason: flag.samples for flag in record.flags}


def test_a_log_is_read_whole_in_motor_space_and_si_units(make_openlog, write):
    log = make_openlog()
    record = read_openlog(write(log.data))
    motors = record.motors
    assert record.flags == ()
    assert record.source.board is Board.MAINBOARD
    assert motors.t_s == pytest.approx(np.arange(100) * 0.01)
    assert motors.ok.all()
    for motor in range(8):
        assert motors.position_rad[:, motor] == pytest.approx(log.column(f"q{motor}"), abs=1e-6)
        sign = 1.0 if motor < 4 else -1.0
        assert motors.duty[:, motor] == pytest.approx(sign * 0.1 * (motor + 1) / STALL_NM)
    assert record.attitude.rpy_rad[25] == pytest.approx((0.01, 0.1 * math.sin(math.pi), -0.5))
    assert record.attitude.rate_rad_s is None
    assert record.battery is None
    assert record.commands is None
    assert record.speed.speed_mps == pytest.approx(0.7)


def test_later_firmware_adds_rates_and_the_battery(make_openlog, write):
    record = read_openlog(write(make_openlog(later_firmware=True).data))
    assert record.attitude.rate_rad_s[7] == pytest.approx((0.1, 0.2, 0.3))
    assert record.battery.voltage_v == pytest.approx(15.5)
    assert record.flags == ()


def test_columns_count_by_name_not_by_place(make_openlog, write):
    log = make_openlog()
    expected = read_openlog(write(log.data)).motors
    log.names.insert(1, "extra")
    log.format = log.format[0] + "h" + log.format[1:]
    for row in log.rows:
        row.insert(1, -7)
    motors = read_openlog(write(log.data)).motors
    assert np.array_equal(motors.position_rad, expected.position_rad)


@pytest.mark.parametrize("time", ["q", "L", "l", "i"])
def test_times_of_any_integer_and_counts_in_the_format_are_read(make_openlog, write, time):
    log = make_openlog()
    log.format = f"{time}20fB"
    record = read_openlog(write(log.data))
    assert record.motors.t_s == pytest.approx(np.arange(100) * 0.01)
    assert record.flags == ()


def test_a_damaged_place_counts_once_however_many_sync_bytes_are_in_it(make_openlog, write):
    log = make_openlog()
    frames = log.frames
    frames[40] = b"\xaa\xbb\x00\x01" * 20
    assert flags(read_openlog(write(log.header + b"".join(frames))))[Reason.DAMAGED] == 1


def test_a_damaged_record_costs_itself_only(make_openlog, write):
    log = make_openlog()
    frames = log.frames
    frames[40] = frames[40][:30] + frames[40][35:]  # five bytes lost
    frames[60] = frames[60][:30] + b"12345" + frames[60][30:]  # five bytes too many
    record = read_openlog(write(log.header + b"".join(frames)))
    left = [k for k in range(100) if k not in (40, 60)]
    assert record.motors.t_s == pytest.approx(np.array(left) * 0.01)
    assert flags(record) == {Reason.DAMAGED: 2, Reason.GAP: 2}
    assert [(s.start, s.stop) for s in record.motors.stretches()] == [(0, 40), (40, 59), (59, 98)]


def test_a_record_cut_off_by_the_end_is_counted(make_openlog, write):
    log = make_openlog()
    for cut in (1, 2, 86):
        record = read_openlog(write(log.data + log.frames[0][:cut]))
        assert len(record.motors) == 100
        assert flags(record) == {Reason.CUT_OFF: 1}


def test_sync_bytes_inside_of_records_mislead_nobody(make_openlog, write):
    log = make_openlog()
    (misleading,) = struct.unpack("<f", b"\xaa\xbb\xaa\x3e")
    for row in range(100):
        log.set(row, r=misleading)
    record = read_openlog(write(log.data))
    assert len(record.motors) == 100
    assert record.flags == ()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 99 * 87), st.integers(1, 400), st.binary(max_size=300))
def test_whatever_is_damaged_the_rest_is_read_as_it_was(make_openlog, write, at, lost, junk):
    # The begin of one record and the end of another, 87 bytes in all: there is no checksum, and who
    # jumped, this one or its neighbours, cannot be told.
    assume((lost - len(junk)) % 87 != 0)
    log = make_openlog()
    body = b"".join(log.frames)
    data = log.header + body[:at] + junk + body[at + lost :]
    record = read_openlog(write(data))
    motors = record.motors
    # Records before the damage but for the last, which nothing confirms, and those behind it.
    before, after = at // 87 - 1, -(-(at + lost) // 87)
    # The clock of the file begins with the first record that was read.
    whole = [k for k in range(100) if k < before or k >= after]
    if not whole:
        return
    t_ms = np.round(motors.t_s * 1e3 - motors.t_s[-1] * 1e3 + 990).astype(int)
    found = dict(zip(t_ms, motors.position_rad, strict=True))
    if whole[-1] != 99:
        return
    for k in whole:
        expected = [log.rows[k][log.names.index(f"q{i}")] for i in range(8)]
        assert found[10 * k] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("samples", [1, 2, 5])
@pytest.mark.parametrize("offset", [math.pi, -math.pi, 2.0])
def test_an_encoder_that_jumps_is_flagged_for_as_long_as_it_does(
    make_openlog, write, samples, offset
):
    log = make_openlog()
    for row in range(50, 50 + samples):
        log.set(row, q6=log.column("q6")[row] + offset)
    record = read_openlog(write(log.data))
    assert list(np.flatnonzero(~record.motors.ok)) == list(range(50, 50 + samples))
    assert flags(record) == {Reason.ENCODER_JUMP: samples}
    assert np.isnan(record.motors.position_rad[50]).all()
    assert np.isnan(record.motors.duty[50]).all()


def test_half_a_turn_between_lost_records_is_no_motion(make_openlog, write):
    log = make_openlog()
    log.set(50, q6=log.column("q6")[50] + math.pi)
    del log.rows[51], log.rows[49]
    record = read_openlog(write(log.data))
    assert flags(record) == {Reason.ENCODER_JUMP: 1, Reason.GAP: 2}


@pytest.mark.parametrize("rows", [range(0, 2), range(98, 100)])
def test_a_jump_at_either_end_is_flagged(make_openlog, write, rows):
    log = make_openlog()
    for row in rows:
        log.set(row, q0=log.column("q0")[row] + math.pi)
    motors = read_openlog(write(log.data)).motors
    assert list(np.flatnonzero(~motors.ok)) == list(rows)


def test_an_encoder_that_stays_off_by_half_a_turn_is_not_believed(make_openlog, write):
    log = make_openlog()
    for row in range(70, 100):
        log.set(row, q3=log.column("q3")[row] + math.pi)
    assert flags(read_openlog(write(log.data))) == {Reason.ENCODER_JUMP: 30}


def test_an_angle_that_wraps_goes_on(make_openlog, write):
    log = make_openlog()
    true = np.linspace(2.5, 4.5, 100)
    for row, angle in enumerate(true):
        log.set(row, q6=math.remainder(angle, math.tau))
    record = read_openlog(write(log.data))
    assert record.flags == ()
    assert record.motors.position_rad[:, 6] == pytest.approx(true, abs=1e-5)


def test_angles_count_whole_turns_from_the_usual_pose(make_openlog, write):
    log = make_openlog()
    true = log.column("q2")
    for row in range(100):
        log.set(row, q2=true[row] - math.tau)
    assert read_openlog(write(log.data)).motors.position_rad[:, 2] == pytest.approx(true, abs=1e-5)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"q1": math.nan}, Reason.NOT_FINITE),
        ({"u1": math.inf}, Reason.NOT_FINITE),
        ({"q1": -6.28e2}, Reason.ANGLE_RANGE),
        ({"q1": -3.8e24}, Reason.ANGLE_RANGE),
        ({"u5": 1.06 * STALL_NM}, Reason.DUTY_RANGE),
        ({"mo": 0}, Reason.MOTORS_OFF),
    ],
)
def test_a_value_that_cannot_be_flags_its_sample(make_openlog, write, values, reason):
    log = make_openlog()
    log.set(30, **values)
    record = read_openlog(write(log.data))
    assert flags(record).pop(reason) == 1
    assert list(np.flatnonzero(~record.motors.ok)) == [30]
    assert record.attitude.ok.all()


def test_full_duty_is_no_fault(make_openlog, write):
    log = make_openlog()
    log.set(30, u0=STALL_NM, u7=-STALL_NM)
    record = read_openlog(write(log.data))
    assert record.flags == ()
    assert record.motors.duty[30, [0, 7]] == pytest.approx((1.0, 1.0))


def test_an_attitude_that_cannot_be_leaves_the_motors_alone(make_openlog, write):
    log = make_openlog()
    log.set(30, p=1.8)
    record = read_openlog(write(log.data))
    assert flags(record) == {Reason.ATTITUDE_RANGE: 1}
    assert list(np.flatnonzero(~record.attitude.ok)) == [30]
    assert record.motors.ok.all()


def test_a_log_that_knows_no_mode_but_0_is_used(make_openlog, write):
    log = make_openlog()
    for row in range(100):
        log.set(row, mo=0)
    assert read_openlog(write(log.data)).flags == ()


def test_a_time_that_comes_twice_is_left_out(make_openlog, write):
    log = make_openlog()
    log.rows.insert(20, log.rows[20])
    record = read_openlog(write(log.data))
    assert len(record.motors) == 100
    assert flags(record) == {Reason.REPEATED_TIME: 1}


@pytest.mark.parametrize("wrong", [0, 5100, 4_000_000_000])
def test_a_single_wrong_time_is_left_out(make_openlog, write, wrong):
    log = make_openlog()
    log.set(20, t=wrong)
    record = read_openlog(write(log.data))
    assert record.motors.t_s[18:21] == pytest.approx((0.18, 0.19, 0.21))
    assert flags(record) == {Reason.WRONG_TIME: 1, Reason.GAP: 1}


def test_a_pause_and_a_reset_of_the_clock_part_runs(make_openlog, write):
    log = make_openlog(300)
    for row in range(100, 200):
        log.set(row, t=20_000 + 10 * row)
    for row in range(200, 300):
        log.set(row, t=10 * (row - 200))
    record = read_openlog(write(log.data))
    spans = record.motors.stretches()
    assert [(s.start, s.stop) for s in spans] == [(0, 100), (100, 200), (200, 300)]
    assert flags(record) == {Reason.CLOCK_RESET: 1, Reason.PAUSE: 1}
    assert (np.diff(record.motors.t_s) > 0.0).all()
    assert record.motors.t_s[200] - record.motors.t_s[199] == pytest.approx(10.0)


def test_windows_line_ends_in_the_header_are_read(make_openlog, write):
    log = make_openlog()
    data = log.header.replace(b"\n", b"\r\n") + b"".join(log.frames)
    assert len(read_openlog(write(data)).motors) == 100


@pytest.mark.parametrize(
    ("make_data", "words"),
    [
        (lambda log: b"", "is empty"),
        (lambda log: b"hello\nworld\n", "no log of the stock mainboard"),
        (lambda log: log.header[:20], "ends within its two header lines"),
        (lambda log: log.header[:-1], "ends within its two header lines"),
        (lambda log: log.header, "not one whole record"),
        (lambda log: log.header + b"\xaa\xbb" + bytes(20), "not one whole record"),
        (lambda log: log.data.replace(b"IffffffffffffffffffffB", b"IfffB"), "struct format"),
        (lambda log: log.data.replace(b"IffffffffffffffffffffB", b"I999999999fB"), "struct format"),
        (lambda log: log.data.replace(b",q7,", b",k7,"), "lacks the columns q7"),
        (lambda log: log.data.replace(b",q7,", b",q6,"), "struct format"),
        (lambda log: log.header + b"".join(log.frames[:20]), "too short"),
    ],
)
def test_a_file_that_is_no_log_is_refused_by_its_cause(make_openlog, write, make_data, words):
    path = write(make_data(make_openlog()))
    with pytest.raises(RecordError, match=words) as refusal:
        read_openlog(path)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("channel", "value", "words"), [("q", 1.5, "no motion"), ("u", 0.0, "all duties are 0")]
)
def test_a_robot_that_stands_still_or_that_nothing_drives_is_refused(
    make_openlog, write, channel, value, words
):
    log = make_openlog()
    for row in range(100):
        log.set(row, **{f"{channel}{i}": value for i in range(8)})
    with pytest.raises(RecordError, match=words):
        read_openlog(write(log.data))


def test_a_clock_that_jumps_all_the_time_is_refused(make_openlog, write):
    log = make_openlog()
    for row in range(0, 100, 3):
        log.set(row, t=0)
    with pytest.raises(RecordError, match="clock jumps in"):
        read_openlog(write(log.data))


def test_a_log_without_a_good_sample_is_refused(make_openlog, write):
    log = make_openlog()
    for row in range(100):
        log.set(row, q0=math.nan)
    with pytest.raises(RecordError, match="not one of its 100 samples"):
        read_openlog(write(log.data))


def test_a_huge_file_is_refused(tmp_path, make_openlog):
    path = tmp_path / "huge.log"
    with path.open("wb") as file:
        file.write(make_openlog().data)
        file.truncate(2**25 + 1)
    with pytest.raises(RecordError, match="larger than 32 MiB"):
        read_openlog(path)
    with path.open("r+b") as file:
        file.truncate(2**27 + 1)
    with pytest.raises(RecordError, match="larger than 128 MiB"):
        read_openlog(path)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(RecordError, match="No such file"):
        read_openlog(tmp_path / "none.log")
    with pytest.raises(RecordError, match="a folder or a device"):
        read_openlog(tmp_path)
