"""Learning curves of runs as one picture, from their rows of progress.

``minitaur curves runs/...-minitaur runs/...-duck --out curves.png`` draws the return
of the training episodes and the scores of the evaluations over the environment steps. Imports no
torch.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

from deploy.files import prove_writable, write_somewhere
from deploy.record.plots import GREY, new_figure, save, styled
from robot_firmware_bridge.command_line import EXIT_FAULT, EXIT_OK, command
from training.errors import RunFolderError
from training.runs.folder import RunFolder
from training.runs.progress import read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

# Okabe and Ito's colours, which colour-blind readers can tell apart, and markers for print.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
# A curve is smoothed over this share of its rows.
_SMOOTHED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Curves:
    """The curves of one run.

    Attributes:
        name: The configuration's name.
        metric: Name of the evaluations' score.
        returns: Environment steps at every update, and the mean return of its training episodes,
            shape (2, U).
        scores: Environment steps at every evaluation, and its score, shape (2, E).
        before: Score before the first update: of a task with a reference gait, that of the bare
            gait. None in runs of versions that did not evaluate it.
    """

    name: str
    metric: str
    returns: Array
    scores: Array
    before: float | None


def load(path: Path) -> Curves:
    """Read the curves of a run folder.

    Raises:
        RunFolderError: The folder is no run folder, or no update is finished.
        ConfigError: The configuration is malformed.
    """
    folder = RunFolder(path)
    if not folder.config_path.is_file():
        raise RunFolderError(f"{path} is no run folder: it has no {folder.config_path.name}")
    config, rows = folder.config(), read_rows(folder.progress)
    returns, scores = (
        np.array([(row.steps, row.values[name]) for row in rows if row.kind == kind])
        .reshape(-1, 2)
        .T
        for kind, name in (("update", "episode/return"), ("evaluation", "evaluation/score"))
    )
    if not returns.size:
        raise RunFolderError(f"{path} has nothing to draw yet: no update is finished")
    first = [row.score for row in rows if row.kind == "evaluation" and row.update == 0]
    return Curves(config.name, config.score_metric, returns, scores, first[0] if first else None)


def smoothed(values: Array) -> Array:
    """Return the running mean over a tenth of the rows, shape (N,), over fewer at the ends."""
    half = max(1, round(0.5 * _SMOOTHED_SHARE * len(values)))
    sums = np.concatenate(((0.0,), np.cumsum(values)))
    at = np.arange(len(values))
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    means: Array = (sums[high] - sums[low]) / (high - low)
    return means


def draw(runs: Sequence[Curves], path: Path) -> None:
    """Draw runs in one picture and write a PNG."""
    save(figure_of(runs), path)


def figure_of(runs: Sequence[Curves]) -> Figure:
    """Draw runs in one picture, which a notebook shows."""
    figure = new_figure(11.0, 4.2)
    left, right = figure.subplots(1, 2)
    for i, run in enumerate(runs):
        colour, marker = _COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)]
        steps, returns = run.returns
        left.plot(steps, returns, color=colour, alpha=0.3, linewidth=0.8)
        left.plot(steps, smoothed(returns), color=colour, linewidth=2.0, label=run.name)
        right.plot(*run.scores, color=colour, marker=marker, markersize=4, linewidth=1.4)
        if run.before is not None:
            right.axhline(run.before, color=colour, linestyle="--", linewidth=1.2)
            right.annotate(
                f"before training {run.before:.3g}",
                (1.0, run.before),
                xycoords=("axes fraction", "data"),
                xytext=(-4, 4),
                textcoords="offset points",
                horizontalalignment="right",
                color=colour,
            )
    left.set_title("Return of the training episodes, noise included", loc="left")
    metrics = dict.fromkeys(run.metric for run in runs)
    right.set_title(f"Evaluations: {', '.join(metrics)}", loc="left")
    for axis in (left, right):
        axis.set_xlabel("environment steps")
        axis.xaxis.set_major_formatter(lambda steps, _: f"{steps / 1000.0:g} k" if steps else "0")
        axis.axhline(0.0, color=GREY, linewidth=0.8)
    left.legend(frameon=False)
    return styled(figure)


def draw_runs(
    runs: tyro.conf.Positional[tuple[Path, ...]],
    out: Annotated[Path, tyro.conf.arg(metavar="PATH")] = Path("build/curves.png"),
) -> int:
    """Draw the learning curves of runs.

    Args:
        runs: Run folders.
        out: Where to write the picture, PATH.png.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    if not runs:
        raise RunFolderError("name one run folder or more")
    if out.suffix != ".png":
        raise RunFolderError(f"--out {out} must end in .png")
    curves = [load(path) for path in runs]
    prove_writable(out)
    written = write_somewhere(out, lambda path: draw(curves, path))
    if written is not None:
        print(f"wrote {written}")
    return EXIT_OK if written == out else EXIT_FAULT


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return tyro.cli(draw_runs, args=arguments, prog="minitaur curves")


if __name__ == "__main__":
    sys.exit(main())
