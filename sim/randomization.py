"""Domain randomisation: ranges of plant parameters, and one value drawn from them.

The draw is a function of the ranges and of the generator alone, so an episode's plant can be drawn
again, logged and replayed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from sim.errors import ParameterError
from sim.params import PlantParams, check_value

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

RANDOMIZATIONS: dict[str, Ranges] = {"none": {}, "table1": TABLE1}


def check_ranges(ranges: Ranges) -> None:
    """Refuse ranges that name no parameter, are reversed or reach impossible values.

    Raises:
        ParameterError: Names the range and what is wrong with it.
    """
    for name, (low, high) in ranges.items():
        if not low <= high:
            raise ParameterError(f"range of {name} is reversed: [{low}, {high}]")
        check_value(name, low)
        check_value(name, high)


def sample(
    ranges: Ranges, rng: np.random.Generator, nominal: PlantParams | None = None
) -> PlantParams:
    """Draw a plant: every ranged parameter uniformly, the others nominal, and a seed of its own.

    Parameters are drawn in the order of their names, so the draw does not depend on how the
    mapping was written down.

    Args:
        ranges: Parameter name to ``(low, high)``.
        rng: Source of randomness; advanced by one draw per range and one for the seed.
        nominal: Values of the parameters that are not ranged.

    Raises:
        ParameterError: A range is impossible.
    """
    check_ranges(ranges)
    drawn = {name: float(rng.uniform(*ranges[name])) for name in sorted(ranges)}
    seed = int(rng.integers(2**63))
    return dataclasses.replace(nominal or PlantParams(), seed=seed, **drawn)
