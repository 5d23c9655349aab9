"""Steered episodes: the requested velocities, and the errors with which they are followed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.command_sources import Script, read_script
from deploy.policy.contract import ActionSpec
from deploy.policy.pipeline import MOST_ASTRAY_RAD
from deploy.policy.velocity_command import STOP, VelocityCommandSpec
from deploy.record.metrics import Tracking, tracking, window_s

Array = NDArray[np.float64]

# The course that steered policies are measured on: straight, left, right, faster, slower, a stop,
# a turn on the spot to either side.
COURSE = Path(__file__).parent / "steer.csv"
# Time for which a drawn velocity is requested.
_HOLD_S = (1.5, 3.5)


@dataclass(frozen=True, slots=True)
class Shares:
    """What is requested how often; the rest are requests of any speed and any yaw rate.

    Attributes:
        stop: Share of stops.
        straight: Share of any speed, straight on.
        spot: Share of turns on the spot.
        ahead: Share of the greatest speed, straight on.
    """

    stop: float = 0.15
    straight: float = 0.2
    spot: float = 0.15
    ahead: float = 0.0


def course_for(spec: VelocityCommandSpec) -> Script:
    """Return the course that a policy is measured on, slowed to its ranges.

    Speeds ahead and back, and turns to the left and right, are each scaled by the largest factor,
    at most 1, that keeps them in range.
    """
    course = read_script(COURSE)
    velocities = np.array(course.velocities)
    for column, (low, high) in zip(velocities.T, spec.ranges, strict=True):
        for bound, side in ((low, column < 0.0), (high, column > 0.0)):
            if side.any():
                column[side] *= min(1.0, abs(bound) / np.abs(column[side]).max())
    # Clipped, since a product may be rounded to beyond its range.
    return Script(course.times_s, tuple(spec.clip(*velocity) for velocity in velocities.tolist()))


def turns(course: Script | None) -> bool:
    """Return whether a course is not straight, so that a drift from the line means nothing."""
    return course is not None and any(turn != 0.0 for _, turn in course.velocities)


def draw_course(
    spec: VelocityCommandSpec, seconds: float, rng: np.random.Generator, shares: Shares
) -> Script:
    """Draw velocities from the whole ranges, changing at random times; the first at time 0."""
    times_s, requests = [], []
    t_s = 0.0
    while t_s < seconds:
        speed_mps = float(rng.uniform(*spec.speed_mps))
        yaw_rate_rad_s = float(rng.uniform(*spec.yaw_rate_rad_s))
        kind = float(rng.uniform())
        if kind < shares.stop:
            request = STOP
        elif kind > 1.0 - shares.ahead:
            request = (spec.speed_mps[1], 0.0)
        elif kind < shares.stop + shares.straight:
            request = (speed_mps, 0.0)
        elif kind < shares.stop + shares.straight + shares.spot:
            request = (0.0, yaw_rate_rad_s)
        else:
            request = (speed_mps, yaw_rate_rad_s)
        times_s.append(t_s)
        requests.append(request)
        t_s += float(rng.uniform(*_HOLD_S))
    return Script(tuple(times_s), tuple(requests))


class Track:
    """Velocity commands and the body's motion over an episode, from a first pose of the body.

    The stride of the gait is the window of the errors. Of a position only x and y count.
    """

    def __init__(
        self,
        course: Script,
        spec: VelocityCommandSpec,
        action: ActionSpec,
        position_m: Array,
        yaw_rad: float,
    ) -> None:
        self.course = course
        self._spec, self._action = spec, action
        self._t_s = [0.0]
        self._position_m = [position_m[:2]]
        self._yaw_rad = [float(yaw_rad)]
        self._command: list[Array] = []
        # Sums since the start: distance along the heading, turn, and both as commanded.
        self._sums = [np.zeros(4)]

    @property
    def forward_m(self) -> float:
        """Distance along the body's own heading so far."""
        return float(self._sums[-1][0])

    @property
    def heading_errors_rad(self) -> tuple[float, float]:
        """Turn since the start less the commanded one, bounded: the step before, and now."""
        before, now = (self._astray_rad(sums) for sums in (self._sums[-2:][0], self._sums[-1]))
        return before, now

    @staticmethod
    def _astray_rad(sums: Array) -> float:
        _, turned, _, commanded = sums.tolist()
        # No more counts than a policy sees.
        return float(min(max(turned - commanded, -MOST_ASTRAY_RAD), MOST_ASTRAY_RAD))

    def add(self, t_s: float, position_m: Array, yaw_rad: float, command: Array) -> None:
        """Add the pose at ``t_s``, and the velocity command, shape (2,), since the pose before."""
        dt_s, yaw_rad = t_s - self._t_s[-1], float(yaw_rad)
        moved, heading = position_m[:2] - self._position_m[-1], self._yaw_rad[-1]
        forward = moved[0] * np.cos(heading) + moved[1] * np.sin(heading)
        turned = (yaw_rad - heading + np.pi) % (2.0 * np.pi) - np.pi
        self._sums.append(self._sums[-1] + (forward, turned, *(command * dt_s)))
        self._t_s.append(t_s)
        self._position_m.append(position_m[:2])
        self._yaw_rad.append(yaw_rad)
        self._command.append(command.copy())

    def stride_errors(self, stride: float) -> tuple[float, float]:
        """Return speed and yaw rate over the last stride less the commanded ones, m/s and rad/s.

        Args:
            stride: Its length, s: over another time, the swaying within a stride is an error.
        """
        if len(self._t_s) == 1:
            return 0.0, 0.0
        ticks = max(1, round(stride / (self._t_s[-1] - self._t_s[-2])))
        first = max(0, len(self._t_s) - 1 - ticks)
        forward, turned, commanded_forward, commanded_turn = self._sums[-1] - self._sums[first]
        dt_s = self._t_s[-1] - self._t_s[first]
        return float(forward - commanded_forward) / dt_s, float(turned - commanded_turn) / dt_s

    def errors(self, until_s: float) -> Tracking:
        """Return the mean errors; a fallen body lies still until ``until_s``, still commanded."""
        t_s, command = list(self._t_s), list(self._command)
        step_s = t_s[-1] - t_s[-2]
        while t_s[-1] + step_s <= until_s + 1e-9:
            followed = command[-1].copy()
            self._spec.follow(followed, self.course.requested(t_s[-1]), step_s)
            t_s.append(t_s[-1] + step_s)
            command.append(followed)
        lying = len(t_s) - len(self._t_s)
        return tracking(
            np.array(t_s),
            np.array(self._position_m + [self._position_m[-1]] * lying),
            np.array(self._yaw_rad + [self._yaw_rad[-1]] * lying),
            np.array(command),
            window_s(self._action),
        )
