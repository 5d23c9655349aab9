"""Reward terms of locomotion, pure functions over one control step, and the weights that train.

Every term is an amount over the step, not a rate, so that an episode's return does not depend on
the length of the control step, which is randomised from 3 to 20 ms. A set of weights stands here
complete: a task is trained with it as it is, and the configuration of a run records it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepMotion:
    """Motion of body and motors over one control step, world frame at the start heading.

    Attributes:
        dt_s: Length of the step.
        forward_m: Displacement along the start heading.
        too_fast_m: Displacement beyond what the task's top speed allows; 0 or more.
        sideways_m: Distance from the start line at the end less that at the start of the step.
        energy_j: Integral of the sum of absolute motor powers.
        turn_rad: Absolute heading error at the end less that at the start of the step.
        tilt_rad: Angle of the body's up axis to the vertical at the end of the step.
        fell: Whether the robot fell in this step, or a motor was switched off, which ends the
            episode alike.
        stalled: Whether a motor is stalled at the end of the step, or switched off for it.
        speed_error_mps: Forward speed along the body's own heading less the requested one, both
            over the last stride; 0 where no velocity is requested.
        yaw_rate_error_rad_s: The same of the yaw rate.
        heading_error_rad: Heading at the end of the step less the one at the start of the episode,
            or less the commanded one, and then bounded.
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
    heading_error_rad: float = 0.0


# Source of the first two: the reward of Tan et al. 2018 (arXiv 1804.10332, section III-B).
TERMS: dict[str, Callable[[StepMotion], float]] = {
    "progress": lambda m: m.forward_m,
    "energy": lambda m: -m.energy_j,
    "over_speed": lambda m: -m.too_fast_m,
    "drift": lambda m: -m.sideways_m,
    "turn": lambda m: -m.turn_rad,
    "tilt": lambda m: -m.dt_s * m.tilt_rad**2,
    "alive": lambda m: m.dt_s,
    "fall": lambda m: -float(m.fell),
    "stall": lambda m: -m.dt_s * float(m.stalled),
    "speed_error": lambda m: -m.dt_s * abs(m.speed_error_mps),
    "yaw_rate_error": lambda m: -m.dt_s * abs(m.yaw_rate_error_rad_s),
    "heading_error": lambda m: -m.dt_s * abs(m.heading_error_rad),
}

Weights = Mapping[str, float]

# A fall costs what six seconds bring. Beyond the task's top speed of 1.3 m/s the trot would pay
# with its footing under shoves.
TROT: Weights = {
    "progress": 1.0,
    "energy": 0.01,
    "drift": 0.3,
    "turn": 0.2,
    "tilt": 1.0,
    "fall": 8.0,
    "over_speed": 3.0,
}
# Speed counts, power hardly: the demo is to show that a robot learns, within minutes.
DEMO: Weights = {**TROT, "energy": 0.003, "fall": 3.0}
# The reward of the paper, with its weight of the energy.
PLAIN_TROT: Weights = {"progress": 1.0, "energy": 0.008}
# At the task's top speed of 1.6 m/s a fall costs what five seconds bring.
GALLOP: Weights = {
    "progress": 1.0,
    "energy": 0.002,
    "drift": 0.3,
    "turn": 1.0,
    "tilt": 1.0,
    "fall": 8.0,
    "over_speed": 3.0,
}
# Weak motors under a heavy body can stall at the start, and would overheat.
GALLOP_SURE: Weights = {**GALLOP, "stall": 3.0}
STEER: Weights = {
    "alive": 1.0,
    "speed_error": 2.0,
    "yaw_rate_error": 1.5,
    "energy": 0.004,
    "tilt": 1.0,
    "fall": 2.0,
}
# Half the speed and a third of the turns are asked, so an error weighs more.
STEER_STOCK: Weights = {**STEER, "speed_error": 4.0, "yaw_rate_error": 4.0}
WALK: Weights = {
    "alive": 1.0,
    "speed_error": 2.0,
    "yaw_rate_error": 0.5,
    "heading_error": 1.0,
    "turn": 4.0,
    "energy": 0.003,
    "tilt": 1.0,
    "fall": 3.0,
    "stall": 3.0,
}
# Once it walks: 100 W cost as much as an error of 0.25 m/s, and a fall what six seconds bring.
WALK_SURE: Weights = {**WALK, "energy": 0.005, "fall": 6.0}
# Those of the first Minitaur environment of pybullet_envs; its drift and shake weigh 0.
ORIGINAL: Weights = {"progress": 1.0, "energy": 0.005}


def weighted(weights: Weights, motion: StepMotion) -> dict[str, float]:
    """Return the terms that have a weight, times the weight; their sum is the reward.

    Raises:
        KeyError: A weight names no term; ``check_weights`` names it beforehand.
    """
    return {name: weight * TERMS[name](motion) for name, weight in weights.items()}


def check_weights(weights: Weights) -> None:
    """Refuse weights of terms that do not exist, and weights that are not finite numbers.

    Raises:
        ValueError: Names the unknown terms and lists the known ones, or names the weight.
        TypeError: A weight is no number.
    """
    unknown = sorted(set(weights) - set(TERMS))
    if unknown:
        raise ValueError(f"unknown reward terms {unknown}; known: {sorted(TERMS)}")
    for name, weight in weights.items():
        if not math.isfinite(weight):
            raise ValueError(f"the weight of {name} must be finite, got {weight}")
