"""The transfer protocol: every policy under every condition, always the same, one table at the end.

``python -m studies.transfer --help`` teaches. A cell, one policy under one condition, is a file as
soon as it is done; a killed run goes on with the next cell, and a cell is computed anew when its
policy, its condition or the physics under it is another. A cell that fails is told and left out,
and a run that is not complete writes a table of what there is, with a list of what is not, beside
the cells.
"""

from __future__ import annotations

import hashlib
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from deploy.errors import DeployError
from deploy.policy.onnx_policy import OnnxPolicy
from robot_firmware_bridge.errors import BridgeError
from sim.errors import SimError
from studies.transfer import conditions as transfer_conditions
from studies.transfer import policies as transfer_policies
from studies.transfer.cells import Task, compute, is_of_policy, load, took_s, unpack
from studies.transfer.conditions import EPISODES, SECONDS, Condition, chosen_conditions
from studies.transfer.pace import Pace, in_words
from studies.transfer.policies import gather
from studies.transfer.report import Cell, write_evaluations, write_report
from training.errors import TrainingError

_PUBLISHED = Path("docs/results")
# What can go wrong with one cell and need not with the next.
_FAILURES = (TrainingError, DeployError, SimError, BridgeError, OSError, BrokenExecutor)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Run policies under the conditions of the transfer protocol and write table and figure.

    Without options this is the whole protocol, which takes hours; killed, it goes on where it was.

    Attributes:
        policies: Names of policies or paths of ONNX files; all shipped ones, the standing robot and
            PyBullet's policies when left out.
        conditions: Names of conditions; all when left out.
        episodes: Episodes of a cell; the emulated board, in real time, takes five at most.
        seconds: Length of an episode.
        workers: Processes; 0 for this one. The figures do not depend on it.
        cells: Folder of the cells' results.
        out: Folder for table and figure; docs/results for the whole protocol, else CELLS. A run
            that is not complete writes them to CELLS.
        reuse: A transfer.json of before, docs/results/transfer.json for one: what it has counts as
            done before, as long as policy, condition and physics are the same. So after a training
            only the new policy is computed. Left out, everything that is not in CELLS is.
        reports: Folder for the whole report of every cell too, POLICY.CONDITION.json, as
            ``training.evaluate.evaluate`` writes it.
    """

    policies: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    episodes: int = EPISODES
    seconds: float = SECONDS
    workers: int = 2
    cells: Path = Path("build/transfer")
    out: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    reuse: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    reports: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None

    @property
    def whole(self) -> bool:
        """Whether this is the protocol as it is published, with nothing left out."""
        return (
            not self.policies
            and not self.conditions
            and (self.episodes, self.seconds) == (EPISODES, SECONDS)
        )

    @property
    def folder(self) -> Path:
        """Where table and figure go."""
        return self.out or (_PUBLISHED if self.whole else self.cells)


@dataclass(slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        todo: What was to be computed or found, in the order of the table.
        cells: What was, by the cell's file.
        failed: Why others were not, by the cell's file.
        interrupted: The run was stopped.
    """

    todo: Sequence[Task]
    cells: dict[Path, Cell] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def found(self) -> list[Cell]:
        """The cells that are there, in the order of the table."""
        return [self.cells[task.path] for task in self.todo if task.path in self.cells]

    @property
    def missing(self) -> list[str]:
        """A line for each cell that is not."""
        return [
            f"{task.label}: {self.failed.get(task.path, 'not computed yet')}"
            for task in self.todo
            if task.path not in self.cells
        ]


def tasks(transfer: Transfer, files: dict[str, Path], conditions: list[Condition]) -> list[Task]:
    """Every cell of a run, in the order of the table.

    Raises:
        EvaluationError: A condition is impossible.
        DeployError: A policy file cannot be used.
    """
    digests = {}
    for policy, file in files.items():
        OnnxPolicy.load(file)
        digests[policy] = hashlib.sha256(file.read_bytes()).hexdigest()
    found = []
    for condition in conditions:
        for policy, file in files.items():
            job = condition.job(file, transfer.episodes, transfer.seconds, transfer.workers)
            job.check()
            name = f"{policy}.{condition.name}.{job.count}x{job.seconds:g}s.json"
            found.append(Task(policy, condition, job, transfer.cells / name, digests[policy]))
    return found


def in_turn(todo: Sequence[Task]) -> list[Task]:
    """The order of computing, in which a part of the protocol is soon of use."""
    return sorted(
        todo,
        key=lambda task: (
            transfer_policies.turn(task.policy),
            transfer_conditions.turn(task.condition),
        ),
    )


def run(transfer: Transfer, console: Console) -> Outcome:
    """Compute every cell that is not there yet, as far as it goes; Ctrl-C ends it early.

    Raises:
        EvaluationError: Something asked for does not exist or cannot be evaluated.
        DeployError: A policy file cannot be used.
    """
    conditions = chosen_conditions(transfer.conditions)
    files = gather(transfer.policies, transfer.cells / "policies")
    outcome = Outcome(tasks(transfer, files, conditions))
    if transfer.reuse is not None:
        unpack(transfer.reuse, outcome.todo)
    done: list[Task] = []
    new: list[Task] = []
    pace = Pace()
    for task in in_turn(outcome.todo):
        if (seconds := took_s(task)) is not None:
            pace.note(task.job, seconds)
        (done if is_of_policy(task) else new).append(task)
    # What was done before comes first: a run that is interrupted then tells all that is known.
    rest = done + new
    console.print(
        f"{len(rest)} cells, {len(done)} of them done before (checked in their turn); "
        + _ahead(new, pace),
        soft_wrap=True,
    )
    try:
        for number, task in enumerate(rest, start=1):
            said = _settle(task, outcome, console, f"{number}/{len(rest)} {task.label}")
            if task in new:
                new.remove(task)
                if (seconds := took_s(task)) is not None:
                    pace.note(task.job, seconds)
            console.print(f"{said}; {_ahead(new, pace)}", soft_wrap=True)
    except KeyboardInterrupt:
        outcome.interrupted = True
    return outcome


def _ahead(new: Sequence[Task], pace: Pace) -> str:
    """What there is still to do, and how long that takes, once a cell has told."""
    time = in_words(pace.expect_s(task.job for task in new)) if new else ""
    return f"{len(new)} to go{time and f', {time}'}"


def _settle(task: Task, outcome: Outcome, console: Console, label: str) -> str:
    """Find or compute a cell and put it, or why there is none, into the outcome; a line of it."""
    try:
        cell = load(task)
        if cell is not None:
            outcome.cells[task.path] = cell
            return f"{label}: {cell.line()} (done before)"
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        hidden = not console.is_terminal
        with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
            bar = progress.add_task(label, total=task.job.count)
            cell = compute(task, lambda: progress.advance(bar))
    except _FAILURES as error:
        outcome.failed[task.path] = f"failed: {error}"
        return f"{label}: failed: {error}"
    outcome.cells[task.path] = cell
    return f"{label}: {cell.line()} ({took_s(task):.0f} s)"


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Command line.

    Exit code 0 when all cells are there, 1 when some failed, 2 on bad input, 130 when interrupted.
    """
    transfer = tyro.cli(Transfer, prog="python -m studies.transfer")
    console = Console(stderr=True, highlight=False, markup=False)
    signal.signal(signal.SIGTERM, _stop)
    try:
        outcome = run(transfer, console)
        folder = transfer.cells if outcome.missing else transfer.folder
        paths = write_report(
            outcome.found, transfer.episodes, transfer.seconds, folder, outcome.missing
        )
        if transfer.reports is not None:
            paths += write_evaluations(outcome.found, transfer.reports)
    except _FAILURES as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted: the same command goes on with the next cell")
        return 130
    print(f"wrote {', '.join(str(path) for path in paths)}")
    return _told(outcome)


def _told(outcome: Outcome) -> int:
    """Say what is missing; the exit code."""
    for task in outcome.todo:
        if task.path in outcome.failed:
            print(f"error: {task.label} {outcome.failed[task.path]}", file=sys.stderr)
    if outcome.missing:
        print(
            f"{len(outcome.missing)} of {len(outcome.todo)} cells are missing (listed there); the "
            "same command goes on with them",
            file=sys.stderr,
        )
    if outcome.interrupted:
        return 130
    return 1 if outcome.failed else 0
