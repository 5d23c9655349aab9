"""The transfer protocol: every policy under every condition, always the same, one table at the end.

``python -m training.transfer --help`` teaches. A cell, one policy under one condition, is a file as
soon as it is done; a killed run goes on with the next cell, and a cell is computed anew when its
policy, its condition or the physics under it is another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.errors import DeployError
from deploy.files import write_atomically
from sim.errors import SimError
from training.errors import EvaluationError, TrainingError
from training.evaluate import evaluate, summarize
from training.evaluation import EpisodeResult
from training.transfer_conditions import (
    EPISODES,
    SECONDS,
    Condition,
    chosen_conditions,
)
from training.transfer_policies import gather
from training.transfer_report import Cell, write_report

# Length of the episode whose outcome stands for the physics: with a push, if there are any.
_PROBE_S = 1.3
_PUBLISHED = Path("docs/results")


@dataclass(frozen=True, slots=True)
class Transfer:
    """Run policies under the conditions of the transfer protocol and write table and figure.

    Without options this is the whole protocol, which takes hours; killed, it goes on where it was.

    Attributes:
        policies: Names of policies or paths of ONNX files; all shipped ones, the standing robot and
            PyBullet's policies when left out.
        conditions: Names of conditions; all when left out.
        episodes: Episodes of a cell.
        seconds: Length of an episode.
        workers: Processes; 0 for this one. The figures do not depend on it.
        cells: Folder of the cells' results.
        out: Folder for table and figure; docs/results for the whole protocol, else CELLS.
    """

    policies: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    episodes: int = EPISODES
    seconds: float = SECONDS
    workers: int = 2
    cells: Path = Path("build/transfer")
    out: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None

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


@dataclass(frozen=True, slots=True)
class Task:
    """A cell to be computed or found."""

    policy: str
    file: Path
    condition: Condition
    path: Path
    key: dict[str, Any]


def tasks(transfer: Transfer, files: dict[str, Path], conditions: list[Condition]) -> list[Task]:
    """Every cell of a run, condition by condition, so that policies can soon be compared.

    Raises:
        EvaluationError: A condition is impossible.
        DeployError: A policy file cannot be used.
    """
    length = f"{transfer.episodes}x{transfer.seconds:g}s"
    found = []
    for condition in conditions:
        for policy, file in files.items():
            key = {
                "policy_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "condition": condition.key(),
                "episodes": transfer.episodes,
                "seconds": transfer.seconds,
                "physics": physics(condition, file),
            }
            path = transfer.cells / f"{policy}.{condition.name}.{length}.json"
            found.append(Task(policy, file, condition, path, key))
    return found


def physics(condition: Condition, file: Path) -> str:
    """What the code under a cell does, as a digest: the outcome of a very short episode.

    A plant is repeatable bit for bit, so this changes when the physics, the draw of a plant or the
    pipeline does, and stays when a comment does.
    """
    (result,) = evaluate(condition.job(file, episodes=1, seconds=_PROBE_S, workers=0))
    text = json.dumps(dataclasses.asdict(result), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(task: Task) -> Cell | None:
    """The cell as it was computed before, if it was, and for this very task."""
    try:
        data = json.loads(task.path.read_text())
        if data["key"] == task.key:
            sha256 = task.key["policy_sha256"]
            return Cell(task.policy, task.condition, data["report"], sha256)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or not what this program writes: to be computed
    return None


def compute(task: Task, transfer: Transfer) -> Iterator[EpisodeResult]:
    """Run the episodes of a cell and write it when all are done."""
    job = task.condition.job(task.file, transfer.episodes, transfer.seconds, transfer.workers)
    results = []
    for result in evaluate(job):
        results.append(result)
        yield result
    data = {"key": task.key, "report": summarize(job, results)}
    write_atomically(task.path, (json.dumps(data, indent=2) + "\n").encode())


def run(transfer: Transfer, console: Console) -> list[Cell]:
    """Compute every cell that is not there yet; all cells, in order.

    Raises:
        EvaluationError: Something asked for does not exist or cannot be evaluated.
        DeployError: A policy file cannot be used.
    """
    if transfer.workers < 0:
        raise EvaluationError(f"workers must be 0 or more, got {transfer.workers}")
    conditions = chosen_conditions(transfer.conditions)
    files = gather(transfer.policies, transfer.cells / "policies")
    todo = tasks(transfer, files, conditions)
    cells = [load(task) for task in todo]
    done = sum(cell is not None for cell in cells)
    console.print(f"{len(todo)} cells of {transfer.episodes} episodes, {done} of them done before")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("", total=(len(todo) - done) * transfer.episodes)
        for i, task in enumerate(todo):
            if cells[i] is None:
                cells[i] = _computed(task, transfer, progress, bar, f"{i + 1}/{len(todo)}")
    return [cell for cell in cells if cell is not None]


def _computed(task: Task, transfer: Transfer, progress: Progress, bar: Any, number: str) -> Cell:
    start = time.monotonic()
    label = f"{number} {task.policy} under {task.condition.name}"
    progress.update(bar, description=label)
    for _ in compute(task, transfer):
        progress.advance(bar)
    cell = load(task)
    if cell is None:
        raise EvaluationError(f"{task.path} is not what was just written to it")
    took_s = time.monotonic() - start
    progress.console.print(f"{label}: {cell.line()} ({took_s:.0f} s)", soft_wrap=True)
    return cell


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Command line; exit code 0 when all cells are there, 2 on bad input, 130 when interrupted."""
    transfer = tyro.cli(Transfer, prog="python -m training.transfer")
    console = Console(stderr=True, highlight=False, markup=False)
    signal.signal(signal.SIGTERM, _stop)
    try:
        cells = run(transfer, console)
        paths = write_report(cells, transfer.episodes, transfer.seconds, transfer.folder)
    except (TrainingError, DeployError, SimError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted: the same command goes on with the next cell")
        return 130
    print(f"wrote {', '.join(str(path) for path in paths)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
