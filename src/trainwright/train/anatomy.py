"""What an update did inside the model, as facts for the event stream: per weight, and per layer for people to look at."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trainwright.backends.protocol import LOWEST_OCTAVE, WeightAnatomy

EXPLODING_NORM = 100.0
"""A gradient norm above this is flagged: a hundred times what gradients are usually clipped to."""

VANISHING_SHARE = 1e-4
"""A layer's gradient norm below this share of the largest layer's is flagged: hardly anything arrives there."""

_LAYER = "model.layers."


def describe_anatomy(weights: Mapping[str, WeightAnatomy]) -> tuple[list[dict[str, Any]], list[list[Any]], list[str]]:
    """(groups, weights, flags).

    A group is the embedding, a layer or the last norm: its norms, its update-to-weight ratio (None where all its weights
    were zero), and its gradient's histogram: `octaves[i]` elements of magnitude 2^(first_octave + i) to twice that, empty
    bins at both ends left out. A weight is [name, gradient norm, weight norm, ratio].
    """
    members: dict[str, list[WeightAnatomy]] = {}
    for name, found in weights.items():
        members.setdefault(group_of(name), []).append(found)
    groups = [_describe_group(name, found) for name, found in members.items()]
    rows = [[name, w.gradient_norm, w.weight_norm, _ratio(w.update_norm, w.weight_norm)] for name, w in weights.items()]
    return groups, rows, find_flags({group["name"]: group["gradient_norm"] for group in groups})


def group_of(name: str) -> str:
    """`embedding`, `layer 0`, …, or `norm`."""
    if name.startswith(_LAYER):
        return f"layer {name.removeprefix(_LAYER).partition('.')[0]}"
    return "embedding" if "embed" in name else "norm"


def find_flags(norms: Mapping[str, float]) -> list[str]:
    """`exploding GROUP` and `vanishing GROUP`, from gradient norms by group; see the two thresholds above."""
    layers = {name: norm for name, norm in norms.items() if name.startswith("layer ")}
    largest = max((norm for norm in layers.values() if math.isfinite(norm)), default=0.0)
    exploding = [f"exploding {name}" for name, norm in norms.items() if not norm <= EXPLODING_NORM]
    return exploding + [f"vanishing {name}" for name, norm in layers.items() if norm < VANISHING_SHARE * largest]


def _describe_group(name: str, members: Sequence[WeightAnatomy]) -> dict[str, Any]:
    weight_norm = _root_of_squares([member.weight_norm for member in members])
    counts = [sum(column) for column in zip(*(member.octaves for member in members), strict=True)]
    filled = [octave for octave, count in enumerate(counts) if count]
    first, last = (filled[0], filled[-1]) if filled else (0, -1)
    return {
        "name": name,
        "gradient_norm": _root_of_squares([member.gradient_norm for member in members]),
        "weight_norm": weight_norm,
        "update_ratio": _ratio(_root_of_squares([member.update_norm for member in members]), weight_norm),
        "first_octave": LOWEST_OCTAVE + first,
        "octaves": counts[first : last + 1],
    }


def _root_of_squares(norms: Sequence[float]) -> float:
    return math.sqrt(sum(norm * norm for norm in norms))


def _ratio(update_norm: float, weight_norm: float) -> float | None:
    return update_norm / weight_norm if weight_norm else None
