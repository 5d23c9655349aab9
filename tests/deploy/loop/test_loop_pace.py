"""The loop's pace, to the nanosecond, on a clock that passes only when told."""

import numpy as np
import pytest

from deploy.errors import RunError
from deploy.loop.clock import VirtualClock
from deploy.loop.loop import next_deadline_ns
from deploy.loop.modes import LoopMode

MS = 1_000_000
PERIOD_NS = 6 * MS
# Ticks of a whole run on the bench: standing up, RUN, FINISH, DAMP.
STAND_UP, RUN, FINISH, DAMP = 5, 10, 2, 3


def modes(log):
    """Number of ticks in each mode."""
    return [int((log.mode == mode).sum()) for mode in LoopMode]


@pytest.mark.parametrize(
    ("now_ms", "next_ms"),
    [(0.2, 6), (5.9, 6), (6, 6), (6.001, 12), (12, 12), (20, 24), (600.5, 606)],
)
def test_next_deadline(now_ms, next_ms):
    assert next_deadline_ns(0, PERIOD_NS, round(now_ms * MS)) == next_ms * MS


def test_on_time_every_deadline_is_a_period_after_the_one_before(bench):
    b = bench()
    b.loop.run()
    assert set(np.diff(b.log.deadline_ns)) == {PERIOD_NS}
    assert (b.log.woke_ns == b.log.deadline_ns).all()
    assert not b.log.missed.any()


def test_missed_ticks_are_skipped_counted_and_never_caught_up(bench):
    b = bench()
    slow = STAND_UP + 2  # the third tick of RUN takes 20 ms: 6, 12 and 18 ms later are missed
    b.robot.writing = lambda n: b.clock.delay_ns(20 * MS) if n == slow else None
    b.loop.run()
    log = b.log
    assert log.missed.tolist() == [3 if n == slow else 0 for n in range(len(log) - 1)]
    assert (log.woke_ns == log.deadline_ns).all()
    # The policy's time goes on with the world's: 12 ms, then 36 ms; RUN still lasts 60 ms.
    assert log.policy_t_s[log.run].tolist() == pytest.approx(
        [0.0, 0.006, 0.012, 0.036, 0.042, 0.048, 0.054]
    )
    assert modes(log) == [STAND_UP, RUN - 3, FINISH, DAMP, 0]


def test_work_that_takes_a_little_too_long_halves_the_rate_but_keeps_the_grid(bench):
    b = bench()
    b.robot.writing = lambda n: b.clock.delay_ns(6 * MS + 1)
    b.loop.run()
    assert set(np.diff(b.log.deadline_ns)) == {2 * PERIOD_NS}
    assert set(b.log.missed) == {1}


class LateClock(VirtualClock):
    """Oversleeps once."""

    def __init__(self, now_ns, sleep, late_ns):
        super().__init__(now_ns)
        self.sleeps, self.sleep, self.late_ns = 0, sleep, late_ns

    def sleep_until_ns(self, deadline_ns):
        super().sleep_until_ns(deadline_ns)
        if self.sleeps == self.sleep:
            self.delay_ns(self.late_ns)
        self.sleeps += 1


@pytest.mark.parametrize(("late_ms", "policy_ms", "missed"), [(2, 12, 0), (7, 18, 1), (13, 24, 2)])
def test_a_late_wake_up_is_measured_and_the_policy_told_the_right_time(
    bench, late_ms, policy_ms, missed
):
    b = bench()
    clock = LateClock(0, STAND_UP + 2, late_ms * MS)
    b.loop._clock = b.robot.clock = clock
    b.loop.run()
    log = b.log
    jitter = (log.woke_ns - log.deadline_ns)[log.run]
    assert jitter[2] == late_ms * MS
    assert jitter.sum() == late_ms * MS
    assert log.policy_t_s[log.run][2] == pytest.approx(policy_ms / 1e3)
    assert log.missed[log.run].sum() == missed


def test_another_period_may_be_asked_for(bench):
    b = bench(period_s=0.010)
    b.loop.run()
    assert set(np.diff(b.log.deadline_ns)) == {10 * MS}
    assert modes(b.log) == [3, 6, 2, 2, 0]


def test_a_period_that_commands_would_not_outlast_is_refused(bench):
    bench(period_s=0.040)
    with pytest.raises(RunError, match="too long"):
        bench(period_s=0.041)
