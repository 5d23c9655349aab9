"""A gait at work: its phase, and what the network changes of it while it runs.

A policy may move the generator of its gait, not only the legs: how often it steps, how high, how
far, on how long legs, and which leg when. The idea is that of policies modulating trajectory
generators (Iscen et al. 2018, arXiv 1910.02812), made on this robot. The phase is summed up, so a
change of frequency moves no leg at once; all changes pass a low pass of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from deploy.policy import low_pass
from deploy.policy.gait import Gait, GaitChange, LegAngle
from robot_firmware_bridge.json_values import Within
from robot_firmware_bridge.robot import NUM_LEGS

Array = NDArray[np.float64]

# Frequency, extension amplitude, extension centre; then swing amplitude and phase of each leg.
NUM_MODULATORS = 3 + 2 * NUM_LEGS


@dataclass(frozen=True, slots=True)
class Modulation:
    """How far an output of 1 moves the gait.

    The network's outputs for it come after the eight for the legs, in the order of the fields: one
    for each of the first three, then one for each leg of the last two.

    Attributes:
        frequency_hz: Change of the frequency; at most the gait's own.
        extension_amplitude_rad: Change of the extension amplitude: how high the feet are lifted.
        extension_centre_rad: Change of the extension about which the legs move: how high the robot
            stands.
        swing_amplitude_rad: Change of the swing amplitude of each leg: how far it steps.
        phase: Change of each leg's phase, cycles.
        lowpass_hz: Cut-off of the first-order low pass on these outputs.
    """

    frequency_hz: Annotated[float, Within(0.0, 20.0)]
    extension_amplitude_rad: LegAngle
    extension_centre_rad: LegAngle
    swing_amplitude_rad: LegAngle
    phase: Annotated[float, Within(0.0, 0.5)]
    lowpass_hz: Annotated[float, Within(0.01, 100.0)]

    def problem(self, gait: Gait) -> str | None:
        """Return what is wrong with these numbers for a gait; None if nothing is."""
        if self.frequency_hz > gait.frequency_hz:
            return f"frequency_hz must be at most the gait's {gait.frequency_hz:g}"
        return None


class Generator:
    """Legs of a gait over time.

    One control step is ``advance``, ``modulate`` and ``leg_targets`` with the same time.

    Attributes:
        phase_rad: Phase of the gait clock, in [0, 2 pi).
        modulators: Outputs for the modulation after their low pass, shape (11,), each in [-1, 1]; a
            buffer. Empty without a modulation.
    """

    def __init__(self, gait: Gait, modulation: Modulation | None = None) -> None:
        self._gait, self._modulation = gait, modulation
        self.modulators = np.zeros(0 if modulation is None else NUM_MODULATORS)
        self._change: GaitChange | None = None
        self.reset()

    @property
    def frequency_hz(self) -> float:
        """How often the gait repeats itself now."""
        changed = 0.0 if self._change is None else self._change.frequency_hz
        return self._gait.frequency_hz + changed

    def reset(self) -> None:
        """Start the gait anew."""
        self.modulators[:] = 0.0
        self._t_s = self._modulated_s = self.phase_rad = 0.0
        self._set_change()

    def advance(self, t_s: float) -> None:
        """Move the clock to ``t_s``, the time since the start."""
        if self._change is None:
            self.phase_rad = self._gait.phase_rad(t_s)
            return
        turned = math.tau * self.frequency_hz * (t_s - self._t_s)
        self.phase_rad = (self.phase_rad + turned) % math.tau
        self._t_s = t_s

    def modulate(self, outputs: Array, t_s: float) -> None:
        """Take the network's outputs for the modulation, shape (11,), each in [-1, 1]."""
        if self._modulation is None:
            return
        dt_s, self._modulated_s = t_s - self._modulated_s, t_s
        low_pass.follow(self.modulators, outputs, self._modulation.lowpass_hz, dt_s)
        self._set_change()

    def leg_targets(self, t_s: float, command: Array | None = None) -> Array:
        """Return ``(swing x 4, extension x 4)``, shape (8,), rad; see ``Gait.leg_targets``."""
        self.advance(t_s)
        return self._gait.legs(self.phase_rad, t_s, command, self._change)

    def _set_change(self) -> None:
        spec = self._modulation
        if spec is None:
            return
        values = self.modulators.tolist()
        self._change = GaitChange(
            frequency_hz=spec.frequency_hz * values[0],
            extension_amplitude_rad=spec.extension_amplitude_rad * values[1],
            extension_centre_rad=spec.extension_centre_rad * values[2],
            swing_amplitude_rad=[spec.swing_amplitude_rad * value for value in values[3:7]],
            phase=[spec.phase * value for value in values[7:]],
        )
