"""Every physical parameter of a plant as one frozen value: comparable and replayable.

A plant is a function of such a value and of its commands; nothing else is random. The
nominal values are those of the identified robot of Tan et al. 2018 (arXiv 1804.10332).
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from dataclasses import dataclass
from typing import Annotated, get_type_hints

from robot_firmware_bridge.robot import MINITAUR
from sim.errors import ParameterError

# One tick of every plant: the rate of the robot's motor controller.
TICK_S = 0.001
TICK_NS = 1_000_000
GRAVITY_M_S2 = 9.81

# Thirty times the weight of the robot.
MAX_PUSH_N = 2000.0


@dataclass(frozen=True, slots=True)
class PlantParams:
    """Parameters of one episode of a plant; the defaults are the nominal robot.

    Each is annotated with bounds, both inclusive, outside which a value is impossible or beyond
    what the plant models. Numbers of any kind, numpy's too, become Python's ``float`` and ``int``.

    Attributes:
        base_mass_scale: Factor on the mass of the body.
        leg_mass_scale: Factor on the mass of every leg link.
        base_inertia_scale: Factor on the body's inertia, beside that of its mass.
        leg_inertia_scale: Factor on every leg link's inertia, beside that of its mass.
        motor_strength_scale: Factor on the torque of every motor.
        motor_viscous_nm_s_per_rad: Viscous friction of a motor.
        motor_coulomb_nm: Coulomb friction of a motor.
        battery_v: Battery voltage.
        contact_friction: Coulomb coefficient between toe and floor.
        control_step_s: Time between two commands of the policy.
        pd_latency_s: Age of what the motor controller's PD loop sees (3 ms measured by the paper).
        policy_latency_s: Age of what the policy sees (15 to 19 ms measured by the paper).
        imu_roll_bias_rad: Constant error of the measured roll.
        imu_pitch_bias_rad: Constant error of the measured pitch.
        imu_noise_std: Standard deviation of white noise on roll, pitch and yaw (rad) and on the
            gyroscope (rad/s); the nominal value is of the order of the robot's VN-100.
        start_heading_rad: Yaw of the body at the start, in the world. No physics depends on it.
        push_force_low_n: Least force of a push.
        push_force_high_n: Greatest force of a push; 0 for no pushes.
        push_interval_s: Time from the start of one push to that of the next.
        push_duration_s: Length of a push.
        seed: Seed of the plant's own randomness: sensor noise, push forces and directions.
    """

    base_mass_scale: Annotated[float, 0.05, 20.0] = 1.0
    leg_mass_scale: Annotated[float, 0.05, 20.0] = 1.0
    base_inertia_scale: Annotated[float, 0.05, 20.0] = 1.0
    leg_inertia_scale: Annotated[float, 0.05, 20.0] = 1.0
    motor_strength_scale: Annotated[float, 0.0, 10.0] = 1.0
    motor_viscous_nm_s_per_rad: Annotated[float, 0.0, 1.0] = 0.0
    motor_coulomb_nm: Annotated[float, 0.0, 3.5] = 0.0
    battery_v: Annotated[float, 0.0, 50.0] = MINITAUR.motor.nominal_voltage_v
    contact_friction: Annotated[float, 0.0, 10.0] = 1.0
    control_step_s: Annotated[float, 0.001, 0.1] = 0.006
    pd_latency_s: Annotated[float, 0.0, 0.1] = 0.003
    policy_latency_s: Annotated[float, 0.0, 0.1] = 0.015
    imu_roll_bias_rad: Annotated[float, -0.5, 0.5] = 0.0
    imu_pitch_bias_rad: Annotated[float, -0.5, 0.5] = 0.0
    imu_noise_std: Annotated[float, 0.0, 1.0] = 0.001
    start_heading_rad: Annotated[float, -math.pi, math.pi] = 0.0
    push_force_low_n: Annotated[float, 0.0, MAX_PUSH_N] = 0.0
    push_force_high_n: Annotated[float, 0.0, MAX_PUSH_N] = 0.0
    push_interval_s: Annotated[float, 0.001, 1e6] = 1.2
    push_duration_s: Annotated[float, 0.0, 1e6] = 0.06
    seed: Annotated[int, 0, 2**63 - 1] = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = checked_value(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        if self.push_force_low_n > self.push_force_high_n:
            raise ParameterError(
                f"push_force_low_n {self.push_force_low_n} exceeds "
                f"push_force_high_n {self.push_force_high_n}"
            )


_HINTS = get_type_hints(PlantParams, include_extras=True)
NAMES = frozenset(_HINTS)


def checked_value(name: str, value: object) -> float | int:
    """Return a parameter's value as a Python number, of the parameter's own type.

    Raises:
        ParameterError: There is no such parameter, or the value is not a number within its
            possible bounds; names the parameter, the value and the bounds.
    """
    if name not in _HINTS:
        raise ParameterError(f"unknown plant parameter {name!r}; known: {sorted(NAMES)}")
    kind, (low, high) = _HINTS[name].__origin__, _HINTS[name].__metadata__
    accepted = numbers.Integral if kind is int else numbers.Real
    if isinstance(value, bool) or not isinstance(value, accepted):
        what = "an integer" if kind is int else "a number"
        raise ParameterError(f"{name} = {value!r} must be {what}")
    number: float | int = kind(value)
    if not (math.isfinite(number) and low <= number <= high):
        raise ParameterError(f"{name} = {number} is impossible: it must lie in [{low}, {high}]")
    return number
