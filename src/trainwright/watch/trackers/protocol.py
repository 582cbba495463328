"""What a tracker is to us."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from trainwright.core.records import Frozen


class TrackerSettings(Frozen):
    """Where trackers write. None: the run folder (`folder`), the tracker's own default (`uri`)."""

    folder: str | None = None
    project: str = "trainwright"
    uri: str | None = None


@dataclass(frozen=True)
class Subject:
    """The run that is shown. `folder` is a place inside the run folder for what belongs to trackers."""

    run_id: str
    name: str
    started_at: str
    plan: Mapping[str, Any]
    folder: Path

    @property
    def title(self) -> str:
        """What the run is called in a list of runs: as its folder is."""
        return f"{self.name}-{self.run_id[:12]}"


@dataclass(frozen=True)
class Histogram:
    """`counts[i]` values lie between `edges[i]` and `edges[i + 1]`."""

    edges: tuple[float, ...]
    counts: tuple[float, ...]


@dataclass(frozen=True)
class Point:
    """What one event says about one step. `undone_from`: everything from that step on, written earlier, no longer counts."""

    seq: int
    step: int
    at_s: float
    values: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    undone_from: int | None = None


class Tracker(Protocol):
    """An open connection to a tracker. Whatever goes wrong is raised; the process that holds it then ends.

    Each module has `open_tracker(subject, settings, mark) -> Tracker`; `mark` is what an earlier process of the same run
    left with `mark()`, or None.
    """

    @property
    def where(self) -> str:
        """Where a person finds what is written: a folder or an address."""

    @property
    def is_new(self) -> bool:
        """Whether nothing of the run was there, so that it has to be told from its first event."""

    def write(self, points: Sequence[Point]) -> None:
        """Take points in the order of their events."""

    def mark(self) -> dict[str, Any] | None:
        """What the next process needs to go on behind the last point; None where what was written is not yet safe."""

    def close(self, *, completed: bool) -> dict[str, Any]:
        """Bring everything to safety and say how the run ended. Returns the last mark."""


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested document as {dotted key: value}; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
