"""Every physical parameter of a plant as one frozen value: comparable and replayable.

A plant is a function of such a value and of its commands; nothing else is random. The
nominal values are those of the identified robot of Tan et al. 2018 (arXiv 1804.10332).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_origin, get_type_hints

import numpy as np

from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS
from sim.errors import ParameterError

# A parameter's value: a number, or one for each motor.
Value = float | int | tuple[float, ...]
# The least and the greatest value of a parameter.
Range = tuple[Value, Value]

# One tick of every plant: the rate of the robot's motor controller.
TICK_S = 0.001
TICK_NS = 1_000_000
GRAVITY_M_S2 = 9.81

# Thirty times the weight of the robot.
MAX_PUSH_N = 2000.0
# Of the toes in the identified robot's file.
_TOE_STIFFNESS_N_PER_M, _TOE_DAMPING_N_S_PER_M = 3000.0, 100.0


@dataclass(frozen=True, slots=True)
class PlantParams:
    """Parameters of one episode of a plant; the defaults are the nominal robot.

    Each is annotated with bounds, both inclusive, outside which a value is impossible or beyond
    what the plant models. Numbers of any kind, numpy's too, become Python's ``float`` and ``int``;
    of a parameter with a number for each motor, the bounds hold for each, and any sequence of eight
    becomes a tuple.

    Within the bounds of the toes' stiffness and damping, robots in both engines stand still and sag
    alike. The nominal two are those of the identified robot's file; where one of them is nominal,
    the file of the model holds, whichever model it is.

    Attributes:
        base_mass_scale: Factor on the mass of the body.
        leg_mass_scale: Factor on the mass of every leg link.
        base_inertia_scale: Factor on the body's inertia, beside that of its mass.
        leg_inertia_scale: Factor on every leg link's inertia, beside that of its mass.
        base_com_x_m: Shift of the centre of mass of the body's link along its own x, forwards: of a
            battery or a payload. The inertia about that centre stays.
        motor_strength_scale: Factor on the torque of every motor.
        motor_balance: Factor on the torque of each motor, beside the one for all.
        motor_viscous_nm_s_per_rad: Viscous friction of a motor.
        motor_coulomb_nm: Coulomb friction of a motor.
        winding_resistance_ohm: Resistance of a motor's winding and driver.
        torque_constant_nm_per_a: Back-EMF constant of a motor, V s/rad, and its torque per ampere;
            the measured current-torque curve is scaled with it.
        knee_viscous_nm_s_per_rad: Viscous friction of a knee.
        knee_coulomb_nm: Coulomb friction of a knee.
        encoder_offset_rad: What each motor's encoder reads above the true angle, motor space. The
            motor controller and the policy see the reading.
        encoder_play_rad: Play between a leg and the encoder on its motor: the reading follows the
            angle only once it is half of this away.
        battery_v: Battery voltage without load.
        battery_resistance_ohm: Resistance of the battery and its leads, by which the voltage sags.
        contact_friction: Coulomb coefficient between toe and floor.
        toe_stiffness_n_per_m: Stiffness of a toe's contact, at each corner that touches.
        toe_damping_n_s_per_m: Damping of a toe's contact, at each corner that touches.
        block_height_m: Greatest height of the blocks on the ground, which ``sim.plant.terrain``
            describes; 0 for none. The seed decides the height of each.
        sill_height_m: Height of the sills across the way; 0 for none.
        wave_height_m: Height of waves across the way, from trough to crest; 0 for none.
        stair_rise_m: Height of each step of the stairs, which go up and down again; 0 for none.
        patch_friction_scale: Factor on the friction in slippery patches of the ground; 1 for none.
            The seed decides their places.
        slope_rad: Rise of the ground ahead, along the heading at the start.
        cross_slope_rad: Rise of the ground to the left of that.
        control_step_s: Time between two commands of the policy.
        pd_latency_s: Age of what the motor controller's PD loop sees (3 ms measured by the paper).
        policy_latency_s: Age of what the policy sees (15 to 19 ms measured by the paper).
        policy_latency_jitter_s: What is added to that at most, anew each time.
        command_loss: Share of the policy's commands that never reach the motor controllers.
        imu_roll_bias_rad: Constant error of the measured roll.
        imu_pitch_bias_rad: Constant error of the measured pitch.
        imu_noise_std: Standard deviation of white noise on roll, pitch and yaw (rad) and on the
            gyroscope (rad/s); the nominal value is of the order of the robot's VN-100.
        start_heading_rad: Yaw of the body at the start, in the world. No physics depends on it.
        stand_height_m: By how much a stand lifts the robot, whose body it holds still; 0 for none.
        push_force_low_n: Least force of a push.
        push_force_high_n: Greatest force of a push; 0 for no pushes.
        push_interval_s: Time from the start of one push to that of the next.
        push_duration_s: Length of a push.
        seed: Seed of the plant's own randomness: sensor noise, latencies, lost commands, push
            forces and directions, and the ground.
    """

    base_mass_scale: Annotated[float, 0.05, 20.0] = 1.0
    leg_mass_scale: Annotated[float, 0.05, 20.0] = 1.0
    base_inertia_scale: Annotated[float, 0.05, 20.0] = 1.0
    leg_inertia_scale: Annotated[float, 0.05, 20.0] = 1.0
    base_com_x_m: Annotated[float, -0.2, 0.2] = 0.0
    motor_strength_scale: Annotated[float, 0.0, 10.0] = 1.0
    motor_balance: Annotated[tuple[float, ...], 0.0, 10.0] = (1.0,) * NUM_MOTORS
    motor_viscous_nm_s_per_rad: Annotated[float, 0.0, 1.0] = 0.0
    motor_coulomb_nm: Annotated[float, 0.0, 3.5] = 0.0
    winding_resistance_ohm: Annotated[float, 0.01, 10.0] = MINITAUR.motor.resistance_ohm
    torque_constant_nm_per_a: Annotated[float, 0.001, 1.0] = MINITAUR.motor.torque_constant_nm_per_a
    knee_viscous_nm_s_per_rad: Annotated[float, 0.0, 0.1] = 0.0
    knee_coulomb_nm: Annotated[float, 0.0, 1.0] = 0.0
    encoder_offset_rad: Annotated[tuple[float, ...], -math.pi, math.pi] = (0.0,) * NUM_MOTORS
    encoder_play_rad: Annotated[float, 0.0, 0.5] = 0.0
    battery_v: Annotated[float, 0.0, 50.0] = MINITAUR.motor.nominal_voltage_v
    battery_resistance_ohm: Annotated[float, 0.0, 1.0] = 0.0
    contact_friction: Annotated[float, 0.0, 10.0] = 1.0
    toe_stiffness_n_per_m: Annotated[float, 1000.0, 30000.0] = _TOE_STIFFNESS_N_PER_M
    toe_damping_n_s_per_m: Annotated[float, 10.0, 150.0] = _TOE_DAMPING_N_S_PER_M
    block_height_m: Annotated[float, 0.0, 0.2] = 0.0
    sill_height_m: Annotated[float, 0.0, 0.2] = 0.0
    wave_height_m: Annotated[float, 0.0, 0.2] = 0.0
    stair_rise_m: Annotated[float, 0.0, 0.2] = 0.0
    patch_friction_scale: Annotated[float, 0.0, 1.0] = 1.0
    slope_rad: Annotated[float, -0.7, 0.7] = 0.0
    cross_slope_rad: Annotated[float, -0.7, 0.7] = 0.0
    control_step_s: Annotated[float, 0.001, 0.1] = 0.006
    pd_latency_s: Annotated[float, 0.0, 0.1] = 0.003
    policy_latency_s: Annotated[float, 0.0, 0.1] = 0.015
    policy_latency_jitter_s: Annotated[float, 0.0, 0.1] = 0.0
    command_loss: Annotated[float, 0.0, 1.0] = 0.0
    imu_roll_bias_rad: Annotated[float, -0.5, 0.5] = 0.0
    imu_pitch_bias_rad: Annotated[float, -0.5, 0.5] = 0.0
    imu_noise_std: Annotated[float, 0.0, 1.0] = 0.001
    start_heading_rad: Annotated[float, -math.pi, math.pi] = 0.0
    stand_height_m: Annotated[float, 0.0, 1.0] = 0.0
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
VECTORS = frozenset(name for name in _HINTS if get_origin(_HINTS[name].__origin__) is tuple)
"""The parameters with a number for each motor."""


def checked_value(name: str, value: object) -> Any:
    """Return a parameter's value as Python numbers, of the parameter's own type.

    Raises:
        ParameterError: There is no such parameter, or the value is not a number within its
            possible bounds, or not eight of them; names the parameter, the value and the bounds.
    """
    check_name(name)
    kind, (low, high) = _HINTS[name].__origin__, _HINTS[name].__metadata__
    if name not in VECTORS:
        return _checked_number(name, value, kind, low, high)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != NUM_MOTORS:
        raise ParameterError(f"{name} = {value!r} must be {NUM_MOTORS} numbers, one for each motor")
    return tuple(
        _checked_number(f"{name}[{motor}]", number, float, low, high)
        for motor, number in enumerate(value)
    )


def check_name(name: str) -> None:
    """Refuse a name that no parameter has.

    Raises:
        ParameterError: Names the nearest parameters or, if none is near, all.
    """
    if name not in _HINTS:
        near = difflib.get_close_matches(name, sorted(NAMES))
        cure = f"did you mean {' or '.join(near)}?" if near else f"known: {sorted(NAMES)}"
        raise ParameterError(f"unknown plant parameter {name!r}; {cure}")


def checked_range(name: str, bounds: object) -> Range:
    """Return a parameter's range as its least and its greatest value, of the parameter's own type.

    Args:
        name: Of the parameter.
        bounds: Two values. For a parameter with a number for each motor, each of the two may also
            be one number, which then is that of every motor.

    Raises:
        ParameterError: There is no such parameter, or the range is not two possible values, the
            lesser first; names the parameter and what is wrong.
    """
    check_name(name)
    if isinstance(bounds, str) or not isinstance(bounds, Sequence) or len(bounds) != 2:
        raise ParameterError(f"range of {name} must be two numbers, got {bounds!r}")
    low, high = (
        checked_value(name, (bound,) * NUM_MOTORS if _one_for_all(name, bound) else bound)
        for bound in bounds
    )
    if any(a > b for a, b in zip(entries(low), entries(high), strict=True)):
        raise ParameterError(f"range of {name} is reversed: [{low}, {high}]")
    return low, high


def entries(value: Value) -> tuple[float, ...]:
    """Return a value as a tuple: of its numbers, or of the one number that it is."""
    return value if isinstance(value, tuple) else (value,)


def _one_for_all(name: str, bound: object) -> bool:
    return name in VECTORS and isinstance(bound, numbers.Real)


def _checked_number(name: str, value: object, kind: Any, low: float, high: float) -> float | int:
    accepted = numbers.Integral if kind is int else numbers.Real
    if isinstance(value, bool) or not isinstance(value, accepted):
        what = "an integer" if kind is int else "a number"
        raise ParameterError(f"{name} = {value!r} must be {what}")
    number: float | int = kind(value)
    if not (math.isfinite(number) and low <= number <= high):
        raise ParameterError(f"{name} = {number} is impossible: it must lie in [{low}, {high}]")
    return number


def differing(params: PlantParams) -> dict[str, Value]:
    """Return the values that are not the nominal ones, by name, in the order of the fields."""
    return {
        field.name: getattr(params, field.name)
        for field in dataclasses.fields(PlantParams)
        if getattr(params, field.name) != field.default
    }


def toe_contact(params: PlantParams, described: Mapping[str, float | None]) -> tuple[float, float]:
    """Return the stiffness (N/m) and the damping (N s/m) of a toe's contact, at each corner.

    Args:
        params: Of the episode.
        described: What the model's file says of the lower leg, ``stiffness`` and ``damping`` among
            it; it holds for nominal values.
    """
    stiffness, damping = described.get("stiffness"), described.get("damping")
    if stiffness is None or params.toe_stiffness_n_per_m != _TOE_STIFFNESS_N_PER_M:
        stiffness = params.toe_stiffness_n_per_m
    if damping is None or params.toe_damping_n_s_per_m != _TOE_DAMPING_N_S_PER_M:
        damping = params.toe_damping_n_s_per_m
    return stiffness, damping
