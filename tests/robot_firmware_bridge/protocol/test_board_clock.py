"""A board's clock as a host sees it: stamps, drift, and the noise that is none."""

from __future__ import annotations

import numpy as np
import pytest

from robot_firmware_bridge.protocol.board_clock import BoardClock

MS = 1_000_000


def test_stamps_are_as_good_as_the_fastest_arrival():
    """Delays of 0.3 to 5.3 ms: soon every stamp is 0.3 ms late, less the time on the line."""
    rng = np.random.default_rng(0)
    clock = BoardClock(line_ns=200_000)
    errors = []
    for i in range(500):
        read_ns = i * 2 * MS
        delay_ns = 300_000 + (0 if i % 50 == 49 else int(rng.uniform(0, 5 * MS)))
        board_us = (read_ns // 1000 + 4_294_000_000) % 2**32  # wraps on the way
        errors.append(clock.to_host_ns(board_us, 10**15 + read_ns + delay_ns) - 10**15 - read_ns)
    # Between two fastest arrivals, 100 ms apart, the estimate is let up by 20 us at most.
    assert min(errors[100:]) >= 100_000
    assert max(errors[100:]) <= 121_000


@pytest.mark.parametrize("drift_ppm", [-150, 150])
def test_a_clock_that_drifts_is_followed(drift_ppm):
    clock = BoardClock(line_ns=0)
    for i in range(50_000):  # 100 s, after which the clocks are 15 ms apart
        read_ns = i * 2 * MS
        t_ns = clock.to_host_ns(int(read_ns * (1 - drift_ppm * 1e-6)) // 1000, read_ns)
    assert abs(t_ns - read_ns) < 2_000


def test_stamps_never_go_back_nor_beyond_the_arrival():
    clock = BoardClock(line_ns=0)
    stamps = [
        clock.to_host_ns(2000 * i, arrival) for i, arrival in enumerate([9 * MS, 9 * MS, 9 * MS])
    ]
    assert stamps == sorted(stamps)
    assert max(stamps) <= 9 * MS


def test_a_backlog_is_stamped_with_when_it_was_read():
    clock = BoardClock(line_ns=0)
    for i in range(10):
        clock.to_host_ns(2000 * i, 2 * MS * i)
    late = [clock.to_host_ns(2000 * i, 1000 * MS) for i in range(10, 20)]
    expected = [2 * MS * i for i in range(10, 20)]
    np.testing.assert_allclose(late, expected, atol=200_000)  # 1 s at 200 ppm


def test_after_an_hour_of_silence_the_clock_is_learned_anew():
    clock = BoardClock(line_ns=0)
    clock.to_host_ns(0, 0)
    hour_ns = 3600 * 1000 * MS
    assert clock.ahead_us(2**31 + 5, hour_ns) is None
    # 75 minutes are more than a wrap: by the old offset this reading would be 71 minutes old.
    now_ns = 75 * 60 * 1000 * MS
    assert clock.to_host_ns(now_ns // 1000 % 2**32, now_ns) == now_ns


def seconds_until_found(drift, most_s, delay_ns):
    """Return when a clock that runs by this much fast is found at fault; None if it is not."""
    clock = BoardClock(line_ns=0)
    for i in range(round(most_s * 500)):
        read_ns = i * 2 * MS
        board_us = int(read_ns * (1 + drift)) // 1000 % 2**32
        clock.to_host_ns(board_us, 10**12 + read_ns + delay_ns(i), 2000)
        if clock.fault:
            return read_ns / 1e9, clock.fault
    return None


def jitter(seed, scale_ns=1_000_000):
    """Delays of 0.2 ms and an exponential tail."""
    delays_ns = 200_000 + np.random.default_rng(seed).exponential(scale_ns, 400_000)
    return lambda i: int(delays_ns[i % len(delays_ns)])


@pytest.mark.parametrize(
    ("ppm", "within_s"),
    [(200_000, 0.25), (-200_000, 0.25), (10_000, 1.0), (-2000, 4.0), (1000, 8.0), (-500, 30.0)],
)
def test_a_drift_is_found_before_states_look_old_and_named(ppm, within_s):
    """A state looks stale when it is 18 ms old: the clocks may part by half of that."""
    found_s, fault = seconds_until_found(ppm * 1e-6, within_s, jitter(1))
    excess_ms = max(0, -ppm - 200) * 1e-3 * found_s
    # Except for a clock that is so slow that states look stale after two windows of 50 ms.
    assert excess_ms < 9.0 or ppm == -200_000
    named, pace = fault.split()[1], fault.split()[-1]
    assert float(named) == pytest.approx(abs(ppm), rel=0.5)
    assert pace == ("fast" if ppm > 0 else "slow")


@pytest.mark.parametrize("ppm", [-190, -50, 0, 50, 190])
def test_quartz_clocks_are_no_fault(ppm):
    assert seconds_until_found(ppm * 1e-6, 120, jitter(2)) is None


def test_an_adapter_that_holds_bytes_is_no_drift():
    """Bytes leave every 16 ms of a clock that is 100 ppm off: the delay of the newest wanders."""

    def held(i):
        read_ns = i * 2 * MS + 200_000
        return -(-read_ns // 16_001_600) * 16_001_600 - i * 2 * MS

    assert seconds_until_found(0.0, 120, held) is None


def test_a_line_that_becomes_slower_or_faster_once_is_no_drift():
    for steps_ms in ([0, 8], [8, 0], [0, 8, 16], [16, 8, 0]):
        assert (
            seconds_until_found(0.0, 30, lambda i, s=steps_ms: s[i * len(s) // 15_000] * MS) is None
        )


def test_a_computer_that_stalls_now_and_then_is_no_drift():
    rng = np.random.default_rng(4)
    ends = np.zeros(15_000)
    for begin in rng.integers(0, 14_500, 100):  # for 10 to 400 ms nothing is read
        length = rng.integers(5, 200)
        ends[begin : begin + length] = (begin + length - np.arange(begin, begin + length)) * 2 * MS
    assert seconds_until_found(0.0, 30, lambda i: int(ends[i]) + 100_000) is None


@pytest.mark.parametrize("seed", range(5))
def test_an_overloaded_computer_is_no_drift(seed):
    """Reader and board each get a turn every 5 to 80 ms; the board is late by up to 20 ms."""
    rng = np.random.default_rng(seed)
    turns_ns = np.cumsum(rng.integers(5 * MS, 80 * MS, 2000))
    late_ns = rng.integers(0, 20 * MS, 15_000)

    def delay_ns(i):
        sent_ns = i * 2 * MS + int(late_ns[i])
        return int(turns_ns[np.searchsorted(turns_ns, sent_ns)]) - i * 2 * MS

    assert seconds_until_found(0.0, 30, delay_ns) is None


def test_a_clock_that_began_anew_has_no_fault():
    clock = BoardClock(line_ns=0)
    clock.note_standstill()
    clock.restart()
    assert clock.fault == ""
