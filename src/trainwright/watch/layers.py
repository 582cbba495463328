"""The layers of a run on a page: gradient norms and update ratios over time, and the newest histograms of the gradients."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainwright.watch.curves import LAYER_QUANTITIES, Chart, find_newest_anatomy, read_layer_curves
from trainwright.watch.events import Event, leave_out_undone
from trainwright.watch.overlays import render_chart_svg

WIDE_IN, NARROW_IN = 8.6, 3.9
BAR_WIDTH, BAR_HEIGHT = 10, 44
"""Of one bin of a histogram, in the units of its drawing."""


def build_layers(events: Sequence[Event]) -> dict[str, Any] | None:
    """What the page shows of the layers; None where the run did not look into them.

    {step, charts[{title, wide, narrow}], first, last (exponents of 2), rows[{name, gradient_norm, weight_norm,
    update_ratio, histogram}], flags}.
    """
    events = leave_out_undone(events)
    anatomy = find_newest_anatomy(events)
    if anatomy is None:
        return None
    first, last = find_common_octaves(anatomy["groups"])
    return {
        "step": anatomy["step"],
        "charts": [_draw(key, title, events) for key, title in LAYER_QUANTITIES.items()],
        "first": first,
        "last": last,
        "rows": [{**group, "histogram": draw_octaves(group, first, last)} for group in anatomy["groups"]],
        "flags": _list_flags(events),
    }


def find_common_octaves(groups: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """The exponents of two between which all of the groups' gradients lie."""
    filled = [group for group in groups if group["octaves"]]
    first = min((group["first_octave"] for group in filled), default=0)
    return first, max((group["first_octave"] + len(group["octaves"]) for group in filled), default=0)


def _draw(key: str, title: str, events: Sequence[Event]) -> dict[str, str]:
    chart = Chart(f"layers_{key}", title, read_layer_curves(events, key), is_log=True)
    name = key.replace("_", "-")
    return {
        "title": f"{title} by layer",
        "wide": render_chart_svg(chart, f"{name}-wide", WIDE_IN, 2.7),
        "narrow": render_chart_svg(chart, f"{name}-narrow", NARROW_IN, 2.9, legend_columns=3),
    }


def draw_octaves(group: Mapping[str, Any], first: int, last: int) -> str:
    """Bars as an `<svg>` element; every number in it is ours, and the group's name is left to the page."""
    largest = max(group["octaves"], default=0)
    bars = []
    for index, count in enumerate(group["octaves"]):
        height = round(max(1.0, count / largest * BAR_HEIGHT), 1) if count else 0
        left = (group["first_octave"] - first + index) * BAR_WIDTH
        place = f'x="{left + 1}" y="{BAR_HEIGHT - height}" width="{BAR_WIDTH - 2}" height="{height}"'
        bars.append(
            f"<rect {place}><title>2^{group['first_octave'] + index}: {count:,}</title></rect>" if count else ""
        )
    box = f"0 0 {max(1, last - first) * BAR_WIDTH} {BAR_HEIGHT}"
    label = f"histogram of gradients between 2^{first} and 2^{last}"
    return f'<svg class="bars" viewBox="{box}" preserveAspectRatio="none" role="img" aria-label="{label}">{"".join(bars)}</svg>'


def _list_flags(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Each flag once, with the first and the last step at which it was raised, and how often."""
    raised: dict[str, list[int]] = {}
    for event in events:
        for flag in event["flags"] if event["kind"] == "anatomy" else ():
            raised.setdefault(flag, []).append(event["step"])
    return [{"flag": flag, "first": steps[0], "last": steps[-1], "times": len(steps)} for flag, steps in raised.items()]
