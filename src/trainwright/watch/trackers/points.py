"""From events to what trackers show. Every number of an event goes, under the names that `events.jsonl` uses."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from trainwright.watch.events import Event
from trainwright.watch.trackers.protocol import Histogram, Point, flatten

PREFIXES = {"step": "train"}
"""Kind → first part of a name, where that is not the kind itself: `train/loss`, `validation/val_loss`."""

PLACES = frozenset({"seq", "kind", "step", "timing"})


def build_points(events: Iterable[Event]) -> list[Point]:
    """A point for each event that says something about a step, in order."""
    return [_build_point(event) for event in events if "step" in event]


def _build_point(event: Event) -> Point:
    kind = event["kind"]
    is_anatomy = kind == "anatomy"
    return Point(
        seq=event["seq"],
        step=event["step"],
        at_s=datetime.fromisoformat(event["timing"]["at"]).timestamp(),
        values=dict(_iter_layer_values(event) if is_anatomy else _iter_values(event)),
        histograms=_build_histograms(event) if is_anatomy else {},
        texts=_build_texts(event),
        undone_from=event["to_step"] + 1 if kind == "rollback" else None,
    )


def _iter_values(event: Event) -> Iterator[tuple[str, float]]:
    prefix = PREFIXES.get(event["kind"], event["kind"])
    facts = {key: value for key, value in event.items() if key not in PLACES}
    for start, numbers in ((prefix, facts), ("time", event["timing"] if event["kind"] == "step" else {})):
        for key, value in numbers.items():
            if _is_number(value):
                yield f"{start}/{key}", float(value)


def _iter_layer_values(event: Event) -> Iterator[tuple[str, float]]:
    for group in event["groups"]:
        for key in ("gradient_norm", "weight_norm", "update_ratio"):
            if _is_number(group[key]):
                yield f"layers/{group['name']}/{key}", float(group[key])


def _build_histograms(event: Event) -> dict[str, Histogram]:
    return {
        f"layers/{group['name']}/gradients": Histogram(read_edges(group), tuple(group["octaves"]))
        for group in event["groups"]
        if group["octaves"]
    }


def read_edges(group: Mapping[str, Any]) -> tuple[float, ...]:
    """The edges of a group's bins: bin i holds gradients of magnitude 2^(first_octave + i) to twice that."""
    first = group["first_octave"]
    return tuple(2.0**octave for octave in range(first, first + len(group["octaves"]) + 1))


def _build_texts(event: Event) -> dict[str, str]:
    if event["kind"] == "sample":
        return {f"sample/{event['prompt']}": event["prompt"] + event["text"]}
    if event["kind"] == "skip":
        return {"skip": str(event["reason"])}
    if flags := event.get("flags"):
        return {"flags": ", ".join(flags)}
    return {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def describe_plan(plan: Mapping[str, Any]) -> str:
    """The plan as a Markdown table of dotted keys, for trackers that show text."""
    rows = "".join(f"| {key} | {value} |\n" for key, value in flatten(plan).items())
    return f"| key | value |\n|---|---|\n{rows}"
