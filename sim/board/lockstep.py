"""The emulated motor controller on a virtual clock: runs that are the same every time.

Firmware, robot, serial line and host session are those of a run in real time. Time passes only when
the loop sleeps on the clock or waits on the link. A run of the control loop is therefore repeatable
bit for bit, and as fast as this machine can compute it. pyserial, the pseudo terminal, threads and
the wall clock are left out: ``make hil`` tests those.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from robot_firmware_bridge.errors import LinkError
from robot_firmware_bridge.interface import Robot
from robot_firmware_bridge.protocol.board_clock import line_ns
from robot_firmware_bridge.protocol.layout import wire_bytes
from robot_firmware_bridge.protocol.session import Session
from robot_firmware_bridge.serial.link import LineSession
from robot_firmware_bridge.serial.robot import SerialRobot
from robot_firmware_bridge.serial.stock import COMMAND_LIFE_NS, Guard, StockRobot
from robot_firmware_bridge.stock.session import StockSession
from robot_firmware_bridge.stock.wire import BAUD
from sim.board.emulated import EmulatedBoard
from sim.board.plant import BoardPlant
from sim.board.serial_line import SerialLine
from sim.board.stock import StockFirmware, StockWatch
from sim.board.wiring import Wiring
from sim.plant.params import TICK_NS
from sim.plant.plant import Plant


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the board did.

    Attributes:
        t_ns: Time since the board was switched on.
        name: What, e.g. "mode".
        fields: More of it, e.g. mode and fault.
    """

    t_ns: int
    name: str
    fields: dict[str, object]


class Events(list[Event]):
    """What a board did so far, oldest first."""

    board: EmulatedBoard

    def note(self, name: str, /, **fields: object) -> None:
        """Add an event of now."""
        self.append(Event(self.board.t_ns, name, fields))


class LockstepClock:
    """Time in which one board lives; passes when it is slept on."""

    def __init__(self, board: EmulatedBoard) -> None:
        self._board = board
        self._now_ns = 0
        self._next_tick_ns = 0
        self.on_tick: Callable[[], None] = lambda: None

    def now_ns(self) -> int:
        """Return the time since the board was switched on."""
        return self._now_ns

    def sleep_until_ns(self, deadline_ns: int) -> None:
        """Let the board live up to the deadline; its tick at that very time has run."""
        while self._next_tick_ns <= deadline_ns:
            self._now_ns = self._next_tick_ns
            self._board.tick(self._now_ns)
            self._next_tick_ns += TICK_NS
            self.on_tick()
        self._now_ns = max(self._now_ns, deadline_ns)


_Session = TypeVar("_Session", bound=LineSession)


class MemoryLink(Generic[_Session]):
    """The host's link to a board of this very process."""

    def __init__(self, line: SerialLine, clock: LockstepClock, session: _Session) -> None:
        self.session = session
        self._line = line
        self._clock = clock
        clock.on_tick = self.poll

    def send(self, data: bytes) -> None:
        """Put bytes on the line."""
        self._line.to_board.send(data, self._clock.now_ns())

    def poll(self) -> None:
        """Bring the session up to date; happens with every tick of the board, too."""
        now_ns = self._clock.now_ns()
        self.session.receive(self._line.to_host.receive(now_ns), now_ns)
        due = self.session.due(now_ns)
        if due:
            self.send(due)

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Let time pass until the condition holds; False if it never did within the timeout."""
        deadline_ns = self._clock.now_ns() + round(timeout_s * 1e9)
        self.poll()
        while not condition():
            now_ns = self._clock.now_ns()
            if now_ns >= deadline_ns:
                return False
            self._clock.sleep_until_ns(min(now_ns + TICK_NS, deadline_ns))
            self.poll()
        return True

    def now_ns(self) -> int:
        """Return the clock's time."""
        return self._clock.now_ns()

    def why_late(self) -> str:
        """Return what may hold bytes back on this line."""
        return "its line holds bytes back: end that with the order `hold 0`"

    def close(self) -> None:
        """Do nothing: nothing is held."""


class StockMemoryLink(MemoryLink[StockSession]):
    """The host's link to a stock mainboard of this very process."""

    _watchdog: LockstepWatchdog | None = None

    def guard(self, kill: bytes, patience_s: float) -> Guard:
        """Start a watchdog in the board's time."""
        self._watchdog = LockstepWatchdog(self, kill, round(patience_s * 1e9))
        return self._watchdog

    def poll(self) -> None:
        """Bring session and watchdog up to date; happens with every tick of the board, too."""
        super().poll()
        if self._watchdog is not None:
            self._watchdog.look()


class LockstepWatchdog:
    """What ``serial.watchdog`` does, in virtual time: kills the motors when no word comes.

    Args:
        link: The line to the board.
        kill: Bytes that switch the motors off.
        patience_ns: Time without a word after which they are sent.
    """

    def __init__(self, link: StockMemoryLink, kill: bytes, patience_ns: int) -> None:
        self._link, self._kill, self._patience_ns = link, kill, patience_ns
        self._heard_ns = link.now_ns()
        self._watches, self._has_killed = True, False

    def look(self) -> None:
        """Look at the time."""
        if self._watches and self._link.now_ns() - self._heard_ns >= self._patience_ns:
            self.kill_motors()

    def beat(self) -> bool:
        """Say that a command is about to be sent; return False if it must not be."""
        self._heard_ns = self._link.now_ns()
        return not self._has_killed

    def dismiss(self) -> None:
        """End its work; nothing is sent. Idempotent."""
        self._watches = False

    def kill_motors(self) -> None:
        """Kill the motors now, and end. Idempotent; never raises."""
        self._watches, self._has_killed = False, True
        with contextlib.suppress(LinkError):
            self._link.send(self._kill)


_Robot = TypeVar("_Robot", bound=Robot)


@dataclass(frozen=True, slots=True)
class Lockstep(Generic[_Robot, _Session]):
    """A robot behind its board and line, on a virtual clock.

    Attributes:
        robot, clock, odometry: For the control loop.
        board: The emulated board; its plant and its line can be made to fail.
        events: What the board did so far, oldest first; grows.
    """

    robot: _Robot
    clock: LockstepClock
    odometry: Plant
    link: MemoryLink[_Session]
    board: EmulatedBoard
    events: Events


def lockstep(
    plant: Plant,
    *,
    baud: int = 921_600,
    state_interval_ms: int = 2,
    compensate_battery: bool = False,
    wiring: Wiring | None = None,
    bent_rad: float | None = None,
) -> Lockstep[SerialRobot, Session]:
    """Connect the robot of a plant over our motor controller and a serial line.

    Args:
        plant: The robot and its world; reset. Its owner closes it.
        baud: Bits per second of the line.
        state_interval_ms: Wanted time between two states.
        compensate_battery: Scale duties to the battery's voltage.
        wiring: How the motors are wired to the board; None for rightly.
        bent_rad: Extension of the legs of a robot that was put on the stand; None for the stance.

    Raises:
        BridgeError: The firmware does not build.
        ParameterError: The plant's IMU is free of noise, or the baud rate impossible.
    """
    events = Events()
    line = _line(baud, plant, wiring)
    board = EmulatedBoard(BoardPlant(plant, wiring, bent_rad), line, baud, events.note)
    clock = _started(board, events)
    link = MemoryLink(line, clock, Session(line_ns(wire_bytes("state"), baud)))
    rate, battery = state_interval_ms, compensate_battery
    robot = SerialRobot(link, plant.robot, state_interval_ms=rate, compensate_battery=battery)
    return Lockstep(robot, clock, plant, link, board, events)


def stock_lockstep(
    plant: Plant,
    *,
    wiring: Wiring | None = None,
    bent_rad: float | None = None,
    patience_ns: int = COMMAND_LIFE_NS,
) -> Lockstep[StockRobot, StockSession]:
    """Connect the robot of a plant over the stock mainboard, at its own baud rate.

    Args:
        plant: The robot and its world; reset. Its owner closes it.
        wiring: How the motors are wired to the board; None for rightly.
        bent_rad: Extension of the legs of a robot that was put on the stand; None for the stance.
        patience_ns: Time without a command after which the motors are killed.

    Raises:
        BridgeError: The board sends no states.
        ParameterError: The plant's IMU is free of noise.
    """
    events = Events()
    line = _line(BAUD, plant, wiring)
    firmware = StockFirmware()
    stock = firmware, StockWatch(firmware, events.note)
    board = EmulatedBoard(BoardPlant(plant, wiring, bent_rad), line, BAUD, events.note, stock)
    clock = _started(board, events)
    link = StockMemoryLink(line, clock, StockSession(plant.robot))
    robot = StockRobot(link, plant.robot, patience_ns=patience_ns)
    return Lockstep(robot, clock, plant, link, board, events)


def _line(baud: int, plant: Plant, wiring: Wiring | None) -> SerialLine:
    line = SerialLine(baud, plant.params.seed)
    if wiring is not None:
        line.faults.delay_ns = wiring.delay_ns
    return line


def _started(board: EmulatedBoard, events: Events) -> LockstepClock:
    """Switch a board on; return the clock that it lives by."""
    events.board = board
    board.reset()
    return LockstepClock(board)
