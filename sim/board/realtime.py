"""Emulated motor controllers in real time on a pseudo terminal: `minitaur board --help`.

Hosts find the board behind a serial port that takes as long for each byte as a real one. The board
lives by the wall clock: ticks that come late are caught up while they are few and skipped beyond.
``RealTimeBoard`` is what every such board has; ``EmulatorBoard`` runs the firmware's C core in this
process, ``sim.board.qemu`` its image for the Cortex-M4.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import inspect
import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
import tyro

from robot_firmware_bridge.command_line import EXIT_OK, command, stop_signals
from robot_firmware_bridge.mocap import MocapWriter
from robot_firmware_bridge.stock import wire as stock_wire
from sim.board.console import Console, help_lines, print_line
from sim.board.emulated import EmulatedBoard
from sim.board.plant import BoardPlant, on_stand
from sim.board.serial_line import PtyPort, SerialLine
from sim.board.stock import StockFirmware, StockWatch
from sim.board.wiring import MISTAKES, Wiring
from sim.plant.params import TICK_NS, PlantParams
from sim.plant.params_file import read_params
from sim.plant.randomization import drawn, pushed
from sim.plant.registry import make_plant
from sim.plant.terrain import FLAT, on_terrain

# Above the control loop's 80: on the robot, no load of the host's delays the motor controller.
_FIFO_PRIORITY = 85
# Bytes that a host may be ahead of the line before the port stops taking more.
_BACKLOG_BYTES = 4096
# Time between two checks for missed ticks and for the parent.
_CHECK_NS = 1_000_000_000
# Ticks that are later than this are skipped: a burst of old states would be worse than none.
_CATCH_UP_NS = 20 * TICK_NS
_TIMED_TICKS = 120_000

BoardKind = Literal["core", "stock"]
BAUDS: dict[BoardKind, int] = {"core": 921_600, "stock": stock_wire.BAUD}


@dataclass(frozen=True, slots=True)
class BoardOptions:
    """Options of every board in real time."""

    link: Path | None = None
    """Where hosts find the port: a symbolic link, which stays the same over unplug and replug.
    Default: minitaur-KIND-PID in the folder for temporary files, KIND being board or qemu."""
    seed: int = 0
    """Seed of all that is drawn: the plant's parameters, sensor noise and the line's faults."""
    at: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """An order to carry out at a time, "SECONDS ORDER", e.g. --at "2.5 unplug"; may be repeated."""
    truth: Path | None = None
    """Publish the true pose of the body in this file, as motion capture would."""
    own_folder: bool = False
    """Put port and true pose, named port and truth, into a new folder, and remove it at the end."""
    parent: int | None = None
    """End when this process, which started the board, has ended; its number."""
    plant: str | None = None
    """Physics of the robot, pybullet or mujoco; left out, the first of them that is installed."""
    push: float = 0.0
    """Push the body with this force for 60 ms every 1.2 s in a random direction, N; 0 for none."""
    terrain: str = FLAT
    """Ground to walk on: flat, blocks20 (up to 20 mm), sill30, waves40 or stairs20 (mm), patches25
    (% of the friction), slope10-up, slope10-down or slope10-across (degrees), ice, or some with +
    between them."""
    stand: float | None = None
    """Hold the body on a stand, with the legs in the air for good, bent to this extension, rad."""
    wiring: str = ""
    """What is wired wrongly, mistakes with commas between them, e.g. "swap 0 1, flip 5, offset 6
    0.3"; they are listed below."""


@dataclass(frozen=True, slots=True)
class Options(BoardOptions):
    """Emulate a motor controller with a Minitaur on it, behind a pseudo terminal.

    Prints "port PATH" when ready; hosts open that as the real serial port:

        minitaur run --robot serial --port PATH --arm      # --kind core
        minitaur run --robot minitaur --port PATH --arm    # --kind stock

    A stand holds the robot until its motors are driven for the first time, and picks it up again
    when it has lain with open bridges for a second.

    Then every event is printed as one JSON object a line, and every line on standard input is an
    order, such as "drop 0.01", "unplug" or "quit"; "help" lists them. The end of standard input
    ends nothing: SIGTERM, SIGINT and "quit" do.

    Exit codes: 0 ended on request, 2 bad input.
    """

    kind: BoardKind = "core"
    """Firmware: core, our own, or stock, that of the Minitaur's mainboard as labs have it."""
    baud: int | None = None
    """Bits per second of the line; left out, 921600 for core and 115200 for stock."""
    params: Annotated[str | None, tyro.conf.arg(metavar="FILE|NAME")] = None
    """Calibrated plant in the place of the nominal robot: a file that `make calibrate` wrote, or
    the name of one that ships."""
    randomization: str = "none"
    """Draw the plant's parameters from these ranges: none, table1, beyond, original or measured
    (the intervals of PARAMS)."""


class RealTimeBoard(ABC):
    """A robot behind a line, a port and a console on the wall clock, without its firmware.

    Args:
        kind: Part of the default path of the port.
        baud: Bits per second of the line.
        stack: Closes what has to be closed.

    Raises:
        SimError: An entry of the schedule is wrong, or the port cannot be offered.
        BridgeError: The true pose cannot be published.
    """

    def __init__(
        self,
        kind: str,
        options: BoardOptions,
        params: PlantParams,
        baud: int,
        stack: contextlib.ExitStack,
    ) -> None:
        self.t_ns = 0
        self._parent = options.parent
        self.line = SerialLine(baud, options.seed)
        wiring = Wiring.parse(options.wiring)
        self.line.faults.delay_ns = wiring.delay_ns
        plant = make_plant(options.plant)
        stack.callback(plant.close)
        # The true pose that the board publishes has its x axis along the heading at the start.
        params = dataclasses.replace(params, start_heading_rad=0.0)
        params = on_terrain(pushed(params, options.push), options.terrain)
        plant.reset(params if options.stand is None else on_stand(params))
        self.plant = BoardPlant(plant, wiring if options.wiring else None, options.stand)
        link, truth = options.link, options.truth
        if options.own_folder:
            # The board removes it, not whoever started the board: that may be killed.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="minitaur-"))
            link, truth = Path(folder) / "port", Path(folder) / "truth"
        self._truth = None if truth is None else MocapWriter(truth)
        if self._truth is not None:
            stack.callback(self._truth.close)
        default = Path(tempfile.gettempdir()) / f"minitaur-{kind}-{os.getpid()}"
        self.port = PtyPort(link or default)
        stack.callback(self.port.unplug)
        self.console = Console(self, options.at)
        self.stopping = False
        self._skipped = self._reported = self._at_once = 0
        self._check_due_ns = 0

    @abstractmethod
    def reset(self) -> None:
        """Start the firmware, or restart it; the robot goes on as it is."""

    @abstractmethod
    def run(self) -> None:
        """Live until :meth:`quit`."""

    @abstractmethod
    def let_clock_drift(self, ppm: float) -> None:
        """Let the board's clock run fast by this much from now on.

        Raises:
            SimError: The clock of this board cannot be changed.
        """

    @abstractmethod
    def let_clock_jump(self, ms: float) -> None:
        """Put the board's clock forward; raise as :meth:`let_clock_drift` does."""

    def quit(self) -> None:
        """End soon. Safe in a signal handler."""
        self.stopping = True

    def take_from_host(self) -> None:
        """Put onto the line what a host wrote; a host that is ahead of the line has to wait."""
        if self.line.to_board.queued < _BACKLOG_BYTES:
            self.line.to_board.send(self.port.read(), self.t_ns)

    def publish(self) -> None:
        """Publish where the body really is, if an option asks for it."""
        if self._truth is not None:
            body = self.plant.plant.truth()
            self._truth.write(time.monotonic_ns(), body.position_m, body.quaternion)

    def skip(self, ticks: int) -> None:
        """Count ticks that were missed in a row."""
        self._skipped += ticks
        self._at_once = max(self._at_once, ticks)

    def check_time_and_parent(self) -> None:
        """Report missed ticks, and quit if the parent has ended; at most once a second."""
        if self.t_ns < self._check_due_ns:
            return
        self._check_due_ns = self.t_ns + _CHECK_NS
        missed = self._skipped - self._reported
        if missed:
            self.console.event("late", skipped_ticks=missed, at_once=self._at_once)
            self._reported, self._at_once = self._skipped, 0
        if self._parent is not None and os.getppid() != self._parent:
            self.quit()


class EmulatorBoard(RealTimeBoard):
    """The firmware's C core, or the stock firmware, in this process.

    Raises:
        SimError: An option is wrong.
        BridgeError: The firmware does not build.
    """

    def __init__(self, options: Options, stack: contextlib.ExitStack) -> None:
        plant = None if options.params is None else read_params(options.params)
        params = drawn(options.randomization, options.seed, plant)
        baud = BAUDS[options.kind] if options.baud is None else options.baud
        super().__init__("board", options, params, baud, stack)
        report = self.console.event
        stock = None
        if options.kind == "stock":
            firmware = StockFirmware()
            stock = firmware, StockWatch(firmware, report)
        self._board = EmulatedBoard(self.plant, self.line, baud, report, stock)
        self._ticks = self._overruns = 0
        self._tick_us = np.zeros(_TIMED_TICKS, np.float32)
        be_punctual()

    def reset(self) -> None:
        """Start the firmware, or restart it; the robot goes on as it is."""
        self._board.reset()

    def let_clock_drift(self, ppm: float) -> None:
        """Let the board's clock run fast by this much from now on."""
        self._board.let_clock_drift(ppm)

    def let_clock_jump(self, ms: float) -> None:
        """Put the board's clock forward."""
        self._board.let_clock_jump(ms)

    def run(self) -> None:
        """Live until :meth:`quit`, one tick of the firmware a millisecond."""
        self.reset()
        origin_ns = due_ns = time.monotonic_ns()
        while not self.stopping:
            behind_ns = time.monotonic_ns() - due_ns
            if behind_ns < 0:
                time.sleep(-behind_ns * 1e-9)
            elif behind_ns > _CATCH_UP_NS:
                # On to the next but one, so that a board that is always late sleeps now and then:
                # at its priority no other process would run.
                missed = behind_ns // TICK_NS + 2
                due_ns += missed * TICK_NS
                self.skip(missed)
                continue
            began_ns = time.perf_counter_ns()
            self.t_ns = due_ns - origin_ns
            if not self.port.write(self.line.to_host.receive(self.t_ns)):
                self._overruns += 1
            self.take_from_host()
            self.console.poll()
            self._board.tick(self.t_ns)
            self.publish()
            self.check_time_and_parent()
            self._tick_us[self._ticks % _TIMED_TICKS] = (time.perf_counter_ns() - began_ns) * 1e-3
            self._ticks += 1
            due_ns += TICK_NS
        durations = self._tick_us[: min(self._ticks, _TIMED_TICKS)]
        p50, p99, worst = np.percentile(durations, (50, 99, 100)) if durations.size else (0, 0, 0)
        self.console.event(
            "end",
            skipped_ticks=self._skipped,
            ticks=self._ticks,
            overruns=self._overruns,  # how often no host read the port
            tick_us={"p50": round(p50), "p99": round(p99), "max": round(worst)},
        )


def be_punctual() -> None:
    """Ask the system for what keeps the tick on time; do without where it refuses."""
    gc.collect()
    gc.freeze()
    gc.disable()
    with contextlib.suppress(OSError, AttributeError):  # no permission; no such scheduler
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_FIFO_PRIORITY))


_Options = TypeVar("_Options", bound=BoardOptions)


def serve(
    kind: type[_Options],
    make: Callable[[_Options, contextlib.ExitStack], RealTimeBoard],
    prog: str,
    arguments: Sequence[str] | None,
) -> int:
    """Parse a command line, run the board that it asks for until it ends, return the exit code.

    The docstring of the options ``kind`` is the text for ``--help``. The command line is that of
    the process if ``arguments`` is None.
    """
    orders = "\n".join(f"    {line}" for line in help_lines())
    mistakes = "\n".join(
        f"    {f'{verb} {usage}':24} {what}" for verb, (usage, what, _) in MISTAKES.items()
    )
    text = inspect.cleandoc(kind.__doc__ or "")
    description = f"{text}\n\nOrders:\n\n{orders}\n\nWiring:\n\n{mistakes}"
    options = tyro.cli(kind, args=arguments, prog=prog, description=description)
    with contextlib.ExitStack() as stack:
        board = make(options, stack)
        stack.enter_context(stop_signals(lambda _number, _frame: board.quit()))
        print_line(f"port {board.port.path}")
        board.run()
    return EXIT_OK


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return serve(Options, EmulatorBoard, "minitaur board", arguments)
