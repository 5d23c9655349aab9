"""What the commands of both boards share, ``sim.board`` and ``sim.board.qemu``.

How they start, say their port and end; how the system keeps them on time; how bytes come from a
port onto the line; how the true pose is published.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Protocol

from robot_firmware_bridge.errors import BridgeError
from robot_firmware_bridge.mocap import MocapWriter
from sim.board.console import help_lines, say
from sim.board.pty_port import PtyPort
from sim.board.serial_line import SerialLine
from sim.board.watch import Report
from sim.errors import SimError
from sim.plant.plant import Plant

EXIT_OK, EXIT_BAD_INPUT = 0, 2

# Above the control loop's 80: on the robot, no load of the host's delays the motor controller.
_FIFO_PRIORITY = 85
# Bytes that a host may be ahead of the line before the port stops taking more.
_BACKLOG_BYTES = 4096
# Between two looks around.
_LOOK_NS = 1_000_000_000


class Board(Protocol):
    """A board in real time."""

    port: PtyPort

    def run(self) -> None:
        """Live until told to quit."""

    def quit(self) -> None:
        """End soon. Safe in a signal handler."""


class Lookout:
    """What needs no more than a look every second: ticks that were missed, and the parent.

    Args:
        report: Told "late", with the fields skipped_ticks and at_once, the most in one go.
        leave: Called when the parent has ended.
        parent: Process to end with; None for none.
    """

    def __init__(self, report: Report, leave: Callable[[], None], parent: int | None) -> None:
        self._report, self._leave, self._parent = report, leave, parent
        self._skipped = self._at_once = 0
        self._due_ns = 0

    def skipped(self, ticks: int) -> None:
        """So many ticks in a row were missed."""
        self._skipped += ticks
        self._at_once = max(self._at_once, ticks)

    def look(self, t_ns: int) -> None:
        """Look around if it is time to."""
        if t_ns < self._due_ns:
            return
        self._due_ns = t_ns + _LOOK_NS
        if self._skipped:
            self._report("late", skipped_ticks=self._skipped, at_once=self._at_once)
            self._skipped = self._at_once = 0
        if self._parent is not None and os.getppid() != self._parent:
            self._leave()


def description(options: type) -> str:
    """Text for ``--help``: what the options' docstring says, and the console's orders."""
    orders = "\n".join(f"    {line}" for line in help_lines())
    return f"{inspect.cleandoc(options.__doc__ or '')}\n\nOrders:\n\n{orders}"


def serve(assemble: Callable[[contextlib.ExitStack], Board]) -> int:
    """Run a board until it is told to end; the exit code.

    Args:
        assemble: Makes the board, and puts what has to be closed after it on the stack.
    """
    try:
        with contextlib.ExitStack() as stack:
            board = assemble(stack)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda _number, _frame: board.quit())
            say(f"port {board.port.path}")
            board.run()
    except (SimError, BridgeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return EXIT_OK


def be_punctual() -> None:
    """Ask the system for what keeps the tick on time; do without where it refuses."""
    gc.collect()
    gc.freeze()
    gc.disable()
    with contextlib.suppress(OSError, AttributeError):  # no permission; no such scheduler
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_FIFO_PRIORITY))


def take_from_host(port: PtyPort, line: SerialLine, t_ns: int) -> None:
    """Put onto the line what a host wrote.

    One that is ahead of the line has to wait, as for the buffer of a real port.
    """
    if line.to_board.queued < _BACKLOG_BYTES:
        line.to_board.send(port.read(), t_ns)


def publish(truth: MocapWriter | None, plant: Plant) -> None:
    """Tell where the body really is, if anybody asked for it."""
    if truth is not None:
        body = plant.truth()
        truth.write(time.monotonic_ns(), body.position_m, body.quaternion)
