"""The bench on which one board is checked: ways to reach it, and to do it harm."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.loop.clock import realtime
from hil.check import CheckFailed
from hil.host import STATE_INTERVAL_MS, Host
from hil.rungs import Rung
from robot_firmware_bridge.errors import RobotFaultError
from robot_firmware_bridge.serial.link import SerialLink
from robot_firmware_bridge.serial.robot import SerialRobot
from sim.board.process import Event

# Disarming takes half a second, and then the stand waits for one.
_STAND_S = 5.0
_ORDER_S = 5.0
_MEND_S = 0.5
_CLEAR_S = 5.0
# A host that has no turn for longer may be late with a command, which lives for 80 ms.
_HELD_UP_S = 0.03
# Ticks that an emulated board may lose in one go; and how long it takes to tell.
_HELD_UP_TICKS = 5
_TELLS_S = 1.5


@dataclass(frozen=True, slots=True)
class Bench:
    """One board and what its checks are asked.

    Attributes:
        rung: The board.
        seconds: How long the checks run that a figure gains from.
        folder: Where reports of runs are kept.
        policy: Policy of the checks in which the robot walks.
        held_up: How this computer held up the check that is being made, if it did.
    """

    rung: Rung
    seconds: float
    folder: Path
    policy: Path
    held_up: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def host(self) -> Iterator[Host]:
        """A host that speaks frame by frame: introduced, the board disarmed, no fault latched.

        It is as punctual as the system permits: a command that is late is a watchdog that bites.

        Raises:
            CheckFailed: The board does not come to that.
        """
        with Host(self.rung.port, self.rung.baud) as host:
            host.home()
            self.stand()
            try:
                with realtime():
                    host.forget_delays()
                    yield host
            finally:
                if host.held_up_s > _HELD_UP_S:
                    self.held_up.append(f"the host had no turn for {1e3 * host.held_up_s:.0f} ms")

    @contextlib.contextmanager
    def robot(self) -> Iterator[tuple[SerialLink, SerialRobot]]:
        """The robot by the real link: disarmed, no fault latched.

        Raises:
            BridgeError: It cannot be reached, or is not fit to move.
        """
        link = SerialLink(self.rung.port, self.rung.baud, realtime=True)
        with contextlib.closing(link):
            robot = SerialRobot(link, state_interval_ms=STATE_INTERVAL_MS)
            with contextlib.closing(robot):
                self.clear(robot)
                self.stand()
                yield link, robot

    def stand(self) -> None:
        """Wait until the stand of an emulated board has picked up a robot that lies.

        Raises:
            CheckFailed: It has not in time.
        """
        if self.rung.kind.module is None:
            return
        events = self.rung.board.events()
        last = [e["event"] for e in events if e["event"] in ("on_stand", "off_stand")][-1:]
        if last == ["off_stand"]:
            self.await_event(lambda e: e["event"] == "on_stand", _STAND_S, "stand", len(events))

    def inject(self, order: str, meanwhile: Callable[[], object] | None = None) -> Event:
        """Do something to the board by its console; the event that tells that it was done.

        Args:
            order: What to do.
            meanwhile: Done again and again until then, e.g. commanding a robot that must live on.

        Raises:
            CheckFailed: The board refuses, or does not answer.
        """
        since = len(self.rung.board.events())
        self.rung.board.inject(order)
        return self.done(order, since, meanwhile)

    def done(self, order: str, since: int, meanwhile: Callable[[], object] | None = None) -> Event:
        """The event that tells that this order was carried out; see :meth:`inject`."""
        board = self.rung.board

        def answers(event: Event) -> bool:
            return event["event"] == "refused" or event.get("order") == order

        end_s = time.monotonic() + _ORDER_S
        while (event := board.wait_event(answers, 0.0 if meanwhile else 0.1, since)) is None:
            if time.monotonic() > end_s:
                raise CheckFailed(f"the console did not answer to {order!r}")
            if meanwhile is not None:
                meanwhile()
        if event["event"] == "refused":
            raise CheckFailed(f"the console refuses {order!r}: {event['reason']}")
        return event

    def mend(self, orders: Sequence[str], host: Host | None = None) -> None:
        """Take harm back, and give the board's slowest model, which is of heat, time to see it.

        Args:
            orders: What takes it back.
            host: Whose time it is, if that of a host.
        """
        for order in orders:
            self.inject(order, None if host is None else host.receive)
            if host is None:
                time.sleep(_MEND_S)
            else:
                host.let_pass(_MEND_S)

    def clear(self, robot: SerialRobot) -> None:
        """Clear the robot's faults as soon as no cause is there any more.

        Raises:
            RobotFaultError: One stays.
        """
        end_s = time.monotonic() + _CLEAR_S
        while True:
            try:
                robot.clear_fault()
            except RobotFaultError:
                if time.monotonic() > end_s:
                    raise
            else:
                return

    def begin(self) -> int:
        """Begin a check, which nothing has held up yet; the number of its first event."""
        self.held_up.clear()
        return len(self.rung.board.events()) if self.rung.is_emulated else 0

    def disturbance(self, since: int) -> str:
        """How this computer held up the check, of which event ``since`` was the first; "" if not.

        An emulated board tells within a second of ticks that it lost; a real one loses none.
        """
        if self.rung.is_emulated:
            late = self.rung.board.wait_event(_is_late, _TELLS_S, since)
            if late is not None:
                self.held_up.append(f"the board lost {late['at_once']} ticks at once")
        return "; ".join(self.held_up)

    def await_event(
        self, matches: Callable[[Event], bool], timeout_s: float, what: str, since: int = 0
    ) -> Event:
        """The first event from number ``since`` on that matches.

        Raises:
            CheckFailed: None came in time.
        """
        event = self.rung.board.wait_event(matches, timeout_s, since)
        if event is None:
            raise CheckFailed(f"no {what} within {timeout_s:g} s")
        return event


def _is_late(event: Event) -> bool:
    return bool(event["event"] == "late" and event["at_once"] >= _HELD_UP_TICKS)
