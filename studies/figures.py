"""Markdown tables and figures of the studies, and generated tables inside of documents.

A generated table stands in a document between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from studies.study import StudyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
GREY = "#888888"
_BLOCK = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, without a line end after the last row."""
    return str(tabulate(rows, columns, tablefmt="github", disable_numparse=True))


def draw(
    path: Path, left: Callable[[Axes], None], right: Callable[[Axes], None], ratio: float
) -> None:
    """Draw two diagrams side by side as PNG; ``ratio`` is the width of the left to the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 5.5), layout="constrained")
    axes = figure.subplots(1, 2, width_ratios=(ratio, 1.0))
    for axis, diagram in zip(axes, (left, right), strict=True):
        diagram(axis)
        axis.grid(color="#e6e6e6", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def with_blocks(text: str, blocks: Mapping[str, str]) -> str:
    """Return a document with its generated tables replaced by those of ``blocks``, by name.

    Raises:
        StudyError: The document has a table that is not in ``blocks``.
    """
    if unknown := {name for _, name, _ in _BLOCK.findall(text)} - set(blocks):
        raise StudyError(f"unknown generated tables {sorted(unknown)}; known: {', '.join(blocks)}")
    return _BLOCK.sub(lambda m: f"{m[1]}\n{blocks[m[2]]}\n\n{m[3]}", text)
