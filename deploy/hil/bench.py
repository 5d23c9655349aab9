"""The bench on which one board is checked: ways to reach it, and to do it harm."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.board_process import Event
from deploy.hil.check import CheckFailed
from deploy.hil.host import STATE_INTERVAL_MS, Host
from deploy.hil.rungs import Rung
from robot_firmware_bridge.link import SerialLink
from robot_firmware_bridge.serial_robot import SerialRobot

# Disarming takes half a second, and then the stand waits for one.
_STAND_S = 5.0
_ORDER_S = 2.0


@dataclass(frozen=True, slots=True)
class Bench:
    """One board and what its checks are asked.

    Attributes:
        rung: The board.
        seconds: How long the checks run that a figure gains from.
        folder: Where reports of runs are kept.
        policy: Policy of the checks in which the robot walks.
    """

    rung: Rung
    seconds: float
    folder: Path
    policy: Path

    @contextlib.contextmanager
    def host(self) -> Iterator[Host]:
        """A host that speaks frame by frame: introduced, the board disarmed, no fault latched.

        Raises:
            CheckFailed: The board does not come to that.
        """
        with Host(self.rung.port, self.rung.baud) as host:
            host.home()
            self.stand()
            yield host

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
                robot.clear_fault()
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

    def inject(self, order: str) -> Event:
        """Do something to the board by its console; the event that tells that it was done.

        Raises:
            CheckFailed: The board refuses, or does not answer.
        """
        board = self.rung.board
        since = len(board.events())
        board.inject(order)
        event = board.wait_event(lambda e: e["event"] in ("order", "refused"), _ORDER_S, since)
        if event is None:
            raise CheckFailed(f"the console did not answer to {order!r}")
        if event["event"] == "refused":
            raise CheckFailed(f"the console refuses {order!r}: {event['reason']}")
        return event

    def mend(self, orders: Sequence[str]) -> None:
        """Take harm back, and give the board's slowest model, which is of heat, time to see it."""
        for order in orders:
            self.inject(order)
            time.sleep(0.2)

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
