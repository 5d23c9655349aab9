"""The page of a training: learning curves, reward, PPO, time, and the configuration.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.record.page.charts import BLUE, COLOURS, GREEN, ORANGE, RED, Charts, Line, Series
from deploy.record.page.html import (
    Card,
    Html,
    Section,
    Verdict,
    as_json,
    film,
    find_film,
    folded,
    joined,
    page,
    paragraph,
    two_by_two,
)
from deploy.record.page.recording import number, read_object
from training.errors import ReportError
from training.runs.curves import smoothed
from training.runs.folder import RunFolder
from training.runs.progress import ProgressRow, read_rows

Array = NDArray[np.float64]

# Charts of PPO's figures: title, their names, whether the axis is logarithmic.
_PPO = (
    ("KL divergence of an update", ("kl",), True),
    ("Learning rate", ("learning_rate",), True),
    ("Share of clipped samples", ("clip_fraction",), False),
    ("Explained variance of the value", ("explained_variance",), False),
    ("Standard deviation of the actions", ("action_std",), False),
    ("Entropy of the policy, nats", ("entropy",), False),
    ("Losses", ("policy_loss", "value_loss"), False),
    ("Gradient norms", ("policy_grad_norm", "value_grad_norm"), True),
)
_DASHES = ("solid", "dashed", "dotted")
_REWARD = "reward_"
# The units that end a figure's name; the longer ones first.
_UNITS = {"_rad_s": "rad/s", "_mps": "m/s", "_rad": "rad", "_m": "m", "_w": "W", "_s": "s"}
_X_LABEL = "environment steps"


@dataclass(frozen=True, slots=True)
class Curve:
    """Rows of one kind as columns.

    Attributes:
        columns: Every figure by its name, shape (R,); NaN where a row lacks it.
        series: The same in a chart.
        prefix: What the names of its episodes' figures begin with.
    """

    columns: Mapping[str, Array]
    series: Series
    prefix: str

    def names(self) -> list[str]:
        """Return the names of the episodes' figures, without the prefix."""
        return [
            name.removeprefix(self.prefix)
            for name, values in self.columns.items()
            if name.startswith(self.prefix) and np.isfinite(values).any()
        ]


def training_page(path: Path) -> str:
    """Return the page of a run folder of ``minitaur train``.

    Raises:
        ReportError: No row of progress is written yet.
        RunError: A file of it cannot be read.
    """
    folder = RunFolder(path)
    config = read_object(folder.config_path)
    rows = read_rows(folder.progress)
    if not any(row.kind == "update" for row in rows):
        raise ReportError(f"{path} has nothing to show yet: no update is finished")
    finished, failure = (
        read_object(file) if file.is_file() else {} for file in (folder.finished, folder.failure)
    )
    charts = Charts()
    updates = _curve(charts, rows, "update", "episode/")
    scores = _curve(charts, rows, "evaluation", "evaluation/", beside=updates.series)
    sections = [
        Section("Learning", _learning(charts, updates, scores, config)),
        Section("Reward", _reward(charts, updates, scores)),
        Section("Episodes", _episodes(charts, updates, scores)),
        Section("PPO", _ppo(charts, updates)),
        Section("Time", _time(charts, updates)),
        Section("Setup", _setup(configuration=config, summary=finished, failure=failure)),
    ]
    if (moving := film(find_film(sorted(path.iterdir())))) != "":
        sections.insert(0, Section("Film", moving))
    verdict = training_verdict(config, rows, failure, bool(finished))
    title = f"Training of {config.get('name')}: {path.resolve().name}"
    return charts.drawn(page(title, verdict, _cards(rows), sections))


def training_verdict(
    config: Mapping[str, Any],
    rows: Sequence[ProgressRow],
    failure: Mapping[str, Any],
    finished: bool,
) -> Verdict:
    """Return the verdict: how far the training came, and what it reached.

    Args:
        config: Its configuration.
        rows: Its rows, one at least.
        failure: What broke it off; empty for nothing.
        finished: It came to its end.
    """
    last, total = max(rows, key=lambda row: row.steps), number(config, "total_steps")
    goal = "" if finished or total is None else f" of {total:,.0f}"
    state = "trained" if finished else "broke off after" if failure else "not finished,"
    sentence = f"{config.get('name')}: {state} {last.steps:,}{goal} steps"
    sentence += f" in {_duration(last.wall_seconds)}"
    scores = [row for row in rows if row.kind == "evaluation"]
    if scores:
        best = max(scores, key=lambda row: row.score)
        sentence += f"; best evaluated {config.get('score_metric')} {best.score:.3g}"
        if scores[0].update == 0:
            sentence += f", before training {scores[0].score:.3g}"
    if failure:
        return Verdict(f"{sentence}.", str(failure.get("what", "")), "bad")
    return Verdict(f"{sentence}.", tone="good" if finished else "plain")


def _duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60.0)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _curve(
    charts: Charts,
    rows: Iterable[ProgressRow],
    kind: str,
    prefix: str,
    beside: Series | None = None,
) -> Curve:
    """Return the rows of a kind; running means and times of phases are columns of their own."""
    chosen = [row for row in rows if row.kind == kind]
    names = dict.fromkeys(name for row in chosen for name in row.values)
    columns = {
        name: np.array([row.values.get(name, np.nan) for row in chosen], np.float64)
        for name in names
    }
    steps = np.array([row.steps for row in chosen], np.float64)
    wall_s = np.array([row.wall_seconds for row in chosen], np.float64)
    if kind == "update":
        columns["mean_return"] = smoothed(columns["episode/return"])
        columns |= _phases(columns, steps, wall_s)
    return Curve(columns, charts.series(steps, columns, _X_LABEL, beside=beside), prefix)


def _phases(columns: Mapping[str, Array], steps: Array, wall_s: Array) -> dict[str, Array]:
    """Return the minutes that went into each phase so far, and the steps per second.

    What is neither collecting nor updating is evaluating, and saving.
    """
    zero = np.zeros_like(wall_s)
    phases = {
        name: np.cumsum(np.nan_to_num(columns.get(f"time/{name}_s", zero))) / 60.0
        for name in ("collect", "update")
    }
    rest = np.maximum(wall_s / 60.0 - sum(phases.values()), 0.0)
    rate = np.diff(steps, prepend=0.0) / np.maximum(np.diff(wall_s, prepend=0.0), 1e-9)
    named = {f"minutes_{name}": minutes for name, minutes in phases.items()}
    return {**named, "minutes_rest": rest, "steps_per_s": smoothed(rate)}


def _cards(rows: Sequence[ProgressRow]) -> list[Card]:
    last = max(rows, key=lambda row: row.steps)
    found = [
        Card("steps", f"{last.steps:,}", "of the environment"),
        Card("updates", f"{last.update:,}"),
        Card("time", _duration(last.wall_seconds), "over all sessions"),
    ]
    if last.wall_seconds > 0.0:
        found.append(Card("speed", f"{last.steps / last.wall_seconds:,.0f}/s", "steps, all told"))
    scores = [row for row in rows if row.kind == "evaluation"]
    if scores:
        best = max(scores, key=lambda row: row.score)
        found.append(Card("best score", f"{best.score:.3g}", f"after {best.steps:,} steps"))
        found.append(Card("latest score", f"{scores[-1].score:.3g}", "evaluated"))
    return found


def _learning(charts: Charts, updates: Curve, scores: Curve, config: Mapping[str, Any]) -> Html:
    found = []
    if "evaluation/score" in scores.columns:
        score = [Line("evaluation/score", "score")]
        name = f"Evaluated {config.get('score_metric')}, without exploration"
        found.append(charts.lines(scores.series, name, "", score))
    returns = [
        Line("episode/return", "of an update", width=0.9, alpha=0.35),
        Line("mean_return", "running mean"),
    ]
    title = "Return of the training episodes, noise included"
    found.append(charts.lines(updates.series, title, "", returns))
    return two_by_two(found)


def _reward(charts: Charts, updates: Curve, scores: Curve) -> Html:
    """Return what each term of the reward gave an episode."""
    found = []
    for curve, title in ((updates, "of the training episodes"), (scores, "of the evaluations")):
        terms = [name for name in curve.names() if name.startswith(_REWARD)]
        if terms:
            found.append(charts.lines(curve.series, f"Terms {title}", "", _lines(curve, terms)))
    return two_by_two(found) if found else paragraph("This task names no terms of its reward.")


def _lines(curve: Curve, names: Sequence[str]) -> list[Line]:
    """Return lines that can be told apart."""
    return [
        Line(
            f"{curve.prefix}{name}",
            name.removeprefix(_REWARD).replace("_", " "),
            COLOURS[i % len(COLOURS)],
            _DASHES[i // len(COLOURS) % len(_DASHES)],
        )
        for i, name in enumerate(names)
    ]


def _episodes(charts: Charts, updates: Curve, scores: Curve) -> Html:
    """Return every other figure of the episodes, a chart each: training, and evaluations."""
    names = [name for name in updates.names() if not name.startswith(_REWARD) and name != "return"]
    both = set(scores.names())
    found = []
    for name in names:
        lines = [Line(f"episode/{name}", "training")]
        if name in both:
            lines.append(Line(f"evaluation/{name}", "evaluated", RED, series=scores.series))
        found.append(charts.lines(updates.series, *_title_and_unit(name), lines))
    return two_by_two(found)


def _title_and_unit(name: str) -> tuple[str, str]:
    """Return the words and the unit in a figure's name: "drift" and "m" of ``drift_m``."""
    ends = (end for end in _UNITS if name.endswith(end))
    end = next(ends, "")
    return name.removesuffix(end).replace("_", " "), _UNITS.get(end, "")


def _ppo(charts: Charts, updates: Curve) -> Html:
    found = []
    for title, names, log in _PPO:
        columns = [f"ppo/{name}" for name in names if f"ppo/{name}" in updates.columns]
        lines = [
            Line(column, column.removeprefix("ppo/").replace("_", " "), colour)
            for column, colour in zip(columns, (BLUE, ORANGE), strict=False)
        ]
        if lines:
            found.append(charts.lines(updates.series, title, "", lines, log=log))
    return two_by_two(found)


def _time(charts: Charts, updates: Curve) -> Html:
    phases = [
        Line("minutes_collect", "collecting episodes"),
        Line("minutes_update", "updating", ORANGE),
        Line("minutes_rest", "evaluating and saving", GREEN),
    ]
    return two_by_two(
        [
            charts.lines(updates.series, "Time spent in each phase so far", "min", phases),
            charts.lines(
                updates.series, "Steps per second, running mean", "", [Line("steps_per_s", "steps")]
            ),
        ]
    )


def _setup(**files: Mapping[str, Any]) -> Html:
    return joined(
        folded(f"The {name}", as_json(dict(data))) for name, data in files.items() if data
    )
