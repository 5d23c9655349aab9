"""What the ablation found: one table, one figure, one JSON file.

The order of the conditions is stated together with what the seeds allow to say of it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.files import write_atomically, write_json
from studies.ablation.cells import Figures
from studies.ablation.conditions import CONDITIONS, EVALUATION_SEED, Condition

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers can tell apart, by simulator.
_COLOURS = {"ideal": "#D55E00", "actuator": "#E69F00", "latency": "#56B4E9", "table1": "#0072B2"}
_MARKERS = {4: "o", 12: "s"}
_ENGINES = ("pybullet", "mujoco", "numpy", "torch")
_COLUMNS = (
    "trained in",
    "sees",
    "own simulator",
    "twin",
    "gap",
    "twin, Table I",
    "survived on the twin",
    "under Table I",
    "twin, m/s",
    "apart from the next",
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One condition with one seed.

    Attributes:
        condition: How it was trained.
        seed: Seed of the training.
        steps: Environment steps trained.
        seconds: Time that the training took.
        measured: What ``studies.ablation.cells.summarize`` says, by environment: ``simulator``,
            ``twin``, ``twin_table1``.
    """

    condition: Condition
    seed: int
    steps: int
    seconds: float
    measured: dict[str, dict[str, Any]]

    def earned(self, environment: str) -> float:
        """Mean return in an environment."""
        return float(self.measured[environment]["return"])

    @property
    def gap(self) -> float:
        """What its own simulator promises more than the twin gives."""
        return self.earned("simulator") - self.earned("twin")

    def line(self) -> str:
        """The figures in a sentence."""
        own, twin, table1 = (self.measured[k] for k in ("simulator", "twin", "twin_table1"))
        return (
            f"return {own['return']:.2f} in its own simulator, {twin['return']:.2f} on the twin "
            f"({twin['survived']} of {twin['episodes']} up, {twin['speed_mps']:.2f} m/s), "
            f"{table1['return']:.2f} under Table I ({table1['survived']} up)"
        )


def grouped(cells: Sequence[Cell]) -> list[tuple[Condition, list[Cell]]]:
    """The cells by condition, the best mean return on the twin first."""
    groups = [
        (condition, [cell for cell in cells if cell.condition.name == name])
        for name, condition in CONDITIONS.items()
    ]
    found = [(condition, own) for condition, own in groups if own]
    return sorted(found, key=lambda group: -_mean([c.earned("twin") for c in group[1]]))


def apart(better: Sequence[Cell], worse: Sequence[Cell]) -> bool:
    """Whether every seed of one condition earns more on the twin than every seed of the other."""
    return min(c.earned("twin") for c in better) > max(c.earned("twin") for c in worse)


def write_report(cells: Sequence[Cell], alone: Figures, folder: Path) -> list[Path]:
    """Write ``ablation.md``, ``ablation.json`` and ``ablation.png`` to a folder.

    Args:
        cells: What was found.
        alone: What the reference gait does without a policy, by simulator and twin.
        folder: Made if need be.

    Raises:
        OSError: A file cannot be written.
    """
    paths = [folder / f"ablation.{suffix}" for suffix in ("md", "json", "png")]
    write_atomically(paths[0], page(cells, alone).encode())
    write_json(paths[1], as_json(cells, alone))
    draw(cells, alone, paths[2])
    return paths


def page(cells: Sequence[Cell], alone: Figures) -> str:
    """The results as a Markdown page: one table, the best on the twin first."""
    groups = grouped(cells)
    rows = []
    for i, (condition, own) in enumerate(groups):
        after = groups[i + 1][1] if i + 1 < len(groups) else None
        rows.append(
            (
                f"{condition.simulator.title} (`{condition.name}`)",
                f"{condition.observation}-D",
                _spread([c.earned("simulator") for c in own]),
                _spread([c.earned("twin") for c in own]),
                _spread([c.gap for c in own]),
                _spread([c.earned("twin_table1") for c in own]),
                _percent(own, "twin"),
                _percent(own, "twin_table1"),
                f"{_mean([c.measured['twin']['speed_mps'] for c in own]):.2f}",
                "" if after is None else ("yes" if apart(own, after) else "no"),
            )
        )
    lines = [f"| {' | '.join(row)} |" for row in (_COLUMNS, ("---",) * len(_COLUMNS), *rows)]
    first = cells[0].measured["twin"] if cells else {"episodes": 0}
    head = _HEAD.format(
        seeds=len({c.seed for c in cells}),
        steps=_mean([c.steps for c in cells]),
        episodes=first["episodes"],
        minutes=sum(c.seconds for c in cells) / 60.0,
    )
    earned = ", ".join(f"{figures['return']:.2f} in `{name}`" for name, figures in alone.items())
    tail = f"The reference gait alone, under a network of zeros, earns {earned}."
    return "\n".join((head, *lines, "", tail, ""))


_HEAD = """# Ablation: what each part of the simulator is worth on a twin held out

Written by `make ablation`; what it means is in [ablation.md](../ablation.md). Every row is a
condition, trained with {seeds} seeds for {steps:,.0f} steps each on average, {minutes:.0f} minutes
in all, the last policy of every training measured in {episodes} episodes per plant. Returns are in
the paper's reward, metres less 0.008 of the joules, summed until the robot falls or the time is
over: mean over the seeds, and the worst to the best seed. "Gap" is what the simulator that a policy
was trained in promises more than the MuJoCo twin gives. The best on the twin comes first; a row is
"apart from the next" if its worst seed beats the best seed of the row below it on the twin, and
where it says "no" the order of the two is not established.
[ablation.json](ablation.json) has every seed and every episode's return.

![Return in training against return on the twin; the gap](ablation.png)
"""


def as_json(cells: Sequence[Cell], alone: Figures) -> dict[str, Any]:
    """The results with all that is needed to repeat them."""
    return {
        "evaluation_seed": EVALUATION_SEED,
        "versions": {name: _version(name) for name in _ENGINES},
        "reference_alone": alone,
        "order_on_the_twin": [condition.name for condition, _ in grouped(cells)],
        "cells": [
            {
                "condition": cell.condition.name,
                "seed": cell.seed,
                "steps": cell.steps,
                "seconds": cell.seconds,
                **cell.measured,
            }
            for cell in cells
        ],
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _spread(values: Sequence[float]) -> str:
    return f"{_mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _percent(cells: Sequence[Cell], environment: str) -> str:
    return f"{100.0 * _mean([c.measured[environment]['survival_rate'] for c in cells]):.0f} %"


def draw(cells: Sequence[Cell], alone: Figures, path: Path) -> None:
    """Draw return in training against return on the twin, and the gaps, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _returns(left, cells, alone)
    _gaps(right, cells)
    for axis in (left, right):
        axis.grid(color="#e6e6e6", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _returns(axis: Axes, cells: Sequence[Cell], alone: Figures) -> None:
    """A large marker at each condition's mean, a bar over its seeds each way, a dot a seed."""
    groups = {condition.name: (condition, own) for condition, own in grouped(cells)}
    for name in CONDITIONS:
        if name not in groups:
            continue
        condition, own = groups[name]
        colour, marker = _COLOURS[condition.simulator.name], _MARKERS[condition.observation]
        x, y = [c.earned("simulator") for c in own], [c.earned("twin") for c in own]
        axis.plot(x, y, marker, color=colour, markersize=4, alpha=0.6, linestyle="none")
        axis.errorbar(
            _mean(x),
            _mean(y),
            xerr=[[_mean(x) - min(x)], [max(x) - _mean(x)]],
            yerr=[[_mean(y) - min(y)], [max(y) - _mean(y)]],
            fmt=marker,
            color=colour,
            markersize=11,
            markeredgecolor="black",
            elinewidth=1.2,
            label=f"{condition.simulator.title}, {condition.observation}-D",
        )
    if groups:
        low, high = _shared_limits(axis)
        axis.plot((low, high), (low, high), "--", color="#888888", linewidth=1.0, zorder=1)
        axis.annotate(
            "no gap",
            (high, high),
            (-30, -8),
            textcoords="offset points",
            ha="right",
            color="#666666",
        )
        axis.legend(frameon=False, loc="best", fontsize=9)
    if "twin" in alone:
        height = float(alone["twin"]["return"])
        axis.axhline(height, color="#888888", linewidth=1.0, linestyle=":", zorder=1)
        axis.annotate(
            "the reference gait alone, on the twin",
            (0.99, height),
            (0, 4),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            color="#666666",
        )
    axis.set_title("What training promises, and what the twin gives", loc="left")
    axis.set_xlabel("return in the simulator it was trained in")
    axis.set_ylabel("return on the held-out twin (MuJoCo)")


def _shared_limits(axis: Axes) -> tuple[float, float]:
    """Give both axes the same span, so that the line of no gap is a diagonal."""
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    low, high = min(left, bottom), max(right, top)
    axis.set_xlim(low, high)
    axis.set_ylim(low, high)
    return low, high


def _gaps(axis: Axes, cells: Sequence[Cell]) -> None:
    """A bar of the mean gap for every condition, a dot for every seed."""
    names = [name for name in CONDITIONS if any(c.condition.name == name for c in cells)]
    for at, name in enumerate(names):
        condition = CONDITIONS[name]
        gaps = [c.gap for c in cells if c.condition.name == name]
        hatch = None if condition.observation == min(_MARKERS) else "///"
        colour = _COLOURS[condition.simulator.name]
        axis.barh(at, _mean(gaps), 0.7, color=colour, alpha=0.75, hatch=hatch, edgecolor="white")
        marker = _MARKERS[condition.observation]
        axis.plot(gaps, [at] * len(gaps), marker, color="black", markersize=4, linestyle="none")
    titles = [f"{CONDITIONS[n].simulator.title}, {CONDITIONS[n].observation}-D" for n in names]
    axis.set_yticks(range(len(names)), titles)
    axis.invert_yaxis()
    axis.axvline(0.0, color="black", linewidth=0.8)
    axis.set_title("Gap: own simulator less twin; a dot a seed", loc="left")
    axis.set_xlabel("return")
