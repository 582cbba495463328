"""Charts of named curves, drawn with matplotlib: a run's quantities, its layers, or several runs over each other."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainwright.watch.curves import Chart, build_charts, pick_groups
from trainwright.watch.events import Event
from trainwright.watch.plots import (
    PLAIN,
    THEMED,
    Palette,
    add_legend,
    dress,
    fill_loss,
    new_figure,
    render_svg,
    say_empty,
    thin,
    write_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import LogLocator

WIDTH_IN, LOSS_HEIGHT_IN, HEIGHT_IN = 8.0, 3.6, 2.2
MAX_LEGEND_COLUMNS = 4


def write_curves_png(path: Path, events: Iterable[Event]) -> None:
    """Everything that `build_charts` finds in a run, one chart below the other. Raises DiskFull, NotWritable."""
    events = list(events)
    charts = build_charts(events)
    heights = [LOSS_HEIGHT_IN if chart.name == "loss" else HEIGHT_IN for chart in charts]
    figure = new_figure(WIDTH_IN, sum(heights), PLAIN)
    rows = figure.subplots(len(charts), 1, height_ratios=heights)
    for axes, chart in zip(rows, charts, strict=True):
        if chart.name == "loss":
            fill_loss(axes, events, PLAIN)
        else:
            fill_chart(axes, chart, PLAIN)
    write_png(path, figure)


def write_charts_png(path: Path, charts: Sequence[Chart]) -> None:
    """Charts one below the other. Raises DiskFull, NotWritable."""
    figure = new_figure(WIDTH_IN, LOSS_HEIGHT_IN * len(charts), PLAIN)
    for axes, chart in zip(figure.subplots(len(charts), 1, squeeze=False)[:, 0], charts, strict=True):
        fill_chart(axes, chart, PLAIN)
    write_png(path, figure)


def render_chart_svg(chart: Chart, name: str, width_in: float, height_in: float, legend_columns: int = 4) -> str:
    """A chart as an `<svg>` element in the page's own colours, below a title that the page gives it.

    `name` keeps its ids apart from those of other figures on the page.
    """
    figure = new_figure(width_in, height_in, THEMED)
    axes = figure.subplots()
    fill_chart(axes, chart, THEMED, legend_columns)
    axes.set_ylabel("")
    return render_svg(figure, name, chart.title)


def fill_chart(axes: "Axes", chart: Chart, palette: Palette, legend_columns: int = MAX_LEGEND_COLUMNS) -> None:
    """Draw a chart's curves; where they are more than can be told apart, some of them, evenly spaced."""
    dress(axes, palette, chart.title)
    names = [name for name in pick_groups(list(chart.curves), len(palette.lines)) if chart.curves[name].steps]
    if not names:
        say_empty(axes, palette)
        return
    for index, name in enumerate(names):
        curve = thin(chart.curves[name])
        style = {"marker": "o", "markersize": 3.0} if len(curve.steps) <= 40 else {}
        axes.plot(curve.steps, curve.values, color=palette.lines[index], linewidth=1.4, label=name, **style)  # type: ignore[arg-type]
    if chart.is_log and any(value > 0 for name in names for value in chart.curves[name].values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(_locate_decades())
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    axes.minorticks_off()
    if len(names) > 1:
        add_legend(axes, palette, legend_columns)


def _locate_decades() -> "LogLocator":
    from matplotlib.ticker import LogLocator

    return LogLocator(subs=(1.0, 2.0, 5.0), numticks=6)
