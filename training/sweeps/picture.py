"""A sweep at a glance, as one PNG.

Where something is varied: the score over each varied number, every seed a dot. For seeds alone:
their learning curves, and the mean of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deploy.record.plots import COLOURS, GREY, new_figure, save
from training.runs.progress import read_rows
from training.sweeps.folder import Settings
from training.sweeps.results import Trial, best_of
from training.sweeps.space import Listed, Ranged, Space, described

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

_BLUE, _ORANGE, _GREEN, _RED, *_ = COLOURS
_COLUMNS = 3
# Trials of one value of a list lie side by side, over this part of the way to the next value.
_LIST_WIDTH = 0.6


def draw(trials: Sequence[Trial], space: Space, settings: Settings, path: Path) -> None:
    """Draw the results of a sweep and write a PNG."""
    varied = {name: each for name, each in space.items() if len(each.ends) > 1}
    best = best_of(trials)
    columns = min(_COLUMNS, max(1, len(varied)))
    rows = max(1, -(-len(varied) // columns))
    figure = new_figure(max(7.5, 5.0 * columns), 4.4 * rows)
    axes = list(figure.subplots(rows, columns, sharey=bool(varied), squeeze=False).flat)
    for axis, (name, each) in zip(axes, varied.items(), strict=False):
        _over_values(axis, trials, name, each, best)
    if not varied:
        _over_steps(axes[0], trials, settings.score)
    for axis in axes[max(1, len(varied)) :]:
        axis.remove()
    of = " of the best policy" if varied else ""
    for axis in axes[: max(1, len(varied)) : columns]:
        axis.set_ylabel(f"{settings.score}{of} in evaluation")
    handles, labels = axes[0].get_legend_handles_labels()
    if once := dict(zip(labels, handles, strict=True)):
        axes[0].legend(once.values(), once.keys(), frameon=False, fontsize=9)
    figure.suptitle(_headline(settings, best), x=0.01, ha="left", fontsize=12, fontweight="bold")
    save(figure, path)


def _headline(settings: Settings, best: Trial | None) -> str:
    name = settings.config.name
    if best is None:
        return f"Sweep of {name}: no trial is whole yet"
    spread = "" if best.spread is None else f" ± {best.spread:.2g}"
    figure = f"{settings.score} {best.mean:.4g}{spread} over {len(best.scores)} seeds"
    if not best.values:
        return f"Sweep of {name}: {figure}"
    return f"Sweep of {name}: {figure} in trial {best.number}\n{described(best.values)}"


def _over_values(
    axis: Axes, trials: Sequence[Trial], name: str, varied: Listed | Ranged, best: Trial | None
) -> None:
    """Draw every trial over its value of one varied number."""
    for trial, place in zip(trials, _places(trials, name, varied), strict=True):
        _draw_trial(axis, trial, place)
        if trial is best:
            (star,) = axis.plot(place, np.mean(trial.scores), "*", color=_ORANGE, markersize=17)
            star.set(label="best trial", markeredgecolor="black", zorder=4)
    axis.set_xlabel(name)
    if isinstance(varied, Listed):
        axis.set_xticks(range(len(varied.values)), [f"{value:g}" for value in varied.values])
        axis.set_xlim(-0.5, len(varied.values) - 0.5)
    elif varied.is_log:
        _label_log(axis)
    elif isinstance(varied.low, int):
        axis.locator_params(axis="x", integer=True)


def _draw_trial(axis: Axes, trial: Trial, place: float) -> None:
    """Draw a dot for every seed, a bar from the least to the greatest, a mark at the mean."""
    scores = trial.scores
    if scores:
        axis.plot([place] * 2, [min(scores), max(scores)], color=GREY, linewidth=1.0, zorder=1)
        (dots,) = axis.plot([place] * len(scores), scores, ".", color=GREY, markersize=5, zorder=2)
        dots.set_label("one seed")
        (mean,) = axis.plot(place, np.mean(scores), "o", color=_BLUE, markersize=7, zorder=3)
        mean.set_label("mean of a trial" if trial.is_whole else "the same, seeds missing")
        if not trial.is_whole:
            mean.set_markerfacecolor("white")
    if any(each.failure for each in trial.trainings):
        # At the foot of the diagram: a failed training has no score.
        (cross,) = axis.plot(place, 0.02, "x", color=_RED, transform=axis.get_xaxis_transform())
        cross.set_label("a seed failed")


def _places(trials: Sequence[Trial], name: str, varied: Listed | Ranged) -> list[float]:
    """Return where each trial is drawn: of a range its value, of a list beside those of the same.

    The values of a list have the places 0, 1, ...
    """
    values = [trial.values[name] for trial in trials]
    if isinstance(varied, Ranged):
        return values
    step = _LIST_WIDTH / max(map(values.count, varied.values))
    seen = [values[:i].count(value) for i, value in enumerate(values)]
    return [
        varied.values.index(value) + step * (before - (values.count(value) - 1) / 2)
        for value, before in zip(values, seen, strict=True)
    ]


def _label_log(axis: Axes) -> None:
    """Label 1, 2 and 5 of every decade: a range is often less than one."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())


def _over_steps(axis: Axes, trials: Sequence[Trial], score: str) -> None:
    """Draw the evaluations of every seed over the steps, and the mean of the seeds."""
    curves: list[Array] = []
    for training in (each for trial in trials for each in trial.trainings):
        rows = [row for row in read_rows(training.folder.progress) if row.kind == "evaluation"]
        if not rows:
            continue
        steps, scores = curve = np.array(
            [(row.steps, row.values[f"evaluation/{score}"]) for row in rows]
        ).T
        curves.append(curve)
        end = " (failed)" if training.failure else ""
        axis.plot(steps, scores, linewidth=1.0, alpha=0.7, label=f"seed {training.seed}{end}")
    if len(curves) > 1:
        axis.plot(*mean_curve(curves), color="black", linewidth=2.5, label="mean")
    axis.set_xlabel("environment steps")
    axis.xaxis.set_major_formatter(lambda steps, _: f"{steps / 1000.0:g} k" if steps else "0")


def mean_curve(curves: Sequence[Array]) -> Array:
    """Return the mean of curves, each (2, N) of steps and scores, shape (2, M).

    The curves have points at steps of their own: between these, lines are taken. The mean ends with
    the shortest curve, and begins with the one that begins last.
    """
    steps = np.unique(np.concatenate([curve[0] for curve in curves]))
    begin, end = max(curve[0, 0] for curve in curves), min(curve[0, -1] for curve in curves)
    steps = steps[(steps >= begin) & (steps <= end)]
    return np.stack((steps, np.mean([np.interp(steps, *curve) for curve in curves], axis=0)))
