"""The one description of the Minitaur from which every other part derives.

Names, order, directions, geometry, motor constants, gains, poses and limits stand here once. The
simulator, the deploy loop, the wire protocol and the firmware read them from here; a policy file
carries the hash of this description, and a robot that differs refuses it.

Motor angles are given in *motor space*: the angle of each motor's upper link, positive so that a
larger sum of a leg's two angles extends the leg, for all eight motors alike. ``motor_directions``
maps motor space to the joint axes of the URDF and to the shafts of the real motors.

This module imports numpy only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge import json_values
from robot_firmware_bridge.json_values import Length, Within

NUM_LEGS = 4
NUM_MOTORS = 8
_LEGS = ("front_left", "back_left", "front_right", "back_right")

# Bounds of a description that is read from a file: those of any robot of this kind.
_Name = Annotated[str, Length(1, 64)]
_Metres = Annotated[float, Within(0.01, 10.0)]
_Angle = Annotated[float, Within(-6.3, 6.3)]
_Gain = Annotated[float, Within(0.0, 1e3)]
_Positive = Annotated[float, Within(1e-6, 1e6)]
_Table = Annotated[tuple[Annotated[float, Within(0.0, 1e4)], ...], Length(2, 100)]


@dataclass(frozen=True, slots=True)
class MotorConstants:
    """Electrical and mechanical constants of one drive (T-Motor U8 with its amplifier).

    Source: the identified actuator model of Tan et al. 2018 (arXiv 1804.10332, section IV-A), with
    the figures of the published ``minitaur`` motor model. The firmware uses the same values.

    Attributes:
        resistance_ohm: Winding plus driver resistance.
        torque_constant_nm_per_a: Torque per ampere below saturation, equal to the back-EMF
            constant in V s/rad.
        nominal_voltage_v: Battery voltage at which the gains were tuned.
        voltage_clip_v: Bound on the voltage over the winding, drive minus back-EMF.
        current_table_a: Currents of the measured current-torque curve, ascending, in A.
        torque_table_nm: Torque at each of these currents, in Nm; it flattens as iron saturates.
        overheat_torque_nm: Torque that the motor bears for a limited time only.
        overheat_time_s: Time above ``overheat_torque_nm`` after which the motor switches off.
    """

    resistance_ohm: _Positive = 0.186
    torque_constant_nm_per_a: _Positive = 0.0954
    nominal_voltage_v: _Positive = 16.0
    voltage_clip_v: _Positive = 50.0
    current_table_a: _Table = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0)
    torque_table_nm: _Table = (0.0, 1.0, 1.9, 2.45, 3.0, 3.25, 3.5)
    overheat_torque_nm: _Positive = 2.45
    overheat_time_s: _Positive = 1.0


@dataclass(frozen=True, slots=True)
class RobotDescription:
    """Everything about a robot that two programs must agree on before one moves it.

    Attributes:
        name: Robot type.
        leg_names: Order of the legs in every 4-vector.
        motor_names: Order of the motors in every 8-vector; leg ``i`` owns motors ``2i, 2i+1``.
        motor_directions: +1 or -1 per motor, motor space to joint axis.
        upper_link_m: Length of the driven link of a leg.
        lower_link_m: Length of the link from the knee to the toe.
        body_length_m: Length of the chassis, for scale in plots and reports.
        stance_extension_rad: Leg extension when standing, the centre of every gait.
        kp: Proportional gain of the motor controller, duty per rad.
        kd: Derivative gain of the motor controller, duty per rad/s.
        max_duty: Bound on the PWM duty, in [0, 1].
        motor_limits_rad: Least and greatest motor angle that may be commanded.
        extension_limits_rad: Least and greatest leg extension that may be commanded; the upper
            bound keeps the five-bar away from its singular stretch at pi.
        swing_limit_rad: Greatest absolute leg swing that may be commanded.
        target_rate_limit_rad_s: Fastest change of a commanded motor angle. Far above what a gait
            needs (about 30 rad/s), far below what an unchecked jump would be.
        max_tilt_rad: Angle of the body's up axis to the vertical past which a run ends.
        min_battery_v: Battery voltage under which the robot must not run.
        motor: Constants of the drives.
    """

    name: _Name = "minitaur"
    leg_names: Annotated[tuple[_Name, ...], Length(NUM_LEGS, NUM_LEGS)] = _LEGS
    motor_names: Annotated[tuple[_Name, ...], Length(NUM_MOTORS, NUM_MOTORS)] = tuple(
        f"{leg}{side}" for leg in _LEGS for side in "LR"
    )
    motor_directions: Annotated[
        tuple[Annotated[int, Within(-1, 1)], ...], Length(NUM_MOTORS, NUM_MOTORS)
    ] = (-1, -1, -1, -1, 1, 1, 1, 1)
    upper_link_m: _Metres = 0.1
    lower_link_m: _Metres = 0.2
    body_length_m: _Metres = 0.54
    stance_extension_rad: _Angle = 2.0
    kp: _Gain = 1.0
    kd: _Gain = 0.015
    max_duty: Annotated[float, Within(0.0, 1.0)] = 1.0
    motor_limits_rad: tuple[_Angle, _Angle] = (0.2, 3.6)
    extension_limits_rad: tuple[_Angle, _Angle] = (0.7, 2.8)
    swing_limit_rad: _Angle = 1.0
    target_rate_limit_rad_s: _Positive = 100.0
    max_tilt_rad: _Angle = 0.5
    min_battery_v: _Positive = 12.7
    motor: MotorConstants = dataclasses.field(default_factory=MotorConstants)

    @property
    def directions(self) -> NDArray[np.float64]:
        """Motor directions, shape (8,)."""
        return np.array(self.motor_directions, dtype=np.float64)

    @property
    def stance_pose_rad(self) -> NDArray[np.float64]:
        """Motor angles when standing, shape (8,), rad."""
        return np.full(NUM_MOTORS, self.stance_extension_rad)

    def to_json(self) -> str:
        """Return the description as canonical JSON: sorted keys, no spaces, full precision."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> RobotDescription:
        """Read what :meth:`to_json` wrote; the hash is the same.

        Raises:
            JsonValueError: Names the field that does not fit.
        """
        data = json_values.parse(text, "robot")
        robot: RobotDescription = json_values.decode(RobotDescription, data, "robot")
        return robot

    def hash(self) -> str:
        """Return the SHA-256 over :meth:`to_json`, 64 hex digits: equal for equal robots."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


MINITAUR = RobotDescription()
