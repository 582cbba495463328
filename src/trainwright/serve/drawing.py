"""Charts as geometry: what a template needs to draw curves as SVG that is as wide as the page, beside a table of the same.

A curve lies in a box of WIDTH by HEIGHT that is stretched to its place; ticks and names are text of the page around it.
`data` of a drawing is the same as JSON, for static/charts.js, which draws it again where JavaScript is on.
"""

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from trainwright.core.records import Estimate
from trainwright.watch.curves import Chart, build_charts, pick_groups
from trainwright.watch.events import Event, is_finite_number, leave_out_undone
from trainwright.watch.plots import Curve, thin
from trainwright.watch.report import render_number

WIDTH, HEIGHT = 1000.0, 300.0
Steps = tuple[int, int]
MAX_LINES = 6
MAX_POINTS = 600
MAX_TABLE_ROWS = 25
NUM_TICKS = 4
MAX_BARS = 40
MIN_DIFFERENT = 5
"""Fewer different values than this are counted, not spread over ranges."""


@dataclass(frozen=True)
class Tick:
    """A number at the side of a chart; `at` is its place in percent, from the left or from the bottom."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A curve: its name, the place of its colour, its points as SVG has them, and the last value."""

    name: str
    color: int
    points: str
    last: str
    is_sparse: bool
    dots: list[tuple[float, float]]


@dataclass(frozen=True)
class Drawing:
    """A chart that is ready to be drawn. `rows` are evenly spaced steps with the value of each line, as text."""

    name: str
    title: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    rows: list[tuple[str, list[str]]]
    left_out: int
    data: str
    is_log: bool

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw yet."""
        return not self.lines


def draw_run(events: Iterable[Event], between: Steps | None = None) -> list[Drawing]:
    """Loss, learning rate, gradient norm, throughput and memory of a run; by layer, where it looked into its layers.

    `between` two steps: only what lies there, and so in more detail.
    """
    events = leave_out_undone(events)
    charts = build_charts(events)
    speed = _read_timing(events, "step", "tokens_per_s")
    memory = _read_timing(events, "anatomy", "rss_bytes")
    in_mb = Curve(memory.steps, tuple(value / 1e6 for value in memory.values))
    extra = [
        Chart("throughput", "throughput, tokens per second", {"tokens per second": speed}),
        Chart("memory", "resident memory, MB", {"resident memory": in_mb}),
    ]
    return [draw_chart(chart, between) for chart in [*charts[:3], *extra, *charts[3:]]]


def draw_chart(chart: Chart, between: Steps | None = None) -> Drawing:
    """A chart of named curves; of more than can be told apart, some, evenly spaced. `between` as for `draw_run`."""
    names = [name for name in pick_groups(list(chart.curves), MAX_LINES) if chart.curves[name].steps]
    curves = {name: thin(_cut(chart.curves[name], between), MAX_POINTS) for name in names}
    values = [value for curve in curves.values() for value in curve.values]
    is_log = chart.is_log and bool(values) and min(values) > 0 and max(values) / min(values) > 20
    steps = [step for curve in curves.values() for step in curve.steps]
    if not values:
        return Drawing(chart.name, chart.title, [], [], [], [], 0, "", is_log=False)
    x_low, x_high = float(min(steps)), float(max(max(steps), min(steps) + 1))
    y_low, y_high, y_ticks = _scale(min(values), max(values), is_log=is_log)

    def place(step: int, value: float) -> tuple[float, float]:
        height = math.log10(value) if is_log else value
        return (
            round((step - x_low) / (x_high - x_low) * WIDTH, 1),
            round(HEIGHT - (height - y_low) / (y_high - y_low) * HEIGHT, 1),
        )

    lines = []
    for number, (name, curve) in enumerate(curves.items()):
        places = [place(step, value) for step, value in zip(curve.steps, curve.values, strict=True)]
        lines.append(
            Line(
                name=name,
                color=number,
                points=" ".join(f"{x:g},{y:g}" for x, y in places),
                last=render_number(curve.values[-1]),
                is_sparse=len(places) <= 40,
                dots=places if len(places) <= 40 else [],
            )
        )
    return Drawing(
        name=chart.name,
        title=chart.title,
        lines=lines,
        x_ticks=_tick_steps(x_low, x_high),
        y_ticks=y_ticks,
        rows=_tabulate(curves),
        left_out=len(chart.curves) - len(names) if len(chart.curves) > MAX_LINES else 0,
        data=json.dumps(
            {
                "kind": "lines",
                "names": names,
                "points": [list(zip(curve.steps, curve.values, strict=True)) for curve in curves.values()],
                "log": is_log,
            },
            separators=(",", ":"),
        ),
        is_log=is_log,
    )


# ── intervals ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class IntervalBar:
    """An estimate on an axis, in percent from the left; `at` is the value, `low` to `high` the interval."""

    name: str
    at: float
    low: float
    width: float


@dataclass(frozen=True)
class IntervalDrawing:
    """Estimates over one axis, and the limit they are held against (None: there is none)."""

    bars: list[IntervalBar]
    limit: float | None
    ticks: list[Tick]
    data: str


def draw_intervals(estimates: Sequence[tuple[str, Estimate | None]], limit: float | None) -> IntervalDrawing | None:
    """Estimates with their intervals, one below the other; None where none of them has an interval."""
    known = [
        (name, float(one.value), float(one.low), float(one.high))
        for name, one in estimates
        if one is not None and one.value is not None and one.low is not None and one.high is not None
    ]
    if not known:
        return None
    ends = [end for _, value, low, high in known for end in (value, low, high)] + ([limit] if limit is not None else [])
    first, last = min(ends), max(ends)
    room = (last - first or abs(last) or 1.0) * 0.08
    first, last = first - room, last + room

    def place(value: float) -> float:
        return round((value - first) / (last - first) * 100, 2)

    bars = [
        IntervalBar(name, place(value), place(low), max(0.4, round(place(high) - place(low), 2)))
        for name, value, low, high in known
    ]
    ticks = [Tick(place(value), f"{value:.6g}") for value in _list_ticks(first, last, 5)]
    data = {
        "kind": "intervals",
        "rows": [{"name": name, "value": value, "low": low, "high": high} for name, value, low, high in known],
        "limit": limit,
    }
    return IntervalDrawing(
        bars,
        None if limit is None else place(limit),
        [tick for tick in ticks if 2 <= tick.at <= 98],
        json.dumps(data, separators=(",", ":")),
    )


# ── histograms ────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class HistogramDrawing:
    """How often values lie in each of some ranges of equal width. `bars`: (left, width, height) of a box of WIDTH by HEIGHT."""

    bars: list[tuple[float, float, float]]
    ticks: list[Tick]
    rows: list[tuple[str, int]]
    num_values: int
    data: str


def draw_histogram(values: Sequence[float]) -> HistogramDrawing | None:
    """The distribution of finite values; None where there are too few different ones for it to say anything."""
    finite = [value for value in values if is_finite_number(value)]
    if len(set(finite)) < MIN_DIFFERENT:
        return None
    counts, edges = np.histogram(finite, bins=min(MAX_BARS, max(5, round(math.sqrt(len(finite))))))
    first, last, largest = float(edges[0]), float(edges[-1]), int(counts.max())
    width = WIDTH / len(counts)
    bars = [
        (round(index * width, 1), round(width, 1), round(count / largest * HEIGHT, 1))
        for index, count in enumerate(counts)
    ]
    ends = [float(edge) for edge in edges]
    return HistogramDrawing(
        bars=bars,
        ticks=[Tick(_percent(one, first, last), f"{one:.6g}") for one in _list_ticks(first, last, 5)],
        rows=[
            (f"{render_number(low)} to {render_number(high)}", int(count))
            for low, high, count in zip(ends[:-1], ends[1:], counts, strict=True)
        ],
        num_values=len(finite),
        data=json.dumps({"kind": "bars", "edges": ends, "counts": counts.tolist()}, separators=(",", ":")),
    )


# ── scales ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _scale(low: float, high: float, *, is_log: bool) -> tuple[float, float, list[Tick]]:
    """The ends of the axis (of the logarithm, where it is one), and ticks on it."""
    if is_log:
        first, last = math.log10(low), math.log10(high)
        ticks = [(power, 10.0**power) for power in range(math.ceil(first), math.floor(last) + 1)]
        step = max(1, math.ceil(len(ticks) / 5))
        shown = ticks[::step] if len(ticks) > 1 else [(first, low), (last, high)]
        return first, last, [Tick(_percent(at, first, last), f"{value:.3g}") for at, value in shown]
    room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    first, last = low - room, high + room
    if low >= 0 > first:
        first = 0.0
    return first, last, [Tick(_percent(one, first, last), f"{one:.6g}") for one in _list_ticks(first, last, NUM_TICKS)]


def _percent(value: float, first: float, last: float) -> float:
    return round((value - first) / (last - first) * 100, 2)


def _list_ticks(first: float, last: float, count: int) -> list[float]:
    """Round numbers between two ends, about `count` of them."""
    rough = (last - first) / count
    exponent = math.floor(math.log10(rough))
    power = 10.0**exponent
    step = next(one * power for one in (1.0, 2.0, 5.0, 10.0) if one * power >= rough)
    begin = math.ceil(first / step)
    return [round(number * step, 3 - exponent) for number in range(begin, math.floor(last / step + 1e-9) + 1)]


def _tick_steps(first: float, last: float) -> list[Tick]:
    ticks = [one for one in _list_ticks(first, last, 5) if one == int(one)]
    return [Tick(_percent(one, first, last), f"{int(one):,}") for one in ticks]


def _cut(curve: Curve, between: Steps | None) -> Curve:
    """What lies between two steps, and the points beside them, to which the line leads."""
    if between is None:
        return curve
    begin = max(0, bisect_left(curve.steps, between[0]) - 1)
    end = bisect_right(curve.steps, between[1]) + 1
    return Curve(curve.steps[begin:end], curve.values[begin:end])


def render_data(drawings: Iterable[Drawing]) -> str:
    """{name: data} of charts, as JSON."""
    return "{" + ",".join(f"{json.dumps(one.name)}:{one.data}" for one in drawings if not one.is_empty) + "}"


def _tabulate(curves: dict[str, Curve]) -> list[tuple[str, list[str]]]:
    """Evenly spaced steps of all curves, the first and the last among them; "–" where a curve has no value."""
    steps = sorted({step for curve in curves.values() for step in curve.steps})
    if len(steps) > MAX_TABLE_ROWS:
        steps = [steps[round(index * (len(steps) - 1) / (MAX_TABLE_ROWS - 1))] for index in range(MAX_TABLE_ROWS)]
    by_step = [dict(zip(curve.steps, curve.values, strict=True)) for curve in curves.values()]
    return [(f"{step:,}", [render_number(values.get(step)) for values in by_step]) for step in steps]


def _read_timing(events: Iterable[Event], kind: str, key: str) -> Curve:
    points = [
        (event["step"], float(event["timing"][key]))
        for event in events
        if event["kind"] == kind and is_finite_number(event["timing"].get(key))
    ]
    return Curve(tuple(step for step, _ in points), tuple(value for _, value in points))
