"""Steered episodes: which commands they ask for, and how well those are followed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.command_sources import Script
from deploy.policy.gait import Gait
from deploy.policy.velocity_command import STOP, VelocityCommandSpec
from deploy.record.metrics import Tracking, stride_s, tracking

Array = NDArray[np.float64]

# The course that steered policies are measured on: straight, left, right, faster, slower, a stop,
# a turn on the spot to either side.
COURSE = Path(__file__).parent / "steer.csv"
# Time for which a drawn wish holds.
_HOLD_S = (1.5, 3.5)
# How often a drawn wish is a stop, straight on, or a turn on the spot; otherwise any of both.
_STOP, _STRAIGHT, _SPOT = 0.15, 0.2, 0.15


def draw_course(spec: VelocityCommandSpec, seconds: float, rng: np.random.Generator) -> Script:
    """Wishes from all over the ranges, changing at random times; the first at once."""
    times_s, wishes = [], []
    t_s = 0.0
    while t_s < seconds:
        speed_mps = float(rng.uniform(*spec.speed_mps))
        yaw_rate_rad_s = float(rng.uniform(*spec.yaw_rate_rad_s))
        kind = float(rng.uniform())
        if kind < _STOP:
            wish = STOP
        elif kind < _STOP + _STRAIGHT:
            wish = (speed_mps, 0.0)
        elif kind < _STOP + _STRAIGHT + _SPOT:
            wish = (0.0, yaw_rate_rad_s)
        else:
            wish = (speed_mps, yaw_rate_rad_s)
        times_s.append(t_s)
        wishes.append(wish)
        t_s += float(rng.uniform(*_HOLD_S))
    return Script(tuple(times_s), tuple(wishes))


class Track:
    """What a body was told and what it did, over an episode.

    Args:
        course: The wishes.
        spec: How the command follows them.
        gait: Whose stride is the window of the errors.
        position_m: Where the body stands at the start; x and y of it count.
        yaw_rad: Its heading there.
    """

    def __init__(
        self,
        course: Script,
        spec: VelocityCommandSpec,
        gait: Gait,
        position_m: Array,
        yaw_rad: float,
    ) -> None:
        self.course = course
        self._spec, self._gait = spec, gait
        self._t_s = [0.0]
        self._position_m = [position_m[:2]]
        self._yaw_rad = [float(yaw_rad)]
        self._command: list[Array] = []
        # Sums since the start: along the heading, of turning, of either as asked.
        self._sums = [np.zeros(4)]

    @property
    def forward_m(self) -> float:
        """Way along the body's own heading so far."""
        return float(self._sums[-1][0])

    def add(self, t_s: float, position_m: Array, yaw_rad: float, command: Array) -> None:
        """Go on to time ``t_s``: there the body is now, and that it was told until now."""
        dt_s, yaw_rad = t_s - self._t_s[-1], float(yaw_rad)
        moved, heading = position_m[:2] - self._position_m[-1], self._yaw_rad[-1]
        forward = moved[0] * np.cos(heading) + moved[1] * np.sin(heading)
        turned = (yaw_rad - heading + np.pi) % (2.0 * np.pi) - np.pi
        self._sums.append(self._sums[-1] + (forward, turned, *(command * dt_s)))
        self._t_s.append(t_s)
        self._position_m.append(position_m[:2])
        self._yaw_rad.append(yaw_rad)
        self._command.append(command.copy())

    def stride_errors(self) -> tuple[float, float]:
        """Speed and yaw rate over the last stride, less the commanded ones, m/s and rad/s."""
        if len(self._t_s) == 1:
            return 0.0, 0.0
        ticks = max(1, round(stride_s(self._gait) / (self._t_s[-1] - self._t_s[-2])))
        first = max(0, len(self._t_s) - 1 - ticks)
        forward, turned, asked_forward, asked_turn = self._sums[-1] - self._sums[first]
        dt_s = self._t_s[-1] - self._t_s[first]
        return float(forward - asked_forward) / dt_s, float(turned - asked_turn) / dt_s

    def errors(self, until_s: float) -> Tracking:
        """Mean errors; a body that fell lies where it fell until ``until_s``, told to go on."""
        t_s, command = list(self._t_s), list(self._command)
        step_s = t_s[-1] - t_s[-2]
        while t_s[-1] + step_s <= until_s + 1e-9:
            told = command[-1].copy()
            self._spec.follow(told, self.course.requested(t_s[-1]), step_s)
            t_s.append(t_s[-1] + step_s)
            command.append(told)
        lying = len(t_s) - len(self._t_s)
        return tracking(
            np.array(t_s),
            np.array(self._position_m + [self._position_m[-1]] * lying),
            np.array(self._yaw_rad + [self._yaw_rad[-1]] * lying),
            np.array(command),
            self._gait,
        )
