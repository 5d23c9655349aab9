"""Domain randomisation: ranges of plant parameters, and one value drawn from them.

The draw is a function of the ranges and of the generator alone, so an episode's plant can be drawn
again, logged and replayed.

Ranges known by name are about the nominal robot. About a calibrated plant they are other ranges,
see :func:`ranges_about`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS
from sim.errors import ParameterError
from sim.plant.params import (
    MAX_PUSH_N,
    VECTORS,
    PlantParams,
    Range,
    checked_range,
    entries,
)
from sim.plant.params_file import CalibratedPlant

# Parameter name to its least and its greatest value. Of a parameter with a number for each motor
# both are eight numbers, or one for all motors; each motor's number is drawn by itself.
Ranges = Mapping[str, Range]

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
_WIDEST: Mapping[str, tuple[float, float]] = {
    "motor_coulomb_nm": (0.0, math.inf),
    "control_step_s": (0.003, math.inf),
    "policy_latency_s": (0.0, math.inf),
    "battery_v": (MINITAUR.min_battery_v, 16.8),
    "imu_noise_std": (0.0, math.inf),
}


def widened(ranges: Ranges, by: float) -> dict[str, Range]:
    """Return ranges wider by a share of their width, half of it on either side where possible.

    An end that cannot move that far stops at what is possible, and the other end takes the rest, as
    far as it can: a latency of 0 to 40 ms, widened by half, goes from 0 to 60 ms.

    Raises:
        ParameterError: A widened range is impossible.
    """
    wide: dict[str, Range] = {}
    for name, bounds in ranges.items():
        pairs = zip(*map(entries, checked_range(name, bounds)), strict=True)
        lows, highs = zip(*(_wider(name, low, high, by) for low, high in pairs), strict=True)
        wide[name] = (lows, highs) if name in VECTORS else (lows[0], highs[0])
    check_ranges(wide)
    return wide


def _wider(name: str, low: float, high: float, by: float) -> tuple[float, float]:
    least, most = _WIDEST.get(name, (-math.inf, math.inf))
    more = by * (high - low)
    above = min(0.5 * more, most - high)
    below = min(more - above, low - least)
    above = min(more - below, most - high)
    return round(low - below, 9), round(high + above, 9)


def check_ranges(ranges: Ranges) -> None:
    """Refuse ranges that name no parameter, are reversed or reach impossible values.

    Raises:
        ParameterError: Names the range and what is wrong with it.
    """
    for name, bounds in ranges.items():
        checked_range(name, bounds)


def sample(
    ranges: Ranges, rng: np.random.Generator, nominal: PlantParams | None = None
) -> PlantParams:
    """Draw a plant: every ranged parameter uniformly, the others nominal, a seed and a heading.

    Parameters are drawn in the order of their names, so the draw does not depend on how the
    mapping was written down.

    Args:
        ranges: Parameter name to its least and its greatest value.
        rng: Source of randomness; advanced by one draw per number in a range, and by two for the
            plant's own seed and for the heading at the start, which may be any.
        nominal: Values of the parameters that are not ranged.

    Raises:
        ParameterError: A range is impossible.
    """
    checked = {name: checked_range(name, ranges[name]) for name in sorted(ranges)}
    drawn: dict[str, Any] = {name: rng.uniform(*checked[name]) for name in checked}
    seed = int(rng.integers(2**63))
    if "start_heading_rad" not in drawn:
        drawn["start_heading_rad"] = float(rng.uniform(-math.pi, math.pi))
    return dataclasses.replace(nominal or PlantParams(), **drawn, seed=seed)


# What real robots have and no training draws: one thing each, about the nominal robot.
UNMODELLED: Mapping[str, Ranges] = {
    "offsets": {"encoder_offset_rad": ((-0.05,) * NUM_MOTORS, (0.05,) * NUM_MOTORS)},
    "play": {"encoder_play_rad": (0.0, 0.06)},
    "uneven": {"motor_balance": ((0.8,) * NUM_MOTORS, (1.2,) * NUM_MOTORS)},
    "jitter": {"policy_latency_jitter_s": (0.0, 0.03)},
    "lost": {"command_loss": (0.0, 0.2)},
    "sag": {"battery_resistance_ohm": (0.0, 0.1)},
    "soft": {"toe_stiffness_n_per_m": (1000.0, 3000.0)},
}
# What may happen to a robot: 2 kg on its body of 6.0 kg, and the first motor at half its torque.
_LADEN = 1.3337
_WEAK_MOTOR = (0.5, *(1.0,) * (NUM_MOTORS - 1))
HAPPENED: Mapping[str, Ranges] = {
    "load2": {"base_mass_scale": (_LADEN, _LADEN)},
    "weak": {"motor_balance": (_WEAK_MOTOR, _WEAK_MOTOR)},
}

RANDOMIZATIONS: dict[str, Ranges] = {
    "none": {},
    "table1": TABLE1,
    "beyond": widened(TABLE1, 0.5),
    "original": ORIGINAL,
    **UNMODELLED,
    "unmodelled": {name: bounds for each in UNMODELLED.values() for name, bounds in each.items()},
    **HAPPENED,
}


MEASURED = "measured"
"""The randomisation whose ranges are the intervals of a calibrated plant."""

RANDOMIZATION_NAMES = (*RANDOMIZATIONS, MEASURED)


@dataclass(frozen=True, slots=True)
class Randomization:
    """Where a plant is drawn from.

    Attributes:
        ranges: The parameters that are drawn.
        nominal: The values of the others.
    """

    ranges: Ranges = field(default_factory=dict)
    nominal: PlantParams = field(default_factory=PlantParams)


def randomization_named(name: str | Ranges, plant: CalibratedPlant | None = None) -> Randomization:
    """Return the randomisation of a name, about a calibrated plant or the nominal one.

    Args:
        name: A name in ``RANDOMIZATION_NAMES``, or ranges about the nominal robot.
        plant: The ranges are about it, see :func:`ranges_about`, and its values are those of the
            parameters that are not ranged. "measured" needs it.

    Raises:
        ParameterError: There is no such name, "measured" has no plant, or a range about the plant
            is impossible.
    """
    if isinstance(name, str) and name not in RANDOMIZATION_NAMES:
        known = ", ".join(RANDOMIZATION_NAMES)
        raise ParameterError(f"unknown randomization {name!r}; known: {known}")
    if plant is None and name == MEASURED:
        raise ParameterError(
            f"randomization {MEASURED!r} needs a calibrated plant: name one (--params FILE or NAME)"
        )
    nominal = PlantParams() if plant is None else PlantParams(**_of_robot(plant.overrides))
    if plant is not None and name == MEASURED:
        return Randomization(measured_ranges(plant), nominal)
    ranges = RANDOMIZATIONS[name] if isinstance(name, str) else name
    return Randomization(ranges if plant is None else ranges_about(ranges, nominal), nominal)


def ranges_about(ranges: Ranges, nominal: PlantParams) -> dict[str, Range]:
    """Return ranges that are about the nominal robot as ranges about another one.

    The new ranges hold the other robot as the old ones hold the nominal one:

    - What is a factor on the nominal robot (masses, inertias, motor strength) is a factor on the
      other: Table I's 0.8 to 1.2 about a mass scale of 0.85 is 0.68 to 1.02.
    - What is an error of a sensor's zero is added to the other's: Table I's -0.05 to 0.05 rad about
      a bias of 0.02 rad is -0.03 to 0.07 rad.
    - The rest (battery, friction, latencies, control step, noise) belongs to the day, the floor and
      the computer, and Table I has it in units of its own. Its range stays, and is stretched to
      the other's value where that lies outside: 0.5 to 1.25 about a friction of 0.4 is 0.4 to 1.25.

    About the nominal robot every range that holds it is itself. The range of a parameter with a
    number for each motor is stretched motor by motor.

    Raises:
        ParameterError: A range about this robot is impossible.
    """
    about: dict[str, Range] = {}
    for name, bounds in ranges.items():
        values = map(entries, (*checked_range(name, bounds), getattr(nominal, name)))
        pairs = (_about(name, *row) for row in zip(*values, strict=True))
        lows, highs = zip(*pairs, strict=True)
        about[name] = checked_range(name, (lows, highs) if name in VECTORS else (lows[0], highs[0]))
    return about


def _about(name: str, low: float, high: float, value: float) -> tuple[float, float]:
    if name in _FACTORS:
        return round(value * low, 12), round(value * high, 12)
    if name in _ERRORS:
        return round(value + low, 12), round(value + high, 12)
    return min(low, value), max(high, value)


_FACTORS = frozenset(
    (
        "base_mass_scale",
        "leg_mass_scale",
        "base_inertia_scale",
        "leg_inertia_scale",
        "motor_strength_scale",
        "motor_balance",
    )
)
_ERRORS = frozenset(("imu_roll_bias_rad", "imu_pitch_bias_rad"))
# Of a policy's computer and of an episode: a calibration says nothing of them.
_NOT_OF_ROBOT = frozenset(("control_step_s", "start_heading_rad"))


def _of_robot(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in _NOT_OF_ROBOT}


def measured_ranges(plant: CalibratedPlant) -> dict[str, Range]:
    """Return what a calibration leaves open: its intervals, and Table I where it cannot tell.

    A parameter that the records cannot tell has Table I's range about the plant, see
    :func:`ranges_about`; where Table I has none, it keeps the plant's value. The control step is
    never drawn: it belongs to the policy.
    """
    table1: Ranges = {name: TABLE1[name] for name in plant.unknown if name in TABLE1}
    return _of_robot(ranges_about(table1, plant.params) | dict(plant.intervals))


def drawn(randomization: str, seed: int, plant: CalibratedPlant | None = None) -> PlantParams:
    """Return the plant that a seed draws from a randomisation known by name.

    Args:
        randomization: A name in ``RANDOMIZATION_NAMES``.
        seed: Of the draw; the plant's own seed is drawn too, by "none" as well.
        plant: See :func:`randomization_named`.

    Raises:
        ParameterError: There is no randomisation of this name, or it needs a calibrated plant.
    """
    found = randomization_named(randomization, plant)
    return sample(found.ranges, np.random.default_rng(seed), found.nominal)


def pushed(params: PlantParams, force_n: float) -> PlantParams:
    """Return a plant with pushes of this force in random directions; 0 for none.

    Raises:
        ParameterError: The force is impossible.
    """
    if not 0.0 <= force_n <= MAX_PUSH_N:
        raise ParameterError(f"a push must be in [0, {MAX_PUSH_N:g}] N, is {force_n:g}")
    return dataclasses.replace(params, push_force_low_n=force_n, push_force_high_n=force_n)
