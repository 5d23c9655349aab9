"""Clocks for the control loop, and what the operating system offers for keeping time.

``WallClock`` sleeps to absolute deadlines. The clock of a simulated robot lives beside its plant.
Nothing here starts a thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

NS_PER_S = 1_000_000_000

_TIMER_ABSTIME = 1
_MCL_CURRENT = 1
_FIFO_PRIORITY = 80  # above ordinary kernel threads' 50, below the watchdogs at 99
# How long before a deadline the clock is watched instead of slept on. The system wakes a thread
# some 0.1 ms late, and what it wakes has lost its caches. Watched for longer,
# the thread that reads the serial port would wait for the interpreter.
_WATCH_NS = 100_000


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class WallClock:
    """CLOCK_MONOTONIC.

    On Linux it sleeps with ``clock_nanosleep(TIMER_ABSTIME)``, so that being preempted between
    reading the clock and going to sleep costs nothing; elsewhere with ``time.sleep``. It wakes a
    little early and watches the clock for the rest.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        self._until = _Timespec()

    def now_ns(self) -> int:
        """Return nanoseconds since boot."""
        return time.monotonic_ns()

    def sleep_until_ns(self, deadline_ns: int) -> None:
        """Return at the deadline, or at once if it has passed; signals do not cut it short."""
        self._sleep_until_ns(deadline_ns - _WATCH_NS)
        while time.monotonic_ns() < deadline_ns:
            pass

    def _sleep_until_ns(self, deadline_ns: int) -> None:
        if self._libc is None:
            remaining_ns = deadline_ns - time.monotonic_ns()
            if remaining_ns > 0:
                time.sleep(remaining_ns / NS_PER_S)
            return
        self._until.tv_sec, self._until.tv_nsec = divmod(deadline_ns, NS_PER_S)
        # A signal ends the sleep with EINTR; its Python handler runs before the next call. Any
        # other result but 0 would be a bug of ours, and time to stop rather than to spin.
        while time.monotonic_ns() < deadline_ns:
            code = self._libc.clock_nanosleep(
                time.CLOCK_MONOTONIC, _TIMER_ABSTIME, ctypes.byref(self._until), None
            )
            if code not in (0, errno.EINTR):
                raise OSError(code, f"clock_nanosleep: {os.strerror(code)}")


@dataclass(frozen=True, slots=True)
class RealTimeSetup:
    """What the operating system granted to the loop's thread.

    Attributes:
        scheduler: "SCHED_FIFO 80", or "SCHED_OTHER" where that was refused.
        memory_locked: Pages are locked, so that none has to be fetched within a tick.
        collector_off: Python's cyclic garbage collector stands still.
    """

    scheduler: str = "SCHED_OTHER"
    memory_locked: bool = False
    collector_off: bool = False


@contextlib.contextmanager
def realtime() -> Iterator[RealTimeSetup]:
    """Make the calling thread as punctual as permitted; undo it all on leaving.

    Best effort: the yielded value says which measures the system granted.
    Enter it once everything the loop touches is allocated: only pages that exist are locked, since
    locking those to come would make a later allocation fail under a memory-lock limit.
    """
    gc.collect()
    gc.freeze()
    collector_was_on = gc.isenabled()
    gc.disable()
    scheduler_was = _enter_fifo()
    locked = _lock_memory()
    scheduler = "SCHED_OTHER" if scheduler_was is None else f"SCHED_FIFO {_FIFO_PRIORITY}"
    try:
        yield RealTimeSetup(scheduler, memory_locked=locked, collector_off=True)
    finally:
        if locked:
            ctypes.CDLL(None).munlockall()
        if scheduler_was is not None:
            os.sched_setscheduler(0, *scheduler_was)
        if collector_was_on:
            gc.enable()
        gc.unfreeze()


def _enter_fifo() -> tuple[int, os.sched_param] | None:
    """Put the calling thread ahead of ordinary ones; return its policy before, None if refused."""
    if sys.platform != "linux":
        return None
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_FIFO_PRIORITY))
    except PermissionError:
        return None
    return before


def _lock_memory() -> bool:
    return sys.platform == "linux" and bool(ctypes.CDLL(None).mlockall(_MCL_CURRENT) == 0)
