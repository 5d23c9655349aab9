"""A simulated robot as a person starts it: a process of its own behind a serial port.

The process runs the firmware against the simulated robot in real time. This side has a serial port,
as with a real board, and the true position of the body, as with motion capture.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from robot_firmware_bridge.mocap import MocapReader
from sim.board.process import BoardProcess, lacking
from sim.errors import SimError

# A process that dies closes its port first, and can be seen to be dead a little later.
_DEATH_S = 0.2


class StartedBoard:
    """A board process with its port and the true position of its robot.

    Args:
        arguments: More of the board's command line, e.g. its seed.
        module: Module that runs the board.

    Attributes:
        process: The process, with its console.
        port: Path of its serial port.
        odometry: The true position of the robot.

    Raises:
        SimError: The simulator is not installed, or the board does not start.
    """

    def __init__(self, arguments: Sequence[str] = (), module: str = "sim.board") -> None:
        if (reason := lacking()) is not None:
            raise SimError(f"the emulated board needs a simulator, and {reason}")
        self._folder = tempfile.TemporaryDirectory(prefix="minitaur-")
        truth = Path(self._folder.name) / "truth"
        link = Path(self._folder.name) / "port"
        try:
            ours = ("--exit-with-parent", "--truth", str(truth), "--link", str(link))
            self.process = BoardProcess(module, [*ours, *arguments])
        except BaseException:
            self._folder.cleanup()
            raise
        self.port = self.process.port
        self.odometry = MocapReader(truth)

    def cause_of_death(self) -> str | None:
        """Return why the process ended, in its own words; None while it lives."""
        return self.process.failure() if self.process.died(within_s=_DEATH_S) else None

    def close(self) -> None:
        """Stop the board. Idempotent; never raises."""
        self.process.stop()
        self.odometry.close()
        self._folder.cleanup()
