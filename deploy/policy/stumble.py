"""The reflex of a leg that has caught an obstacle: give way, fold, and only then step on.

A toe behind the edge of a block cannot swing ahead. The body goes on, so the leg trails farther and
farther behind its target. Then both motors saturate on the swing, and nothing is left to lift the
toe over the edge. After a second their protection switches them off. So a leg that is farther from
the vertical than its gait takes it is told to swing by less than it is astray, and to fold.

Such reflexes are known from animals and legged robots (Forssberg 1979; Boone and Hodgins 1997,
"Slipping and tripping reflexes for bipedal robots").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.policy.gait import LegAngle
from robot_firmware_bridge.robot import NUM_LEGS

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StumbleReflex:
    """When a leg has stumbled, and what it does then.

    Attributes:
        swing_rad: Measured swing beyond which it has: more than its gait reaches on plain ground.
        give_rad: How far its commanded swing is from the measured one at most.
        extension_rad: Its greatest commanded extension.
    """

    swing_rad: LegAngle
    give_rad: LegAngle
    extension_rad: LegAngle

    def free(self, leg_rad: Array, at_rad: Array) -> Array:
        """Return commanded legs, those that have stumbled freed.

        Args:
            leg_rad: Commanded legs, (swing x 4, extension x 4), shape (8,).
            at_rad: Measured legs, likewise.
        """
        stumbled = np.abs(at_rad[:NUM_LEGS]) > self.swing_rad
        if not stumbled.any():
            return leg_rad
        swing, extension = leg_rad[:NUM_LEGS], leg_rad[NUM_LEGS:]
        near = np.clip(swing, at_rad[:NUM_LEGS] - self.give_rad, at_rad[:NUM_LEGS] + self.give_rad)
        folded = np.minimum(extension, self.extension_rad)
        return np.concatenate(
            (np.where(stumbled, near, swing), np.where(stumbled, folded, extension))
        )
