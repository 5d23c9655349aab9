"""Predict the windows of a record with a plant, and say how far off the predictions are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.record import Record
from calibration.stimulus import Stimulus
from calibration.windows import Windows
from robot_firmware_bridge.geometry import (
    quaternion_from_rpy,
    rotation_from_quaternion,
)
from sim.errors import SimError
from sim.plant.params import GRAVITY_M_S2, PlantParams
from sim.plant.plant import Plant

Array = NDArray[np.float64]

# Where motion capture counts heights from any level, that of the floor is found by the toes: at
# this percentile of its height the lowest toe carries, on two legs with two corners each.
_LOADED_PERCENT, _CORNERS = 20.0, 4


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predicted less measured, over the windows of one record.

    Attributes:
        position_rad: Errors of the motor angles, shape (W, H, 8).
        rp_rad: Errors of roll and pitch, shape (W, H, 2).
    """

    position_rad: Array
    rp_rad: Array

    @property
    def rms_position_rad(self) -> Array:
        """Root mean square over windows and motors, shape (H,)."""
        return np.asarray(np.sqrt(np.mean(self.position_rad**2, axis=(0, 2))))

    @property
    def rms_rp_rad(self) -> Array:
        """Root mean square over windows, of roll and pitch, shape (H, 2)."""
        return np.asarray(np.sqrt(np.mean(self.rp_rad**2, axis=0)))


def with_battery(params: PlantParams, record: Record) -> PlantParams:
    """Return the parameters with the battery voltage that a record reports, if it does.

    It is taken where little current flows: the battery sags under load.
    """
    battery = record.battery
    if battery is None or not battery.ok.any():
        return params
    unloaded_v = float(np.percentile(battery.voltage_v[battery.ok], 95.0))
    return dataclasses.replace(params, battery_v=unloaded_v)


def errors_of(windows: Windows, angles: Array, attitude: Array) -> Predictions:
    """Return the errors of predicted motor angles (W, H, 8) and roll and pitch (W, H, 2)."""
    return Predictions(angles - windows.later_position_rad, attitude - windows.later_rp_rad)


def predict(
    plant: Plant,
    stimulus: Stimulus,
    windows: Windows,
    older_s: float = 0.0,
    ticked: Callable[[], None] = lambda: None,
) -> tuple[Array, Array]:
    """Predict motor angles as read, (W, H, 8), and roll and pitch as measured, (W, H, 2).

    The plant keeps the parameters of its last ``reset``. A window in which the simulation breaks
    down, or whose legs no plant can have, predicts that nothing moves.

    Args:
        plant: Predicts.
        stimulus: Drives it.
        windows: Say where it starts.
        older_s: How much older the measured states are taken to be than by the parameters.
        ticked: Called after each window.
    """
    params = plant.params
    offset, bias = _sensor_errors(params)
    age_s = stimulus.age_s(params) + older_s
    origins = starting_states(plant, windows, age_s)
    angles, attitude = windows.held()
    steps = np.diff(windows.horizons_ms, prepend=0)
    for w in np.flatnonzero(np.isfinite(origins).all(axis=1)):
        plant.place(windows.position_rad[w] - offset, windows.velocity_rad_s[w], origins[w])
        now_s = windows.t_s[w] - age_s
        for h, ticks in enumerate(steps):
            stimulus.run(plant, now_s, int(ticks))
            now_s += 1e-3 * int(ticks)
            position, rpy = plant.motor_truth()[0] + offset, plant.truth().rpy_rad[:2] + bias
            if not (np.isfinite(position).all() and np.isfinite(rpy).all()):
                break
            angles[w, h], attitude[w, h] = position, rpy
        ticked()
    return angles, attitude


def _sensor_errors(params: PlantParams) -> tuple[Array, Array]:
    """Return what the encoders (8,) and the IMU, roll and pitch (2,), read above the truth."""
    bias = np.array((params.imu_roll_bias_rad, params.imu_pitch_bias_rad))
    return np.array(params.encoder_offset_rad), bias


def starting_states(plant: Plant, windows: Windows, age_s: float) -> Array:
    """Return the states of the body's link origin at the starts of the windows, (W, 13).

    NaN where no leg of the plant has the angles. ``age_s`` is the age of the measured states.
    """
    offset, bias = _sensor_errors(plant.params)
    origins = np.zeros((len(windows), 13))
    for w, rpy in enumerate(windows.rpy_rad):
        quaternion = quaternion_from_rpy(rpy - (*bias, 0.0))
        try:
            height_m = plant.engine.touching_height_m(windows.position_rad[w] - offset, quaternion)
        except SimError:
            height_m = np.nan
        origins[w, 2] = height_m
        origins[w, 3:7] = quaternion
        origins[w, 7:10] = windows.velocity_m_s[w]
        origins[w, 10:13] = rotation_from_quaternion(quaternion) @ windows.rate_rad_s[w]
    if windows.track is not None:
        height, velocity = windows.track.at(windows.t_s - age_s)
        origins[:, 7:10] = velocity
        if not windows.track.level_known:
            level = np.nanpercentile(height - origins[:, 2], _LOADED_PERCENT)
            sunk = (
                plant.engine.mass_kg
                * GRAVITY_M_S2
                / (_CORNERS * plant.params.toe_stiffness_n_per_m)
            )
            height = height - level - sunk
        origins[:, 2] = np.where(np.isfinite(origins[:, 2]), height, np.nan)
    return origins
