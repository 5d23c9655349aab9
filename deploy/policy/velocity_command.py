"""The velocity command of a steered policy: how fast to walk and how fast to turn.

The *requested velocity* is what a person or a script asks for, at any time and of any size. The
*velocity command* is what the policy sees. It follows the request within the ranges that the policy
was trained for, and changes no faster than the policy was trained to see. Training and deployment
both compute it with :meth:`VelocityCommandSpec.follow`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.json_values import Within

# Columns of a velocity: forward speed along the heading of the body, m/s; yaw rate, rad/s.
VELOCITY_SIZE = 2
Velocity = tuple[float, float]
STOP: Velocity = (0.0, 0.0)

_Speed = Annotated[float, Within(-10.0, 10.0)]
_YawRate = Annotated[float, Within(-20.0, 20.0)]
_Slew = Annotated[float, Within(1e-3, 1e3)]


@dataclass(frozen=True, slots=True)
class VelocityCommandSpec:
    """The velocity commands that a policy was trained for.

    Attributes:
        speed_mps: Least and greatest forward speed along the heading of the body.
        yaw_rate_rad_s: Least and greatest yaw rate; to the left is positive.
        speed_slew_mps2: How fast the commanded speed may change.
        yaw_rate_slew_rad_s2: How fast the commanded yaw rate may change.
    """

    speed_mps: tuple[_Speed, _Speed]
    yaw_rate_rad_s: tuple[_YawRate, _YawRate]
    speed_slew_mps2: _Slew
    yaw_rate_slew_rad_s2: _Slew

    def problem(self) -> str | None:
        """Return what is wrong with these numbers; None if nothing is."""
        for name in ("speed_mps", "yaw_rate_rad_s"):
            low, high = getattr(self, name)
            if not low <= 0.0 <= high:
                return f"{name} must include 0, which is what a stop asks for, is [{low}, {high}]"
        return None

    @property
    def ranges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Ranges of speed and yaw rate."""
        return self.speed_mps, self.yaw_rate_rad_s

    def clip(self, speed_mps: float, yaw_rate_rad_s: float) -> Velocity:
        """Return the nearest velocity within the ranges."""
        (slow, fast), (right, left) = self.speed_mps, self.yaw_rate_rad_s
        return min(max(speed_mps, slow), fast), min(max(yaw_rate_rad_s, right), left)

    def follow(self, command: NDArray[np.float64], requested: Velocity, dt_s: float) -> None:
        """Move a command, shape (2,), in place as near to a request as ``dt_s`` allows."""
        speed_mps, yaw_rate_rad_s = self.clip(*requested)
        command[0] = _towards(command[0], speed_mps, self.speed_slew_mps2 * dt_s)
        command[1] = _towards(command[1], yaw_rate_rad_s, self.yaw_rate_slew_rad_s2 * dt_s)


def range_in_words(bounds: tuple[float, float]) -> str:
    """Return a range for people: ``-0.2 to 0.8``."""
    return f"{bounds[0]:g} to {bounds[1]:g}"


def _towards(value: float, goal: float, step: float) -> float:
    """Return the goal if it is within a step, else a value one step nearer to it."""
    if abs(goal - value) <= step:
        return goal
    return value + step if goal > value else value - step
