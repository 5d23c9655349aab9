"""What the transfer protocol found: one table, one figure, one JSON file."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.files import write_atomically, write_json
from studies.transfer.conditions import SEED, STANDING, Condition
from training.errors import EvaluationError
from training.evaluate.evaluate import EMULATOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers can tell apart; grey for the standing robot.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
_GREY = "#888888"
# Slower than this, energy per metre says nothing.
_STILL_MPS = 0.05
_ENGINES = ("pybullet", "mujoco", "numpy", "onnxruntime")
_COLUMNS = (
    "condition",
    "policy",
    "survived",
    "motors off",
    "speed, m/s",
    "5th percentile",
    "power, W",
    "cost of transport",
)
# What of a cell's report goes into the JSON file; the falls, each with its plant, stay in the cell.
_FIGURES = (
    "episodes",
    "survived",
    "survival_rate",
    "speed_mps",
    "mean_power_w",
    "cost_of_transport",
    "mean_abs_drift_m",
    "overheated",
)
# And what only some conditions have: why episodes ended, and how the serial line did.
_MORE = ("causes", "line", "disturbed", "disturbances")


@dataclass(frozen=True, slots=True)
class Cell:
    """One policy under one condition.

    Attributes:
        policy: Name of the policy.
        condition: Where it walked.
        report: What ``training.evaluate.evaluate.summarize`` says of its episodes.
        sha256: Of the policy file.
        physics: Digest of what the code under it does, see ``studies.transfer.cells.physics``.
        took_s: How long it took to compute.
    """

    policy: str
    condition: Condition
    report: dict[str, Any]
    sha256: str
    physics: str
    took_s: float

    @property
    def figures(self) -> tuple[str, ...]:
        """Survivors, overheated, mean speed, 5th percentile, power, cost of transport: a row."""
        report, speed = self.report, self.report["speed_mps"]
        survived = f"{report['survived']} of {report['episodes']}"
        if self.condition.plant == EMULATOR:  # where more than a fall can end an episode
            why = [f"{name} {number}" for name, number in report.get("causes", {}).items()]
            why += [f"disturbed {report['disturbed']}"] if report.get("disturbed") else []
            survived += f" ({', '.join(why)})" if why else ""
        cost = f"{report['cost_of_transport']:.2f}" if speed["mean"] > _STILL_MPS else "-"
        return (
            survived,
            f"{report['overheated']}",
            f"{speed['mean']:.2f}",
            f"{speed['p5']:.2f}",
            f"{report['mean_power_w']:.1f}",
            cost,
        )

    def line(self) -> str:
        """The figures in a sentence."""
        survived, off, speed, p5, power, cost = self.figures
        walked = f"{speed} m/s, p5 {p5}, {power} W, cost of transport {cost}"
        return f"{survived} up, motors off in {off}, {walked}"


def write_report(
    cells: Sequence[Cell],
    episodes: int,
    seconds: float,
    folder: Path,
    missing: Sequence[str] = (),
) -> list[Path]:
    """Write ``transfer.md``, ``transfer.json`` and ``transfer.png`` to a folder.

    Args:
        cells: What there is, in the order of the table.
        episodes: Of a cell, where its condition does not take fewer.
        seconds: Length of an episode.
        folder: Where to.
        missing: One line for each cell that is not there.

    Raises:
        OSError: A file cannot be written.
    """
    paths = [folder / f"transfer.{suffix}" for suffix in ("md", "json", "png")]
    write_atomically(paths[0], table(cells, episodes, seconds, missing).encode())
    data = {**as_json(cells, episodes, seconds), "missing": list(missing)}
    write_json(paths[1], data)
    draw(cells, paths[2])
    return paths


def write_evaluations(cells: Sequence[Cell], folder: Path) -> list[Path]:
    """Write the report of every cell to a folder: all figures, and every fall with its plant.

    Raises:
        EvaluationError: A cell has the figures of a table only.
        OSError: A file cannot be written.
    """
    paths = []
    for cell in cells:
        name = f"{cell.policy}.{cell.condition.name}.json"
        if "falls" not in cell.report:
            raise EvaluationError(
                f"no report for {name}: its cell was taken from a table by --reuse, which has no "
                "falls; delete it in the folder of the cells to have it computed"
            )
        paths.append(folder / name)
        write_json(paths[-1], cell.report)
    return paths


def table(cells: Sequence[Cell], episodes: int, seconds: float, missing: Sequence[str] = ()) -> str:
    """The results as a Markdown page: one table, in the order of the cells, and what it lacks."""
    rows, before = [], ""
    for cell in cells:
        title = f"{cell.condition.title} (`{cell.condition.name}`)"
        rows.append(("" if title == before else title, cell.policy, *cell.figures))
        before = title
    lines = [f"| {' | '.join(row)} |" for row in (_COLUMNS, ("---",) * len(_COLUMNS), *rows)]
    if missing:
        lines += ["", f"{len(missing)} rows are missing:", "", *(f"- {line}" for line in missing)]
    return "\n".join((_HEAD.format(episodes=episodes, seconds=seconds), *lines, ""))


_HEAD = """# Transfer: policies on plants that they were not trained on

Written by `make transfer`: {episodes} episodes of {seconds:g} s in every row, fewer on the emulated
board, which lives in real time; the same plants for all policies. Speed is net displacement along
the start heading over the whole {seconds:g} s, so that a fall is never faster; power is the sum of
absolute motor powers while the robot is up; cost of transport is the median over the episodes;
"motors off" counts the episodes in which a motor overheated and was switched off, which a robot
that jams survives. `standing` holds the stance. `peer-*` are the policies that ship with PyBullet,
decoded by `studies/peers/peers.py` and run through the same pipeline. Under `emulator` the unmodified
deploy loop runs against the board's firmware over a serial line; what ended its episodes stands
behind the survivors ("disturbed": the computer was too busy, three times in a row), and its power
is what the board measures. The conditions are in `studies/transfer/conditions.py`;
[transfer.json](transfer.json) has all figures.

![Survival against push force; speed by condition](transfer.png)
"""


def as_json(cells: Sequence[Cell], episodes: int, seconds: float) -> dict[str, Any]:
    """The results with all that is needed to repeat them."""
    return {
        "protocol": {
            "episodes": episodes,
            "seconds": seconds,
            "seed": SEED,
            "conditions": list({c.condition.name: c.condition.key() for c in cells}.values()),
        },
        "versions": {name: _version(name) for name in _ENGINES},
        "policies": {cell.policy: {"sha256": cell.sha256} for cell in cells},
        "cells": [
            {
                "policy": cell.policy,
                "condition": cell.condition.name,
                "physics": cell.physics,
                "took_s": cell.took_s,
                **{name: cell.report[name] for name in _FIGURES},
                **{name: cell.report[name] for name in _MORE if cell.report.get(name)},
            }
            for cell in cells
        ],
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def draw(cells: Sequence[Cell], path: Path) -> None:
    """Draw survival against push force, and speed by condition, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    policies = list(dict.fromkeys(cell.policy for cell in cells))
    walking = [name for name in policies if name != STANDING]
    colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(walking)}
    colours |= dict.fromkeys(set(policies) - set(walking), _GREY)
    _survival(left, cells, colours)
    _speeds(right, cells, colours)
    for axis in (left, right):
        axis.grid(axis="y", color="#e6e6e6", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = right.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def push_curve(cells: Sequence[Cell], policy: str) -> list[tuple[float, float]]:
    """Push force and survival rate of a policy on the nominal plant, by rising force."""
    return sorted(
        (cell.condition.push_n, float(cell.report["survival_rate"]))
        for cell in cells
        if cell.policy == policy
        and (cell.condition.push_n > 0.0 or cell.condition.name == "nominal")
    )


def _survival(axis: Axes, cells: Sequence[Cell], colours: dict[str, str]) -> None:
    for policy, colour in colours.items():
        curve = push_curve(cells, policy)
        forces, rates = [force for force, _ in curve], [100.0 * rate for _, rate in curve]
        style = "--" if policy == STANDING else "-"
        axis.plot(forces, rates, style, color=colour, marker="o", markersize=4)
        for cell in cells:
            if cell.policy == policy and cell.condition.plant == EMULATOR:
                rate = 100.0 * cell.report["survival_rate"]
                axis.plot([0.0], [rate], "D", color=colour, markersize=9, fillstyle="none")
    axis.set_title("Survival under a 60 ms push every 1.2 s", loc="left")
    axis.set_xlabel("push, N; diamond: emulated board")
    axis.set_ylabel("episodes without a fall, %")
    axis.set_ylim(-3.0, 103.0)


def _speeds(axis: Axes, cells: Sequence[Cell], colours: dict[str, str]) -> None:
    """Bars of the mean, with a mark at the 5th percentile."""
    unpushed = [cell for cell in cells if cell.condition.push_n == 0.0]
    names = list(dict.fromkeys(cell.condition.name for cell in unpushed))
    width = 0.8 / max(1, len(colours))
    for i, (policy, colour) in enumerate(colours.items()):
        own = [cell for cell in unpushed if cell.policy == policy]
        at = [names.index(cell.condition.name) + (i + 0.5) * width - 0.4 for cell in own]
        speeds = [cell.report["speed_mps"] for cell in own]
        axis.bar(at, [s["mean"] for s in speeds], width * 0.9, color=colour, label=policy)
        marks = [s["p5"] for s in speeds]
        axis.scatter(at, marks, marker="_", s=60, color="black", linewidths=1.2, zorder=3)
    axis.set_title("Mean speed; the mark is the 5th percentile", loc="left")
    axis.set_xticks(range(len(names)), [name.replace("-", "-\n") for name in names])
    axis.axhline(0.0, color="black", linewidth=0.6)
    axis.set_ylabel("m/s")
