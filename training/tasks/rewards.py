"""Reward terms of locomotion: small pure functions over one control step, summed by weight.

Every term is an amount over the step, not a rate, so that an episode's return does not depend on
how finely its time is cut; the control step is randomised from 3 to 20 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepMotion:
    """What the body and the motors did over one control step, world frame at the start heading.

    Attributes:
        dt_s: Length of the step.
        forward_m: Displacement along the start heading.
        too_fast_m: How much of it goes beyond what the task's top speed allows; 0 or more.
        sideways_m: Distance from the start line at the end less that at the start of the step.
        energy_j: Integral of the sum of absolute motor powers.
        turn_rad: Absolute heading error at the end less that at the start of the step.
        tilt_rad: Angle of the body's up axis to the vertical at the end of the step.
        fell: Whether the robot fell in this step, which ends the episode.
        stalled: Whether a motor is stalled at the end of the step, or switched off for it.
        speed_error_mps: Forward speed along the body's own heading less the commanded one, both
            over the last stride; 0 where nothing is commanded.
        yaw_rate_error_rad_s: The same of the yaw rate.
    """

    dt_s: float
    forward_m: float
    too_fast_m: float
    sideways_m: float
    energy_j: float
    turn_rad: float
    tilt_rad: float
    fell: bool
    stalled: bool = False
    speed_error_mps: float = 0.0
    yaw_rate_error_rad_s: float = 0.0


# Source of the first two: the reward of Tan et al. 2018 (arXiv 1804.10332, section III-B).
TERMS: dict[str, Callable[[StepMotion], float]] = {
    "progress": lambda m: m.forward_m,
    "energy": lambda m: -m.energy_j,
    "haste": lambda m: -m.too_fast_m,
    "drift": lambda m: -m.sideways_m,
    "turn": lambda m: -m.turn_rad,
    "tilt": lambda m: -m.dt_s * m.tilt_rad**2,
    "alive": lambda m: m.dt_s,
    "fall": lambda m: -float(m.fell),
    "stall": lambda m: -m.dt_s * float(m.stalled),
    "speed_error": lambda m: -m.dt_s * abs(m.speed_error_mps),
    "yaw_rate_error": lambda m: -m.dt_s * abs(m.yaw_rate_error_rad_s),
}


def total(weights: Mapping[str, float], motion: StepMotion) -> float:
    """Weighted sum of the terms that have a weight.

    Raises:
        KeyError: A weight names no term; ``check_weights`` says so in words beforehand.
    """
    return sum(weight * TERMS[name](motion) for name, weight in weights.items())


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuse weights of terms that do not exist.

    Raises:
        ValueError: Names the unknown terms and lists the known ones.
    """
    unknown = sorted(set(weights) - set(TERMS))
    if unknown:
        raise ValueError(f"unknown reward terms {unknown}; known: {sorted(TERMS)}")
