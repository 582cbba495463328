"""Curves of a run, drawn with matplotlib's object-oriented interface: no global state, no window system, no clock.

Two palettes: plain colours on white for `loss.png`, and named colours for the report. A themed figure is drawn in
placeholder colours that `render_svg` replaces by CSS variables, so one drawing follows the page into dark mode.
"""

import io
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright.core.durable import write_file
from trainwright.watch.events import Event, is_finite_number, leave_out_undone

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 800
"""More points than this on a line cannot be told apart; each group of steps is then drawn as its lowest and highest."""

SMOOTHING_SHARE = 0.02
"""The smoothed loss is the mean over about this share of the run, centred, so that it does not lag behind."""


@dataclass(frozen=True)
class Palette:
    """Colours by role; `lines` are for curves that only have names. `background` None leaves the figure transparent."""

    ink: str
    grid: str
    raw: str
    train: str
    validation: str
    rate: str
    bad: str
    lines: tuple[str, ...]
    background: str | None


PLAIN = Palette(
    "#33383f", "#e3e6ea", "#b9cdf0", "#2b62c9", "#c2571a", "#2f7d5b", "#c22f3d",
    ("#2b62c9", "#c2571a", "#2f7d5b", "#8a4fb5", "#0f7f8c", "#a8324a"), "#ffffff",
)  # fmt: skip

THEMED = Palette(
    "#010101", "#010102", "#010103", "#010104", "#010105", "#010106", "#010107",
    ("#010110", "#010111", "#010112", "#010113", "#010114", "#010115"), None,
)  # fmt: skip
"""Placeholders: `render_svg` turns each into var(--plot-ROLE), with the plain colour where no style sheet sets it."""


@dataclass(frozen=True)
class Curve:
    """One measured curve: steps and values, both finite."""

    steps: tuple[int, ...]
    values: tuple[float, ...]


def draw_loss(events: Iterable[Event]) -> "Figure":
    """Loss over learning rate, sharing the step axis, in plain colours on white: the figure of `loss.png`."""
    events = list(events)
    figure = new_figure(8.0, 5.6, PLAIN)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    fill_loss(upper, events, PLAIN)
    _fill_learning_rate(lower, events, PLAIN)
    upper.set_xlabel("")
    return figure


def draw_loss_curve(events: Iterable[Event], width_in: float = 8.0, height_in: float = 3.6) -> "Figure":
    """Training loss (light), the same smoothed, and validation points; in theme colours, for `render_svg`."""
    figure = new_figure(width_in, height_in, THEMED)
    fill_loss(figure.subplots(), list(events), THEMED)
    return figure


def draw_learning_rate(events: Iterable[Event], width_in: float = 8.0, height_in: float = 2.0) -> "Figure":
    """The learning rate of each step; in theme colours, for `render_svg`."""
    figure = new_figure(width_in, height_in, THEMED)
    _fill_learning_rate(figure.subplots(), list(events), THEMED)
    return figure


def write_loss_png(path: Path, events: Iterable[Event]) -> None:
    """Draw the run and write it whole to `path`; equal events give equal bytes. Raises DiskFull, NotWritable."""
    write_png(path, draw_loss(events))


def write_png(path: Path, figure: "Figure") -> None:
    """Write a figure whole to `path`; equal figures give equal bytes. Raises DiskFull, NotWritable."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context(_style(PLAIN)):
        figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    write_file(path, buffer.getvalue())


def render_svg(figure: "Figure", name: str, title: str) -> str:
    """The figure as an `<svg>` element to stand inside a page: text as text, no request, equal bytes for equal figures.

    `name` (letters, digits, dashes) keeps its ids apart from those of other figures on the page; `title` is what a
    screen reader says.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context(_style(THEMED) | {"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    # A style element inside the page would reach the whole page; _open_tag says the same on the svg itself.
    text = re.sub(r"<style.*?</style>\s*", "", text, flags=re.DOTALL)
    text = _prefix_ids(text, name)
    for role in ("ink", "grid", "raw", "train", "validation", "rate", "bad"):
        text = text.replace(getattr(THEMED, role), f"var(--plot-{role}, {getattr(PLAIN, role)})")
    for index, (themed, plain) in enumerate(zip(THEMED.lines, PLAIN.lines, strict=True)):
        text = text.replace(themed, f"var(--plot-line{index}, {plain})")
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--plot-font, sans-serif)", text)
    return _open_tag(text, title)


def _prefix_ids(text: str, name: str) -> str:
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)


def _open_tag(text: str, title: str) -> str:
    """Replace the svg's opening tag: it takes the width the page gives it, and has a name."""
    tag, rest = text[: text.index(">")], text[text.index(">") + 1 :]
    view_box = re.search(r'viewBox="([^"]+)"', tag)
    assert view_box is not None, "matplotlib writes a viewBox"
    label = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    lines = 'stroke-linejoin="round" stroke-linecap="butt"'
    return f'<svg {spaces} viewBox="{view_box.group(1)}" {lines} role="img" aria-label="{label}">{rest}'.rstrip()


def new_figure(width_in: float, height_in: float, palette: Palette) -> "Figure":
    """An empty figure of that size in inches, which belongs to no window."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_style(palette)):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    figure.patch.set_visible(palette.background is not None)
    return figure


def _style(palette: Palette) -> dict[Any, Any]:
    return {
        "figure.facecolor": palette.background or "none",
        "savefig.facecolor": "auto",
        "font.family": ["DejaVu Sans"],
        "svg.fonttype": "none",
    }


def fill_loss(axes: "Axes", events: Sequence[Event], palette: Palette) -> None:
    """Training loss (light), the same smoothed, validation points, and a line where a loss was not finite."""
    events = leave_out_undone(events)
    steps = [event for event in events if event["kind"] == "step"]
    train = read_curve(steps, "loss")
    validation = read_curve([event for event in events if event["kind"] == "validation"], "val_loss")
    dress(axes, palette, "loss, nats per token")
    if not steps and not validation.steps:
        say_empty(axes, palette)
        return
    raw = thin(train)
    axes.plot(raw.steps, raw.values, color=palette.raw, linewidth=0.9, label="training")
    smooth = thin(smooth_curve(train))
    axes.plot(smooth.steps, smooth.values, color=palette.train, linewidth=1.6, label="smoothed")
    if validation.steps:
        style: dict[str, Any] = {"marker": "o", "markersize": 4.0, "linewidth": 1.1}
        axes.plot(validation.steps, validation.values, color=palette.validation, label="validation", **style)
    not_finite = [event["step"] for event in steps if not is_finite_number(event["loss"])]
    skipped = sorted({event["step"] for event in events if event["kind"] == "skip"})
    for label, bad, dashes in (("not finite", not_finite, "-"), ("skipped", skipped, ":")):
        for index, step in enumerate(bad[:100]):
            axes.axvline(step, color=palette.bad, linewidth=0.8, linestyle=dashes, label=None if index else label)
    add_legend(axes, palette)


def add_legend(axes: "Axes", palette: Palette, num_columns: int = 4) -> None:
    """Name the curves above the axes: inside, some run's curve would always pass behind the names."""
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "columnspacing": 1.4}
    look: dict[str, Any] = {"frameon": False, "fontsize": 8.5, "labelcolor": palette.ink, "handlelength": 1.4}
    axes.legend(ncols=num_columns, borderaxespad=0.0, **place, **look)


def _fill_learning_rate(axes: "Axes", events: Sequence[Event], palette: Palette) -> None:
    rate = thin(read_curve([event for event in leave_out_undone(events) if event["kind"] == "step"], "learning_rate"))
    dress(axes, palette, "learning rate")
    if not rate.steps:
        say_empty(axes, palette)
        return
    axes.plot(rate.steps, rate.values, color=palette.rate, linewidth=1.6)
    axes.set_ylim(bottom=0.0)
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")


def dress(axes: "Axes", palette: Palette, label: str) -> None:
    """Give axes our look: a quiet grid, no box, steps below and `label` at the side."""
    axes.patch.set_visible(False)
    axes.set_xlabel("step", color=palette.ink, fontsize=9)
    axes.set_ylabel(label, color=palette.ink, fontsize=9)
    axes.grid(visible=True, axis="y", color=palette.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=palette.ink, labelsize=8.5, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(palette.grid)
    axes.margins(x=0.01)


def say_empty(axes: "Axes", palette: Palette) -> None:
    """Say in the middle of empty axes that they are."""
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, "no step was recorded", ha="center", va="center", color=palette.ink, transform=axes.transAxes)


def read_curve(events: Iterable[Event], key: str) -> Curve:
    """The finite values that events give for `key`, by step."""
    points = [(event["step"], float(event[key])) for event in events if is_finite_number(event.get(key))]
    return Curve(tuple(step for step, _ in points), tuple(value for _, value in points))


def smooth_curve(curve: Curve) -> Curve:
    """The centred moving average of a curve over about 2 % of its points.

    Towards the start the window narrows from both sides, so that the steep fall there is not flattened; towards the end
    it loses its right side only, so that the line does not end in the noise of one step.
    """
    num_values = len(curve.values)
    half = round(SMOOTHING_SHARE * num_values / 2)
    sums = list(itertools.accumulate(curve.values, initial=0.0))
    reaches = (min(half, index) for index in range(num_values))
    ends = ((index - reach, min(num_values, index + reach + 1)) for index, reach in enumerate(reaches))
    return Curve(curve.steps, tuple((sums[stop] - sums[start]) / (stop - start) for start, stop in ends))


def thin(curve: Curve, max_points: int = MAX_POINTS) -> Curve:
    """At most `max_points` points (an even number of at least 4), each extreme kept: a spike of one step stays visible.

    The points are cut into equal groups; of each, the lowest and the highest stay, in order. The first and last point
    of the curve stay too.
    """
    if len(curve.steps) <= max_points:
        return curve
    num_groups = (max_points - 2) // 2
    inner = range(1, len(curve.steps) - 1)
    size = math.ceil(len(inner) / num_groups)
    kept = [0]
    for start in range(inner.start, inner.stop, size):
        group = range(start, min(start + size, inner.stop))
        kept += sorted({min(group, key=curve.values.__getitem__), max(group, key=curve.values.__getitem__)})
    kept.append(len(curve.steps) - 1)
    return Curve(tuple(curve.steps[index] for index in kept), tuple(curve.values[index] for index in kept))
