"""The robot as a motor controller has it: sensors to read, bridges to drive, a stand to hang on.

A Minitaur without torque folds up, within 0.2 s and farther than its motors may be commanded, so no
loop would start with one that lies on the floor. A stand holds the robot in its stance until its
motors are driven for the first time. When the robot has lain with open bridges for
``PICK_UP_TICKS``, it is put back on the stand, where each new run begins.

Another stand, for bring-up, holds the body for good with bent legs in the air. Soft blocks
under the toes keep limp legs where they are, and nobody puts those back.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from robot_firmware_bridge.firmware.library import Drive, Sensors
from robot_firmware_bridge.robot import NUM_MOTORS
from sim.board.wiring import Wiring
from sim.errors import ParameterError
from sim.plant.params import PlantParams
from sim.plant.plant import Plant

PICK_UP_TICKS = 1000
LIFT_TICKS = 300

# A stand that lifts the toes off the floor, for good; and soft blocks under the toes that keep limp
# legs where they were put, in the place of which the motors' dry friction is.
_STAND_M, _BLOCKS_NM = 0.3, 0.13


def on_stand(params: PlantParams, blocks_nm: float = _BLOCKS_NM) -> PlantParams:
    """Return parameters of a robot whose body a stand holds for good, with its legs in the air.

    Args:
        params: Of the robot.
        blocks_nm: Torque at a motor up to which the blocks under the toes hold a limp leg, Nm.
    """
    friction_nm = max(params.motor_coulomb_nm, blocks_nm)
    return dataclasses.replace(params, stand_height_m=_STAND_M, motor_coulomb_nm=friction_nm)


class BoardPlant:
    """A plant that a motor controller drives tick by tick, with sensors that can be made to fail.

    Of its parameters ``policy_latency_s``, its jitter and ``command_loss`` count for nothing:
    commands and states travel over the controller's own line.

    Args:
        plant: The robot and its world; reset.
        wiring: How its motors are wired to the motor controller.
        bent_rad: Extension to which the legs are bent in the beginning, of a robot whose
            parameters are those of ``on_stand``; None for the stance, of any other.

    Raises:
        ParameterError: The IMU is free of noise: on a robot at rest it would repeat itself to the
            bit, which the firmware takes for a dead one.
    """

    def __init__(
        self, plant: Plant, wiring: Wiring | None = None, bent_rad: float | None = None
    ) -> None:
        if plant.params.imu_noise_std == 0.0:
            raise ParameterError("imu_noise_std = 0: a motor controller takes that for a dead IMU")
        self.plant = plant
        self._wiring = wiring
        self._read_rad: np.ndarray | None = None
        self._bent_rad = bent_rad
        self._held = True
        self._open_ticks = 0
        self._lift_ticks = 0
        self._lift_rad = np.zeros(NUM_MOTORS)
        self._imu_frozen = False
        self._imu = np.zeros(6)
        self._slip_rad = np.zeros(NUM_MOTORS)
        self._battery_v: float | None = None
        self._housing_c = np.full(NUM_MOTORS, np.nan)
        self._bend()

    @property
    def on_stand(self) -> bool:
        """Whether the robot hangs on the stand; not while it is being lifted there."""
        return self._held and self._lift_ticks == 0

    def sense(self, sensors: Sensors) -> None:
        """Write what the sensors read now."""
        seen = self.plant.controller_view(held=self._held)
        position_rad, velocity_rad_s = seen.motor_position_rad, seen.motor_velocity_rad_s
        if self._lift_ticks:
            position_rad += self._lift_rad * (self._lift_ticks / LIFT_TICKS)
        if self._wiring is not None:
            self._wiring.read(position_rad, velocity_rad_s, self._read_rad)
            self._read_rad = position_rad
        np.add(position_rad, self._slip_rad, out=sensors.motor_position_rad)
        sensors.motor_velocity_rad_s[:] = velocity_rad_s
        if not self._imu_frozen:
            self._imu[:3] = seen.rpy_rad
            self._imu[3:] = seen.angular_rate_rad_s
        sensors.rpy_rad[:] = self._imu[:3]
        sensors.angular_rate_rad_s[:] = self._imu[3:]
        sensors.battery_v = seen.battery_v if self._battery_v is None else self._battery_v
        sensors.housing_temperature_c[:] = self._housing_c

    def advance(self, drive: Drive) -> None:
        """Let one millisecond pass with the bridges as the motor controller set them."""
        if self._lift_ticks:
            self._lift_ticks -= 1  # the legs are held, whatever the motors do
        elif drive.enabled:
            self._held = False
            self._open_ticks = 0
            self.plant.drive(self._duty(drive))
        elif not self._held:
            self.plant.drive(None)
            self._open_ticks += 1
            if self._open_ticks == PICK_UP_TICKS and self._bent_rad is None:
                self.pick_up()

    def _duty(self, drive: Drive) -> np.ndarray:
        """Return the duty of each motor, shape (8,), for what the bridges do."""
        duty = drive.duty.astype(np.float64)
        if self._wiring is None:
            return duty
        plant = self.plant
        back_emf_v = plant.params.torque_constant_nm_per_a * plant.motor_truth()[1]
        idle = np.clip(back_emf_v / max(plant.drives.battery_v, 1.0), -1.0, 1.0)
        return self._wiring.drive(duty, idle)

    def _bend(self) -> None:
        """Bend the legs, if they are to be bent."""
        if self._bent_rad is None:
            return
        still, body = np.zeros(NUM_MOTORS), np.zeros(13)
        self.plant.engine.measure(still.copy(), still.copy(), body)
        self.plant.place(np.full(NUM_MOTORS, self._bent_rad), still, body)

    def pick_up(self) -> None:
        """Put the robot back on its stand, where it began.

        The legs are there at once; the encoders measure a lift over ``LIFT_TICKS``, since a motor
        controller takes an angle that jumps for a broken encoder.
        """
        lying_rad = self.plant.controller_view(held=True).motor_position_rad.copy()
        self.plant.reset(self.plant.params)
        self._lift_rad = lying_rad - self.plant.controller_view(held=True).motor_position_rad
        self._lift_ticks = LIFT_TICKS
        self._held = True

    def freeze_imu(self) -> None:
        """Let the IMU repeat its last reading for good."""
        self._imu_frozen = True

    def thaw_imu(self) -> None:
        """Let the IMU measure again."""
        self._imu_frozen = False

    def slip_encoder(self, motor: int, angle_rad: float) -> None:
        """Turn an encoder on its shaft: from now on it reads ``angle_rad`` more."""
        self._slip_rad[motor] += angle_rad

    def read_battery(self, voltage_v: float) -> None:
        """Let the battery sensor read this; the battery itself stays what it is."""
        self._battery_v = voltage_v

    def heat(self, motor: int, temperature_c: float) -> None:
        """Let the sensor in a motor's housing, of which there was none, read this."""
        self._housing_c[motor] = temperature_c

    def cool(self) -> None:
        """Take all sensors out of the housings again."""
        self._housing_c[:] = np.nan
