"""The board's clock, seen from the host: when a state was true, and whether the clock is sound.

No I/O, and time is an argument. All that is known of the board's clock is the number in each state
and when the state arrived.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

# Two quartz clocks part by at most this; the estimate of their offset must not lag behind.
MAX_DRIFT = 200e-6

_U32 = 0xFFFFFFFF
# After a longer silence the board's clock may have wrapped unseen: nothing follows from it then.
_CLOCK_MEMORY_NS = 600_000_000_000
# A clock that is ahead of its own states and of the host's by so much has jumped. Lost ticks, and
# states that no longer wait in a buffer, explain either of the two, and less than this of both.
JUMP_NS = 50_000_000

# The shortest windows in which drift is looked for; those of each next level are twice as long. A
# window lasts until bytes have arrived so often: on a computer that stalls, the least of few delays
# says nothing.
_WINDOW_NS, _ARRIVALS = 50_000_000, 16
_LEVELS = 13  # up to 205 s
# A drift must show in so many windows in a row: a line that becomes slower once does not drift.
_WINDOWS = 4
# What the least delay of a window may differ by on a sound clock, by level; the last one holds for
# all longer windows. The shortest windows have few states.
_NOISE_NS = (8_000_000, 4_000_000, 1_500_000, 1_000_000)


_BITS_PER_BYTE = 10


def line_ns(size: int, baud: int) -> int:
    """Return the time that so many bytes take on a serial line, 8N1, in ns."""
    return size * _BITS_PER_BYTE * 1_000_000_000 // baud


class BoardClock:
    """Maps the board's clock to the host's.

    Every state arrives later than it was read, by a delay that is never negative and at times very
    small. So the least difference between arrival and reading so far is the offset of the clocks,
    plus that least delay. A board's clock that runs slow makes the differences grow, and a plain
    minimum would never follow: it grows with time by as much as two clocks may drift apart.

    Args:
        line_ns: Time that a state is on the wire at least, known from its length and the baud rate.

    Attributes:
        fault: What is wrong with the board's clock, as the rest of a sentence; "" if nothing is.
    """

    def __init__(self, line_ns: int) -> None:
        self._line_ns = line_ns
        self._board_us = 0
        self.restart()

    def restart(self) -> None:
        """Forget the offset and the fault: the board's clock began anew."""
        self._offset_ns: int | None = None
        self._updated_ns = 0
        self._drift = DriftWatch()
        self.fault = ""

    def ahead_us(self, time_us: int, received_ns: int) -> int | None:
        """Return how far this time is ahead of the newest one; None if that cannot be known."""
        if self._offset_ns is None or received_ns - self._updated_ns >= _CLOCK_MEMORY_NS:
            return None
        return ahead(time_us, self._board_us, _U32)

    def note_standstill(self) -> None:
        """Take note that newer states bear no newer time."""
        self.fault = self.fault or "stands still or ran back"

    def to_host_ns(self, time_us: int, received_ns: int, expected_us: int | None = None) -> int:
        """Return the host time of ``time_us``, at most ``received_ns``; it never goes back.

        Args:
            time_us: The board's time in a state; wraps.
            received_ns: When the state arrived.
            expected_us: Time since the state before, by their numbers; None if it is not known.
        """
        advanced_us = self.ahead_us(time_us, received_ns)
        self._board_us += (time_us - self._board_us) & _U32
        offset_ns = received_ns - 1000 * self._board_us
        if self._offset_ns is None or advanced_us is None:
            self._drift = DriftWatch()
            self._offset_ns = offset_ns
        else:
            ahead_ns = self._offset_ns - offset_ns
            if expected_us is not None and ahead_ns > JUMP_NS:
                jump_us = advanced_us - expected_us
                if 1000 * jump_us > JUMP_NS:
                    self.fault = self.fault or f"jumped ahead by {jump_us / 1000:.0f} ms"
            drift_ns = int((received_ns - self._updated_ns) * MAX_DRIFT)
            self._offset_ns = min(offset_ns, self._offset_ns + drift_ns)
        self._updated_ns = received_ns
        drift = self._drift.add(received_ns, offset_ns)
        if drift is not None:
            pace = "fast" if drift > 0 else "slow"
            self.fault = self.fault or f"runs {abs(drift) * 1e6:.0f} ppm {pace}"
        return 1000 * self._board_us + self._offset_ns - self._line_ns


class DriftWatch:
    """Finds a board's clock that drifts from the host's by more than ``MAX_DRIFT``.

    In a window of time, the least difference between arrival and reading has the least delay in it.
    On sound clocks these least differences stay equal from window to window, but for some noise. A
    drift makes them rise or fall in every window. Small drifts drown in the noise of short windows
    and show in long ones, so windows of many lengths are looked at, each twice as long as the last.
    A drift is found when the clocks have parted by some milliseconds, whatever the drift is.
    """

    def __init__(self) -> None:
        # Of each level: the newest windows' least differences, and when they were.
        self._levels: list[deque[tuple[int, int]]] = [deque(maxlen=_WINDOWS)]
        self._closed = [0]
        self._window: tuple[int, int] | None = None
        self._ends_ns = self._newest_ns = self._arrivals = 0

    def add(self, received_ns: int, offset_ns: int) -> float | None:
        """Take one difference between arrival and reading.

        Returns:
            The drift of the board's clock against the host's, 1 ppm being 1e-6, positive for a
            board's clock that runs fast, if one was found just now; else None.
        """
        drift = None
        is_over = received_ns >= self._ends_ns and self._arrivals >= _ARRIVALS
        if self._window is not None and is_over and received_ns != self._newest_ns:
            drift = self._close(0, self._window)
            self._window = None
        if self._window is None:
            self._ends_ns = received_ns + _WINDOW_NS
            self._arrivals = 0
        self._arrivals += received_ns != self._newest_ns
        self._newest_ns = received_ns
        if self._window is None or offset_ns < self._window[1]:
            self._window = received_ns, offset_ns
        return drift

    def _close(self, level: int, window: tuple[int, int]) -> float | None:
        """Take a window that has passed; every second one is a longer one, with the one before."""
        windows = self._levels[level]
        windows.append(window)
        self._closed[level] += 1
        found = _drift(list(windows), _NOISE_NS[min(level, len(_NOISE_NS) - 1)])
        if self._closed[level] % 2 == 0 and level + 1 < _LEVELS:
            if level + 1 == len(self._levels):
                self._levels.append(deque(maxlen=_WINDOWS))
                self._closed.append(0)
            longer = min(windows[-2], windows[-1], key=lambda point: point[1])
            found = self._close(level + 1, longer) or found
        return found


def _drift(windows: list[tuple[int, int]], noise_ns: int) -> float | None:
    """Return the drift that every pair of neighbours among the windows shows; None without one."""
    if len(windows) < _WINDOWS:
        return None
    for sign in (1, -1):
        if all(
            sign * (before - after) > noise_ns + MAX_DRIFT * (t_after - t_before)
            for (t_before, before), (t_after, after) in pairwise(windows)
        ):
            (t_first, first), (t_last, last) = windows[0], windows[-1]
            return (first - last) / (t_last - t_first)
    return None


def ahead(newer: int, older: int, mask: int) -> int:
    """Return how far a wrapping counter is ahead of another; negative if behind."""
    half = (mask + 1) // 2
    return ((newer - older + half) & mask) - half
