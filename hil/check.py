"""What a check is, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from hil.bench import Bench

Outcome = Literal["passed", "failed", "skipped"]


class CheckFailed(Exception):
    """What was seen is not what must be; one line that says both."""


class Disturbed(CheckFailed):
    """This computer held up the loop, so that the check says nothing; it may be made again."""


class CheckSkipped(Exception):
    """The check cannot be made here; one line that says why."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What a check measured.

    Attributes:
        text: For people, with units.
        values: For programs, by names that end in their unit.
    """

    text: str = ""
    values: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: Stable name, for --only and the report.
        title: What is shown to hold, for people.
        run: Makes it on a bench and returns what was measured; raises if it does not hold.
        simulated: It does harm by the console of a simulated board.
        walks: The control loop walks a simulated robot, for which the board has to keep time.
    """

    name: str
    title: str
    run: Callable[[Bench], Figure]
    simulated: bool = False
    walks: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one check on one rung."""

    rung: str
    check: str
    title: str
    outcome: Outcome
    figure: str
    values: dict[str, Any]
    seconds: float


def expect(holds: bool, otherwise: str) -> None:
    """Go on if it holds.

    Raises:
        CheckFailed: It does not.
    """
    if not holds:
        raise CheckFailed(otherwise)
