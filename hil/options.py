"""The options of the checks, for `python -m hil` and for pytest alike."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path

from hil.boards import KINDS

PROMPT = (
    "The checks arm the motor controller on {port} and open its bridges. No command has torque,\n"
    "but a faulty controller may do anything. Robot on a stand, hands clear? [y/N] "
)


def add_options(add: Callable[..., object]) -> None:
    """Add every option, by argparse's `add_argument` or pytest's `addoption`."""
    add("--port", metavar="PATH", help="serial port of a real motor controller")
    add("--baud", type=int, default=921600, help="bits per second on that port (921600)")
    add("--yes", action="store_true", help="the real robot is on a stand, hands clear: do not ask")
    add(
        "--boards",
        type=_names,
        default=(),
        metavar="KINDS",
        help=f"which of {','.join(KINDS)}; without it real if there is a port, else the others",
    )
    add(
        "--seconds",
        type=float,
        default=60.0,
        help="how long the full-duplex check runs on each board (60)",
    )
    add(
        "--policy",
        type=Path,
        default=Path("policies/trot.onnx"),
        help="policy of the checks in which the simulated robot walks (policies/trot.onnx)",
    )
    add(
        "--report",
        type=Path,
        default=Path("build/hil.json"),
        help="report (JSON); the reports of runs lie in a folder beside it (build/hil.json)",
    )
    add(
        "--patience",
        type=float,
        default=15.0,
        help="seconds to wait for a calm computer before a disturbed check is made again (15)",
    )
    add(
        "--allowance",
        type=float,
        default=240.0,
        help="seconds that disturbed tries may take on each board (240)",
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^,\s]+", text))


def chosen_kinds(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the names of the board kinds to check."""
    return options.boards or (("real",) if options.port else ("emulated", "qemu"))


def refusal(options: argparse.Namespace) -> str | None:
    """Return why these options cannot be used, in one line; None if they can."""
    kinds = chosen_kinds(options)
    for name in kinds:
        if name not in KINDS:
            return f"there is no board kind {name!r}; there are {', '.join(KINDS)}"
    if "real" in kinds and options.port is None:
        return "the real board needs its serial port: --port, or make hil PORT=..."
    if options.port is not None and "real" not in kinds:
        return "--port is for the real board, which is not among --boards"
    if not (math.isfinite(options.seconds) and options.seconds > 0.0):
        return f"seconds must be positive, not {options.seconds}"
    if options.report.suffix != ".json":
        return f"report {options.report} must end in .json"
    if not options.policy.is_file():
        return f"no policy file {options.policy}"
    return None
