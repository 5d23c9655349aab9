"""A motor controller without hardware: a child process that offers a serial port.

`minitaur board` and `minitaur board-qemu` print `port PATH` on stdout once the port is
there, then one JSON object per line for everything that happens; on stdin they take one command per
line. They are started by name, so that this module imports no simulator.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, cast

from robot_firmware_bridge.mocap import MocapReader
from sim.errors import SimError
from sim.plant.registry import lacking

START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 3.0
# A process that dies closes its port first, and can be seen to be dead a little later.
_DEATH_S = 0.2
_READ_SIZE = 65_536

Event = dict[str, Any]


class BoardProcess:
    """A running board.

    It has a process group of its own: a Ctrl-C in the terminal is for the loop, which still needs
    the board to make the robot safe. Its output is read on demand, not by a thread, which could
    hold the interpreter's lock when the loop is due. Events that are not read are lost.

    Args:
        module: Module to run.
        arguments: Its command line.

    Attributes:
        port: Path of the serial port; stays the same while the board runs, unplugged or not.

    Raises:
        SimError: It does not start; the message ends with its own error.
    """

    def __init__(self, module: str, arguments: Sequence[str] = ()) -> None:
        self._module = module
        self._events: list[Event] = []
        self._found_port: str | None = None
        self._partial = b""
        # A file, not a pipe: it is read when the board has failed, and must never block.
        self._errors = tempfile.TemporaryFile("a+b")  # noqa: SIM115 (closed by stop)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)
        os.set_blocking(self._stdout.fileno(), False)
        try:
            self.port = self._wait_for_port()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def died(self, within_s: float = 0.0) -> bool:
        """Return whether the process has ended, or does so in this time: its port goes first."""
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def events(self) -> list[Event]:
        """Return all events so far."""
        self._read(0.0)
        return self._events.copy()

    def wait_event(
        self, matches: Callable[[Event], bool], timeout_s: float, since: int = 0
    ) -> Event | None:
        """Return the first matching event from number ``since`` on; None if none came in time."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._read(0.0)
            for event in self._events[since:]:
                if matches(event):
                    return event
            since = max(since, len(self._events))
            remaining_s = deadline_s - time.monotonic()
            if remaining_s <= 0.0 or not self._read(remaining_s):
                return None

    def inject(self, command: str) -> None:
        """Send it one command of its console, e.g. ``unplug``.

        Raises:
            SimError: It does not run any more.
        """
        try:
            self._write(command)
        except OSError as error:
            raise SimError(self.failure()) from error

    def failure(self) -> str:
        """Return one line that says why it ended, with its own error where there is one."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        reason = lines[-1].removeprefix("error: ") if lines else "no message"
        return f"{self._module} stopped (exit {self._process.poll()}): {reason}"

    def stop(self) -> None:
        """End it, by force if it must be. Idempotent; never raises."""
        if self._errors.closed:
            return
        try:
            self._write("quit")
            self._process.wait(_STOP_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):  # what cannot be flushed is of no use any more
                pipe.close()
        self._errors.close()

    def _wait_for_port(self) -> str:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while self._found_port is None:
            remaining_s = deadline_s - time.monotonic()
            if remaining_s <= 0.0:
                raise SimError(f"{self._module} offers no port after {START_TIMEOUT_S:.0f} s")
            if not self._read(min(remaining_s, 0.1)) and self.died():
                raise SimError(f"cannot start the board: {self.failure()}")
        return self._found_port

    def _read(self, timeout_s: float) -> bool:
        """Take its output, waiting for it so long; return False if there was none."""
        if not select.select([self._stdout], [], [], timeout_s)[0]:
            return False
        data = os.read(self._stdout.fileno(), _READ_SIZE)
        # An unfinished line of a process that was killed is dropped.
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            if line.startswith(b"port "):
                self._found_port = line.decode().removeprefix("port ").strip()
            elif line.startswith(b"{"):
                self._events.append(json.loads(line))
        return bool(data)

    def _write(self, line: str) -> None:
        self._stdin.write(f"{line}\n".encode())
        self._stdin.flush()


class StartedBoard:
    """A simulated robot as a person starts it: a board process, and the true position of its body.

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
        ours = ("--own-folder", "--parent", str(os.getpid()))
        self.process = BoardProcess(module, [*ours, *arguments])
        self.port = self.process.port
        try:
            self.odometry = MocapReader(Path(self.port).with_name("truth"))
        except BaseException:
            self.process.stop()
            raise

    def cause_of_death(self) -> str | None:
        """Return why the process ended, in its own words; None while it lives."""
        return self.process.failure() if self.process.died(within_s=_DEATH_S) else None

    def close(self) -> None:
        """Stop the board. Idempotent; never raises."""
        self.process.stop()
        self.odometry.close()
        # A board that ended by itself has removed its folder; one that was killed has not.
        shutil.rmtree(Path(self.port).parent, ignore_errors=True)
