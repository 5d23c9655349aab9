"""Hardware-in-the-loop tests: `python -m hil --help`, or `make hil`."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.markup import escape

from deploy.errors import DeployError, RunError
from hil import ladder
from hil.bench import Bench
from hil.check import Check, Result
from hil.checks import CHECKS
from hil.rungs import KINDS, Kind, Rung
from sim.errors import SimError

EXIT_OK, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130

# Of a table that goes to a file.
_WIDTH = 120

_CONFIRM = (
    "The checks arm the motor controller on {port} and open its bridges; none commands a torque,\\n"
    "but a controller that is faulty may do anything. Robot on a stand, hands clear? [y/N] "
)


@dataclass(frozen=True, slots=True)
class Options:
    """Check motor controllers over their serial line: handshake, modes, watchdog, faults, walking.

    Three rungs, and on each the same checks as far as it can bear them:

    emulated: the firmware's C core as a process, on the simulated robot. All checks: the robot
    walks, its cable is pulled, its host is killed.

    qemu: the very image for the Cortex-M4 in an emulated computer, on the same robot. Needs
    qemu-system-arm and arm-none-eabi-gcc, and is skipped where they are not installed. It does not
    keep time as a chip does: a walk that this computer disturbs in five tries is skipped there,
    never on the other rungs.

    real: the motor controller on PORT. The robot must be on a stand, for it is armed, though no
    command has torque; asks once.

    Exit codes: 0 nothing failed, 1 a check failed, 2 bad input, 130 interrupted.
    """

    port: str | None = None
    """Serial port of a real motor controller."""
    baud: int = 921600
    """Bits per second on that port."""
    yes: bool = False
    """The real robot is on a stand and hands are clear: do not ask."""
    rungs: tuple[str, ...] = ()
    """Which rungs to climb; left out, real if there is a PORT, else emulated and qemu."""
    only: tuple[str, ...] = ()
    """Which checks to make, e.g. identity watchdog trot; left out, all. A wrong name lists them."""
    seconds: float = 60.0
    """How long the full-duplex check runs on each rung."""
    policy: Path = Path("policies/trot.onnx")
    """Policy of the checks in which the emulated robot walks."""
    report: Path = Path("build/hil.json")
    """Report (JSON); the reports of runs lie in a folder beside it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = tyro.cli(Options, args=arguments, prog="python -m hil")
    try:
        kinds, checks = _choose(options)
        if any(kind.module is None for kind in kinds) and not options.yes:
            _confirm(options)
        results = _climb(options, kinds, checks)
    except (DeployError, SimError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if ladder.count(results)["failed"] else EXIT_OK


def _choose(options: Options) -> tuple[list[Kind], list[Check]]:
    """Rungs and checks that were asked for.

    Raises:
        RunError: There is none of that name, or something that they need is not there.
    """
    names = options.rungs or (("real",) if options.port else ("emulated", "qemu"))
    checks = {check.name: check for check in CHECKS}
    for given, known in ((names, KINDS), (options.only, checks)):
        for name in given:
            if name not in known:
                raise RunError(f"there is no {name!r}; there are {', '.join(known)}")
    if "real" in names and options.port is None:
        raise RunError("the real rung needs its serial port: --port, or make hil PORT=...")
    if options.port is not None and "real" not in names:
        raise RunError("--port is for the real rung, which is not among --rungs")
    if not (math.isfinite(options.seconds) and options.seconds > 0.0):
        raise RunError(f"seconds must be positive, not {options.seconds}")
    if options.report.suffix != ".json":
        raise RunError(f"report {options.report} must end in .json")
    if not options.policy.is_file():
        raise RunError(f"no policy file {options.policy}")
    wanted = options.only or tuple(checks)
    return [KINDS[name] for name in names], [checks[name] for name in checks if name in wanted]


def _confirm(options: Options) -> None:
    """Nobody's hands are between the legs, or nothing is armed.

    Raises:
        RunError: Nobody is there to ask, or the answer is no.
    """
    if not sys.stdin.isatty():
        raise RunError("a real robot must be on a stand, hands clear: say so with --yes (YES=1)")
    if input(_CONFIRM.format(port=options.port)).strip().lower() not in ("y", "yes"):
        raise RunError("not confirmed: nothing was armed")


def _climb(options: Options, kinds: Sequence[Kind], checks: Sequence[Check]) -> list[Result]:
    """Climb, tell what happens, write the report, show the table."""
    folder = options.report.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True, soft_wrap=True)
    results: list[Result] = []
    with console.status("") as status:
        for kind in kinds:
            port = options.port if kind.module is None else None
            bench = Bench(Rung(kind, port, options.baud), options.seconds, folder, options.policy)
            announce = lambda rung, title: status.update(f"{rung}: {title}")  # noqa: E731
            for result in ladder.climb(bench, checks, announce):
                results.append(result)
                console.print(_line(result))
    ladder.save(results, options.report)
    shown = Console(width=None if sys.stdout.isatty() else _WIDTH)
    shown.print(ladder.table(results))
    counts = ", ".join(f"{number} {kind}" for kind, number in ladder.count(results).items())
    shown.print(f"{counts}; written {options.report}")
    for result in results:  # once more: whoever sees the end of a log sees why
        if result.outcome != "passed":
            shown.print(_line(result), soft_wrap=True)
    return results


def _line(result: Result) -> str:
    """One result while the climb goes on."""
    colour = ladder.OUTCOMES[result.outcome]
    return (
        f"[{colour}]{result.outcome:8}[/]{result.rung:9} {escape(result.title)} "
        f"({result.seconds:.1f} s): {escape(result.figure)}"
    )


if __name__ == "__main__":
    sys.exit(main())
