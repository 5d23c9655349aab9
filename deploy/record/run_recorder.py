"""The black box of one run: what it is told before the run, while it lasts, and at its end."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.errors import LogError
from deploy.loop.loop import ControlLoop, Tick
from deploy.policy.contract import Contract
from deploy.record.black_box import BlackBox, BlackBoxReport
from deploy.record.flight_log import FlightLog, row_of
from deploy.record.read_log import read_log
from robot_firmware_bridge.robot import RobotDescription

KEPT_S = 300.0
"""A longer run is not kept in memory as a whole: its log is read back from the black box."""


class RunRecorder:
    """Starts the black box, tells it what the ticks do not say, and returns the whole log.

    Its process gets ready while the robot is being opened. An observer of the loop: faults and
    reactions are noted at once, counters of the link once a second.

    Args:
        contracts: Those of the policies, the first one first.
        robot: The robot.
        period_s: Control period, about.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(
        self, contracts: Sequence[Contract], robot: RobotDescription, period_s: float
    ) -> None:
        self._contracts, self._robot = contracts, robot
        self.box = BlackBox(row_of(contracts, robot), period_s)
        self._loop: ControlLoop | None = None
        self._counters: Callable[[], dict[str, int]] | None = None
        self._every = 1
        self._faults = self._events = 0  # those that were noted

    def begin(
        self,
        path: Path,
        loop: ControlLoop,
        period_s: float,
        facts: Mapping[str, Any],
        counters: Callable[[], dict[str, int]] | None,
    ) -> None:
        """Make the file. The loop has looked at robot and policy by then: a refused run has none.

        Args:
            path: The file.
            loop: The loop that is to run.
            period_s: Control period.
            facts: What explains the run.
            counters: Of the link; None without one.

        Raises:
            OSError: It cannot be made.
        """
        self._loop, self._counters = loop, counters
        self._every = max(1, round(1.0 / period_s))
        first, *also = (contract.to_json() for contract in self._contracts)
        about = {
            "contract": first,
            "also": json.dumps(also),
            "robot": self._robot.to_json(),
            "period_s": repr(period_s),
            "facts": json.dumps(facts),
        }
        self.box.begin(path, about)

    def __call__(self, tick: Tick) -> None:
        """Note what is new after this tick; never waits."""
        self._note()
        if self._counters is not None and tick.ticks % self._every == 0:
            self.box.count(self._counters())

    def _note(self) -> None:
        """Note the faults and reactions that were not noted yet."""
        if self._loop is None:
            return
        for event in self._loop.reactions.events[self._events :]:
            self.box.note(f"{event.signal} {event.level}: {event.detail}")
            self._events += 1
        for fault in self._loop.faults[self._faults :]:
            self.box.note(fault.detail, error=True)
            self._faults += 1

    def end(self, loop: ControlLoop) -> tuple[FlightLog, BlackBoxReport]:
        """Complete the file; return the log of the whole run, and what became of the ticks.

        The log is from memory or, after a long run, from the black box.
        """
        self._note()
        boxed = self.box.close()
        log = loop.log()
        if len(log) == loop.ticks:
            return log, boxed
        try:
            whole, cause = read_log(Path(boxed.file)), boxed.describe()
        except (LogError, OSError) as error:
            whole, cause = log, str(error)
        if cause:
            whole = max(log, whole, key=len)
            print(
                f"error: the log has {len(whole)} of {loop.ticks} ticks: {cause}", file=sys.stderr
            )
        return dataclasses.replace(whole, events=log.events, dry_run=log.dry_run), boxed

    def close(self) -> None:
        """Complete the file, if that was not done. Idempotent."""
        self.box.close()
