"""Line charts and histograms in a terminal's characters, as Rich text.

A character cell of Braille has 2 × 4 dots, so a chart of 60 × 12 characters has 120 × 48 points. Where the terminal's
encoding is not Unicode, each cell is one mark.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainwright.watch.plots import Curve

if TYPE_CHECKING:
    from rich.text import Text

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a Braille cell, by row and column; U+2800 is the empty cell."""

BLOCKS = " ▁▂▃▄▅▆▇█"
LETTERS = " .:-=+*%#"
"""Nine heights, the first of them nothing; the second row is for terminals without Unicode."""

MARKS = "*o+x#@"
STYLES = ("blue", "yellow", "green", "magenta", "cyan", "red")

LABEL_WIDTH = 8


@dataclass(frozen=True)
class Series:
    """A named curve and the Rich style it is drawn in."""

    name: str
    curve: Curve
    style: str


def render_chart(
    title: str,
    series: Sequence[Series],
    width: int,
    height: int,
    *,
    is_unicode: bool = True,
    is_log: bool = False,
    last_step: int | None = None,
) -> "Text":
    """`series` over their common steps, `width` characters wide and `height` + 3 lines high: title, canvas, axis, steps.

    `is_log` draws the logarithm of positive values, and leaves the others out. `last_step` is where the axis ends; by
    default at the last point. Series that come later are drawn over earlier ones.
    """
    from rich.text import Text

    text = Text(no_wrap=True, overflow="crop")
    text.append(title, style="bold")
    for index, line in enumerate(series):
        text.append(f"   {'━' if is_unicode else MARKS[index % len(MARKS)]} ", style=line.style)
        text.append(line.name, style="dim")
    text.append("\n")
    shown = [_take_logarithms(line) if is_log else line for line in series]
    points = [(step, value) for line in shown for step, value in zip(line.curve.steps, line.curve.values, strict=True)]
    if not points:
        return text.append("  nothing was recorded\n", style="dim")
    first, last = min(step for step, _ in points), max(last_step or 0, max(step for step, _ in points))
    low, high = _pad(min(value for _, value in points), max(value for _, value in points))
    canvas = _Canvas(max(4, width - LABEL_WIDTH - 1), height, is_unicode=is_unicode)
    for index, line in enumerate(shown):
        canvas.draw(line, MARKS[index % len(MARKS)], (first, max(last, first + 1)), (low, high))
    labels = _label_rows(low, high, height, is_log=is_log)
    tick, bar = ("┤", "│") if is_unicode else ("+", "|")
    for row in range(height):
        text.append(f"{labels.get(row, ''):>{LABEL_WIDTH}}", style="dim")
        text.append(tick if row in labels else bar, style="dim")
        text.append_text(canvas.render_row(row))
        text.append("\n")
    corner, line_mark = ("└", "─") if is_unicode else ("+", "-")
    text.append(" " * LABEL_WIDTH + corner + line_mark * canvas.width + "\n", style="dim")
    return text.append(" " * (LABEL_WIDTH + 1) + _label_steps(first, last, canvas.width) + "\n", style="dim")


def render_bars(counts: Sequence[float], *, is_unicode: bool = True) -> str:
    """One character for each count, its height the share of the largest; anything above nothing can be seen."""
    blocks = BLOCKS if is_unicode else LETTERS
    largest = max(counts, default=0)
    if largest <= 0:
        return blocks[0] * len(counts)
    top = len(blocks) - 1
    return "".join(blocks[0 if count <= 0 else max(1, round(count / largest * top))] for count in counts)


def choose_ticks(low: float, high: float, num_most: int) -> list[float]:
    """Round numbers between `low` and `high`, at most `num_most`: multiples of 1, 2 or 5 times a power of ten."""
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return [low]
    magnitude = 10.0 ** math.floor(math.log10(span / num_most))
    for factor in (1, 2, 5, 10, 20, 50):
        step = factor * magnitude
        ticks = [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
        if len(ticks) <= num_most:
            return ticks
    return [low]


class _Canvas:
    """Dots on a grid of cells, each cell in the style of what was drawn there last."""

    def __init__(self, width: int, height: int, *, is_unicode: bool) -> None:
        self.width, self.height = width, height
        self._is_unicode = is_unicode
        self._columns, self._rows = (2, 4) if is_unicode else (1, 1)
        self._cells: dict[tuple[int, int], tuple[int | str, str]] = {}

    def draw(self, series: Series, mark: str, steps: tuple[int, int], values: tuple[float, float]) -> None:
        right, bottom = self.width * self._columns - 1, self.height * self._rows - 1
        before: tuple[int, int] | None = None
        for step, value in zip(series.curve.steps, series.curve.values, strict=True):
            x = round((step - steps[0]) / (steps[1] - steps[0]) * right)
            y = round((values[1] - value) / (values[1] - values[0]) * bottom)
            for dot in _iter_line(before or (x, y), (x, y)):
                self._set(*dot, mark, series.style)
            before = (x, y)

    def _set(self, x: int, y: int, mark: str, style: str) -> None:
        cell = (y // self._rows, x // self._columns)
        if not self._is_unicode:
            self._cells[cell] = (mark, style)
            return
        bits = self._cells.get(cell, (0, ""))[0]
        assert isinstance(bits, int)
        self._cells[cell] = (bits | DOTS[y % 4][x % 2], style)

    def render_row(self, row: int) -> "Text":
        from rich.text import Text

        text = Text()
        cells = (self._cells.get((row, column), (" ", "")) for column in range(self.width))
        for style, alike in itertools.groupby(cells, key=lambda cell: cell[1]):
            contents = (content for content, _ in alike)
            text.append(
                "".join(chr(0x2800 + dots) if isinstance(dots, int) else dots for dots in contents), style=style
            )
        return text


def _iter_line(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    num_steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    if num_steps == 0:
        return [end]
    return [
        (
            round(start[0] + (end[0] - start[0]) * index / num_steps),
            round(start[1] + (end[1] - start[1]) * index / num_steps),
        )
        for index in range(num_steps + 1)
    ]


def _take_logarithms(series: Series) -> Series:
    pairs = [(step, value) for step, value in zip(series.curve.steps, series.curve.values, strict=True) if value > 0]
    curve = Curve(tuple(step for step, _ in pairs), tuple(math.log10(value) for _, value in pairs))
    return Series(series.name, curve, series.style)


def _pad(low: float, high: float) -> tuple[float, float]:
    """Room above and below, and around values that are all equal."""
    margin = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def _label_rows(low: float, high: float, height: int, *, is_log: bool) -> dict[int, str]:
    """{row: label} of the rows that stand for round numbers."""
    ticks = choose_ticks(low, high, max(2, height // 3))
    if is_log:
        whole = [tick for tick in ticks if tick == round(tick)]
        ticks = whole if len(whole) > 1 else ticks
    labels = {}
    for tick in ticks:
        row = round((high - tick) / (high - low) * (height - 1))
        labels[row] = f"{10.0**tick if is_log else tick:.3g} "
    return labels


def _label_steps(first: int, last: int, width: int) -> str:
    left, right = f"{first:,}", f"step {last:,}"
    return left + " " * max(1, width - len(left) - len(right)) + right
