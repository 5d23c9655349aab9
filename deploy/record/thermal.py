"""How long the motors bear a gait, by the thermal model of the motor controller.

That model has two nodes, winding and housing, and its constants are estimates; see
``robot_firmware_bridge.limits``. Under a steady heat it can be solved.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.limits import LIMITS, FirmwareLimits
from robot_firmware_bridge.robot import MINITAUR, NUM_MOTORS, MotorConstants

Array = NDArray[np.float64]

# Longer than a battery lasts.
LONGEST_S = 3600.0
# Steps of the model in time, as the motor controller takes them.
_STEP_S = 0.1


def heat_of_torque_w(torque_nm: Array, motor: MotorConstants = MINITAUR.motor) -> Array:
    """Return the mean heat of each winding, shape (N,), W, of the drives' torques, shape (T, N).

    The current is that of the measured curve, the least that gives the torque.
    """
    heat: Array = _heat_w(torque_nm, motor).mean(axis=0)
    return heat


def _heat_w(torque_nm: Array, motor: MotorConstants) -> Array:
    current_a = np.interp(np.abs(torque_nm), motor.torque_table_nm, motor.current_table_a)
    heat: Array = motor.resistance_ohm * np.square(current_a)
    return heat


class WindingEstimate:
    """The thermal model of the motor controller, run by the host: for a board that reports none.

    It starts cold, as the board does, so motors that are still warm from a run before are hotter.

    Attributes:
        winding_c: Temperature of each winding, shape (8,).
        housing_c: Temperature of each housing, shape (8,).
    """

    def __init__(
        self, motor: MotorConstants = MINITAUR.motor, limits: FirmwareLimits = LIMITS
    ) -> None:
        self._motor, self._limits = motor, limits
        self.winding_c = np.full(NUM_MOTORS, limits.ambient_c)
        self.housing_c = np.full(NUM_MOTORS, limits.ambient_c)
        self._heat_j = np.zeros(NUM_MOTORS)
        self._s = 0.0

    def update(self, torque_nm: Array, dt_s: float) -> None:
        """Let the drives' torques, shape (8,), heat the motors for a time, at most a second."""
        self._heat_j += dt_s * _heat_w(torque_nm, self._motor)
        self._s += dt_s
        if self._s < _STEP_S:
            return
        limits = self._limits
        inner_j = self._s / limits.winding_k_per_w * (self.winding_c - self.housing_c)
        outer_j = self._s / limits.housing_k_per_w * (self.housing_c - limits.ambient_c)
        self.winding_c += (self._heat_j - inner_j) / limits.winding_j_per_k
        self.housing_c += (inner_j - outer_j) / limits.housing_j_per_k
        self._heat_j.fill(0.0)
        self._s = 0.0


def bearable_s(heat_w: Array, limits: FirmwareLimits = LIMITS) -> float:
    """Return how long motors that start cold bear a steady heat of their windings.

    Args:
        heat_w: Of each winding, shape (N,).
        limits: Constants of the thermal model, and where it stops the robot.

    Returns:
        The time until the first winding or housing is too hot, at most ``LONGEST_S``.
    """
    heat = float(np.max(heat_w))
    if not math.isfinite(heat):
        return 0.0
    if not _too_hot(heat, LONGEST_S, limits):
        return LONGEST_S
    low, high = 0.0, LONGEST_S
    while high - low > 0.01:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if _too_hot(heat, middle, limits) else (middle, high)
    return high


def in_words(seconds: float) -> str:
    """Return what :func:`bearable_s` found, for people."""
    if seconds >= LONGEST_S:
        return "which the motors bear for an hour or more"
    time = f"{seconds:.0f} s" if seconds < 120.0 else f"{seconds / 60.0:.0f} min"
    return f"which the motors bear for {time}"


def _too_hot(heat_w: float, t_s: float, limits: FirmwareLimits) -> bool:
    """Check whether a node is above its limit at a time; under a steady heat both only warm up."""
    inner, outer = 1.0 / limits.winding_k_per_w, 1.0 / limits.housing_k_per_w
    # Of winding and housing above the air: C dT/dt = P - G T.
    conductance = np.array(((inner, -inner), (-inner, inner + outer)))
    root = np.sqrt((limits.winding_j_per_k, limits.housing_j_per_k))
    # Symmetric, so that it has real rates and orthogonal modes.
    rates, modes = np.linalg.eigh(conductance / np.outer(root, root))
    driven = modes.T @ (np.array((heat_w, 0.0)) / root)
    above_k = modes @ (driven * -np.expm1(-rates * t_s) / rates) / root
    winding_c, housing_c = (limits.ambient_c + above_k).tolist()
    return bool(winding_c > limits.max_winding_c or housing_c > limits.max_housing_c)
