"""The ablation: the trot trained in ever truer simulators, and measured on a twin held out.

``python -m studies.ablation --help`` teaches. A cell, one condition with one seed, is a file as
soon as it is done; a killed run goes on where it was, in the middle of a training too, and a cell
is computed anew when its configuration, its measurement or the physics under it is another.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.errors import DeployError
from deploy.files import write_json
from sim.errors import SimError
from studies.ablation.cells import Figures, last_policy, measure, probe, reference
from studies.ablation.conditions import (
    EPISODES,
    EVALUATION_SEED,
    SECONDS,
    SEEDS,
    STEPS,
    Condition,
    chosen_conditions,
)
from studies.ablation.report import Cell, write_report
from training.errors import EvaluationError, TrainingError
from training.runs.config import TrainConfig, config_identity
from training.runs.folder import RunFolder
from training.runs.progress import ProgressRow
from training.train import train

_PUBLISHED = Path("docs/results")


@dataclass(frozen=True, slots=True)
class Ablation:
    """Train the paper's trot in simulators of growing truth and measure it on a twin held out.

    Without options this is the whole ablation, 8 conditions with 3 seeds each, which takes about
    an hour; killed, it goes on where it was.

    Attributes:
        conditions: Names of conditions: ideal-4d, actuator-4d, latency-4d, table1-4d, ideal-12d,
            actuator-12d, latency-12d, table1-12d; all when left out.
        seeds: Seeds 0, 1, ... of every condition.
        steps: Environment steps of a training.
        episodes: Measured episodes of a policy, on each of three plants.
        seconds: Length of a measured episode.
        workers: Processes; 0 for this one. The figures do not depend on it.
        cells: Folder of the cells' results and of the training runs.
        out: Folder for table and figure; docs/results for the whole ablation, else CELLS.
    """

    conditions: tuple[str, ...] = ()
    seeds: int = SEEDS
    steps: int = STEPS
    episodes: int = EPISODES
    seconds: float = SECONDS
    workers: int = 2
    cells: Path = Path("build/ablation")
    out: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None

    def check(self) -> None:
        """Refuse what cannot be run.

        Raises:
            EvaluationError: Names the options and their values.
        """
        counts = (self.seeds, self.steps, self.episodes)
        if min(counts) < 1 or self.seconds <= 0.0 or self.workers < 0:
            raise EvaluationError(
                "seeds, steps, episodes and seconds must be positive, workers 0 or more, got "
                f"seeds={self.seeds} steps={self.steps} episodes={self.episodes} "
                f"seconds={self.seconds} workers={self.workers}"
            )

    @property
    def whole(self) -> bool:
        """Whether this is the ablation as it is published, with nothing left out."""
        size = (self.seeds, self.steps, self.episodes, self.seconds)
        return not self.conditions and size == (SEEDS, STEPS, EPISODES, SECONDS)

    @property
    def folder(self) -> Path:
        """Where table and figure go."""
        return self.out or (_PUBLISHED if self.whole else self.cells)


@dataclass(frozen=True, slots=True)
class Task:
    """A cell to be computed or found.

    Attributes:
        condition: How it is trained.
        seed: Seed of its training.
        config: The training.
        key: All that decides the cell.
        path: File of the cell.
        run: Folder of its training; another one for another training.
    """

    condition: Condition
    seed: int
    config: TrainConfig
    key: dict[str, Any]
    path: Path
    run: Path

    @property
    def name(self) -> str:
        """What it is called on the console."""
        return f"{self.condition.name} seed {self.seed}"


def tasks(ablation: Ablation) -> list[Task]:
    """Every cell of a run, seed by seed, so that all conditions can soon be compared.

    Raises:
        ConfigError: A condition is impossible.
        SimError: The twin's physics engine is not installed.
    """
    found = []
    for seed in range(ablation.seeds):
        for condition in chosen_conditions(ablation.conditions):
            config = condition.config(seed, ablation.steps, ablation.workers)
            measurements = condition.measurements(ablation.seconds)
            physics = {name: probe(kw) for name, kw in measurements.items()}
            key: dict[str, Any] = {
                "training": config_identity(config),
                "measurements": measurements,
                "physics": physics,
                "episodes": ablation.episodes,
                "evaluation_seed": EVALUATION_SEED,
            }
            trained = hashlib.sha256((key["training"] + physics["simulator"]).encode())
            stem = f"{condition.name}.{seed}"
            path = ablation.cells / f"{stem}.json"
            run = ablation.cells / "runs" / f"{stem}.{trained.hexdigest()[:8]}"
            found.append(Task(condition, seed, config, key, path, run))
    return found


def load(task: Task) -> Cell | None:
    """The cell as it was computed before, if it was, and for this very task."""
    try:
        data = json.loads(task.path.read_text())
        if data["key"] == task.key:
            size = int(data["steps"]), float(data["seconds"])
            return Cell(task.condition, task.seed, *size, data["measured"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or not what this program writes: to be computed
    return None


def run(ablation: Ablation, console: Console) -> tuple[list[Cell], Figures]:
    """Compute what is not there yet; all cells, in order, and what the reference gait does alone.

    Raises:
        TrainingError: Something asked for does not exist, or a training failed.
        SimError: The twin's physics engine is not installed.
    """
    ablation.check()
    todo = tasks(ablation)
    alone = reference(
        ablation.cells / "reference.json", ablation.seconds, ablation.episodes, ablation.workers
    )
    cells = [load(task) for task in todo]
    missing = sum(cell is None for cell in cells)
    console.print(
        f"{len(todo)} cells of {ablation.steps:,} steps, {len(todo) - missing} of them done before",
        soft_wrap=True,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f}%"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("", total=missing * ablation.steps)
        for i, task in enumerate(todo):
            if cells[i] is None:
                cells[i] = _computed(task, ablation, progress, bar, f"{i + 1}/{len(todo)}")
    return [cell for cell in cells if cell is not None], alone


def _computed(
    task: Task, ablation: Ablation, progress: Progress, bar: Any, number: str
) -> Cell | None:
    """Train, or go on training, measure, and write the cell."""
    start, label = time.monotonic(), f"{number} {task.name}"
    before = progress.tasks[0].completed

    def show(row: ProgressRow) -> None:
        earned = row.values.get("episode/return")
        text = "" if earned is None else f", return {earned:.2f}"
        steps = min(row.steps, ablation.steps)
        progress.update(bar, completed=before + steps, description=f"training {label}{text}")

    progress.update(bar, description=f"training {label}")
    for _ in train(task.config, task.run, on_progress=show):
        pass
    progress.update(bar, completed=before + ablation.steps, description=f"measuring {label}")
    end = json.loads(RunFolder(task.run).finished.read_text())
    environments = task.condition.measurements(ablation.seconds)
    data = {
        "key": task.key,
        "steps": end["steps"],
        "seconds": end["wall_seconds"],
        "measured": measure(
            last_policy(task.run), environments, ablation.episodes, ablation.workers
        ),
    }
    write_json(task.path, data)
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
    ablation = tyro.cli(Ablation, prog="python -m studies.ablation")
    console = Console(stderr=True, highlight=False, markup=False)
    signal.signal(signal.SIGTERM, _stop)
    try:
        cells, alone = run(ablation, console)
        paths = write_report(cells, alone, ablation.folder)
    except (TrainingError, DeployError, SimError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted: the same command goes on where this was")
        return 130
    print(f"wrote {', '.join(str(path) for path in paths)}")
    return 0
