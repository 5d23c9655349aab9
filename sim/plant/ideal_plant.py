"""The robot with ideal motors: what a simulator has that knows no actuators, to compare with.

Nothing that is meant for the robot should be trained here. The motors hold their angles as stiffly
as their bridges would have to be endless: no saturation, no back-EMF, no battery, no overheating.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.robot import MINITAUR
from sim.plant.plant import BulletPlant

Array = NDArray[np.float64]

# Of a motor under the robot's own gains. The real drive has 16 V / 0.186 ohm x 0.1 Nm/A = 8.6 Nm
# per rad, and 0.18 Nm s per rad with its back-EMF, until it saturates at 3.5 Nm: a dozen times as
# soft. The ratio of the two is the lag behind a moving target, 10 ms. Stiffer ones chatter on the
# floor at 1 ms a tick.
STIFFNESS_NM_PER_RAD = 100.0
DAMPING_NM_S_PER_RAD = 1.0


def ideal_torque(
    target_rad: Array, position_rad: Array, velocity_rad_s: Array, kp: float, kd: float
) -> Array:
    """Torque of ideal motors, shape (8,), Nm, without bounds.

    Args:
        target_rad: Commanded angles, shape (8,).
        position_rad: Angles, shape (8,).
        velocity_rad_s: Speeds, shape (8,).
        kp: Proportional gain as commanded; it scales the stiffness.
        kd: Derivative gain as commanded; it scales the damping.
    """
    stiffness = STIFFNESS_NM_PER_RAD * kp / MINITAUR.kp
    damping = DAMPING_NM_S_PER_RAD * kd / MINITAUR.kd
    return stiffness * (target_rad - position_rad) - damping * velocity_rad_s


class IdealBulletPlant(BulletPlant):
    """The plant on PyBullet with ideal motors; of the parameters those of the drives do nothing."""

    def _controlled(self, position_rad: Array, velocity_rad_s: Array) -> Array:
        return ideal_torque(self._target, position_rad, velocity_rad_s, self._kp, self._kd)
