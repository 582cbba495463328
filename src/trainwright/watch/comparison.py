"""Several runs side by side: as JSON, in a terminal, as a page, as a picture."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainwright.core.durable import write_file
from trainwright.watch.curves import Chart
from trainwright.watch.events import Event, is_finite_number, leave_out_undone
from trainwright.watch.overlays import render_chart_svg, write_charts_png
from trainwright.watch.plots import Curve, read_curve, smooth_curve
from trainwright.watch.report import open_template, read_style, render_label, render_number
from trainwright.watch.views import draw_chart

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

BETTER: dict[str, Literal["lower", "higher"]] = {
    "bits_per_byte": "lower",
    "val_loss": "lower",
    "perplexity": "lower",
    "best_val_loss": "lower",
    "accuracy": "higher",
}
WIDE_IN, NARROW_IN = 8.6, 3.9


@dataclass(frozen=True)
class Contestant:
    """One run, by a label that is short and its own."""

    run_id: str
    label: str
    status: str
    step: int
    num_steps: int
    events: list[Event]


@dataclass(frozen=True)
class Difference:
    """A dotted key and its value in each run; None where a run has no such key."""

    key: str
    values: list[Any]


@dataclass(frozen=True)
class Metric:
    """A final number of each run, None where it was not measured; `why_not` says why they cannot be compared, if so."""

    name: str
    unit: str
    values: list[float | None]
    why_not: str = ""

    @property
    def best(self) -> int | None:
        """The place of the best value, where there is one and comparing means something."""
        known = [
            (value, index) for index, value in enumerate(self.values) if value is not None and is_finite_number(value)
        ]
        if self.why_not or self.name not in BETTER or len(known) < 2 or len({value for value, _ in known}) < 2:
            return None
        return (min if BETTER[self.name] == "lower" else max)(known)[1]


@dataclass(frozen=True)
class Comparison:
    """Everything about several runs that differs, and what may be concluded."""

    contestants: list[Contestant]
    configuration: list[Difference]
    environment: list[Difference]
    metrics: list[Metric]
    notes: list[str]
    same_tokens: bool

    def as_document(self) -> dict[str, Any]:
        """What `runs compare --json` prints."""
        labels = ("run_id", "label", "status", "step", "num_steps")
        return {
            "runs": [{key: getattr(run, key) for key in labels} for run in self.contestants],
            "metrics": [
                {"name": m.name, "unit": m.unit, "values": m.values, "comparable": not m.why_not, "why_not": m.why_not}
                for m in self.metrics
            ],
            "configuration": [{"key": row.key, "values": row.values} for row in self.configuration],
            "environment": [{"key": row.key, "values": row.values} for row in self.environment],
            "curves": [chart.as_document() for chart in self.charts],
            "notes": self.notes,
        }

    @property
    def charts(self) -> list[Chart]:
        """The curves that mean the same in every run: with different tokenizers, bits per byte alone."""
        bits = Chart("bits_per_byte", "held-out bits per byte", self._curves("validation", "bits_per_byte"))
        if not self.same_tokens:
            return [bits]
        smooth = {name: smooth_curve(curve) for name, curve in self._curves("step", "loss").items()}
        return [
            bits,
            Chart("train_loss", "training loss, smoothed, nats per token", smooth),
            Chart("learning_rate", "learning rate", self._curves("step", "learning_rate")),
        ]

    def _curves(self, kind: str, key: str) -> dict[str, Curve]:
        return {
            run.label: read_curve([event for event in leave_out_undone(run.events) if event["kind"] == kind], key)
            for run in self.contestants
        }


def render_comparison(comparison: Comparison, console: "Console") -> "RenderableType":
    """Curves, metrics, configuration and environment, for a terminal."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [draw_chart(chart, console, 9) for chart in comparison.charts]
    parts += [Text(note, style="yellow") for note in comparison.notes]
    labels = [run.label for run in comparison.contestants]
    parts.append(_metrics_table(comparison.metrics, labels))
    for title, rows in (("configuration", comparison.configuration), ("environment", comparison.environment)):
        parts.append(_differences_table(title, rows, labels) if rows else Text(f"{title}: no difference", style="dim"))
    return Group(*parts)


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write the comparison to a .html page or a .png picture, by the file's name. Raises DiskFull, NotWritable."""
    if path.suffix.lower() == ".png":
        write_charts_png(path, comparison.charts)
    else:
        write_file(path, render_comparison_page(comparison).encode())


def render_comparison_page(comparison: Comparison) -> str:
    """One self-contained page of HTML."""
    charts = [
        {
            "title": chart.title,
            "wide": render_chart_svg(chart, f"{chart.name}-wide", WIDE_IN, 3.2),
            "narrow": render_chart_svg(chart, f"{chart.name}-narrow", NARROW_IN, 3.0, legend_columns=2),
        }
        for chart in comparison.charts
    ]
    rows = [
        {"label": render_label(m.name), "unit": m.unit, "why_not": m.why_not, "best": m.best, "values": m.values}
        for m in comparison.metrics
    ]
    page: str = open_template("comparison.html.j2").render(
        style=read_style(),
        runs=comparison.contestants,
        charts=charts,
        metrics=rows,
        notes=comparison.notes,
        configuration=_as_texts(comparison.configuration),
        environment=_as_texts(comparison.environment),
    )
    return page


def _as_texts(rows: Sequence[Difference]) -> list[tuple[str, list[str]]]:
    return [(row.key, [_as_text(value) for value in row.values]) for row in rows]


def _as_text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text


def _metrics_table(metrics: Sequence[Metric], labels: Sequence[str]) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    table = Table(title="final metrics", title_justify="left", box=None, padding=(0, 3, 0, 0))
    table.add_column("")
    for label in labels:
        table.add_column(label, justify="right", overflow="fold")
    table.add_column("", style="yellow")
    for metric in metrics:
        cells = [
            Text(render_number(value), "bold green" if index == metric.best else "")
            for index, value in enumerate(metric.values)
        ]
        why_not = f"not comparable: {metric.why_not}" if metric.why_not else ""
        table.add_row(f"{render_label(metric.name)}, {metric.unit}", *cells, why_not)
    return table


def _differences_table(title: str, rows: Sequence[Difference], labels: Sequence[str]) -> "RenderableType":
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{title}, where it differs", title_justify="left", box=None, padding=(0, 3, 0, 0))
    table.add_column("key", no_wrap=True)
    for label in labels:
        table.add_column(label, overflow="fold")
    for key, values in _as_texts(rows):
        table.add_row(key, *map(escape, values))
    return table
