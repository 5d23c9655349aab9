"""Climbing the ladder: rung by rung, check by check, and what is written down of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import serial
from rich.markup import escape
from rich.table import Table

from deploy.errors import DeployError
from deploy.files import write_atomically
from hil.bench import Bench
from hil.check import Check, CheckFailed, CheckSkipped, Disturbed, Outcome, Result
from hil.rungs import NO_CONSOLE, Rung, prepare
from robot_firmware_bridge.errors import BridgeError
from sim.errors import SimError

OUTCOMES: dict[Outcome, str] = {"passed": "green", "failed": "bold red", "skipped": "yellow"}

# Of a check that was disturbed by a busy computer, and for how long a rung may be climbed again.
_TRIES = 5
_ALLOWANCE_S = 240.0
# Before the next try: a computer is calm whose naps, for so long, end no later than this.
_CALM_S, _NAP_S, _LATE_S = 1.0, 0.001, 0.005
_PATIENCE_S = 15.0

_START = ("start", "starts")

# Called before a check is made, with its rung and title; makes waiting bearable.
Announce = Callable[[str, str], None]


def climb(bench: Bench, checks: Sequence[Check], announce: Announce) -> Iterator[Result]:
    """Make every check on one rung; a board that cannot be had is one result."""
    rung = bench.rung
    announce(rung.kind.name, "starting the board")
    began_s = time.monotonic()
    try:
        reason = prepare(rung.kind)
        if reason is None:
            rung.start()
    except (DeployError, SimError) as error:
        yield _result(rung, _START, "failed", str(error), began_s)
        return
    if reason is not None:
        yield _result(rung, _START, "skipped", reason, began_s)
        return
    try:
        allowance_s = _ALLOWANCE_S
        for check in checks:
            announce(rung.kind.name, check.title)
            result, disturbed_s = _make(bench, check, allowance_s)
            allowance_s -= disturbed_s
            yield result
    finally:
        rung.stop()


def _make(bench: Bench, check: Check, allowance_s: float) -> tuple[Result, float]:
    """One check, made again where this computer disturbed it, which its figure then tells.

    A check that could not be made in peace did not pass: whether the robot is safe is not known.
    Only a walk on an emulated computer, which cannot keep time, is skipped then and says so, since
    the rung before walks in real time.

    Args:
        bench: Where.
        check: Which.
        allowance_s: Time for tries that say nothing.

    Returns:
        What came of it, and the time of such tries.
    """
    began_s = begun_s = time.monotonic()
    disturbances: list[str] = []
    while True:
        try:
            outcome, text, values = _try(bench, check)
        except Disturbed as error:
            disturbances.append(f"{error}{_mend(bench.rung)}")
            if len(disturbances) < _TRIES and time.monotonic() - began_s < allowance_s:
                _await_calm()
                begun_s = time.monotonic()
                continue
            outcome, text, values = _unproved(bench.rung, check), "disturbed in every try", {}
        note = "; ".join(f"before: {what}" for what in disturbances)
        text += f" ({note})" if note else ""
        return _result(bench.rung, check, outcome, text, began_s, values), begun_s - began_s


def _unproved(rung: Rung, check: Check) -> Outcome:
    """What becomes of a check that was disturbed in every try."""
    return "skipped" if check.walks and not rung.kind.keeps_time else "failed"


def _await_calm() -> None:
    """Wait until this computer keeps time, or for as long as is worth it."""
    end_s = time.monotonic() + _PATIENCE_S
    since_s = time.monotonic()
    while since_s < end_s and (now_s := time.monotonic()) - since_s < _CALM_S:
        time.sleep(_NAP_S)
        woke_s = time.monotonic()
        if woke_s - now_s > _NAP_S + _LATE_S:
            since_s = woke_s


def _try(bench: Bench, check: Check) -> tuple[Outcome, str, dict[str, Any]]:
    """One try; whatever goes wrong in it is its own result, never the end of the others.

    Raises:
        Disturbed: It says nothing, for this computer held up the board or its host: what goes wrong
            then may be either's fault.
    """
    since = bench.begin()
    try:
        _allow(bench.rung, check)
        figure = check.run(bench)
    except Disturbed:
        raise
    except CheckSkipped as reason:
        return "skipped", str(reason), {}
    except (CheckFailed, DeployError, SimError, BridgeError) as error:
        return _failed(bench, str(error), since)
    except (serial.SerialException, OSError) as error:
        return _failed(bench, f"the port failed: {error}", since)
    return "passed", figure.text, figure.values or {}


def _failed(bench: Bench, text: str, since: int) -> tuple[Outcome, str, dict[str, Any]]:
    """A try that did not hold.

    Raises:
        Disturbed: This computer may be the reason.
    """
    disturbance = bench.disturbance(since)
    if disturbance:
        raise Disturbed(f"{text}, while {disturbance}")
    return "failed", f"{text}{_mend(bench.rung)}", {}


def _allow(rung: Rung, check: Check) -> None:
    """Skip what this kind of board cannot be put through.

    Raises:
        CheckSkipped: Says what it lacks.
    """
    if (check.simulated or check.walks) and rung.kind.module is None:
        raise CheckSkipped(NO_CONSOLE)


def _mend(rung: Rung) -> str:
    """After a failure, begin afresh: what it left behind must not fail the next check."""
    try:
        rung.start()
    except (DeployError, SimError) as error:
        return f"; then: {error}"
    return ""


def _result(
    rung: Rung,
    check: Check | tuple[str, str],
    outcome: Outcome,
    text: str,
    began_s: float,
    values: dict[str, Any] | None = None,
) -> Result:
    name, title = (check.name, check.title) if isinstance(check, Check) else check
    seconds = round(time.monotonic() - began_s, 2)
    return Result(rung.kind.name, name, title, outcome, text, values or {}, seconds)


def table(results: Sequence[Result]) -> Table:
    """The results for people."""
    shown = Table(title="hardware in the loop", title_justify="left", show_lines=False)
    for column in ("rung", "check", "result", "figure"):
        shown.add_column(column, overflow="fold")
    for before, result in zip([None, *results], results, strict=False):
        new = before is None or before.rung != result.rung
        colour = OUTCOMES[result.outcome]
        shown.add_row(
            result.rung if new else "",
            result.title,
            f"[{colour}]{result.outcome}[/]",
            escape(result.figure),
        )
    return shown


def count(results: Sequence[Result]) -> dict[str, int]:
    """How many of each outcome."""
    return {str(kind): sum(result.outcome == kind for result in results) for kind in OUTCOMES}


def save(results: Sequence[Result], path: Path) -> None:
    """The results for programs: one JSON object, whole or not at all."""
    data = {**count(results), "results": [asdict(result) for result in results]}
    write_atomically(path, f"{json.dumps(data, indent=2, allow_nan=False)}\n".encode())
