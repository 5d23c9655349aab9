"""How late and how incomplete a loop may be, at the bound."""

import pytest

from deploy.errors import SafetyStop
from deploy.loop.pace import Pace

MS = 1_000_000
PERIOD_NS = 6 * MS


@pytest.fixture
def pace():
    return Pace(PERIOD_NS)


def run(pace, gaps, start_ns=0):
    """Tick with these gaps, in periods, until it stops; return the time of the stop, or None."""
    pace.begin(start_ns)
    now_ns = start_ns
    for gap in gaps:
        pace.tick(now_ns, now_ns)
        try:
            pace.check()
        except SafetyStop:
            return (now_ns - start_ns) / 1e9
        now_ns += gap * PERIOD_NS
    return None


@pytest.mark.parametrize("start_ns", [0, 10**15])
@pytest.mark.parametrize(
    "gaps",
    [
        [1] * 2000,
        [2] * 2000,  # half of the ticks, for ever: the bound itself
        [1, 3] * 1000,
        ([1] * 150 + [15]) * 20,  # a hiccup of 90 ms every second
        [1] * 500 + [80] + [1] * 500,  # half a second without a turn, once
    ],
)
def test_a_hiccup_and_even_half_the_rate_are_borne(pace, start_ns, gaps):
    assert run(pace, gaps, start_ns) is None


@pytest.mark.parametrize(
    ("gaps", "stop_s"),
    [
        # An inference of 66 ms at a period of 6 ms: 83 ticks, of which 83 - n were before the
        # start, span more than 167 periods once 83 + 10 n > 167, which is n = 9: 9 x 66 ms.
        ([11] * 100, 0.594),
        # Two of three ticks missed: 83 + 2 n > 167, n = 43: 43 x 18 ms.
        ([3] * 100, 0.774),
        ([1] * 400 + [3] * 100, 400 * 0.006 + 0.774),
        ([1] * 10 + [200] * 2, 10 * 0.006 + 1.2),  # a second without a turn
    ],
)
def test_more_than_half_of_a_second_missed_stops(pace, gaps, stop_s):
    assert run(pace, gaps) == pytest.approx(stop_s, abs=1e-9)


def test_the_stop_says_how_many_and_what_to_do(pace):
    pace.begin(0)
    for n in range(10):
        pace.tick(66 * MS * n, 66 * MS * n)
    with pytest.raises(SafetyStop) as stop:
        pace.check()
    assert str(stop.value).startswith("overruns: 90 of the last 173 ticks were missed, bound 50%")
    assert "close other programs" in str(stop.value)
    assert "--no-realtime" in str(stop.value)


def test_the_longest_delay_of_late_is_remembered_and_forgotten(pace):
    pace.begin(0)
    now_ns = 0
    for late_ms in (0, 100, 30, 0):
        now_ns += PERIOD_NS + late_ms * MS
        pace.tick(now_ns, now_ns)
    assert "late by 100 ms" in pace.excuse(100 * MS)
    assert pace.excuse(100 * MS + 1) == ""
    for _ in range(40):  # 240 ms on time
        now_ns += PERIOD_NS
        pace.tick(now_ns, now_ns)
    assert pace.excuse(1) == ""


def test_a_wake_up_after_its_deadline_is_a_delay(pace):
    pace.begin(0)
    pace.tick(0, 25 * MS)
    assert "late by 25 ms" in pace.excuse(20 * MS)
