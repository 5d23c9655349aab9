"""The drives of the eight motors, real and ideal.

The real ones have PD in duty units, battery, back-EMF, saturating torque and overheat protection,
after Tan et al. 2018 (arXiv 1804.10332, section IV-A)::

    duty    = clip(kp (target - q) - kd qdot, -1, 1)          on what the controller sees (delayed)
    voltage = battery - Rb * sum(duty * current)                 what the battery gives under load
    current = clip(duty * voltage - Kt qdot, -Vmax, Vmax) / R    on the true speed
    torque  = strength * sign(current) * table(|current|) * Kt / nominal Kt - viscous qdot

A bridge takes duty times the motor's current from the battery, so voltage and currents depend on
each other; they are solved together, not from the tick before.

Coulomb friction is not here: it holds a joint still, which only the solver can do well, so the
plant gives it to the engine. Ideal motors are there to compare with. All vectors are of shape (8,),
motor space, rad and Nm. No physics engine is imported: the firmware's control law is tested against
this file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS, MotorConstants, RobotDescription
from sim.plant.params import TICK_S, PlantParams

Array = NDArray[np.float64]


def pd_duty(
    target_rad: Array, position_rad: Array, velocity_rad_s: Array, kp: float, kd: float
) -> Array:
    """Return the PWM duty that the controller commands, shape (8,), within [-1, 1]."""
    duty = kp * (target_rad - position_rad) - kd * velocity_rad_s
    return np.minimum(np.maximum(duty, -1.0), 1.0)


def in_order(terms: Array) -> float:
    """Return a sum from the first term to the last: NumPy's own order is its own affair."""
    return float(np.add.accumulate(terms)[-1])


# Too much torque for this long, longer than a quick gait's stride, and the motor is stalled.
_STALLED_S = 0.2


def strength_of(params: PlantParams, motor: MotorConstants) -> Array:
    """Return each motor's factor on the curve of torque over current, shape (8,)."""
    # The curve was measured at the nominal constant.
    constant = params.torque_constant_nm_per_a / motor.torque_constant_nm_per_a
    strength: Array = params.motor_strength_scale * constant * np.array(params.motor_balance)
    return strength


class Actuators:
    """Eight drives with the memory that overheat protection needs.

    Attributes:
        enabled: Whether each motor is still on, shape (8,).
        heat_j: Heat of each winding since the last ``reset``, shape (8,).
        battery_v: Voltage of the battery under the load of the last tick.
        motor: Whose drives they are.
        strength: Factor on the curve of torque over current, shape (8,).
    """

    def __init__(self, robot: RobotDescription = MINITAUR) -> None:
        motor = robot.motor
        self.motor = motor
        self._currents = np.array(motor.current_table_a)
        self._torques = np.array(motor.torque_table_nm)
        self._hot_s = np.zeros(NUM_MOTORS)
        self.enabled = np.ones(NUM_MOTORS, dtype=bool)
        self.heat_j = np.zeros(NUM_MOTORS)
        self.reset(PlantParams())

    def reset(self, params: PlantParams) -> None:
        """Cool down, switch all motors on and take an episode's parameters."""
        self._params = params
        self.strength = strength_of(params, self.motor)
        self.battery_v = params.battery_v
        self._hot_s[:] = 0.0
        self.heat_j[:] = 0.0
        self.enabled[:] = True

    def keep_in(self, hot_s: Array, enabled: NDArray[np.bool_], heat_j: Array) -> None:
        """Keep what a drive remembers in these arrays, shape (8,), which others see too."""
        hot_s[:], enabled[:], heat_j[:] = self._hot_s, self.enabled, self.heat_j
        self._hot_s, self.enabled, self.heat_j = hot_s, enabled, heat_j

    def follow(
        self,
        target_rad: Array,
        position_rad: Array,
        velocity_rad_s: Array,
        kp: float,
        kd: float,
        true_velocity_rad_s: Array,
    ) -> Array:
        """Return the torque over the next tick of motors that follow a target, shape (8,), Nm.

        Args:
            target_rad: Commanded angles, shape (8,).
            position_rad: Angles that the motor controller sees, shape (8,).
            velocity_rad_s: Speeds that the motor controller sees, shape (8,).
            kp: Proportional gain, duty per rad.
            kd: Derivative gain, duty per rad/s.
            true_velocity_rad_s: Speeds as they are, shape (8,).
        """
        duty = pd_duty(target_rad, position_rad, velocity_rad_s, kp, kd)
        return self.torque(duty, true_velocity_rad_s)

    @property
    def stalled(self) -> bool:
        """Whether a motor had too much torque for 0.2 s without a break, or is switched off."""
        return bool((self._hot_s > _STALLED_S).any() or not self.enabled.all())

    def torque(self, duty: Array, velocity_rad_s: Array, *, protected: bool = True) -> Array:
        """Return the torque on the joints over the next tick, shape (8,), Nm.

        Args:
            duty: PWM duties, shape (8,).
            velocity_rad_s: True speeds, shape (8,).
            protected: Count how long each motor is overloaded, and switch it off after too long.
                Without it, the sender of the duty protects the motors.
        """
        motor, params = self.motor, self._params
        back_emf_v = params.torque_constant_nm_per_a * velocity_rad_s
        if params.battery_resistance_ohm > 0.0:
            self.battery_v = self._loaded_v(duty * self.enabled, back_emf_v)
        drive_v = duty * self.battery_v - back_emf_v
        clipped_v = np.minimum(np.maximum(drive_v, -motor.voltage_clip_v), motor.voltage_clip_v)
        current_a = clipped_v / params.winding_resistance_ohm
        size = np.interp(np.abs(current_a), self._currents, self._torques)
        torque: Array = np.copysign(size * self.strength, current_a)
        if protected:
            # Off for good after too much torque for too long.
            self._hot_s += TICK_S
            self._hot_s *= np.abs(torque) > motor.overheat_torque_nm
            self.enabled &= self._hot_s <= motor.overheat_time_s
            torque *= self.enabled
            current_a = current_a * self.enabled
        self.heat_j += TICK_S * (current_a * current_a * params.winding_resistance_ohm)
        if params.motor_viscous_nm_s_per_rad > 0.0:
            torque -= params.motor_viscous_nm_s_per_rad * velocity_rad_s
        return torque

    def open(self) -> Array:
        """Return the torque of motors whose bridges are open, shape (8,): none, and no load."""
        self.battery_v = self._params.battery_v
        return np.zeros(NUM_MOTORS)

    def _loaded_v(self, duty: Array, back_emf_v: Array) -> float:
        """Return the voltage of the battery under the drives' load.

        ``V = E - Rb sum(d I)`` and ``I = (d V - e) / R`` are linear in V. Braking motors charge the
        battery above E. The clip of the voltage over a winding is left out: no battery of the
        robot's reaches it. No current turns a battery's voltage round.

        Args:
            duty: Of the motors that are on, shape (8,).
            back_emf_v: Shape (8,).
        """
        params = self._params
        ratio = params.battery_resistance_ohm / params.winding_resistance_ohm
        loaded = params.battery_v + ratio * in_order(duty * back_emf_v)
        return max(0.0, loaded / (1.0 + ratio * in_order(duty * duty)))


# Of an ideal motor under the robot's own gains. The real drive has 16 V / 0.186 ohm x 0.1 Nm/A =
# 8.6 Nm per rad, and 0.18 Nm s per rad with its back-EMF, until it saturates at 3.5 Nm. The ratio
# of the two is the lag behind a moving target, 10 ms. Stiffer motors chatter on the floor at 1 ms
# a tick.
IDEAL_STIFFNESS_NM_PER_RAD = 100.0
IDEAL_DAMPING_NM_S_PER_RAD = 1.0


class IdealActuators(Actuators):
    """Motors that follow their targets without saturation, back-EMF, battery or overheating.

    This is what a simulator has that models no actuators. Use it for comparisons only: a policy for
    the robot must not be trained on it. Of the plant's parameters those of the drives do nothing,
    except under duties from outside.
    """

    def follow(
        self,
        target_rad: Array,
        position_rad: Array,
        velocity_rad_s: Array,
        kp: float,
        kd: float,
        true_velocity_rad_s: Array,
    ) -> Array:
        """Return the torque, shape (8,), Nm, without bounds; gains scale stiffness and damping."""
        stiffness = IDEAL_STIFFNESS_NM_PER_RAD * kp / MINITAUR.kp
        damping = IDEAL_DAMPING_NM_S_PER_RAD * kd / MINITAUR.kd
        return stiffness * (target_rad - position_rad) - damping * velocity_rad_s
