"""Clocks keep their deadlines; the real-time set-up leaves no trace."""

import contextlib
import gc
import os
import signal
import sys
import time

import pytest

from deploy.loop.clock import WallClock, realtime


def test_the_wall_clock_is_never_early():
    clock = WallClock()
    for ahead_ns in (0, 50_000, 1_000_000, 5_000_000):
        deadline_ns = clock.now_ns() + ahead_ns
        clock.sleep_until_ns(deadline_ns)
        assert clock.now_ns() >= deadline_ns


def test_a_deadline_in_the_past_costs_no_sleep():
    clock = WallClock()
    began = time.perf_counter()
    for _ in range(100):
        clock.sleep_until_ns(clock.now_ns() - 1_000_000_000)
    assert time.perf_counter() - began < 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="interval timers as Linux has them")
def test_a_signal_does_not_cut_a_sleep_short():
    calls = []
    before = signal.signal(signal.SIGALRM, lambda *_: calls.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        clock = WallClock()
        deadline_ns = clock.now_ns() + 40_000_000
        clock.sleep_until_ns(deadline_ns)
        woke_ns = clock.now_ns()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert woke_ns >= deadline_ns
    assert calls  # the handlers did run


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_realtime_undoes_what_it_did(error):
    scheduler = os.sched_getscheduler(0)
    frozen = gc.get_freeze_count()
    with pytest.raises(error) if error else contextlib.nullcontext(), realtime() as setup:
        assert not gc.isenabled()
        assert setup.collector_off
        granted = os.sched_getscheduler(0) == os.SCHED_FIFO
        assert granted == setup.scheduler.startswith("SCHED_FIFO")
        if error:
            raise error
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen
    assert os.sched_getscheduler(0) == scheduler


def test_realtime_makes_do_without_permission(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with realtime() as setup:
        assert setup.scheduler == "SCHED_OTHER"
