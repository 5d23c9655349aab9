"""The seam of the house: what a control loop may ask of a robot and of a clock.

The simulated robot, the emulated motor controller and the real one are siblings behind ``Robot``;
none inherits from another. A loop written against these protocols cannot tell them apart.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.messages import CommandLimits, MotorCommand, RobotState
from robot_firmware_bridge.robot import RobotDescription


class Robot(Protocol):
    """A robot that can be read and commanded.

    The life of a robot is ``activate, (read, write)*, deactivate, close``. ``deactivate`` and
    ``close`` may be called at any time, twice too, and leave the motors safe. Where a robot cannot
    tell whether they are, ``deactivate`` says so.
    """

    @property
    def description(self) -> RobotDescription:
        """The robot that this is; its hash must equal the policy's."""

    @property
    def command_limits(self) -> CommandLimits:
        """What the motor controller cuts a command to; whoever needs more must not arm it."""

    def activate(self) -> None:
        """Arm the motors. Nothing moves until the first ``write``.

        Raises:
            BridgeError: The robot is not there, is another robot, or refuses.
        """

    def read(self) -> RobotState:
        """The newest state; never waits for longer than a fraction of a control period."""

    def write(self, command: MotorCommand) -> MotorCommand:
        """Send a command and return what was really sent, after the robot's own limits."""

    def deactivate(self) -> str:
        """Make the motors safe: damp, then hold no torque. Idempotent; never raises.

        Returns:
            Why the motors may still be on, as a sentence's beginning; "" if they are safe.
        """

    def close(self) -> None:
        """Deactivate and release whatever is held. Idempotent; never raises."""


class Clock(Protocol):
    """Time as the loop knows it: the wall's, a test's, or the plant's."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary, fixed instant; never goes back."""

    def sleep_until_ns(self, deadline_ns: int) -> None:
        """Return at the deadline or, if it has passed, at once."""


@runtime_checkable
class Odometry(Protocol):
    """A robot that also knows where it is: the simulated one, or one with motion capture."""

    def base_position_m(self) -> NDArray[np.float64]:
        """Position of the body's origin in the world, shape (3,), x along the start heading."""
