"""The emulated motor controller as a robot: the board's own firmware in a process of its own.

The process runs the compiled C core against the simulated plant in real time, and all that this
side has of it is a serial port, as with a real board; and the true position of the body, as with
motion capture.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_firmware_bridge.errors import BridgeError, LinkError
from robot_firmware_bridge.messages import MotorCommand, RobotState
from robot_firmware_bridge.mocap import MocapReader
from robot_firmware_bridge.robot import RobotDescription
from robot_firmware_bridge.serial.robot import SerialRobot
from sim.board.process import BoardProcess, lacking
from sim.errors import SimError

MODULE = "sim.board"
# A process that dies closes its port first, and can be seen to be dead a little later.
_DEATH_S = 0.2


class EmulatedRobot:
    """A robot over the serial port of an emulated board that it starts, and stops when closed.

    Args:
        arguments: More of the board's command line, e.g. its seed.
        connect: Opens the robot on a port.

    Raises:
        SimError: The emulator is not installed or does not start.
        BridgeError: It starts, but does not answer as a board should.
    """

    def __init__(self, arguments: Sequence[str], connect: Callable[[str], SerialRobot]) -> None:
        reason = lacking()
        if reason is not None:
            raise SimError(f"the emulated board needs a simulator, and {reason}")
        self._folder = tempfile.TemporaryDirectory(prefix="minitaur-")
        truth = Path(self._folder.name) / "truth"
        link = Path(self._folder.name) / "port"
        try:
            ours = ("--exit-with-parent", "--truth", str(truth), "--link", str(link))
            self._board = BoardProcess(MODULE, [*ours, *arguments])
        except BaseException:
            self._folder.cleanup()
            raise
        try:
            self.serial = connect(self._board.port)
            self._truth = MocapReader(truth)
        except BaseException:
            self._board.stop()
            self._folder.cleanup()
            raise

    @property
    def port(self) -> str:
        """Serial port of the board."""
        return self._board.port

    @property
    def description(self) -> RobotDescription:
        """The robot that the board drives."""
        return self.serial.description

    def activate(self) -> None:
        """Arm; nothing moves until the first write.

        Raises:
            BridgeError: The board refuses, or is gone.
        """
        self.serial.activate()

    def read(self) -> RobotState:
        """The newest state.

        Raises:
            BridgeError: The link is lost; if that is because the board died, it says of what.
        """
        try:
            return self.serial.read()
        except LinkError as error:
            raise self._explained(error) from error

    def write(self, command: MotorCommand) -> MotorCommand:
        """Send a command and return what was really sent.

        Raises:
            BridgeError: As for :meth:`read`.
        """
        try:
            return self.serial.write(command)
        except LinkError as error:
            raise self._explained(error) from error

    def deactivate(self) -> None:
        """Damp, then hold no torque. Idempotent; never raises."""
        self.serial.deactivate()

    def close(self) -> None:
        """Deactivate, close the port and stop the board. Idempotent; never raises."""
        self.serial.close()
        self._board.stop()
        self._truth.close()
        self._folder.cleanup()

    def base_position_m(self) -> NDArray[np.float64]:
        """True position of the body's link origin in the world, shape (3,)."""
        return self._truth.read().position_m

    def _explained(self, error: LinkError) -> BridgeError:
        died = self._board.died(within_s=_DEATH_S)
        return BridgeError(self._board.failure()) if died else error
