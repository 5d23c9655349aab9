"""A robot whose motor zeros are corrected on the host: a thin layer over any ``Robot``.

A zero is what an encoder reads when its motor is at angle 0. States lose it, commands get it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.errors import BridgeError
from robot_firmware_bridge.interface import Robot
from robot_firmware_bridge.messages import CommandLimits, MotorCommand, RobotState
from robot_firmware_bridge.robot import NUM_MOTORS, RobotDescription

Array = NDArray[np.float64]

MOST_ZERO_RAD = 0.8
"""Greatest zero that is corrected here.

A motor controller bounds the angles that it is commanded in its own angles. A zero takes as much
from one end of the range: at more than this a stance would be near the bound, and a whole turn
would drive the leg around.
"""

MOST_STOCK_ZERO_RAD = 0.12
"""The same on the stock mainboard, whose angles are bounded far more narrowly.

A swing that is sent is within 0.49 rad (``stock.wire``). The trot for that board strides by 0.37
rad and corrects that by 0.12 rad. The zeros of a leg's two motors turn its swing by as much as the
larger of them at most. So this much takes corrections to one side, and more would take a part of
the stride. An extension that is sent is at least 0.55 rad. The shortest one of the stride is 0.75
rad, which stays within that.
"""


def most_zero_rad(limits: CommandLimits) -> float:
    """Return the greatest zero that is corrected for a motor controller of these limits, rad."""
    return MOST_STOCK_ZERO_RAD if limits.board == "stock" else MOST_ZERO_RAD


class ZeroedRobot:
    """A robot with other motor zeros than its motor controller's.

    Args:
        robot: The robot; closed with this one.
        zeros_rad: What each motor reads at angle 0, shape (8,).

    Raises:
        BridgeError: There are not eight zeros, or one is above :func:`most_zero_rad`.
    """

    def __init__(self, robot: Robot, zeros_rad: Array) -> None:
        zeros = np.array(zeros_rad, np.float64)
        most_rad = most_zero_rad(robot.command_limits)
        # Written so that NaN is refused, too.
        if zeros.shape != (NUM_MOTORS,) or not np.abs(zeros).max() <= most_rad:
            raise BridgeError(
                f"motor zeros {zeros.tolist()}: they must be eight, each within {most_rad} rad of "
                "0; set larger ones in the motor controller"
            )
        self._robot = robot
        self._zeros_rad = zeros

    @property
    def description(self) -> RobotDescription:
        """The robot that this is."""
        return self._robot.description

    @property
    def command_limits(self) -> CommandLimits:
        """What the motor controller cuts a command to."""
        return self._robot.command_limits

    def activate(self) -> None:
        """Arm the motors; errors as of the robot."""
        self._robot.activate()

    def read(self) -> RobotState:
        """Return the newest state, its motor angles without their zeros; errors as of the robot."""
        state = self._robot.read()
        return replace(state, motor_position_rad=state.motor_position_rad - self._zeros_rad)

    def write(self, command: MotorCommand) -> MotorCommand:
        """Send a command; return what was sent, as the robot's own ``write`` does."""
        target = np.asarray(command.target_rad, np.float64) + self._zeros_rad
        sent = self._robot.write(replace(command, target_rad=target))
        return replace(sent, target_rad=sent.target_rad - self._zeros_rad)

    def deactivate(self) -> str:
        """Make the motors safe; return why they may still be on. Idempotent; never raises."""
        return self._robot.deactivate()

    def close(self) -> None:
        """Deactivate and release the robot. Idempotent; never raises."""
        self._robot.close()
