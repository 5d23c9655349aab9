"""The results of a sweep, read from its run folders: figures of every trial, table and JSON.

A training's score is that of the policy in its ``best.pt``: the evaluation with the most return. A
trial is compared by the mean over its seeds. Imports no torch.
"""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from training.errors import RunFolderError
from training.runs.failure import known_failure
from training.runs.folder import RunFolder
from training.sweeps.folder import Settings, SweepFolder
from training.sweeps.space import Space, Values, short

RETURN = "return"


@dataclass(frozen=True, slots=True)
class Training:
    """One training of a trial.

    Attributes:
        seed: Its seed.
        folder: Its run folder.
        score: Score of its best policy; None if it is not finished.
        steps: Environment steps done.
        seconds: Time spent.
        failure: What broke it off; None if nothing did.
    """

    seed: int
    folder: RunFolder
    score: float | None = None
    steps: int = 0
    seconds: float = 0.0
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """A configuration and its trainings.

    Attributes:
        number: From 1 on.
        values: What was varied, by name.
        trainings: By seed; some may not be finished.
    """

    number: int
    values: Values
    trainings: Sequence[Training]

    @property
    def scores(self) -> list[float]:
        """Scores of the trainings that are finished."""
        return [each.score for each in self.trainings if each.score is not None]

    @property
    def is_whole(self) -> bool:
        """Whether every training is finished."""
        return len(self.scores) == len(self.trainings)

    @property
    def mean(self) -> float | None:
        """Mean score; None if no training is finished."""
        return statistics.fmean(self.scores) if self.scores else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of the scores over the seeds; None of fewer than two."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def best(self) -> Training:
        """The training with the best score; there must be one that is finished."""
        return max(
            self.trainings, key=lambda each: -float("inf") if each.score is None else each.score
        )


def read_training(run: RunFolder, seed: int, score: str) -> Training:
    """Read what came of a training.

    Raises:
        RunFolderError: A file of the run is damaged.
    """
    if (failure := known_failure(run)) is not None and not run.finished.exists():
        return Training(seed, run, failure=failure.what)
    if not run.finished.exists():
        return Training(seed, run)
    try:
        end = json.loads(run.finished.read_text())
        best = end["best_return" if score == RETURN else "best_score"]
        return Training(seed, run, float(best), int(end["steps"]), float(end["wall_seconds"]))
    except (ValueError, LookupError, TypeError) as error:
        raise RunFolderError(
            f"{run.finished} is damaged: remove it, and the same command writes it anew"
        ) from error


def read_trial(
    folder: SweepFolder, number: int, values: Values, seeds: int, settings: Settings
) -> Trial:
    """Read the trainings of a trial.

    Raises:
        RunFolderError: A file of a run is damaged.
    """
    runs = [folder.run(number, seed, settings.config.name) for seed in range(seeds)]
    found = [read_training(run, seed, settings.score) for seed, run in enumerate(runs)]
    return Trial(number, values, found)


def best_first(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials by mean score; those with seeds that failed or are to come are last."""

    def rank(trial: Trial) -> tuple[bool, float, int]:
        mean = trial.mean
        return not trial.is_whole, float("inf") if mean is None else -mean, trial.number

    return sorted(trials, key=rank)


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the best trial of those whose every training is finished."""
    return next((trial for trial in best_first(trials) if trial.is_whole), None)


def table(trials: Sequence[Trial], space: Space, score: str) -> str:
    """Return the trials as a Markdown table, the best first."""
    found = Table(box=box.MARKDOWN)
    names = _heads(space)
    heads = ("trial", *names, f"mean {score}", "spread", "least", "seeds", "steps", "time")
    for head in heads:
        found.add_column(head, justify="right", no_wrap=True)
    for trial in best_first(trials):
        found.add_row(*_cells(trial, space))
    # As wide as it is, whatever the terminal: it is a file, too.
    text = io.StringIO()
    Console(file=text, width=10_000, color_system=None).print(found)
    return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())


def _heads(space: Space) -> list[str]:
    """Return the last part of every name, or the whole where that is not enough."""
    last = [name.rpartition(".")[2] for name in space]
    return [name if last.count(end) > 1 else end for name, end in zip(space, last, strict=True)]


def _cells(trial: Trial, space: Space) -> list[str]:
    done, failed = len(trial.scores), sum(each.failure is not None for each in trial.trainings)
    seeds = str(done) if trial.is_whole else f"{done} of {len(trial.trainings)}"
    figures = trial.mean, trial.spread, min(trial.scores, default=None)
    return [
        str(trial.number),
        *(short(trial.values[name]) for name in space),
        *("-" if figure is None else f"{figure:.4g}" for figure in figures),
        seeds + (f", {failed} failed" if failed else ""),
        f"{sum(each.steps for each in trial.trainings):,}",
        str(timedelta(seconds=round(sum(each.seconds for each in trial.trainings)))),
    ]


def page(trials: Sequence[Trial], space: Space, settings: Settings) -> str:
    """Return the table with what it says, as Markdown."""
    config, score = settings.config, settings.score
    varied = [f"- `{name}`: {text}" for name, text in settings.vary.items()] or ["- seeds alone"]
    failed = [
        f"- trial {trial.number}, seed {each.seed}: {each.failure}"
        for trial in trials
        for each in trial.trainings
        if each.failure is not None
    ]
    parts = [
        f"# Sweep of {config.name}",
        "\n".join(varied),
        f"Every training has {config.total_steps:,} steps, unless they are varied. Its score is "
        f"the {score} of its best policy in evaluation. Mean, spread (standard deviation) and "
        "least are over the seeds; steps and time are the sums of them. The best trial is first. "
        "The run folders are `trialNNN.seedN-...`, beside this file.",
        table(trials, space, score),
        "![Scores](results.png)",
        *(["Failed:", "\n".join(failed)] if failed else []),
    ]
    return "\n\n".join(parts) + "\n"


def figures(trials: Sequence[Trial], settings: Settings) -> dict[str, Any]:
    """Return the results in values that JSON has, the best trial first."""
    return {
        "config": settings.config.name,
        "score": settings.score,
        "vary": dict(settings.vary),
        "trials": [_figures(trial) for trial in best_first(trials)],
    }


def _figures(trial: Trial) -> Mapping[str, Any]:
    return {
        "trial": trial.number,
        "values": dict(trial.values),
        "mean": trial.mean,
        "spread": trial.spread,
        "least": min(trial.scores, default=None),
        "steps": sum(each.steps for each in trial.trainings),
        "seconds": sum(each.seconds for each in trial.trainings),
        "trainings": [
            {
                "seed": each.seed,
                "run": each.folder.path.name,
                "score": each.score,
                "steps": each.steps,
                "seconds": each.seconds,
                "failure": each.failure,
            }
            for each in trial.trainings
        ],
    }
