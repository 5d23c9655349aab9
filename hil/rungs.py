"""The rungs of the ladder: a board on this computer, one in an emulated computer, a real one."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import RunError
from hil.check import CheckSkipped
from sim.board.process import BoardProcess, lacking
from sim.errors import SimError

NO_CONSOLE = "for simulated robots: it walks, or is done harm"

_FIRMWARE = Path("robot_firmware_bridge/firmware")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of board.

    Attributes:
        name: Name for options and the report.
        about: One line for people.
        module: Module that runs it as a child process; None for a real one.
        arguments: Command line of that module.
        keeps_time: Its time is this computer's, so that speeds can be compared.
    """

    name: str
    about: str
    module: str | None
    arguments: tuple[str, ...] = ()
    keeps_time: bool = True


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "emulated",
            "the firmware's C core as a process, on the simulated robot",
            "sim.board",
            ("--exit-with-parent",),
        ),
        Kind(
            "qemu",
            "the Cortex-M4 image in an emulated computer, on the simulated robot",
            "sim.board.qemu",
            ("--exit-with-parent",),
            keeps_time=False,
        ),
        Kind("real", "a motor controller on a serial port", None),
    )
}


class Rung:
    """One board to be checked.

    Args:
        kind: What kind of board.
        port: Serial port of a real one; the others bring their own.
        baud: Bits per second.
    """

    def __init__(self, kind: Kind, port: str | None, baud: int) -> None:
        self.kind = kind
        self.baud = baud
        self._port = port
        self._board: BoardProcess | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def truth(self) -> Path:
        """Where the true pose of a simulated robot is published."""
        return Path("" if self._folder is None else self._folder.name) / "truth"

    @property
    def port(self) -> str:
        """Serial port of the board.

        Raises:
            RunError: It was not started.
        """
        port = self._port if self._board is None else self._board.port
        if port is None:
            raise RunError(f"the {self.kind.name} board was not started")
        return port

    @property
    def board(self) -> BoardProcess:
        """The board's process, with its console.

        Raises:
            CheckSkipped: A real board has none.
        """
        if self._board is None:
            raise CheckSkipped(NO_CONSOLE)
        return self._board

    @property
    def is_emulated(self) -> bool:
        """Whether a board runs on this computer, which then can hold it up."""
        return self._board is not None

    def start(self) -> None:
        """Start the board, afresh if it runs already; a real one is as it is.

        Raises:
            RunError: It does not start.
        """
        self.stop()
        if self.kind.module is not None:
            self._folder = tempfile.TemporaryDirectory(prefix="minitaur-")
            arguments = (*self.kind.arguments, "--truth", str(self.truth))
            try:
                self._board = BoardProcess(self.kind.module, arguments)
            except SimError:
                self.stop()
                raise

    def stop(self) -> None:
        """Stop the board. Idempotent; never raises."""
        if self._board is not None:
            self._board.stop()
            self._board = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def prepare(kind: Kind) -> str | None:
    """Make ready what this kind of board runs on; why that cannot be, and the cure, or None.

    Raises:
        RunError: The firmware does not build.
    """
    if kind.module is not None and (reason := lacking()) is not None:
        return reason
    if kind.name != "qemu":
        return None
    missing = {
        "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
        "qemu-system-arm": "qemu-system-arm",
        "make": "make",
    }
    for program, package in missing.items():
        if shutil.which(program) is None:
            return f"{program} is not installed: apt-get install {package}"
    if not _FIRMWARE.is_dir():
        return f"no {_FIRMWARE} here: run it in the repository's folder"
    built = subprocess.run(["make", "-C", str(_FIRMWARE)], capture_output=True, text=True)
    if built.returncode:
        lines = (built.stderr or built.stdout).strip().splitlines()
        raise RunError(f"make -C {_FIRMWARE} failed: {lines[-1] if lines else 'no message'}")
    return None
