"""Traces into the store, and a look at what is there."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from trainwright.core.errors import InvalidTrace, TrainwrightError
from trainwright.core.traces import AnyTrace, Trace, parse_trace
from trainwright.data.adapters import Adapter, detect_adapter, find_adapter
from trainwright.data.trace_files import Row, iter_rows
from trainwright.data.trace_statistics import TraceStatistics
from trainwright.store.traces import Added, AddedState, Import, StoredTrace, TraceStore, forgotten_error

OnError = Literal["stop", "skip"]
SHOWN_CHARACTERS = 100

_BATCH = 500
_BATCH_BYTES = 8 << 20
_NUM_LISTED = 100
"""How many bad records the result lists; all are reported as they are met, and counted."""


@dataclass(frozen=True)
class BadRecord:
    """A record that could not be taken: where it stands, and why."""

    file: str
    number: int
    unit: str
    name: str
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.number}" if self.unit == "line" else f"{self.file}, {self.unit} {self.number}"
        return f"{place}: {self.reason}"


@dataclass
class Imported:
    """What came of an import. `adapters` is {file: the adapter its records were read with}."""

    states: Counter[AddedState] = field(default_factory=Counter)
    num_bad: int = 0
    bad: list[BadRecord] = field(default_factory=list)
    adapters: dict[str, str] = field(default_factory=dict)
    num_records: int = 0

    def as_document(self) -> dict[str, Any]:
        """What `traces import --json` prints."""
        return {
            "num_records": self.num_records,
            "num_new": self.states["new"],
            "num_known": self.states["known"],
            "num_repeated": self.states["repeated"],
            "num_bad": self.num_bad,
            "bad": [{**vars(bad), "place": str(bad).removesuffix(f": {bad.reason}")} for bad in self.bad],
            "adapters": self.adapters,
        }


def import_traces(
    files: Sequence[str],
    store: TraceStore,
    *,
    adapter: str | None = None,
    on_error: OnError = "stop",
    on_progress: Callable[[str, int, int | None], None],
    on_bad: Callable[[BadRecord], None],
) -> Imported:
    """Import files (`-` is standard input) in one transaction, with memory for one batch.

    Without `adapter`, each file's is chosen by its first record. Each bad record is reported to `on_bad` when it is met;
    with `stop`, one is enough for nothing to be imported (the rest is still looked through, to report them all), with
    `skip` the others are. Raises InvalidTrace (stop), InvalidValue, SourceNotFound, SourceUnreadable.
    """
    reading = _Reading(adapter, on_progress, on_bad)
    with store.importing() as running:
        for file in files:
            batch: list[tuple[Row, AnyTrace]] = []
            num_bytes = 0
            for row, trace in reading.iter_traces(file):
                if on_error == "stop" and reading.result.num_bad:
                    continue
                batch.append((row, trace))
                num_bytes += len(trace.canonical)
                if len(batch) == _BATCH or num_bytes >= _BATCH_BYTES:
                    reading.add(file, batch, running)
                    batch, num_bytes = [], 0
            reading.add(file, batch, running)
        if on_error == "stop" and reading.result.num_bad:
            raise _nothing_imported(reading.result)
    return reading.result


class _Reading:
    """Records become traces, or bad records; what is counted is in `result`."""

    def __init__(
        self,
        adapter: str | None,
        on_progress: Callable[[str, int, int | None], None],
        on_bad: Callable[[BadRecord], None],
    ) -> None:
        self._named = adapter
        if adapter is not None:
            find_adapter(adapter)
        self._on_progress = on_progress
        self._on_bad = on_bad
        self.result = Imported()

    def iter_traces(self, file: str) -> Iterator[tuple[Row, AnyTrace]]:
        """Every good trace of a file with the row it came from (a row may give several)."""
        adapt: Adapter | None = None
        for row in iter_rows(file):
            self.result.num_records += 1
            if self.result.num_records % 1000 == 0:
                self._on_progress("records read", self.result.num_records, None)
            try:
                document = _require_object(row)
                adapt = adapt or self._choose(file, document)
                traces = [parse_trace(one) for one in adapt(document)]
            except InvalidTrace as error:
                self._reject(file, row, error)
            else:
                yield from ((row, trace) for trace in traces)

    def add(self, file: str, batch: Sequence[tuple[Row, AnyTrace]], running: Import) -> None:
        """Add a batch; a trace that was forgotten before makes its row a bad one."""
        added: list[Added] = running.add([trace for _, trace in batch]) if batch else []
        for (row, _), one in zip(batch, added, strict=True):
            if one.state == "forgotten":
                self._reject(file, row, forgotten_error(one.id))
            else:
                self.result.states[one.state] += 1

    def _choose(self, file: str, document: dict[str, Any]) -> Adapter:
        name = self._named or detect_adapter(document)
        self.result.adapters[file] = name
        return find_adapter(name)

    def _reject(self, file: str, row: Row, error: TrainwrightError) -> None:
        bad = BadRecord(file, row.number, row.unit, error.name, error.message)
        self.result.num_bad += 1
        if len(self.result.bad) < _NUM_LISTED:
            self.result.bad.append(bad)
        self._on_bad(bad)


def _require_object(row: Row) -> dict[str, Any]:
    if row.error is not None:
        raise row.error
    if not isinstance(row.document, dict):
        parse_trace(row.document)  # says what it is instead
    document: dict[str, Any] = row.document
    return document


def _nothing_imported(result: Imported) -> InvalidTrace:
    shown = "; ".join(str(bad) for bad in result.bad[:5])
    more = f"; and {result.num_bad - 5:,} more" if result.num_bad > 5 else ""
    return InvalidTrace(
        f"{result.num_bad:,} of {result.num_records:,} records cannot be imported; nothing was imported.",
        why=f"{shown.rstrip('.')}{more.rstrip('.')}.",
        next_step="Correct them, or import the others with --on-error skip.",
    )


# ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def describe_stored(stored: StoredTrace) -> dict[str, Any]:
    """A row of `traces list` and `traces search`."""
    trace = stored.trace
    shown = trace.prompt if isinstance(trace, Trace) else trace.messages[0].content
    return {
        "id": stored.id,
        "kind": trace.kind,
        "added_at": stored.added_at,
        "num_steps": len(trace.steps) if isinstance(trace, Trace) else None,
        "num_messages": None if isinstance(trace, Trace) else len(trace.messages),
        "num_characters": len(trace.text),
        "begins": " ".join(shown[: 2 * SHOWN_CHARACTERS].split())[:SHOWN_CHARACTERS],
        "meta": trace.meta,
    }


def list_traces(
    store: TraceStore, limit: int, after: str | None = None, words: str | None = None
) -> tuple[list[StoredTrace], str | None]:
    """A page of traces, the last imported first, and the id to ask for the next page with (None on the last one)."""
    last = None if after is None else store.resolve(after)
    found = store.find(limit + 1, last) if words is None else store.search(words, limit + 1, last)
    return found[:limit], found[limit - 1].id if len(found) > limit else None


def show_trace(store: TraceStore, text: str) -> dict[str, Any]:
    """All of one trace. Raises UnknownRef, AmbiguousRef, TraceForgotten."""
    stored = store.get(store.resolve(text))
    return {
        "id": stored.id,
        "kind": stored.trace.kind,
        "added_at": stored.added_at,
        "trace": stored.trace.as_document(),
    }


def measure_traces(store: TraceStore) -> dict[str, Any]:
    """Counts and distributions over everything in the store, in one pass."""
    statistics = TraceStatistics()
    for stored in store.iter_all():
        statistics.add(stored.trace)
    return {**statistics.as_document(), "num_forgotten": store.count().num_forgotten}


def compare_traces(store: TraceStore, a: str, b: str) -> dict[str, Any]:
    """Two traces side by side: every part that differs, {key, a, b}. Raises UnknownRef, AmbiguousRef, TraceForgotten."""
    first, second = show_trace(store, a), show_trace(store, b)
    left, right = (dict(_iter_leaves(one["trace"])) for one in (first, second))
    keys = [*left, *(key for key in right if key not in left)]
    differences = [
        {"key": key, "a": left.get(key), "b": right.get(key)} for key in keys if left.get(key) != right.get(key)
    ]
    return {"a": first["id"], "b": second["id"], "num_equal": len(keys) - len(differences), "differences": differences}


def _iter_leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything in a document, into its lists too."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _iter_leaves(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _iter_leaves(part, f"{key}.{number}" if key else str(number))
    else:
        yield key, value
