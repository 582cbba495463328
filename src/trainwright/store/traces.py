"""The trace store: every trace and conversation once, under the id of its content, in the order of their coming.

Traces are added, read, searched and forgotten; they never change. A forgotten one leaves its id, when, who and why.
`SqlTraces` (in `sql_traces.py`) keeps them in a database, `MemoryTraces` in this process;
`tests/contract/test_traces_contract.py` runs over all of them.
"""

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from trainwright.core.errors import AmbiguousRef, InvalidValue, OutOfRange, RecordDamaged, TraceForgotten, UnknownRef
from trainwright.core.hashing import digest_bytes
from trainwright.core.traces import AnyTrace, read_canonical
from trainwright.store.ledger import MIN_PREFIX_LENGTH, is_id_prefix, read_clock

MAX_BATCH = 1000
NUM_CANDIDATES = 10
"""How many ids an AmbiguousRef lists."""

AddedState = Literal["new", "known", "repeated", "forgotten"]


@dataclass(frozen=True)
class Added:
    """What became of one trace that was added.

    `known`: it was here before; `repeated`: the same import brought it already; `forgotten`: it was forgotten on request
    and is not taken in again.
    """

    id: str
    state: AddedState


@dataclass(frozen=True)
class StoredTrace:
    """A trace as it lies in the store. `seq` grows with every trace added; `canonical` is its verified content."""

    seq: int
    id: str
    canonical: bytes
    added_at: str

    @property
    def trace(self) -> AnyTrace:
        """The trace itself."""
        return read_canonical(self.canonical)


@dataclass(frozen=True)
class Tombstone:
    """What is left of a forgotten trace."""

    id: str
    at: str
    who: str
    why: str


@dataclass(frozen=True)
class Counts:
    """How many there are, now."""

    num_traces: int
    num_conversations: int
    num_forgotten: int


class Import(Protocol):
    """An import that is going on: one transaction, whatever its size."""

    def add(self, traces: Sequence[AnyTrace]) -> list[Added]:
        """Add some more, at most 1000 at once; what became of each, in their order."""


class TraceStore(Protocol):
    """Where traces lie. Several threads and processes may use one store; imports wait for each other."""

    def importing(self) -> AbstractContextManager[Import]:
        """All of the block, or, where it raises or the process dies, nothing of it."""

    def get(self, trace_id: str) -> StoredTrace:
        """The trace of that full id. Raises UnknownRef, TraceForgotten, RecordDamaged (changed since it was written)."""

    def find(self, limit: int = 100, after: str | None = None) -> list[StoredTrace]:
        """The last added first, at most `limit`; `after` is the last id of the page before. Raises UnknownRef."""

    def search(self, words: str, limit: int = 100, after: str | None = None) -> list[StoredTrace]:
        """Those whose prompt, steps, answer or messages hold all of the words, whole, in either case; ordered like `find`.

        What is not a letter or digit divides words. Raises InvalidValue where there is no word, UnknownRef.
        """

    def iter_all(self) -> Iterator[StoredTrace]:
        """All that are here now, the first added first, with bounded memory. What is added meanwhile is not among them."""

    def iter_ids(self, ids: Iterable[str]) -> Iterator[StoredTrace]:
        """The traces of those full ids, in their order, with bounded memory. Raises UnknownRef, TraceForgotten."""

    def count(self) -> Counts:
        """How many there are."""

    def resolve(self, text: str) -> str:
        """The full id that begins with `text`, forgotten or not. Raises UnknownRef, AmbiguousRef."""

    def forget(self, trace_id: str, who: str, why: str) -> Tombstone:
        """Destroy the content, keep the id. Of one that was forgotten before, the first tombstone. Raises UnknownRef.

        When this returns, no file of the store holds the content any more (of a database server: no query gives it).
        """

    def tombstones(self) -> list[Tombstone]:
        """All that were forgotten, the first forgotten first."""

    def close(self) -> None:
        """Let go of connections. The store is not used afterwards."""


def import_batch(store: TraceStore, traces: Sequence[AnyTrace]) -> list[Added]:
    """Add 1 to 1000 traces, all or nothing; what became of each, in their order.

    Raises OutOfRange for another number, TraceForgotten where one of them was forgotten.
    """
    require_batch(len(traces))
    with store.importing() as running:
        added = running.add(traces)
        for one in added:
            if one.state == "forgotten":
                raise forgotten_error(one.id)
    return added


class MemoryTraces:
    """A trace store in this process's memory, for tests and short-lived work."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._rows: dict[str, StoredTrace | Tombstone] = {}  # in the order of adding
        self._sequence: dict[str, int] = {}

    @contextmanager
    def importing(self) -> Iterator[Import]:
        """All or nothing; see `TraceStore.importing`."""
        with self._lock:
            before, num_before = dict(self._rows), len(self._sequence)
            try:
                yield _MemoryImport(self._rows, self._sequence, num_before)
            except BaseException:
                self._rows = before
                self._sequence = {trace_id: seq for trace_id, seq in self._sequence.items() if seq <= num_before}
                raise

    def get(self, trace_id: str) -> StoredTrace:
        """One trace; see `TraceStore.get`."""
        row = self._rows.get(trace_id)
        if row is None:
            raise unknown_trace(trace_id)
        if isinstance(row, Tombstone):
            raise forgotten_error(trace_id, row)
        return row

    def find(self, limit: int = 100, after: str | None = None) -> list[StoredTrace]:
        """Newest first; see `TraceStore.find`."""
        if after is not None and after not in self._sequence:
            raise unknown_trace(after)
        before = len(self._sequence) + 1 if after is None else self._sequence[after]
        return [row for row in reversed(list(self.iter_all())) if row.seq < before][:limit]

    def search(self, words: str, limit: int = 100, after: str | None = None) -> list[StoredTrace]:
        """By words; see `TraceStore.search`."""
        wanted = split_words(words)
        rows = self.find(len(self._rows), after)
        return [row for row in rows if set(wanted) <= set(_split(row.trace.text))][:limit]

    def iter_all(self) -> Iterator[StoredTrace]:
        """Oldest first; see `TraceStore.iter_all`."""
        yield from [row for row in self._rows.values() if isinstance(row, StoredTrace)]

    def iter_ids(self, ids: Iterable[str]) -> Iterator[StoredTrace]:
        """In the given order; see `TraceStore.iter_ids`."""
        for trace_id in ids:
            yield self.get(trace_id)

    def count(self) -> Counts:
        """How many; see `TraceStore.count`."""
        kept = [row.trace for row in self._rows.values() if isinstance(row, StoredTrace)]
        num_conversations = sum(trace.kind == "conversation" for trace in kept)
        return Counts(len(kept) - num_conversations, num_conversations, len(self._rows) - len(kept))

    def resolve(self, text: str) -> str:
        """A full id; see `TraceStore.resolve`."""
        return choose_id(text, sorted(trace_id for trace_id in self._rows if trace_id.startswith(text.lower())))

    def forget(self, trace_id: str, who: str, why: str) -> Tombstone:
        """Keep the id alone; see `TraceStore.forget`."""
        with self._lock:
            row = self._rows.get(trace_id)
            if row is None:
                raise unknown_trace(trace_id)
            if isinstance(row, StoredTrace):
                row = self._rows[trace_id] = Tombstone(trace_id, read_clock(), who, why)
            return row

    def tombstones(self) -> list[Tombstone]:
        """The forgotten; see `TraceStore.tombstones`."""
        return sorted((row for row in self._rows.values() if isinstance(row, Tombstone)), key=lambda row: row.at)

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass
class _MemoryImport:
    rows: dict[str, StoredTrace | Tombstone]
    sequence: dict[str, int]
    num_before: int

    def add(self, traces: Sequence[AnyTrace]) -> list[Added]:
        require_batch(len(traces))
        return [self._add(trace) for trace in traces]

    def _add(self, trace: AnyTrace) -> Added:
        row = self.rows.get(trace.id)
        if isinstance(row, Tombstone):
            return Added(trace.id, "forgotten")
        if row is not None:
            return Added(trace.id, "known" if row.seq <= self.num_before else "repeated")
        seq = self.sequence[trace.id] = len(self.sequence) + 1
        self.rows[trace.id] = StoredTrace(seq, trace.id, trace.canonical, read_clock())
        return Added(trace.id, "new")


# ── what every store does alike ───────────────────────────────────────────────────────────────────────────────────────
def require_batch(num_traces: int) -> None:
    """Raises OutOfRange for a batch that is not 1 to 1000 traces."""
    if not 1 <= num_traces <= MAX_BATCH:
        raise OutOfRange(
            f"A batch of {num_traces:,} traces cannot be added.",
            why=f"A batch is 1 to {MAX_BATCH:,} traces, taken in all or not at all; nothing was added.",
            next_step="Divide it into smaller batches, or import a file: trainwright traces import FILE",
        )


def verify_stored(row: StoredTrace) -> StoredTrace:
    """The row, if its content is what its id says. Raises RecordDamaged where it is not."""
    if digest_bytes(row.canonical) != row.id:
        raise RecordDamaged(
            f"The stored trace {row.id[:12]} is not what its id says.",
            why="Its content was changed after it was written.",
            next_step="Restore the trace store from a copy.",
        )
    return row


def unknown_trace(trace_id: str) -> UnknownRef:
    """The error for an id that is not here."""
    return UnknownRef(
        f"There is no trace {trace_id[:12]} in this workspace.",
        why="No trace whose id begins so was ever imported here.",
        next_step="List what there is with `trainwright traces list`, or name the right workspace with --workspace.",
    )


def forgotten_error(trace_id: str, tombstone: Tombstone | None = None) -> TraceForgotten:
    """The error for a trace that is only an id any more."""
    said = f" on {tombstone.at[:10]}, by {tombstone.who}: {tombstone.why}" if tombstone else ""
    return TraceForgotten(
        f"The trace {trace_id[:12]} was forgotten.",
        why=f"Its content was destroyed on request{said}" + ("" if said.endswith(".") else "."),
        next_step="Leave it out. A dataset version that held it is built anew with `trainwright data build … --from …`.",
    )


def choose_id(text: str, ids_beginning: Sequence[str]) -> str:
    """The one of the ids that begin with `text`. Raises UnknownRef, AmbiguousRef."""
    if text.lower() in ids_beginning:
        return text.lower()
    if not is_id_prefix(text) or not ids_beginning:
        short = len(text) < MIN_PREFIX_LENGTH
        error = unknown_trace(text)
        raise UnknownRef(
            f"No trace is called {text!r} in this workspace.",
            why=f"The beginning of an id has at least {MIN_PREFIX_LENGTH} digits." if short else error.why,
            next_step=error.next_step,
        )
    if len(ids_beginning) > 1:
        raise AmbiguousRef(
            f"Several traces begin with {text}.",
            why=f"Among them are {', '.join(found[:16] for found in ids_beginning[:NUM_CANDIDATES])}.",
            next_step="Give more digits of the id.",
        )
    return ids_beginning[0]


def split_words(text: str) -> list[str]:
    """The words to search for, in lower case. Raises InvalidValue where there is none."""
    words = _split(text)
    if not words:
        raise InvalidValue(
            f"There is no word to search for in {text!r}.",
            why="A word is letters and digits.",
            next_step="Give at least one word.",
        )
    return words


def _split(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())
