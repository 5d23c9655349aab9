"""The boards that are checked: emulated, on QEMU, or a real one on a serial port.

A simulated board is a process of its own, started by name. This module imports no simulator.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import RunError
from robot_firmware_bridge.messages import Mode
from sim.board.process import BoardProcess, Event, StartedBoard
from sim.plant.registry import lacking

# Records what a check measured, by names that end in their unit.
Record = Callable[..., None]

_FIRMWARE = Path("robot_firmware_bridge/firmware")
_QEMU_PACKAGES = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
    "make": "make",
}
_OF_MAKE = ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "PORT")
# Disarming takes half a second, and then the stand waits for one.
_STAND_S = 5.0
# A host without a turn for longer may be late with a command, which is valid for 80 ms.
_STALLED_S = 0.03
# Ticks that an emulated board may lose at once, and the time within which it reports them.
_LOST_TICKS, _REPORTED_S = 5, 1.5


class CheckFailed(Exception):
    """What was measured is not what must be; one line that names both."""


class Disturbed(CheckFailed):
    """This computer stalled, so that the check proves nothing; it may be made again."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A board kind.

    Attributes:
        name: Name for options and reports.
        module: Module that runs the board as a child process; None for a real one.
        keeps_time: The board's time is this computer's, so that speeds can be compared.
        stock: It is a Minitaur's own mainboard, which has checks of its own.
    """

    name: str
    module: str | None
    keeps_time: bool = True
    stock: bool = False

    def unavailable(self) -> str | None:
        """Prepare what this board kind runs on; return why that cannot be, and the cure, or None.

        Raises:
            RunError: The firmware does not build.
        """
        if self.module is not None and (reason := lacking()) is not None:
            return reason
        if self.name != "qemu":
            return None
        for program, package in _QEMU_PACKAGES.items():
            if shutil.which(program) is None:
                return f"{program} is not installed: apt-get install {package}"
        if not _FIRMWARE.is_dir():
            return f"no {_FIRMWARE} here: run it in the repository's folder"
        # Variables of `make hil PORT=...` are not for the firmware's Makefile.
        environment = {name: os.environ[name] for name in os.environ if name not in _OF_MAKE}
        command = ["make", "-C", str(_FIRMWARE)]
        built = subprocess.run(command, capture_output=True, text=True, env=environment)
        if built.returncode:
            lines = (built.stderr or built.stdout).strip().splitlines() or ["no output"]
            raise RunError(f"make -C {_FIRMWARE} failed: {lines[-1]}")
        return None


REAL = Kind("real", None)
_KINDS = (
    Kind("emulated", "sim.board"),
    Kind("qemu", "sim.board.qemu", keeps_time=False),
    Kind("stock", "sim.board", stock=True),
    REAL,
)
KINDS = {kind.name: kind for kind in _KINDS}


class Board:
    """One board to be checked.

    Attributes:
        port: Serial port of the board; a simulated one brings its own.
        stalls: How this computer delayed the check that is being made, if it did.
        host_stalled_s: Returns the longest delay of the raw host that is connected.
        is_suspect: A check failed on it; it is started afresh before the next.
    """

    def __init__(self, kind: Kind, port: str | None, baud: int) -> None:
        self.kind, self.port, self.baud = kind, port or "", baud
        self.is_simulated = kind.module is not None
        self.stalls: list[str] = []
        self.host_stalled_s: Callable[[], float] = lambda: 0.0
        self.is_suspect = False
        self._started: StartedBoard | None = None
        self._since = 0

    @property
    def started(self) -> StartedBoard:
        """The running simulated board, with the true position of its robot.

        Raises:
            RunError: The board is a real one, or is not running.
        """
        if self._started is None:
            raise RunError(f"the {self.kind.name} board has no console, or is not running")
        return self._started

    @property
    def process(self) -> BoardProcess:
        """The process of a simulated board, with its console; raises as :attr:`started` does."""
        return self.started.process

    def start(self) -> None:
        """Start the board, afresh if it runs already; a real one is as it is.

        Raises:
            SimError: It does not start.
        """
        self.stop()
        if self.kind.module is not None:
            arguments = ("--kind", "stock") if self.kind.stock else ()
            self._started = StartedBoard(arguments, module=self.kind.module)
            self.port = self._started.port

    def stop(self) -> None:
        """Stop a simulated board. Idempotent; never raises."""
        if self._started is not None:
            self._started.close()
        self._started = None

    def begin_check(self) -> None:
        """Forget the delays of the check before; start the board afresh if that check failed.

        Raises:
            SimError: It does not start.
        """
        if self.is_suspect:
            self.start()
        self.is_suspect = False
        self.stalls.clear()
        self._since = len(self.process.events()) if self.is_simulated else 0

    def disturbance(self) -> str:
        """Return how this computer delayed the check that is being made; "" if it did not.

        An emulated board reports ticks that it lost within a second; a real one loses none.
        """
        if (stalled_s := self.host_stalled_s()) > _STALLED_S:
            self.stalls.append(f"the host had no turn for {1e3 * stalled_s:.0f} ms")
        if self._started is not None:
            late = self.process.wait_event(_is_late, _REPORTED_S, self._since)
            if late is not None:
                self.stalls.append(f"the board lost {late['at_once']} ticks at once")
        return "; ".join(self.stalls)

    def stand(self) -> None:
        """Wait until the stand of a simulated board has picked up a robot that lies.

        Raises:
            CheckFailed: It has not in time.
        """
        if self.is_simulated:
            events = self.process.events()
            last = [e["event"] for e in events if e["event"] in ("on_stand", "off_stand")][-1:]
            if last == ["off_stand"]:
                self.await_event(lambda e: e["event"] == "on_stand", "stand", len(events))

    def await_event(
        self, matches: Callable[[Event], bool], what: str, since: int, timeout_s: float = _STAND_S
    ) -> Event:
        """Wait for the first event from number ``since`` on that matches.

        Raises:
            CheckFailed: None came in time.
        """
        event = self.process.wait_event(matches, timeout_s, since)
        if event is None:
            raise CheckFailed(f"no {what} within {timeout_s:g} s")
        return event

    def await_mode(self, mode: Mode, since: int) -> Event:
        """Wait for the first event from ``since`` on in which the board entered this mode."""
        return self.await_event(lambda event: _enters(mode, event), mode.name, since)

    def was(self, mode: Mode, since: int, after_s: float = 0.0) -> bool:
        """Return whether an event from ``since`` on, later than this, entered this mode."""
        events = self.process.events()[since:]
        return any(_enters(mode, event) and event["t_s"] > after_s for event in events)

    def is_in(self, mode: Mode, since: int) -> bool:
        """Return whether the last mode that an event from ``since`` on entered is this one."""
        modes = [e["mode"] for e in self.process.events()[since:] if e["event"] == "mode"]
        return modes[-1:] == [mode.name]


def _enters(mode: Mode, event: Event) -> bool:
    return bool(event["event"] == "mode" and event["mode"] == mode.name)


def _is_late(event: Event) -> bool:
    return bool(event["event"] == "late" and event["at_once"] >= _LOST_TICKS)


def await_calm(patience_s: float) -> None:
    """Wait until this computer keeps time for a second, or for as long as it is worth it.

    A computer is calm when naps of 1 ms end no more than 5 ms late.
    """
    calm_s, nap_s, late_s = 1.0, 0.001, 0.005
    since_s = time.monotonic()
    end_s = since_s + patience_s
    while since_s < end_s and (now_s := time.monotonic()) - since_s < calm_s:
        time.sleep(nap_s)
        woke_s = time.monotonic()
        if woke_s - now_s > nap_s + late_s:
            since_s = woke_s
