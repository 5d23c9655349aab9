"""Interactive charts of a page, drawn by Bokeh in the reader's browser.

Bokeh is optional on a robot computer; it is imported when a page is made, never before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deploy.record.page.html import Html
from deploy.record.page.thinning import thinned, ticks_per_pair

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource, DataRange1d
    from bokeh.plotting import figure as Figure

Array = NDArray[np.float64]

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = COLOURS
GREY = "#888888"

_TALL, _TOOLS = 230, "xpan,box_zoom,xwheel_zoom,reset,save"
# Greater values of an x axis are written in thousands and millions.
_MANY = 2e4
# As many rows as a wide screen has pixels, twice over.
MOST_ROWS = 4000


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart: a column, its label, its look, and its series if not the chart's own."""

    column: str
    label: str
    colour: str = BLUE
    dash: str = "solid"
    width: float = 1.4
    alpha: float = 1.0
    series: Series | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of the x axis that is shaded, of which a legend says what it is."""

    start: float
    end: float
    colour: str


@dataclass(frozen=True, slots=True)
class Series:
    """Columns over a common x axis; all charts of it zoom, pan and point together.

    Attributes:
        source: The columns as Bokeh has them.
        x_range: What is shown of the axis.
        x_label: Name and unit of the axis.
        pointer: The line under the reader's pointer, in all charts.
        bands: Shaded stretches.
        mark: Where something ended badly; None for nowhere.
        group: How many rows became two; 1 where all are there.
    """

    source: ColumnDataSource
    x_range: DataRange1d
    x_label: str
    pointer: Any
    bands: Sequence[Band]
    mark: float | None
    group: int


@dataclass(slots=True)
class Charts:
    """Collects the charts of one page; :meth:`drawn` puts them into it."""

    _figures: list[Figure] = field(default_factory=list)

    def series(
        self,
        x: Array,
        columns: Mapping[str, Array],
        x_label: str = "time, s",
        *,
        bands: Sequence[Band] = (),
        mark: float | None = None,
        most: int = MOST_ROWS,
        beside: Series | None = None,
    ) -> Series:
        """Return columns over an axis.

        Args:
            x: Values of the axis, shape (T,).
            columns: By name, shape (T,) each; thinned where they are long.
            x_label: Name and unit of the axis.
            bands: Shaded stretches.
            mark: Where something ended badly; None for nowhere.
            most: Rows above which they are thinned.
            beside: Another series, whose axis these columns zoom with.
        """
        from bokeh.models import ColumnDataSource, DataRange1d, Span

        stacked = np.stack([np.asarray(values, np.float64) for values in columns.values()], axis=1)
        short, values = thinned(np.asarray(x, np.float64), stacked, most)
        # Single precision is finer than any screen, and half as long.
        data = {name: values[:, i].astype(np.float32) for i, name in enumerate(columns)}
        return Series(
            ColumnDataSource({"x": short, **data}),
            DataRange1d(range_padding=0.01) if beside is None else beside.x_range,
            x_label,
            Span(dimension="height", line_dash="dotted", line_color=GREY),
            bands,
            mark,
            ticks_per_pair(len(x), most),
        )

    def lines(
        self,
        series: Series,
        title: str,
        unit: str,
        lines: Sequence[Line],
        *,
        limits: Sequence[float] = (),
        log: bool = False,
        start: float | None = None,
    ) -> Html:
        """Return a chart of some columns.

        Args:
            series: What it shows.
            title: What the chart is about.
            unit: Of its y axis.
            lines: The columns shown.
            limits: Values that are drawn as dashed lines across.
            log: The y axis is logarithmic.
            start: Least value of the y axis; chosen by the data if None.
        """
        from bokeh.models import DataRange1d, NumeralTickFormatter, Span

        figure = self._figure(
            title,
            series.x_label,
            unit,
            x_range=series.x_range,
            y_axis_type="log" if log else "linear",
        )
        for line in lines:
            figure.line(
                "x",
                line.column,
                source=(line.series or series).source,
                legend_label=line.label,
                color=line.colour,
                line_dash=line.dash,
                line_width=line.width,
                alpha=line.alpha,
            )
        for limit in limits:
            figure.add_layout(
                Span(location=limit, dimension="width", line_color=RED, line_dash="dashed")
            )
        if start is not None and isinstance(figure.y_range, DataRange1d):
            figure.y_range.start = start
        x = series.source.data["x"]
        if len(x) and x[-1] >= _MANY:
            figure.xaxis.formatter = NumeralTickFormatter(format="0.[00] a")
        self._mark(figure, series)
        digits = "{0.000 a}"
        own = (line for line in lines if line.series is None)
        shown = [(line.label, f"@{{{line.column}}}{digits}") for line in own]
        self._point(figure, series, [(series.x_label, "@x{0,0.[000]}"), *shown])
        self._legend(figure, len(lines))
        return self._add(figure)

    def bars(
        self,
        series: Series,
        title: str,
        rows: Mapping[str, Sequence[tuple[float, float]]],
    ) -> Html:
        """Return a chart of stretches, a row for each name, over the axis of a series."""
        from bokeh.models import FactorRange

        names = list(rows)
        figure = self._figure(
            title,
            series.x_label,
            "",
            x_range=series.x_range,
            y_range=FactorRange(factors=names[::-1]),
        )
        spans = [(name, *span) for name in names for span in rows[name]]
        figure.hbar(
            y=[name for name, _, _ in spans],
            left=[left for _, left, _ in spans],
            right=[right for _, _, right in spans],
            height=0.6,
            color=BLUE,
            line_color=None,
        )
        self._mark(figure, series)
        self._point(figure, series, [])
        return self._add(figure)

    def path(self, x: Array, y: Array, title: str, x_label: str, y_label: str) -> Html:
        """Return a chart of a way, shape (T,) each, to one scale on both axes."""
        known = np.isfinite(x) & np.isfinite(y)
        x, y = x[known].astype(np.float32), y[known].astype(np.float32)
        every = max(1, -(-len(x) // MOST_ROWS))
        figure = self._figure(title, x_label, y_label, match_aspect=True)
        figure.line(x[::every], y[::every], color=BLUE, line_width=1.8)
        for at, name, colour in ((0, "start", GREEN), (-1, "end", RED)):
            place = ([float(x[at])], [float(y[at])]) if len(x) else ([], [])
            figure.scatter(*place, size=10, color=colour, legend_label=name)
        self._legend(figure, 2)
        return self._add(figure)

    def histogram(
        self,
        title: str,
        x_label: str,
        values: Mapping[str, Array],
        bins: Array,
        *,
        log: bool = False,
        limit: float | None = None,
        unit: str = "ticks",
    ) -> Html:
        """Return the distributions of some values; beyond the bins they count in the last ones."""
        from bokeh.models import HoverTool, Span

        kind: Any = "log" if log else "linear"
        figure = self._figure(title, x_label, unit, x_axis_type=kind, y_axis_type=kind)
        bottom = 0.5 if log else 0.0
        for (label, each), colour in zip(values.items(), COLOURS, strict=False):
            known = each[np.isfinite(each)]
            counts, _ = np.histogram(np.clip(known, bins[0], bins[-1]), bins)
            full = counts > 0
            found = figure.quad(
                left=bins[:-1][full],
                right=bins[1:][full],
                bottom=np.full(full.sum(), bottom),
                top=counts[full],
                color=colour,
                alpha=0.55,
                line_color=None,
                legend_label=label,
            )
            figure.add_tools(
                HoverTool(
                    renderers=[found],
                    visible=False,
                    tooltips=[(label, "@left{0,0.[000]} to @right{0,0.[000]}"), (unit, "@top")],
                )
            )
        if limit is not None:
            figure.add_layout(
                Span(location=limit, dimension="height", line_color=RED, line_dash="dashed")
            )
        self._legend(figure, len(values))
        return self._add(figure)

    def dots(self, title: str, x_label: str, y_label: str, groups: Mapping[str, Array]) -> Html:
        """Return a chart of points, shape (N, 2) for each group."""
        from bokeh.models import HoverTool

        figure = self._figure(title, x_label, y_label)
        for (label, each), colour in zip(groups.items(), (BLUE, RED, ORANGE), strict=False):
            figure.scatter(
                each[:, 0], each[:, 1], size=7, alpha=0.7, color=colour, legend_label=label
            )
        figure.add_tools(
            HoverTool(tooltips=[(x_label, "@x{0.000 a}"), (y_label, "@y{0.000 a}")], visible=False)
        )
        self._legend(figure, len(groups))
        return self._add(figure)

    def drawn(self, page: str) -> str:
        """Return a page with its charts in their places, and with what draws them at its end."""
        if not self._figures:
            return page
        from bokeh.document import Document
        from bokeh.embed import components
        from bokeh.resources import Resources

        # A document collects all its models anew for each chart, unless it is told to wait.
        document = Document()
        with document.models.freeze():
            for figure in self._figures:
                document.add_root(figure)
        library = Resources(mode="inline", components=["bokeh"]).render_js()
        script, places = components(self._figures)
        for number, place in enumerate(places):
            page = page.replace(_place(number), place)
        body, end, rest = page.rpartition("</body>")
        return "".join((body, library, script, f"<script>{_LOOK}</script>", end, rest))

    def _figure(self, title: str, x_label: str, y_label: str, **options: Any) -> Figure:
        from bokeh.plotting import figure

        # No tool is active for fingers: they scroll the page.
        found = figure(
            title=title,
            height=_TALL,
            sizing_mode="stretch_width",
            tools=_TOOLS,
            active_drag=None,
            active_scroll=None,
            toolbar_location="above",
            output_backend="canvas",
            **options,
        )
        found.toolbar.logo = None
        found.xaxis.axis_label, found.yaxis.axis_label = x_label, y_label
        found.background_fill_alpha = found.border_fill_alpha = 0.0
        found.outline_line_color = None
        found.grid.grid_line_alpha = 0.5
        for axis in found.axis:
            axis.axis_label_text_font_style = "normal"
            axis.axis_label_text_font_size = axis.major_label_text_font_size = "11px"
        found.title.text_font_size = "13px"
        return found

    def _mark(self, figure: Figure, series: Series) -> None:
        from bokeh.models import BoxAnnotation, Span

        for band in series.bands:
            figure.add_layout(
                BoxAnnotation(
                    left=band.start, right=band.end, fill_color=band.colour, fill_alpha=0.16
                )
            )
        if series.mark is not None:
            figure.add_layout(
                Span(location=series.mark, dimension="height", line_color=RED, line_width=1.6)
            )

    def _point(self, figure: Figure, series: Series, shown: list[tuple[str, str]]) -> None:
        """Show the values under the pointer once, not once a line, and a line in all charts."""
        from bokeh.models import CrosshairTool, HoverTool

        figure.add_tools(CrosshairTool(overlay=series.pointer, visible=False))
        if shown:
            figure.add_tools(
                HoverTool(
                    tooltips=shown,
                    mode="vline",
                    renderers=list(figure.renderers[:1]),
                    visible=False,
                )
            )

    def _legend(self, figure: Figure, entries: int) -> None:
        legend = figure.legend[0]
        if entries == 1:
            legend.visible = False
            return
        legend.click_policy = "hide"
        legend.ncols = min(entries, 4)
        legend.label_text_font_size = "11px"
        legend.background_fill_alpha = 0.0
        legend.border_line_color = None
        legend.padding = legend.margin = 0
        legend.spacing, legend.label_standoff, legend.glyph_width = 8, 3, 16
        legend.label_height = legend.glyph_height = 14
        figure.add_layout(legend, "below")

    def _add(self, figure: Figure) -> Html:
        self._figures.append(figure)
        return Html(f'<div class="chart">{_place(len(self._figures) - 1)}</div>')


def _place(number: int) -> str:
    """Return what stands for a chart until it is drawn: no escaped text looks like that."""
    return f"<!--chart {number}-->"


# Colours of the page's own style, light or dark, and a tool for those who have a mouse.
_LOOK = """
(function look() {
  const documents = window.Bokeh ? Bokeh.documents : [];
  if (documents.length === 0) { setTimeout(look, 20); return; }
  const figures = documents[0].roots();
  function paint() {
    const style = getComputedStyle(document.documentElement);
    const [ink, quiet, line] = ["--ink", "--quiet", "--line"].map(
      (name) => style.getPropertyValue(name).trim());
    for (const figure of figures) {
      figure.title.text_color = ink;
      for (const part of [...figure.below, ...figure.left, ...figure.center]) {
        if (part.type === "Legend") part.label_text_color = ink;
        else if (part.type === "Grid") part.grid_line_color = line;
        else if (part.type.endsWith("Axis")) {
          part.axis_label_text_color = part.major_label_text_color = quiet;
          part.axis_line_color = part.major_tick_line_color = part.minor_tick_line_color = line;
          if ("group_text_color" in part) part.group_text_color = quiet;
        }
      }
    }
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  paint();
  if (matchMedia("(pointer: fine)").matches) {
    for (const figure of figures) {
      figure.toolbar.tools.find((tool) => tool.type === "BoxZoomTool").active = true;
    }
  }
})();
"""
