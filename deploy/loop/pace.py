"""How punctual the loop itself is: the share of ticks that it misses, and how late it woke last.

A robot that stops for want of a command is the victim of a late computer. Without this, the report
would name the victim only.
"""

from __future__ import annotations

from deploy.errors import SafetyStop

NS_PER_MS = 1_000_000

# More than half of the ticks missed over a second ends a run. A policy then acts at less than half
# of the rate that it was trained for, second after second. A short stall of a shared computer does
# not get there: half a second without a turn is the watchdog's business, which damps after 80 ms.
WINDOW_NS = 1_000_000_000
MAX_MISSED_SHARE = 0.5
# A robot reports the consequence of a late tick within a few ticks; older delays explain nothing.
MEMORY_NS = 200_000_000
CURE = "close other programs; the simulator may run with --no-realtime"


class Pace:
    """Counts the missed ticks of the last half to whole second, and remembers the last long delay.

    It works on the grid of deadlines: ``ticks`` ticks that were run should span ``ticks`` periods.
    If they span the whole window, too many between them were missed.
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._window = round(WINDOW_NS / period_ns)
        self._ticks = max(1, int(self._window * (1.0 - MAX_MISSED_SHARE)))
        self.begin(0)

    def begin(self, now_ns: int) -> None:
        """Start with the first deadline at this time, as if all before had been met."""
        self._deadlines = [now_ns - k * self._period_ns for k in range(self._ticks, 0, -1)]
        self._oldest = 0
        self._woke_ns = now_ns
        self._late_ns, self._late_at_ns = 0, now_ns
        self._spanned = self._ticks

    def tick(self, deadline_ns: int, woke_ns: int) -> None:
        """Note a tick: when it was due, and when it began."""
        late_ns = max(woke_ns - self._woke_ns - self._period_ns, woke_ns - deadline_ns)
        if late_ns >= self._late_ns or woke_ns - self._late_at_ns > MEMORY_NS:
            self._late_ns, self._late_at_ns = late_ns, woke_ns
        self._woke_ns = woke_ns
        self._spanned = (deadline_ns - self._deadlines[self._oldest]) // self._period_ns
        self._deadlines[self._oldest] = deadline_ns
        self._oldest = (self._oldest + 1) % self._ticks

    @property
    def missed_share(self) -> float:
        """Share of the last ticks that were missed, in [0, 1)."""
        return 1.0 - self._ticks / max(self._spanned, self._ticks)

    def check(self) -> None:
        """Stop when too many of the last ticks were missed.

        Raises:
            SafetyStop: overruns.
        """
        if self._spanned > self._window:
            missed = self._spanned - self._ticks
            raise SafetyStop(
                "overruns",
                f"{missed} of the last {self._spanned} ticks were missed, bound "
                f"{MAX_MISSED_SHARE:.0%}: this computer is too slow or too busy for a period of "
                f"{self._period_ns / NS_PER_MS:g} ms: {CURE}",
            )

    def excuse(self, least_ns: int) -> str:
        """Return that this computer was late, if it was lately by this much; else ""."""
        if self._late_ns < least_ns:
            return ""
        return f"; this computer was late by {self._late_ns / NS_PER_MS:.0f} ms: {CURE}"
