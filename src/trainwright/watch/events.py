"""The event stream of a run: one JSON object a line in `events.jsonl`, on disk before anyone else hears of it.

    {"seq": 7, "kind": "step", "step": 7, "loss": 3.2, …, "timing": {"at": "2025-01-31T12:00:00.000+00:00", …}}

`seq` counts from 0 without gaps. Whatever depends on the clock or on how busy the machine is lives under "timing", so
two runs of one plan have equal streams apart from "timing". Everything that reports on a run (console, metrics file,
plots, report) reads these events and nothing else.

JSON has no NaN or infinity, and a loss may be either. Such a number is written as the string "NaN", "Infinity" or
"-Infinity" (which `float` in Python, `Number` in JavaScript and protobuf's JSON all understand), and a list of JSON
pointers says where: {"loss": "NaN", "nonfinite": ["/loss"]}. So a sample whose text is "NaN" stays text, and reading
gives back exactly what was written.
"""

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from trainwright.core.durable import sync_folder
from trainwright.core.errors import EventsDamaged, translate_write_errors

Event = dict[str, Any]
"""One event as a reader sees it: "seq", "kind", its facts, and "timing"; numbers are numbers, NaN included."""

RESERVED_FACTS = frozenset({"seq", "kind", "timing", "nonfinite"})


class Sink(Protocol):
    """Someone who wants to hear of each event after it is on disk."""

    def emit(self, event: Event) -> None:
        """Take one event. An OSError from here ends this sink's subscription, never the run."""


class ListSink:
    """A sink that remembers: for tests, and for callers that want the events of one call."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)


class EventLog:
    """The writer of one `events.jsonl`. One process writes a run's stream at a time (the caller holds the run's lock).

    Each event is one `os.write` to an append-only descriptor, so a writer killed at any instant leaves at most one torn
    last line, which readers pass over and the next `open` sets aside.
    """

    def __init__(self, path: Path, descriptor: int, num_events: int, sinks: Iterable[Sink]) -> None:
        self.path = path
        self._descriptor = descriptor
        self._num_events = num_events
        self._sinks = list(sinks)

    @classmethod
    def open(cls, path: Path, keep: int | None = 0, sinks: Iterable[Sink] = ()) -> Self:
        """Open `path` to append after its first `keep` events (None: after all that are whole).

        What comes later in the file (it happened after the checkpoint that a resume starts from) and a torn last line
        are moved to the end of `events.abandoned.jsonl` beside it. That file is for people: it may hold torn lines.
        Raises EventsDamaged where one of the kept events is missing or broken, DiskFull, NotWritable.
        """
        with translate_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                num_events, num_bytes = _measure_kept(path, keep)
                _abandon_after(path, descriptor, num_bytes)
                sync_folder(path.parent)
            except BaseException:
                os.close(descriptor)
                raise
        return cls(path, descriptor, num_events, sinks)

    @property
    def num_events(self) -> int:
        """How many events the file holds: the `seq` of the next one."""
        return self._num_events

    def add_sink(self, sink: Sink) -> None:
        """Hand every later event to `sink` too."""
        self._sinks.append(sink)

    def emit(self, kind: str, facts: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> Event:
        """Append one event, then hand it to every sink; returns it. `timing` gains "at", the UTC time of writing.

        numpy scalars are written as the numbers they are. Raises ValueError where `facts` uses a reserved name,
        TypeError for what JSON cannot hold, DiskFull and NotWritable; the file then ends after its last whole event.
        """
        if reserved := RESERVED_FACTS & facts.keys():
            raise ValueError(f"an event's facts cannot be named {', '.join(sorted(reserved))}")
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        event: Event = _without_numpy(
            {"seq": self._num_events, "kind": kind, **facts, "timing": {"at": at, **(timing or {})}}
        )
        self._append(render_event(event))
        self._num_events += 1
        self._hand_out(event)
        return event

    def sync(self) -> None:
        """Return once every event so far would survive a power cut. Raises DiskFull, NotWritable."""
        with translate_write_errors(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Sync and close. Closing twice is harmless."""
        if self._descriptor < 0:
            return
        try:
            self.sync()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, line: bytes) -> None:
        with translate_write_errors(self.path):
            end = os.fstat(self._descriptor).st_size
            try:
                written = os.write(self._descriptor, line)
                while written < len(line):  # only a full disk or quota cuts a write to a file short
                    written += os.write(self._descriptor, line[written:])
            except OSError:
                # Half a line in the middle would spoil the stream for whoever frees some space and goes on.
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, end)
                raise

    def _hand_out(self, event: Event) -> None:
        for sink in list(self._sinks):
            try:
                sink.emit(event)
            except OSError as error:
                self._sinks.remove(sink)
                with contextlib.suppress(OSError):  # standard error may be the very thing that broke
                    name = type(sink).__name__
                    print(
                        f"warning: {name} failed ({error}); the run goes on and {self.path} has it all", file=sys.stderr
                    )


def iter_events(path: Path) -> Iterator[Event]:
    """The events of a stream in order, read as it is iterated. A torn last line (no newline yet) is passed over.

    Raises EventsDamaged, with the line number, where a whole line is not an event or a number is missing in the count,
    and where the file itself is missing.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise EventsDamaged(
            f"There is no event stream at {path}.",
            why="A run writes it from its first moment, so it was moved or deleted.",
            next_step="Restore the run folder from a copy, or train again: trainwright run",
        ) from None
    with file:
        for seq, line in enumerate(file):
            if not line.endswith(b"\n"):
                return
            yield parse_event(path, seq, line)


UNDONE_BY_ROLLBACK = frozenset({"step", "anatomy", "validation", "sample", "checkpoint", "early-stop"})


def leave_out_undone(events: Iterable[Event]) -> list[Event]:
    """The events that still hold: without those of steps that a later rollback went back behind, and that came again.

    Skips and rollbacks themselves stay: they happened.
    """
    standing: list[Event] = []
    for event in events:
        if event["kind"] == "rollback":
            to_step = event["to_step"]
            standing = [kept for kept in standing if kept["kind"] not in UNDONE_BY_ROLLBACK or kept["step"] <= to_step]
        standing.append(event)
    return standing


def render_event(event: Event) -> bytes:
    """One event as its line of UTF-8 JSON, newline included. Floats round-trip exactly."""
    facts = encode_nonfinite({key: value for key, value in event.items() if key != "timing"})
    document = facts | {"timing": encode_nonfinite(event["timing"])}
    try:
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8") + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, which UTF-8 cannot hold but a \\u escape can
        return json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def encode_nonfinite(document: Mapping[str, Any]) -> dict[str, Any]:
    """`document` with NaN and infinities as strings; "nonfinite" lists their JSON pointers (RFC 6901), if any."""
    pointers: list[str] = []
    encoded: dict[str, Any] = _encode(document, "", pointers)
    if pointers:
        encoded["nonfinite"] = pointers
    return encoded


def decode_nonfinite(document: dict[str, Any]) -> dict[str, Any]:
    """What `encode_nonfinite` was given; `document` itself is changed.

    Raises ValueError, LookupError or TypeError where the pointers lead nowhere.
    """
    pointers = document.pop("nonfinite", [])
    for pointer in pointers:
        *outer, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
        target: Any = document
        for part in outer:
            target = target[int(part)] if isinstance(target, list) else target[part]
        key: Any = int(last) if isinstance(target, list) else last
        target[key] = float(target[key])
    return document


def is_finite_number(value: object) -> bool:
    """Whether `value` is a number that can be drawn or averaged: not None, not NaN, not infinite."""
    return isinstance(value, int | float) and math.isfinite(value)


def _encode(value: Any, pointer: str, pointers: list[str]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        pointers.append(pointer)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _encode(item, f"{pointer}/{_escaped(key)}", pointers) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item, f"{pointer}/{index}", pointers) for index, item in enumerate(value)]
    return value


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _without_numpy(value: Any) -> Any:
    """Plain Python all the way down, so that a sink sees what a reader of the file will see."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _without_numpy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_numpy(item) for item in value]
    return value


def parse_event(path: Path, seq: int, line: bytes) -> Event:
    """The event on a whole line, which must be the one numbered `seq`. Raises EventsDamaged, naming `path` and the line."""
    try:
        document = json.loads(line)
        found = document["seq"]
        event = decode_nonfinite(document)
        event["timing"] = decode_nonfinite(event["timing"])
        str(event["kind"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(path, seq, f"It is not an event ({type(error).__name__}).") from error
    if found != seq:
        raise _damaged(path, seq, f"It has the number {found}; {seq} comes next.")
    return event


def _damaged(path: Path, seq: int, why: str) -> EventsDamaged:
    return EventsDamaged(
        f"Line {seq + 1} of {path} is damaged.",
        why=f"{why} Lines are only ever appended whole, so something else wrote to the file.",
        next_step="Restore the file from a copy, or train again: trainwright run",
    )


def _measure_kept(path: Path, keep: int | None) -> tuple[int, int]:
    """(events, bytes) at the front of the file that stay. Each kept line is parsed: what is built on is verified."""
    num_events = num_bytes = 0
    with path.open("rb") as file:
        for seq, line in enumerate(file):
            if seq == keep or not line.endswith(b"\n"):
                break
            parse_event(path, seq, line)
            num_events, num_bytes = seq + 1, num_bytes + len(line)
    if keep is not None and num_events < keep:
        raise EventsDamaged(
            f"{path} holds {num_events} whole events where {keep} were written.",
            why="The checkpoint counts events that were on disk when it was made; the file lost some since.",
            next_step="Restore the file from a copy, or train again: trainwright run",
        )
    return num_events, num_bytes


def _abandon_after(path: Path, descriptor: int, num_bytes: int) -> None:
    """Move what follows `num_bytes` to the abandoned file. Copied and synced before it is cut: nothing can be lost."""
    if os.fstat(descriptor).st_size == num_bytes:
        return
    with path.open("rb") as file:
        file.seek(num_bytes)
        rest = file.read()
    if not rest.endswith(b"\n"):
        rest += b"\n"
    with path.with_name(f"{path.stem}.abandoned{path.suffix}").open("ab") as abandoned:
        abandoned.write(rest)
        abandoned.flush()
        os.fsync(abandoned.fileno())
    os.ftruncate(descriptor, num_bytes)
    os.fsync(descriptor)
