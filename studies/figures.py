"""Markdown tables and figures of the studies, and generated tables inside of documents.

A generated table stands in a document between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from deploy.record.plots import new_figure, save
from studies.study import StudyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLOCK = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, without a line end after the last row."""
    return str(tabulate(rows, columns, tablefmt="github", disable_numparse=True))


def draw(
    path: Path, left: Callable[[Axes], None], right: Callable[[Axes], None], ratio: float
) -> None:
    """Draw two diagrams side by side as PNG; ``ratio`` is the width of the left to the right."""
    figure = new_figure(13.0, 5.5)
    axes = figure.subplots(1, 2, width_ratios=(ratio, 1.0))
    for axis, diagram in zip(axes, (left, right), strict=True):
        diagram(axis)
    save(figure, path)


def with_blocks(text: str, blocks: Mapping[str, str]) -> str:
    """Return a document with its generated tables replaced by those of ``blocks``, by name.

    Raises:
        StudyError: The document has a table that is not in ``blocks``.
    """
    if unknown := {name for _, name, _ in _BLOCK.findall(text)} - set(blocks):
        raise StudyError(f"unknown generated tables {sorted(unknown)}; known: {', '.join(blocks)}")
    return _BLOCK.sub(lambda m: f"{m[1]}\n{blocks[m[2]]}\n\n{m[3]}", text)
