"""Open-loop reference gaits in leg space, as functions of time.

The hybrid policy of Tan et al. 2018 (arXiv 1804.10332, section III-B) adds its feedback to such a
reference: ``a(t, o) = reference(t) + pi(o)``. That one of the two motions is a sine and the other a
cosine is the published code's choice (the paper's text says sine for both).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.json_values import Length, Within
from robot_firmware_bridge.robot import MINITAUR, NUM_LEGS

Array = NDArray[np.float64]

_STANCE_RAD = MINITAUR.stance_extension_rad

# Swing or extension of a leg, or a part of one: half a turn, which is more than any leg can do.
LegAngle = Annotated[float, Within(-3.2, 3.2)]
_Cycles = Annotated[float, Within(-1.0, 1.0)]
_AngleChange = Annotated[float, Within(-10.0, 10.0)]


@dataclass(frozen=True, slots=True)
class Steering:
    """How a command changes the swing amplitude of each leg, in leg order.

    Attributes:
        per_speed_rad: Added amplitude per m/s of commanded forward speed, shape (4,).
        per_yaw_rate_rad: Added amplitude per rad/s of commanded yaw rate, shape (4,).
    """

    per_speed_rad: tuple[_AngleChange, _AngleChange, _AngleChange, _AngleChange]
    per_yaw_rate_rad: tuple[_AngleChange, _AngleChange, _AngleChange, _AngleChange]


@dataclass(slots=True)
class GaitChange:
    """What is added to the numbers of a gait for a while.

    Attributes:
        frequency_hz: To the frequency.
        extension_amplitude_rad: To the extension amplitude.
        extension_centre_rad: To the centre of the extension.
        swing_amplitude_rad: To the swing amplitude, leg by leg.
        phase: To the phase, leg by leg, cycles.
    """

    frequency_hz: float
    extension_amplitude_rad: float
    extension_centre_rad: float
    swing_amplitude_rad: Sequence[float]
    phase: Sequence[float]


@dataclass(frozen=True, slots=True)
class Gait:
    """A periodic motion of four legs about the stance.

    Leg ``i`` follows ``swing = A_i sin(theta_i + 2 pi lead)`` and ``extension = centre + B cos
    theta_i`` with ``theta_i = 2 pi (f t + phase_i)``; ``A_i`` is ``A``, to which the command of a
    gait that can be steered adds, leg by leg. Over the first ``ramp_s`` seconds the gait is blended
    in from the stance, so that a robot that stands starts without a jump.

    Attributes:
        name: Name for reports.
        frequency_hz: Cycles per second.
        swing_amplitude_rad: ``A``.
        extension_amplitude_rad: ``B``.
        extension_centre_rad: Extension about which the legs move.
        swing_lead: Fraction of a cycle by which the swing is ahead of the extension.
        leg_phase: Fraction of a cycle by which each leg is ahead, shape (4,).
        ramp_s: Time over which the gait is blended in.
        steering: What a command adds; None for a gait that takes none.
    """

    name: Annotated[str, Length(1, 64)]
    frequency_hz: Annotated[float, Within(0.0, 20.0)]
    swing_amplitude_rad: LegAngle = 0.0
    extension_amplitude_rad: LegAngle = 0.0
    extension_centre_rad: LegAngle = _STANCE_RAD
    swing_lead: _Cycles = 0.0
    leg_phase: tuple[_Cycles, _Cycles, _Cycles, _Cycles] = (0.0, 0.0, 0.0, 0.0)
    ramp_s: Annotated[float, Within(0.0, 60.0)] = 0.0
    steering: Steering | None = None

    def phase_rad(self, t_s: float) -> float:
        """Return the phase of the gait clock at time ``t_s`` since its start, in [0, 2 pi)."""
        return 2.0 * math.pi * math.fmod(self.frequency_hz * t_s, 1.0)

    def leg_targets(self, t_s: float, command: Array | None = None) -> Array:
        """Return the reference ``(swing x 4, extension x 4)``, shape (8,), rad, since the start.

        A gait that can be steered follows the command: forward speed, m/s, and yaw rate, rad/s,
        shape (2,); None means zero.
        """
        return self.legs(self.phase_rad(t_s), t_s, command)

    def legs(
        self,
        phase_rad: float,
        t_s: float,
        command: Array | None = None,
        change: GaitChange | None = None,
    ) -> Array:
        """Return the reference at a phase of the gait clock, shape (8,), rad; see above.

        Args:
            phase_rad: Phase of the gait clock.
            t_s: Time since the start, by which the gait is blended in.
            command: As for ``leg_targets``.
            change: What is added to the numbers of the gait.
        """
        grown = min(1.0, t_s / self.ramp_s) if self.ramp_s > 0.0 else 1.0
        centre_rad, lift_rad = self.extension_centre_rad, self.extension_amplitude_rad
        if change is not None:
            centre_rad += change.extension_centre_rad
            lift_rad += change.extension_amplitude_rad
        out = np.empty(2 * NUM_LEGS)
        for leg, ahead in enumerate(self.leg_phase):
            stride_rad = self._amplitude_rad(leg, command)
            if change is not None:
                stride_rad += change.swing_amplitude_rad[leg]
                ahead += change.phase[leg]
            theta = phase_rad + 2.0 * math.pi * ahead
            lead = theta + 2.0 * math.pi * self.swing_lead
            out[leg] = grown * stride_rad * math.sin(lead)
            extension = centre_rad + lift_rad * math.cos(theta)
            out[NUM_LEGS + leg] = _STANCE_RAD + grown * (extension - _STANCE_RAD)
        return out

    def _amplitude_rad(self, leg: int, command: Array | None) -> float:
        """Return ``A_i`` under a velocity command."""
        if self.steering is None or command is None:
            return self.swing_amplitude_rad
        return (
            self.swing_amplitude_rad
            + self.steering.per_speed_rad[leg] * float(command[0])
            + self.steering.per_yaw_rate_rad[leg] * float(command[1])
        )


def stance(frequency_hz: float = 0.0) -> Gait:
    """Return a gait without motion: the policy must find the gait itself.

    A frequency gives the policy a clock to see even though the reference stands still.
    """
    return Gait("stance", frequency_hz)
