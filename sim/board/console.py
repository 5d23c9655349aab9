"""The console of an emulated board: orders in, events out, one a line.

Orders come from standard input, or from a schedule; each is one verb with its arguments, and a line
that is none gets one clear line back. Events are JSON objects on standard output. Nothing here ever
waits: a board must not miss its tick because no one reads its output.
"""

from __future__ import annotations

import json
import math
import os
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from robot_firmware_bridge.robot import NUM_MOTORS
from sim.board.plant import BoardPlant
from sim.board.serial_line import PtyPort, SerialLine
from sim.errors import SimError

STDIN, STDOUT = 0, 1

_MS = 1_000_000
_READ_SIZE = 4096


class ConsoleError(SimError):
    """A line is no order; the message says what is wrong and what is right."""


class Board(Protocol):
    """What orders act on."""

    port: PtyPort
    line: SerialLine
    plant: BoardPlant
    t_ns: int  # the board's time, from 0

    def reset(self) -> None:
        """Restart the firmware; the robot goes on as it is."""

    def let_clock_drift(self, ppm: float) -> None:
        """Let the board's clock run fast by this much from now on; -1e6 stops it.

        Raises:
            SimError: The clock of this board cannot be changed.
        """

    def let_clock_jump(self, ms: float) -> None:
        """Put the board's clock forward, or back if negative; raise as `let_clock_drift` does."""

    def quit(self) -> None:
        """End the emulation."""


@dataclass(frozen=True, slots=True)
class Argument:
    """A number after a verb.

    Attributes:
        name: As the help shows it.
        low, high: Bounds, both inclusive.
        whole: Whole numbers only.
    """

    name: str
    low: float
    high: float
    whole: bool = False

    def parse(self, text: str) -> float:
        """Return the number that a text stands for.

        Raises:
            ConsoleError: It stands for none, or for one out of bounds.
        """
        try:
            value: float = int(text) if self.whole else float(text)
        except ValueError:
            value = math.nan
        if not self.low <= value <= self.high:
            kind = "a whole number" if self.whole else "a number"
            raise ConsoleError(
                f"{self.name} must be {kind} in [{self.low:g}, {self.high:g}], not {text!r}"
            )
        return value


@dataclass(frozen=True, slots=True)
class Verb:
    """Something that can be ordered.

    Attributes:
        doc: One line for people.
        act: Does it; takes the board and one number per argument.
        arguments: Its arguments in order.
    """

    doc: str
    act: Callable[..., None]
    arguments: tuple[Argument, ...] = ()


def _set_fault(name: str) -> Callable[[Board, float], None]:
    return lambda board, value: setattr(board.line.faults, name, value)


def _unplug(board: Board) -> None:
    board.port.unplug()
    board.line.clear()


_CHANCE = (Argument("P", 0.0, 1.0),)
_MILLISECONDS = (Argument("MS", 0.0, 60_000.0),)
_MOTOR = Argument("MOTOR", 0, NUM_MOTORS - 1, whole=True)

VERBS: dict[str, Verb] = {
    "unplug": Verb("pull the cable", _unplug),
    "replug": Verb("put the cable back", lambda board: board.port.plug()),
    "reset": Verb("restart the firmware; the robot goes on as it is", lambda board: board.reset()),
    "stall": Verb(
        "hold all bytes back for MS, then deliver them at once",
        lambda board, ms: board.line.stall(board.t_ns + round(ms * _MS)),
        _MILLISECONDS,
    ),
    "drop": Verb("lose each byte with probability P", _set_fault("drop"), _CHANCE),
    "flip": Verb("turn a bit of each byte over with probability P", _set_fault("flip"), _CHANCE),
    "duplicate": Verb("send each byte twice with probability P", _set_fault("duplicate"), _CHANCE),
    "delay": Verb(
        "let every byte arrive MS later",
        lambda board, ms: setattr(board.line.faults, "delay_ns", round(ms * _MS)),
        _MILLISECONDS,
    ),
    "repeat": Verb("send each frame twice with probability P", _set_fault("repeat"), _CHANCE),
    "swap": Verb(
        "let a frame arrive after the next with probability P", _set_fault("swap"), _CHANCE
    ),
    "hold": Verb(
        "let the adapter pass bytes to the host every MS only; FTDI's default is 16",
        lambda board, ms: setattr(board.line.faults, "hold_ns", round(ms * _MS)),
        _MILLISECONDS,
    ),
    "clock-drift": Verb(
        "let the board's clock run PPM fast; -1e6 stops it",
        lambda board, ppm: board.let_clock_drift(ppm),
        (Argument("PPM", -1e6, 1e6),),
    ),
    "clock-jump": Verb(
        "put the board's clock forward by MS",
        lambda board, ms: board.let_clock_jump(ms),
        (Argument("MS", -60_000.0, 60_000.0),),
    ),
    "freeze-imu": Verb(
        "let the IMU repeat its last reading", lambda board: board.plant.freeze_imu()
    ),
    "thaw-imu": Verb("let the IMU measure again", lambda board: board.plant.thaw_imu()),
    "encoder-jump": Verb(
        "let the encoder of MOTOR read RAD more from now on",
        lambda board, motor, angle: board.plant.slip_encoder(motor, angle),
        (_MOTOR, Argument("RAD", -10.0, 10.0)),
    ),
    "battery": Verb(
        "let the battery sensor read V",
        lambda board, voltage: board.plant.read_battery(voltage),
        (Argument("V", 0.0, 60.0),),
    ),
    "heat": Verb(
        "let a sensor in the housing of MOTOR read C",
        lambda board, motor, temperature: board.plant.heat(motor, temperature),
        (_MOTOR, Argument("C", -40.0, 300.0)),
    ),
    "cool": Verb("take the sensors out of the housings", lambda board: board.plant.cool()),
    "quit": Verb("end the emulation", lambda board: board.quit()),
}


def help_lines() -> list[str]:
    """Return what can be ordered, one line a verb."""
    return [
        f"{' '.join((name, *(argument.name for argument in verb.arguments))):24} {verb.doc}"
        for name, verb in VERBS.items()
    ]


@dataclass(frozen=True, slots=True)
class Order:
    """Something to do to a board, and the line that ordered it."""

    text: str
    act: Callable[[Board], None]


def parse_order(line: str) -> Order:
    """Return the order that a line holds.

    Raises:
        ConsoleError: It holds none.
    """
    name, *texts = line.split() or [""]
    verb = VERBS.get(name)
    if verb is None:
        raise ConsoleError(f"no order {name!r}: there are help, {', '.join(VERBS)}")
    if len(texts) != len(verb.arguments):
        usage = " ".join((name, *(argument.name for argument in verb.arguments)))
        raise ConsoleError(f"{name} takes {len(verb.arguments)} numbers: {usage}")
    values = tuple(
        argument.parse(text) for argument, text in zip(verb.arguments, texts, strict=True)
    )
    return Order(line.strip(), lambda board: verb.act(board, *values))


def parse_scheduled(text: str) -> tuple[int, Order]:
    """Return time in ns and order of a schedule's entry ``"SECONDS ORDER"``.

    Raises:
        ConsoleError: It is not of that form.
    """
    seconds, _, line = text.strip().partition(" ")
    due_s = Argument("SECONDS", 0.0, 1e6).parse(seconds)
    return round(due_s * 1e9), parse_order(line)


class Console:
    """Standard input and output of an emulation.

    Args:
        schedule: Orders to carry out at a time, as ``parse_scheduled`` reads them.
        source: File descriptor that orders come from.
        sink: File descriptor that events go to.

    Raises:
        ConsoleError: An entry of the schedule is wrong.
    """

    def __init__(
        self, board: Board, schedule: Sequence[str] = (), source: int = STDIN, sink: int = STDOUT
    ) -> None:
        self._board = board
        self._due = sorted(map(parse_scheduled, schedule), key=lambda due: due[0])
        self._source: int | None = source
        self._sink = sink
        self._partial = b""

    def poll(self) -> None:
        """Carry out every order that has come in or is due."""
        while self._due and self._due[0][0] <= self._board.t_ns:
            self._carry_out(self._due.pop(0)[1])
        for line in self._read_lines():
            if line.strip() == "help":
                for entry in help_lines():
                    self.event("help", order=entry)
            elif line.strip():
                try:
                    self._carry_out(parse_order(line))
                except ConsoleError as error:
                    self.event("refused", reason=str(error))

    def event(self, name: str, /, **fields: object) -> None:
        """Print what happened: one JSON object on a line.

        It has the time on the board, and on the monotonic clock of this machine.
        """
        t_s, at_ns = round(self._board.t_ns * 1e-9, 6), time.monotonic_ns()
        print_line(json.dumps({"t_s": t_s, "at_ns": at_ns, "event": name, **fields}), self._sink)

    def _carry_out(self, order: Order) -> None:
        try:
            order.act(self._board)
        except SimError as error:
            self.event("refused", reason=str(error))
        else:
            self.event("order", order=order.text)

    def _read_lines(self) -> list[str]:
        """Return the whole lines that have come in. The end of the input ends only the input."""
        if self._source is None:
            return []
        try:
            if not select.select([self._source], [], [], 0)[0]:
                return []
            data = os.read(self._source, _READ_SIZE)
        except OSError:  # it is closed, or a terminal that another program has in the foreground
            data = b""
        if not data:
            self._source = None
            return []
        *lines, self._partial = (self._partial + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def print_line(line: str, sink: int = STDOUT) -> None:
    """Write a line to a file descriptor, or lose it where that would have to wait."""
    try:
        if select.select([], [sink], [], 0)[1]:
            os.write(sink, f"{line}\n".encode())
    except OSError:  # the reader is gone
        return
