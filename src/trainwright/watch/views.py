"""What `runs show` draws in a terminal: charts, and the layers with their histograms."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trainwright.watch.curves import Chart, build_charts, find_newest_anatomy, pick_groups, read_layer_curves
from trainwright.watch.events import Event, is_finite_number, leave_out_undone
from trainwright.watch.layers import find_common_octaves
from trainwright.watch.plots import thin
from trainwright.watch.progress import SPARK_BLOCKS, SPARK_LETTERS, render_sparkline
from trainwright.watch.terminal import STYLES, Series, render_bars, render_chart

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

CHART_HEIGHTS = {"loss": 14}
SMALL_CHART_HEIGHT = 7
LOSS_STYLES = {"training": "bright_black", "smoothed": "blue", "validation": "yellow"}
MAX_CHART_WIDTH = 110
SPARK_WIDTH = 16


def render_charts(events: Iterable[Event], console: "Console") -> "RenderableType":
    """All charts of a run, one below the other, as wide as the console."""
    from rich.console import Group

    events = list(events)
    charts = [draw_chart(chart, console) for chart in build_charts(events)]
    setbacks = render_setbacks(events)
    return Group(*charts, *([setbacks] if setbacks else []))


def draw_chart(chart: Chart, console: "Console", height: int | None = None) -> "RenderableType":
    """One chart. Where it has more curves than can be told apart, some of them, and the title says so."""
    names = pick_groups(list(chart.curves))
    left_out = len(chart.curves) - len(names)
    title = chart.title + (f" ({len(names)} of {len(chart.curves)})" if left_out else "")
    styles = LOSS_STYLES if chart.name == "loss" else dict(zip(names, STYLES, strict=False))
    width = min(console.width, MAX_CHART_WIDTH)
    return render_chart(
        title,
        [Series(name, thin(chart.curves[name], 4 * width), styles[name]) for name in names],
        width,
        height or CHART_HEIGHTS.get(chart.name, SMALL_CHART_HEIGHT),
        is_unicode=not console.options.ascii_only,
        is_log=chart.is_log,
    )


def render_layers(events: Iterable[Event], console: "Console") -> "RenderableType":
    """A row for each group of weights: norms, ratio, how the gradient norm went, and the newest histogram."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    events = leave_out_undone(events)
    anatomy = find_newest_anatomy(events)
    if anatomy is None:
        return Text("This run did not look into its layers (train.watch_every is 0, or it came to no such step).")
    is_unicode = not console.options.ascii_only
    first, last = find_common_octaves(anatomy["groups"])
    table = Table(title=f"layers at step {anatomy['step']:,}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading, justify in (
        ("weights", "left"),
        ("gradient norm", "right"),
        ("so far", "left"),
        ("weight norm", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    table.add_column("update/weight", justify="right")
    table.add_column(f"gradients, 2^{first} to 2^{last}", justify="left")
    histories = read_layer_curves(events, "gradient_norm")
    for group in anatomy["groups"]:
        spark = render_sparkline(
            histories[group["name"]].values, SPARK_WIDTH, SPARK_BLOCKS if is_unicode else SPARK_LETTERS
        )
        bars = render_bars(_spread_octaves(group, first, last), is_unicode=is_unicode)
        numbers = [_number(group[key]) for key in ("gradient_norm", "weight_norm", "update_ratio")]
        table.add_row(group["name"], numbers[0], Text(spark, "blue"), numbers[1], numbers[2], Text(bars, "green"))
    flags = [Text(f"! {flag}", style="red") for flag in anatomy["flags"]]
    return Group(table, *(flags or [Text("no layer's gradient explodes or vanishes", style="dim")]))


def render_setbacks(events: Iterable[Event]) -> "RenderableType | None":
    """Skipped steps and rollbacks, the newest last; None where there were none."""
    from rich.text import Text

    lines = [describe_setback(event) for event in events if event["kind"] in ("skip", "rollback")]
    if not lines:
        return None
    shown = lines[-12:]
    left_out = [f"… and {len(lines) - len(shown)} before these"] if len(lines) > len(shown) else []
    return Text("\n".join([*left_out, *shown]), style="yellow")


def describe_setback(event: Event) -> str:
    """One line about a skip or a rollback."""
    if event["kind"] == "skip":
        return f"step {event['step']:,} was skipped: {event['reason']}"
    factor = event["rate_factor"]
    return f"rolled back from step {event['step']:,} to {event['to_step']:,}: {event['reason']}; rates × {factor:g} from there"


def _spread_octaves(group: Event, first: int, last: int) -> list[float]:
    """A group's counts on the axis that all groups share."""
    before = group["first_octave"] - first if group["octaves"] else 0
    return [0.0] * before + list(group["octaves"]) + [0.0] * (last - first - before - len(group["octaves"]))


def _number(value: object) -> str:
    return f"{value:.3g}" if is_finite_number(value) else "–" if value is None else str(value)
