"""The picture of a sweep: parallel coordinates, as geometry for a template. The table beside it has the same numbers.

Every key is an upright axis, the objective is the last one; a trial is a line through its values, coloured by its place.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainwright.core.records import Dimension, Sweep
from trainwright.serve.drawing import Tick
from trainwright.sweep.ranking import Rank
from trainwright.sweep.record import TrialState
from trainwright.watch.report import render_number

WIDTH, HEIGHT = 1000.0, 300.0
MAX_LINES = 200
"""Of more completed trials, the best ones: lines beyond that are a blot."""


@dataclass(frozen=True)
class Axis:
    """An upright axis; `at` is its place in percent from the left, those of the ticks are from the bottom."""

    name: str
    at: float
    ticks: list[Tick]
    is_log: bool


@dataclass(frozen=True)
class TrialLine:
    """A trial's line. `band`: 0 the first, then the quarter of the ranking that it is in, 1 to 4."""

    name: str
    band: int
    points: str


@dataclass(frozen=True)
class ParallelDrawing:
    """Parallel coordinates that are ready to be drawn; the best line comes last, and so lies on top."""

    axes: list[Axis]
    lines: list[TrialLine]
    left_out: int


def draw_parallel(sweep: Sweep, states: Sequence[TrialState], ranks: Sequence[Rank]) -> ParallelDrawing | None:
    """The completed trials of a sweep; None where there is none."""
    placed = [rank for rank in ranks if rank.place is not None]
    if not placed:
        return None
    by_number = {state.number: state for state in states}
    shown = [by_number[rank.number] for rank in placed[:MAX_LINES]]
    objectives = [float(state.value or 0.0) for state in shown]
    axes = [_build_axis(one, place / len(sweep.space) * 100) for place, one in enumerate(sweep.space)]
    low, high = min(objectives), max(objectives)
    axes.append(Axis(sweep.objective.metric.replace("_", " "), 100.0, _tick_ends(low, high), is_log=False))
    lines = []
    for place, state in enumerate(shown, start=1):
        heights = [_find_height(one, state.values[one.key]) for one in sweep.space]
        heights.append(50.0 if low == high else (float(state.value or 0.0) - low) / (high - low) * 100)
        points = (
            f"{axis.at / 100 * WIDTH:.1f},{HEIGHT * (1 - height / 100):.1f}"
            for axis, height in zip(axes, heights, strict=True)
        )
        band = 0 if place == 1 else math.ceil(place / len(shown) * 4)
        lines.append(TrialLine(f"trial {state.number}, place {place}", band, " ".join(points)))
    return ParallelDrawing(axes, lines[::-1], len(placed) - len(shown))


def _build_axis(dimension: Dimension, at: float) -> Axis:
    if dimension.kind == "categorical":
        ticks = [Tick(_find_height(dimension, value), _render(value)) for value in dimension.values]
    else:
        low, high = dimension.low or 0, dimension.high or 0
        middle = math.sqrt(low * high) if dimension.log else (low + high) / 2
        marked = (low, middle if dimension.kind == "float" else round(middle), high)
        ticks = [Tick(_find_height(dimension, value), _render(value)) for value in dict.fromkeys(marked)]
    return Axis(dimension.key, at, ticks, dimension.log)


def _find_height(dimension: Dimension, value: Any) -> float:
    """Where a value lies on its axis, in percent from the bottom."""
    if dimension.kind == "categorical":
        num_values = len(dimension.values)
        return 50.0 if num_values == 1 else round(dimension.values.index(value) / (num_values - 1) * 100, 2)
    low, high = float(dimension.low or 0), float(dimension.high or 0)
    scale = math.log if dimension.log else float
    return round((scale(value) - scale(low)) / (scale(high) - scale(low)) * 100, 2)


def _tick_ends(low: float, high: float) -> list[Tick]:
    if low == high:
        return [Tick(50.0, _render(low))]
    return [Tick(share * 100, _render(low + share * (high - low))) for share in (0.0, 0.5, 1.0)]


def _render(value: Any) -> str:
    if isinstance(value, float) and 0 < abs(value) < 0.01:
        return f"{value:.1e}".replace("e-0", "e-")
    return render_number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
