"""The boards that are checked: emulated, on QEMU, or a real one on a serial port.

A simulated board is a process of its own, started by name. This module imports no simulator.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import RunError
from robot_firmware_bridge.messages import Mode
from sim.board.process import BoardProcess, Event, lacking
from sim.errors import SimError

# Records what a check measured: a text for people, and values by names that end in their unit.
Figure = Callable[..., None]

_FIRMWARE = Path("robot_firmware_bridge/firmware")
_QEMU_PACKAGES = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
    "make": "make",
}
# Disarming takes half a second, and then the stand waits for one.
_STAND_S = 5.0
# A host without a turn for longer may be late with a command, which is valid for 80 ms.
_STALLED_S = 0.03
# Ticks that an emulated board may lose at once, and the time within which it reports them.
_LOST_TICKS = 5
_REPORTS_WITHIN_S = 1.5


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
    """

    name: str
    module: str | None
    keeps_time: bool = True

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
        built = subprocess.run(["make", "-C", str(_FIRMWARE)], capture_output=True, text=True)
        if built.returncode:
            lines = (built.stderr or built.stdout).strip().splitlines() or ["no output"]
            raise RunError(f"make -C {_FIRMWARE} failed: {lines[-1]}")
        return None


KINDS = {
    kind.name: kind
    for kind in (
        Kind("emulated", "sim.board"),
        Kind("qemu", "sim.board.qemu", keeps_time=False),
        Kind("real", None),
    )
}


class Board:
    """One board to be checked.

    Args:
        kind: Its kind.
        port: Serial port of a real board; the others bring their own.
        baud: Bits per second.

    Attributes:
        stalls: How this computer delayed the check that is being made, if it did.
        stalled_s: Returns the longest delay of the raw host that is connected; None without one.
        is_suspect: A check failed on it; it is started afresh before the next.
    """

    def __init__(self, kind: Kind, port: str | None, baud: int) -> None:
        self.kind, self.baud = kind, baud
        self.stalls: list[str] = []
        self.stalled_s: Callable[[], float] | None = None
        self.is_suspect = False
        self._port = port
        self._process: BoardProcess | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._since = 0

    @property
    def truth(self) -> Path:
        """Where the true pose of a simulated robot is published."""
        return Path("" if self._folder is None else self._folder.name) / "truth"

    @property
    def port(self) -> str:
        """Serial port of the board.

        Raises:
            RunError: The board was not started.
        """
        port = self._port if self._process is None else self._process.port
        if port is None:
            raise RunError(f"the {self.kind.name} board was not started")
        return port

    @property
    def process(self) -> BoardProcess:
        """The process of a simulated board, with its console.

        Raises:
            RunError: A real board has none, or the board was not started.
        """
        if self._process is None:
            raise RunError(f"the {self.kind.name} board has no console")
        return self._process

    @property
    def is_simulated(self) -> bool:
        """Whether the board runs on this computer, which then can delay it."""
        return self._process is not None

    def start(self) -> None:
        """Start the board, afresh if it runs already; a real one is as it is.

        Raises:
            SimError: It does not start.
        """
        self.stop()
        if self.kind.module is not None:
            self._folder = tempfile.TemporaryDirectory(prefix="minitaur-")
            arguments = ("--exit-with-parent", "--truth", str(self.truth))
            try:
                self._process = BoardProcess(self.kind.module, arguments)
            except SimError:
                self.stop()
                raise

    def stop(self) -> None:
        """Stop the board. Idempotent; never raises."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

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
        if self.stalled_s is not None and self.stalled_s() > _STALLED_S:
            self.stalls.append(f"the host had no turn for {1e3 * self.stalled_s():.0f} ms")
        if self.is_simulated:
            late = self.process.wait_event(_is_late, _REPORTS_WITHIN_S, self._since)
            if late is not None:
                self.stalls.append(f"the board lost {late['at_once']} ticks at once")
        return "; ".join(self.stalls)

    def stand(self) -> None:
        """Wait until the stand of a simulated board has picked up a robot that lies.

        Raises:
            CheckFailed: It has not in time.
        """
        if not self.is_simulated:
            return
        events = self.process.events()
        last = [e["event"] for e in events if e["event"] in ("on_stand", "off_stand")][-1:]
        if last == ["off_stand"]:
            self.await_event(lambda e: e["event"] == "on_stand", _STAND_S, "stand", len(events))

    def await_event(
        self, matches: Callable[[Event], bool], timeout_s: float, what: str, since: int = 0
    ) -> Event:
        """Wait for the first event from number ``since`` on that matches.

        Raises:
            CheckFailed: None came in time.
        """
        event = self.process.wait_event(matches, timeout_s, since)
        if event is None:
            raise CheckFailed(f"no {what} within {timeout_s:g} s")
        return event

    def moved(self, since: int, after_s: float = 0.0) -> bool:
        """Return whether the board was ACTIVE in an event from ``since`` on, later than this."""
        events = self.process.events()[since:]
        return any(is_mode(Mode.ACTIVE)(e) and e["t_s"] > after_s for e in events)


def is_mode(mode: Mode) -> Callable[[Event], bool]:
    """Return the predicate of events in which the board enters this mode."""
    return lambda event: bool(event["event"] == "mode" and event["mode"] == mode.name)


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


def _is_late(event: Event) -> bool:
    return bool(event["event"] == "late" and event["at_once"] >= _LOST_TICKS)
