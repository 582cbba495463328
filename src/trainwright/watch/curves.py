"""What can be drawn of a run: its curves by name, and the anatomy of its gradients, taken from its events."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trainwright.watch.events import Event, is_finite_number, leave_out_undone
from trainwright.watch.plots import Curve, read_curve, smooth_curve

MAX_GROUPS = 6
"""More lines than this in one drawing cannot be told apart."""

LAYER_QUANTITIES = {"gradient_norm": "gradient norm", "update_ratio": "update to weight ratio"}


@dataclass(frozen=True)
class Chart:
    """Curves that share an axis, by name, in the order in which they are drawn."""

    name: str
    title: str
    curves: dict[str, Curve]
    is_log: bool = False

    def as_document(self) -> dict[str, Any]:
        """{name, title, curves{name: {steps, values}}}."""
        curves = {name: {"steps": curve.steps, "values": curve.values} for name, curve in self.curves.items()}
        return {"name": self.name, "title": self.title, "curves": curves}


def build_charts(events: Iterable[Event]) -> list[Chart]:
    """Loss, learning rate and gradient norm; and by layer, where the run looked into its layers."""
    events = leave_out_undone(events)
    steps = [event for event in events if event["kind"] == "step"]
    train = read_curve(steps, "loss")
    loss = {
        "training": train,
        "smoothed": smooth_curve(train),
        "validation": read_curve([event for event in events if event["kind"] == "validation"], "val_loss"),
    }
    charts = [
        Chart("loss", "loss, nats per token", loss),
        Chart("learning_rate", "learning rate", {"learning rate": read_curve(steps, "learning_rate")}),
        Chart("gradient_norm", "gradient norm", {"all weights": read_curve(steps, "gradient_norm")}, is_log=True),
    ]
    for key, title in LAYER_QUANTITIES.items():
        if curves := read_layer_curves(events, key):
            charts.append(Chart(f"layers_{key}", f"{title} by layer", curves, is_log=True))
    return charts


def read_layer_curves(events: Iterable[Event], key: str) -> dict[str, Curve]:
    """{group: its curve} of one quantity of the anatomy, from the embedding to the last norm."""
    points: dict[str, list[tuple[int, float]]] = {}
    for event in events:
        for group in event["groups"] if event["kind"] == "anatomy" else ():
            found = points.setdefault(group["name"], [])
            if is_finite_number(group[key]):
                found.append((event["step"], float(group[key])))
    return {
        name: Curve(tuple(step for step, _ in found), tuple(value for _, value in found))
        for name, found in points.items()
    }


def pick_groups(names: Sequence[str], num_most: int = MAX_GROUPS) -> list[str]:
    """At most `num_most` groups, the first and the last among them, evenly spaced."""
    if len(names) <= num_most:
        return list(names)
    return [names[round(index * (len(names) - 1) / (num_most - 1))] for index in range(num_most)]


def find_newest_anatomy(events: Iterable[Event]) -> Event | None:
    """The last look into the layers, or None where there was none."""
    return next((event for event in reversed(leave_out_undone(events)) if event["kind"] == "anatomy"), None)


def describe_layers(events: Iterable[Event]) -> dict[str, Any] | None:
    """What `runs show --layers --json` says: the newest anatomy; None where the run did not look."""
    anatomy = find_newest_anatomy(events)
    return (
        None if anatomy is None else {"step": anatomy["step"], "groups": anatomy["groups"], "flags": anatomy["flags"]}
    )
