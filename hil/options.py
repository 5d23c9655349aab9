"""The options of the checks, for `python -m hil` and for pytest alike."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path

from hil.boards import KINDS, REAL


def add_options(add: Callable[..., object]) -> None:
    """Add every option, by argparse's `add_argument` or pytest's `addoption`."""
    policy, report = Path("policies/trot.onnx"), Path("build/hil.json")
    add("--port", metavar="PATH", help="serial port of a real motor controller")
    add("--baud", type=int, default=921600, help="bits per second on that port (921600)")
    add("--yes", action="store_true", help="the real robot is on a stand, hands clear: do not ask")
    which = f"which of {','.join(KINDS)}; left out, real if there is a port, else the others"
    add("--boards", default="", metavar="KINDS", help=which)
    for name, default, what in (
        ("--seconds", 60.0, "how long the full-duplex check runs on each board"),
        ("--patience", 15.0, "seconds to wait for a calm computer before a check is made again"),
        ("--allowance", 240.0, "seconds that disturbed tries may take on each board"),
    ):
        add(name, type=float, default=default, metavar="S", help=f"{what} ({default:g})")
    walks = f"policy of the checks in which the simulated robot walks ({policy})"
    add("--policy", type=Path, default=policy, metavar="ONNX", help=walks)
    beside = f"report; JUnit's XML and the reports of runs lie beside it ({report})"
    add("--report", type=Path, default=report, metavar="JSON", help=beside)


def chosen_kinds(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the names of the board kinds to check."""
    others = tuple(name for name in KINDS if name != REAL.name)
    named = tuple(re.findall(r"[^,\s]+", options.boards))
    return named or ((REAL.name,) if options.port else others)


def needs_yes(options: argparse.Namespace) -> bool:
    """Return whether a real robot will be armed that nobody has confirmed to be on a stand."""
    return REAL.name in chosen_kinds(options) and not options.yes


def refusal(options: argparse.Namespace) -> str | None:
    """Return why these options cannot be used, in one line; None if they can."""
    kinds = chosen_kinds(options)
    for name in kinds:
        if name not in KINDS:
            return f"there is no board kind {name!r}; there are {', '.join(KINDS)}"
    if REAL.name in kinds and not options.port:
        return "the real board needs its serial port: --port, or make hil PORT=..."
    if options.port and REAL.name not in kinds:
        return "--port is for the real board, which is not among --boards"
    if not (math.isfinite(options.seconds) and options.seconds > 0.0):
        return f"seconds must be positive, not {options.seconds}"
    if options.report.suffix != ".json":
        return f"report {options.report} must end in .json"
    if not options.policy.is_file():
        return f"no policy file {options.policy}"
    return None
