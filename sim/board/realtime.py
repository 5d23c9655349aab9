"""An emulated motor controller in real time on a pseudo terminal: `python -m sim.board --help`.

The firmware's C core runs against the simulated robot at 1 kHz, and hosts find it behind a serial
port that takes as long for each byte as a real one. It lives by the wall clock: that is what a host
sees on the wire, so ticks that come late are caught up while they are few and skipped beyond.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from robot_firmware_bridge.mocap import MocapWriter
from sim.board.command import Lookout, be_punctual, description, publish, serve, take_from_host
from sim.board.console import Console
from sim.board.emulated import EmulatedBoard
from sim.board.plant import BoardPlant
from sim.board.pty_port import PtyPort
from sim.board.serial_line import SerialLine
from sim.plant.params import TICK_NS
from sim.plant.randomization import drawn
from sim.plant.registry import make_plant

# Late by more than this, ticks are given up: a burst of old states would be worse than none.
_CATCH_UP_NS = 20 * TICK_NS
_TIMED_TICKS = 120_000


@dataclass(frozen=True, slots=True)
class Options:
    """Emulate a motor controller with a Minitaur on it, behind a pseudo terminal.

    Prints "port PATH" when ready; hosts open that as the real serial port:

        python -m deploy.run --robot serial --port PATH

    A stand holds the robot until its motors are driven for the first time, and picks it up again
    when it has lain with open bridges for a second.

    Then every event is printed as one JSON object a line, and every line on standard input is an
    order, such as "drop 0.01", "unplug" or "quit"; "help" lists them. The end of standard input
    ends nothing: SIGTERM, SIGINT and "quit" do.

    Exit codes: 0 asked to end, 2 bad input.
    """

    link: Path | None = None
    """Where hosts find the port: a symbolic link, which stays the same over unplug and replug.
    Default: minitaur-board-PID in the folder for temporary files."""
    baud: int = 921600
    """Bits per second of the line."""
    randomization: str = "none"
    """Draw the plant's parameters from these ranges: none, table1, beyond or original."""
    seed: int = 0
    """Seed of that draw, of the sensor noise and of the line's faults."""
    at: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """An order to carry out at a time, "SECONDS ORDER", e.g. --at "2.5 unplug"; may be repeated."""
    truth: Path | None = None
    """Publish the true pose of the body in this file, as motion capture would."""
    exit_with_parent: bool = False
    """End when the process ends that started this one."""


class RealTimeBoard:
    """An emulated board, its port and its console on the wall clock: the console's bench.

    Args:
        plant: The robot.
        line: The line between port and board.
        baud: Bits per second of it.
        port: Where hosts find the board.
        truth: Where to publish the true pose of the body; None for nowhere.
        schedule: Orders to carry out at a time.
        parent: Process to end with; None for none.

    Raises:
        SimError: An entry of the schedule is wrong.
        BridgeError: The firmware does not build.
    """

    def __init__(
        self,
        plant: BoardPlant,
        line: SerialLine,
        baud: int,
        port: PtyPort,
        *,
        truth: MocapWriter | None = None,
        schedule: Sequence[str] = (),
        parent: int | None = None,
    ) -> None:
        self.plant, self.line, self.port = plant, line, port
        self.t_ns = 0
        self._truth = truth
        self._console = Console(self, schedule)
        self._lookout = Lookout(self._console.event, self.quit, parent)
        self._board = EmulatedBoard(plant, line, baud, self._console.event)
        self._stopping = False
        self._ticks = self._skipped = self._overruns = 0
        self._tick_us = np.zeros(_TIMED_TICKS, np.float32)

    def reset(self) -> None:
        """Start the firmware, or restart it; the robot goes on as it is."""
        self._board.reset()

    def quit(self) -> None:
        """End with this tick. Safe in a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Live until told to quit."""
        self.reset()
        origin_ns = due_ns = time.monotonic_ns()
        while not self._stopping:
            behind_ns = time.monotonic_ns() - due_ns
            if behind_ns < 0:
                time.sleep(-behind_ns * 1e-9)
            elif behind_ns > _CATCH_UP_NS:
                # On to the next but one, so that even a board that is always late sleeps now and
                # then: at its priority nobody else would run.
                missed = behind_ns // TICK_NS + 2
                due_ns += missed * TICK_NS
                self._skipped += missed
                self._lookout.skipped(missed)
                continue
            began_ns = time.perf_counter_ns()
            self.t_ns = due_ns - origin_ns
            self._tick()
            self._tick_us[self._ticks % _TIMED_TICKS] = (time.perf_counter_ns() - began_ns) * 1e-3
            self._ticks += 1
            due_ns += TICK_NS
        self._console.event("end", skipped_ticks=self._skipped, **self._figures())

    def _tick(self) -> None:
        line, t_ns = self.line, self.t_ns
        if not self.port.write(line.to_host.receive(t_ns)):
            self._overruns += 1
        take_from_host(self.port, line, t_ns)
        self._console.poll()
        self._board.tick(t_ns)
        publish(self._truth, self.plant.plant)
        self._lookout.look(t_ns)

    def _figures(self) -> dict[str, object]:
        """How the run went: ticks, their durations, and how often nobody read the port."""
        durations = self._tick_us[: min(self._ticks, _TIMED_TICKS)]
        p50, p99, worst = np.percentile(durations, (50, 99, 100)) if durations.size else (0, 0, 0)
        return {
            "ticks": self._ticks,
            "overruns": self._overruns,
            "tick_us": {"p50": round(p50), "p99": round(p99), "max": round(worst)},
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = tyro.cli(
        Options, args=arguments, prog="python -m sim.board", description=description(Options)
    )
    return serve(lambda stack: _assemble(options, stack))


def _assemble(options: Options, stack: contextlib.ExitStack) -> RealTimeBoard:
    """The board that the options ask for; what has to be closed is put on the stack."""
    parent = os.getppid() if options.exit_with_parent else None
    params = drawn(options.randomization, options.seed)
    line = SerialLine(options.baud, options.seed)
    plant = make_plant()
    stack.callback(plant.close)
    plant.reset(params)
    truth = None if options.truth is None else MocapWriter(options.truth)
    if truth is not None:
        stack.callback(truth.close)
    default = Path(tempfile.gettempdir()) / f"minitaur-board-{os.getpid()}"
    port = PtyPort(options.link or default)
    stack.callback(port.close)
    board = RealTimeBoard(
        BoardPlant(plant),
        line,
        options.baud,
        port,
        truth=truth,
        schedule=options.at,
        parent=parent,
    )
    be_punctual()
    return board
