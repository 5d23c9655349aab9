"""The modes of a run as a small state machine, and the motions that are not the policy's.

::

    STAND_UP --time--> RUN --time or stop request--> FINISH --time--> DAMP --time--> DONE
        |               |                              |               ^
        +---------------+--------- fault, second stop request ---------+
        +------------------------- first stop request -----------------+

Whoever steers may choose another policy, or none, at any time::

    STAND_UP --time, none chosen--> STAND
    RUN --other choice--> SWITCH --time--> RUN of the chosen policy, or STAND
                          SWITCH --time of RUN or stop request--> FINISH, whose fade has begun
    STAND --choice--> RUN
    STAND --time of RUN or stop request--> DAMP
    SWITCH, STAND --fault--> DAMP

STAND_UP brings the measured pose to the stance, RUN is the policy's. In FINISH and SWITCH the
policy goes on while its targets fade into the stance: a robot in full stride stumbles if its legs
just stop. Each policy therefore begins from the stance. STAND holds it. DAMP lets the robot sink
against its own braking. RUN, SWITCH and STAND share the time of RUN. All is a function of the times
passed in.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.errors import RunError
from deploy.steering import STAND

Array = NDArray[np.float64]

# Bound on a motor's speed while standing up, whatever pose the robot is found in.
STAND_UP_SPEED_RAD_S = 4.0
# Gain, relative to the policy's, with which standing up begins; full after half of the motion.
STAND_UP_GAIN = 0.2
# Peak speed of the minimum-jerk blend relative to its mean speed.
_PEAK_SPEED = 1.875
# Standing up from the farthest pose that the safety checks let begin, at that speed.
LONGEST_STAND_UP_S = 2.0


class LoopMode(enum.IntEnum):
    """Who moves the motors."""

    STAND_UP = 0
    RUN = 1
    FINISH = 2
    DAMP = 3
    DONE = 4
    SWITCH = 5
    STAND = 6

    @property
    def words(self) -> str:
        """The name for people, such as "stand up"."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class Durations:
    """Length of each mode, in s.

    Attributes:
        run_s: The policy's time; that of all policies together where there are several.
        stand_up_s: Least time for standing up; a far pose takes as long as its speed bound needs.
        finish_s: Fading from the policy's targets back to the stance, at a switch too.
        damp_s: Damping before the motors are released.

    Raises:
        RunError: A time is not positive.
    """

    run_s: float
    stand_up_s: float = 2.0
    finish_s: float = 1.0
    damp_s: float = 0.5

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0.0):
                raise RunError(f"{field.name} must be a positive time in s, not {value}")

    @property
    def longest_s(self) -> float:
        """Time that a whole run takes at most."""
        return max(self.stand_up_s, LONGEST_STAND_UP_S) + self.run_s + self.finish_s + self.damp_s


class ModeMachine:
    """The mode of a run, its start, and the targets of that mode over time.

    Attributes:
        mode: The mode.
        policy: Index of the policy at work; ``STAND`` for none, before any as well.
    """

    def __init__(self, durations: Durations, stance_rad: Array) -> None:
        self._length_s = {
            LoopMode.STAND_UP: durations.stand_up_s,
            LoopMode.FINISH: durations.finish_s,
            LoopMode.DAMP: durations.damp_s,
            LoopMode.SWITCH: durations.finish_s,
        }
        self._run_s = durations.run_s
        self._stance_rad = stance_rad
        self._measured_rad = stance_rad
        self._since_ns = 0
        self._stood_up_ns = self._policy_since_ns = 0
        self.mode = LoopMode.STAND_UP
        self.policy = STAND

    def begin(self, now_ns: int, measured_rad: Array) -> None:
        """Start standing up from the measured motor angles, shape (8,), rad."""
        distance_rad = float(np.abs(measured_rad - self._stance_rad).max())
        self._length_s[LoopMode.STAND_UP] = max(
            self._length_s[LoopMode.STAND_UP], _PEAK_SPEED * distance_rad / STAND_UP_SPEED_RAD_S
        )
        self._measured_rad = measured_rad.copy()
        self._enter(LoopMode.STAND_UP, now_ns)

    def update(self, now_ns: int, stop_requests: int, choice: int = 0) -> LoopMode:
        """Move on if it is time, or if a stop or another policy is asked for; return the mode.

        Args:
            now_ns: Time of this tick.
            stop_requests: Number of stop requests so far.
            choice: Index of the policy that is to work; ``STAND`` for none.
        """
        over = self.elapsed_s(now_ns) >= self._length_s.get(self.mode, math.inf)
        ended = stop_requests > 0 or (now_ns - self._stood_up_ns) / 1e9 >= self._run_s
        match self.mode:
            case LoopMode.STAND_UP if stop_requests:
                self.damp(now_ns)
            case LoopMode.STAND_UP if over:
                self._stood_up_ns = now_ns
                self._take(choice, now_ns)
            case LoopMode.RUN if ended:
                self._enter(LoopMode.FINISH, now_ns)
            case LoopMode.RUN if choice != self.policy:
                self._enter(LoopMode.SWITCH, now_ns)
            case LoopMode.SWITCH if ended:
                self.mode = LoopMode.FINISH  # the fade that has begun goes on
            case LoopMode.SWITCH if over:
                self._take(choice, now_ns)
            case LoopMode.STAND if ended:
                self.damp(now_ns)
            case LoopMode.STAND if choice != STAND:
                self._take(choice, now_ns)
            case LoopMode.FINISH if over or stop_requests > 1:
                self.damp(now_ns)
            case LoopMode.DAMP if over:
                self.mode = LoopMode.DONE
        return self.mode

    def damp(self, now_ns: int) -> None:
        """Damp from now on, unless that is so already."""
        if self.mode is not LoopMode.DAMP:
            self._enter(LoopMode.DAMP, now_ns)

    def elapsed_s(self, now_ns: int) -> float:
        """Return the time since this mode began."""
        return (now_ns - self._since_ns) / 1e9

    def policy_s(self, now_ns: int) -> float:
        """Return the time since the policy at work took over: 0 in its first tick."""
        return (now_ns - self._policy_since_ns) * 1e-9

    def stand_up(self, now_ns: int) -> tuple[Array, float]:
        """Return targets of STAND_UP, shape (8,), rad, and the gain relative to the policy's."""
        done = self._done(now_ns)
        target = self._measured_rad + minimum_jerk(done) * (self._stance_rad - self._measured_rad)
        return target, min(1.0, STAND_UP_GAIN + (1.0 - STAND_UP_GAIN) * 2.0 * done)

    def fade(self, target_rad: Array, now_ns: int) -> Array:
        """Blend the policy's targets, shape (8,), rad, into the stance, as the mode proceeds."""
        return target_rad + minimum_jerk(self._done(now_ns)) * (self._stance_rad - target_rad)

    def _done(self, now_ns: int) -> float:
        """Return the part of this mode that has passed, in [0, 1]."""
        return min(1.0, self.elapsed_s(now_ns) / self._length_s[self.mode])

    def _take(self, choice: int, now_ns: int) -> None:
        """Let the chosen policy begin from the stance, or hold it."""
        self.policy, self._policy_since_ns = choice, now_ns
        self._enter(LoopMode.STAND if choice == STAND else LoopMode.RUN, now_ns)

    def _enter(self, mode: LoopMode, now_ns: int) -> None:
        self.mode = mode
        self._since_ns = now_ns


def minimum_jerk(x: float) -> float:
    """Rise from 0 at 0 to 1 at 1, with no speed or acceleration at either end."""
    return x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
