"""Domain randomisation: ranges of plant parameters, and one value drawn from them.

The draw is a function of the ranges and of the generator alone, so an episode's plant can be drawn
again, logged and replayed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from robot_firmware_bridge.robot import MINITAUR
from sim.errors import ParameterError
from sim.plant.params import MAX_PUSH_N, PlantParams, checked_value

Ranges = Mapping[str, tuple[float, float]]

# Table I of Tan et al. 2018 (arXiv 1804.10332). Each is drawn once per episode, uniformly.
TABLE1: Ranges = {
    "base_mass_scale": (0.8, 1.2),
    "leg_mass_scale": (0.8, 1.2),
    "base_inertia_scale": (0.5, 1.5),
    "leg_inertia_scale": (0.5, 1.5),
    "motor_strength_scale": (0.8, 1.2),
    "motor_coulomb_nm": (0.0, 0.05),
    "control_step_s": (0.003, 0.020),
    "policy_latency_s": (0.0, 0.040),
    "battery_v": (14.0, 16.8),
    "contact_friction": (0.5, 1.25),
    "imu_roll_bias_rad": (-0.05, 0.05),
    "imu_pitch_bias_rad": (-0.05, 0.05),
    "imu_noise_std": (0.0, 0.05),
}

# The randomiser of the first Minitaur environment of pybullet_envs. It draws two masses for the
# legs, of motors and of links, which share one here, and adds its viscous damping to the back-EMF
# constant, where 0.01 brakes like 0.005 Nm s/rad; the numbers of its range are kept.
ORIGINAL: Ranges = {
    "base_mass_scale": (0.8, 1.2),
    "leg_mass_scale": (0.8, 1.2),
    "battery_v": (14.8, 16.8),
    "motor_viscous_nm_s_per_rad": (0.0, 0.01),
    "contact_friction": (0.8, 1.5),
}

# How far the ends of a range can move before a robot is impossible: nothing has a negative
# friction, latency or noise; the pack, four lithium cells, holds 16.8 V when full and the robot
# must not run under 12.7 V; a control step below Table I's shortest is easier, not harder.
_WIDEST: Ranges = {
    "motor_coulomb_nm": (0.0, math.inf),
    "control_step_s": (0.003, math.inf),
    "policy_latency_s": (0.0, math.inf),
    "battery_v": (MINITAUR.min_battery_v, 16.8),
    "imu_noise_std": (0.0, math.inf),
}


def widened(ranges: Ranges, by: float) -> dict[str, tuple[float, float]]:
    """Return ranges wider by a share of their width, half of it on either side where possible.

    An end that cannot move that far stops at what is possible, and the other end takes the rest, as
    far as it can: a latency of 0 to 40 ms, widened by half, goes from 0 to 60 ms.

    Raises:
        ParameterError: A widened range is impossible.
    """
    wide = {}
    for name, (low, high) in ranges.items():
        least, most = _WIDEST.get(name, (-math.inf, math.inf))
        more = by * (high - low)
        above = min(0.5 * more, most - high)
        below = min(more - above, low - least)
        above = min(more - below, most - high)
        wide[name] = (round(low - below, 9), round(high + above, 9))
    check_ranges(wide)
    return wide


def check_ranges(ranges: Ranges) -> None:
    """Refuse ranges that name no parameter, are reversed or reach impossible values.

    Raises:
        ParameterError: Names the range and what is wrong with it.
    """
    for name, bounds in ranges.items():
        if not isinstance(bounds, Sequence) or len(bounds) != 2:
            raise ParameterError(f"range of {name} must be two numbers, got {bounds!r}")
        low, high = (checked_value(name, bound) for bound in bounds)
        if low > high:
            raise ParameterError(f"range of {name} is reversed: [{low}, {high}]")


def sample(
    ranges: Ranges, rng: np.random.Generator, nominal: PlantParams | None = None
) -> PlantParams:
    """Draw a plant: every ranged parameter uniformly, the others nominal, a seed and a heading.

    Parameters are drawn in the order of their names, so the draw does not depend on how the
    mapping was written down.

    Args:
        ranges: Parameter name to ``(low, high)``.
        rng: Source of randomness; advanced by one draw per range and by two for the plant's own
            seed and for the heading at the start, which may be any.
        nominal: Values of the parameters that are not ranged.

    Raises:
        ParameterError: A range is impossible.
    """
    check_ranges(ranges)
    drawn = {name: float(rng.uniform(*ranges[name])) for name in sorted(ranges)}
    seed = int(rng.integers(2**63))
    if "start_heading_rad" not in drawn:
        drawn["start_heading_rad"] = float(rng.uniform(-math.pi, math.pi))
    return dataclasses.replace(nominal or PlantParams(), seed=seed, **drawn)


RANDOMIZATIONS: dict[str, Ranges] = {
    "none": {},
    "table1": TABLE1,
    "beyond": widened(TABLE1, 0.5),
    "original": ORIGINAL,
}


def drawn(randomization: str, seed: int) -> PlantParams:
    """Return the plant that a seed draws from ranges known by name.

    Args:
        randomization: A name in ``RANDOMIZATIONS``.
        seed: Of the draw; the plant's own seed is drawn too, by "none" as well.

    Raises:
        ParameterError: There are no ranges of this name.
    """
    if randomization not in RANDOMIZATIONS:
        known = ", ".join(RANDOMIZATIONS)
        raise ParameterError(f"unknown randomization {randomization!r}; known: {known}")
    return sample(RANDOMIZATIONS[randomization], np.random.default_rng(seed))


def pushed(params: PlantParams, force_n: float) -> PlantParams:
    """Return a plant with pushes of this force in random directions; 0 for none.

    Raises:
        ParameterError: The force is impossible.
    """
    if not 0.0 <= force_n <= MAX_PUSH_N:
        raise ParameterError(f"a push must be in [0, {MAX_PUSH_N:g}] N, is {force_n:g}")
    return dataclasses.replace(params, push_force_low_n=force_n, push_force_high_n=force_n)
