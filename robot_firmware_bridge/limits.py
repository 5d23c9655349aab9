"""Limits that the firmware enforces on its own, whatever a host commands.

The firmware's constants are generated from here and from the robot description. They are no part of
that description: a policy does not depend on them as long as they do not bind.
"""

from __future__ import annotations

from dataclasses import dataclass

from robot_firmware_bridge.robot import MINITAUR


@dataclass(frozen=True, slots=True)
class FirmwareLimits:
    """Limits and time constants of the motor controller.

    The thermal constants are estimates, not identified on a robot: a motor that starts cold and
    bears 22 A, as the loaded ones do in a trot, trips after four and a half minutes.

    Attributes:
        max_kp: Greatest proportional gain, duty per rad.
        max_kd: Greatest derivative gain, duty per rad/s.
        max_duty: Bound on the PWM duty.
        max_current_a: Bound on a winding's current; the identified torque curve ends there.
        max_valid_ms: Longest life of a command.
        soft_start_ms: Time over which the duty bound grows from 0 after a robot becomes active.
        ready_timeout_ms: An armed board that receives no command for this long disarms.
        damping_ms: Damping after a disarm in motion, before the bridges open.
        damping_kd: Derivative gain while damping, duty per rad/s, after a command with such a
            gain; after one without, the shorted windings brake alone.
        battery_filter_ms: Time constant of the battery voltage that decides.
        undervoltage_v: Filtered battery voltage under which the robot must not run.
        stall_duty: Duty above which a motor that does not turn is stalled, ...
        stall_speed_rad_s: ... slower than this ...
        stall_ms: ... for this long.
        mean_current_a: Bound on the mean of a winding's absolute current (a stumble takes 30 A) ...
        mean_current_ms: ... through a low-pass filter of this time constant.
        overload_torque_nm: Torque that a motor bears for ``overload_ms`` only, as in sim.
        overload_ms: See above.
        encoder_jump_rad: Greatest believable change of a motor angle in one control tick of 1 ms.
        imu_frozen_ms: An IMU that repeats itself bit for bit for this long is dead.
        ambient_c: Temperature of everything when the board starts.
        winding_j_per_k: Heat capacity of a winding.
        winding_k_per_w: Thermal resistance from winding to housing.
        housing_j_per_k: Heat capacity of a motor's housing.
        housing_k_per_w: Thermal resistance from housing to air.
        max_winding_c: Winding temperature at which the robot stops.
        max_housing_c: Housing temperature at which the robot stops.
    """

    max_kp: float = 4.0
    max_kd: float = 0.1
    max_duty: float = MINITAUR.max_duty
    max_current_a: float = MINITAUR.motor.current_table_a[-1]
    max_valid_ms: int = 200
    soft_start_ms: int = 1000
    ready_timeout_ms: int = 2000
    damping_ms: int = 500
    damping_kd: float = MINITAUR.kd
    battery_filter_ms: int = 100
    undervoltage_v: float = MINITAUR.min_battery_v
    stall_duty: float = 0.5
    stall_speed_rad_s: float = 0.5
    stall_ms: int = 1000
    mean_current_a: float = 40.0
    mean_current_ms: int = 1000
    overload_torque_nm: float = MINITAUR.motor.overheat_torque_nm
    overload_ms: int = round(1000 * MINITAUR.motor.overheat_time_s)
    encoder_jump_rad: float = 0.5
    imu_frozen_ms: int = 100
    ambient_c: float = 25.0
    winding_j_per_k: float = 60.0
    winding_k_per_w: float = 0.5
    housing_j_per_k: float = 200.0
    housing_k_per_w: float = 1.0
    max_winding_c: float = 120.0
    max_housing_c: float = 80.0


LIMITS = FirmwareLimits()
