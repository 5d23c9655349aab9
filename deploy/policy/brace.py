"""The brace against a shove that may tip the robot: front toes ahead, hind toes behind, low.

No leg of a Minitaur can step sideways, so whether a shove from the side slides the robot or tips it
over is a matter of how low it stands, and legs that reach out ahead and behind are lower than any
that walk. A shove of 220 N for 60 ms tips a robot that stands on the shortest legs allowed, and
rolls a braced one by 0.3 rad. A walking robot takes longer to get there than such a shove lasts,
so that the first one may tip it all the same; those that follow seldom do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from deploy.policy.gait import LegAngle
from robot_firmware_bridge.json_values import Length, Within
from robot_firmware_bridge.robot import NUM_LEGS

Array = NDArray[np.float64]

_RollRate = Annotated[float, Within(0.0, 100.0)]
_Duration = Annotated[float, Within(0.0, 60.0)]


@dataclass(frozen=True, slots=True)
class BraceSpec:
    """When the brace takes the legs from the policy, and where they go.

    Attributes:
        start_rad_s: Roll rate above which the robot braces; more than its gait ever has.
        quiet_rad_s: Roll rate above which it stays braced.
        hold_s: How long it stays braced after that.
        return_s: Time over which the legs are then given back to the policy.
        leg_rad: Legs of the braced robot, (swing x 4, extension x 4), shape (8,).
    """

    start_rad_s: _RollRate
    quiet_rad_s: _RollRate
    hold_s: _Duration
    return_s: _Duration
    leg_rad: Annotated[tuple[LegAngle, ...], Length(2 * NUM_LEGS, 2 * NUM_LEGS)]

    def problem(self) -> str | None:
        """Return what is wrong with these numbers; None if nothing is."""
        if not 0.0 < self.quiet_rad_s <= self.start_rad_s:
            return "quiet_rad_s must be positive and at most start_rad_s"
        return None


class Brace:
    """Take the legs, hold them and give them back, as the roll rate demands."""

    def __init__(self, spec: BraceSpec) -> None:
        self._spec = spec
        self._leg = np.array(spec.leg_rad)
        self._rolled_s = -np.inf

    def reset(self) -> None:
        """Forget the run before."""
        self._rolled_s = -np.inf

    def sense(self, roll_rate_rad_s: float, t_s: float) -> None:
        """Note the roll rate at time ``t_s``."""
        spec = self._spec
        held = t_s - self._rolled_s <= spec.hold_s
        if abs(roll_rate_rad_s) > (spec.quiet_rad_s if held else spec.start_rad_s):
            self._rolled_s = t_s

    def draw(self, leg: Array, t_s: float) -> Array:
        """Draw legs, shape (8,), rad, to the brace as far as it holds them at ``t_s``."""
        late_s = t_s - self._rolled_s - self._spec.hold_s
        if late_s <= 0.0:
            return self._leg
        if late_s >= self._spec.return_s:
            return leg
        given_back = late_s / self._spec.return_s
        return given_back * leg + (1.0 - given_back) * self._leg
