"""The ledger: every record, what came from what, the refs that name records, and which stage made what.

Records are immutable and lie here under their id. Refs (`stories@latest`) are the only thing that moves, by
compare-and-swap, and every move is kept. `SqlLedger` (in `sql_ledger.py`) keeps it all in a database, `FiledLedger` (in
`filed_ledger.py`) in a database that can be made again from a file, `MemoryLedger` in this process;
`tests/contract/test_ledger_contract.py` runs over all of them.
"""

import difflib
import json
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from pydantic import ValidationError

from trainwright.core.errors import AmbiguousRef, InvalidValue, RecordDamaged, RefMoved, UnknownRef
from trainwright.core.hashing import canonical_json
from trainwright.core.records import Record, parse_record

MIN_PREFIX_LENGTH = 4
NUM_CANDIDATES = 10
"""How many ids an AmbiguousRef lists."""

_RECORD_ID = re.compile(r"[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]+")
_REF_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@/-]{0,199}")


@dataclass(frozen=True)
class StoredRecord:
    """A record and when it was first put into this ledger (ISO 8601, UTC)."""

    record: Record
    added_at: str


@dataclass(frozen=True)
class Ref:
    """A name and the record it points to now."""

    name: str
    record_id: str


@dataclass(frozen=True)
class RefMove:
    """One move of a ref. `from_id` is None for the first; `seq` grows with every move in the ledger."""

    seq: int
    name: str
    from_id: str | None
    to_id: str
    at: str
    who: str
    why: str


@dataclass(frozen=True)
class Memo:
    """That the stage inputs digested into `key` gave a record."""

    key: str
    record_id: str


Entry = StoredRecord | RefMove | Memo
"""What a ledger is made of: everything else in it (edges, where the refs are now) follows from these, in their order."""


class Ledger(Protocol):
    """Where rows lie. Several threads and processes may use one ledger at once; no write is lost, none is half done."""

    def put(self, record: Record) -> str:
        """Keep a record and the edges to its parents; return its id. Putting it again changes nothing.

        The parents need not be here: part of a history is a history (`check_lineage` names what is missing).
        """

    def get(self, record_id: str) -> Record:
        """The record of that full id, its content verified against it. Raises UnknownRef, RecordDamaged (changed)."""

    def find(self, kind: str | None = None, limit: int = 100, after: str | None = None) -> list[StoredRecord]:
        """Records of a kind (or of all), the last put first, at most `limit`.

        `after` is the id of the last record of the page before. Raises UnknownRef where there is no such record.
        """

    def ids(self) -> list[str]:
        """The ids of all records, the first put first; none of them is read."""

    def parents(self, record_id: str) -> list[tuple[str, str]]:
        """(role, id) of what a record came from, by role. Empty for an unknown id."""

    def children(self, record_id: str) -> list[tuple[str, str]]:
        """(role, id) of the records that name this one as a parent in that role, by role, the first put first."""

    def move_ref(self, name: str, to: str, expected: str | None, who: str, why: str) -> RefMove:
        """Point a ref at a record, if it points at `expected` now (None: if there is no such ref); keep the move.

        Raises RefMoved where it points elsewhere, UnknownRef where there is no record `to`, InvalidValue for a name
        that is not letters, digits and `._@/-`, or that could be taken for a full id.
        """

    def read_ref(self, name: str) -> str | None:
        """The record id a ref points to, or None where there is no such ref."""

    def refs(self) -> list[Ref]:
        """All refs, by name."""

    def ref_history(self, name: str) -> list[RefMove]:
        """Every move of a ref, the oldest first."""

    def remember(self, key: str, record_id: str) -> None:
        """Note that the stage inputs digested into `key` gave this record; a later note for the same key replaces it.

        Raises UnknownRef where there is no such record.
        """

    def recall(self, key: str) -> str | None:
        """The record id noted for `key`, or None."""

    def resolve(self, text: str) -> str:
        """The id a person means: a full id, a ref's name, or the beginning of exactly one id (4 hex digits or more).

        Raises UnknownRef (with the nearest names) and AmbiguousRef (with the candidates).
        """

    def close(self) -> None:
        """Let go of connections. The ledger is not used afterwards."""


class MemoryLedger:
    """A ledger in this process's memory, for tests and short-lived work."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._documents: dict[str, tuple[str, str]] = {}  # id → (document, added_at), in the order of putting
        self._kinds: dict[str, str] = {}
        self._edges: list[tuple[str, str, str]] = []  # (child, role, parent)
        self._refs: dict[str, str] = {}
        self._moves: list[RefMove] = []
        self._recalls: dict[str, str] = {}

    def put(self, record: Record) -> str:
        """Keep a record; see `Ledger.put`."""
        with self._lock:
            if record.id not in self._documents:
                self._documents[record.id] = (render_document(record), read_clock())
                self._kinds[record.id] = record.kind
                self._edges.extend((record.id, role, parent) for role, parent in record.parents().items())
        return record.id

    def get(self, record_id: str) -> Record:
        """A verified record; see `Ledger.get`."""
        with self._lock:
            self._require(record_id)
            document, _ = self._documents[record_id]
        return parse_document(document, record_id)

    def find(self, kind: str | None = None, limit: int = 100, after: str | None = None) -> list[StoredRecord]:
        """Newest first; see `Ledger.find`."""
        with self._lock:
            ids = list(reversed(self._documents))
            if after is not None:
                self._require(after)
                ids = ids[ids.index(after) + 1 :]
            chosen = [record_id for record_id in ids if kind is None or self._kinds[record_id] == kind][:limit]
            rows = [(record_id, *self._documents[record_id]) for record_id in chosen]
        return [StoredRecord(parse_document(document, record_id), added_at) for record_id, document, added_at in rows]

    def ids(self) -> list[str]:
        """All ids; see `Ledger.ids`."""
        with self._lock:
            return list(self._documents)

    def parents(self, record_id: str) -> list[tuple[str, str]]:
        """(role, id), by role; see `Ledger.parents`."""
        with self._lock:
            return sorted((role, parent) for child, role, parent in self._edges if child == record_id)

    def children(self, record_id: str) -> list[tuple[str, str]]:
        """(role, id), by role; see `Ledger.children`."""
        with self._lock:
            found = [(role, child) for child, role, parent in self._edges if parent == record_id]
        return sorted(found, key=lambda edge: edge[0])

    def move_ref(self, name: str, to: str, expected: str | None, who: str, why: str) -> RefMove:
        """Compare and swap; see `Ledger.move_ref`."""
        require_ref_name(name)
        with self._lock:
            self._require(to)
            now = self._refs.get(name)
            if now != expected:
                raise ref_moved(name, expected, now)
            move = RefMove(len(self._moves) + 1, name, expected, to, read_clock(), who, why)
            self._refs[name] = to
            self._moves.append(move)
        return move

    def read_ref(self, name: str) -> str | None:
        """Where a ref points."""
        with self._lock:
            return self._refs.get(name)

    def refs(self) -> list[Ref]:
        """All refs, by name."""
        with self._lock:
            return [Ref(name, record_id) for name, record_id in sorted(self._refs.items())]

    def ref_history(self, name: str) -> list[RefMove]:
        """Every move, oldest first."""
        with self._lock:
            return [move for move in self._moves if move.name == name]

    def remember(self, key: str, record_id: str) -> None:
        """Note what a stage gave; see `Ledger.remember`."""
        with self._lock:
            self._require(record_id)
            self._recalls[key] = record_id

    def recall(self, key: str) -> str | None:
        """What a stage gave, or None."""
        with self._lock:
            return self._recalls.get(key)

    def resolve(self, text: str) -> str:
        """The id a person means; see `Ledger.resolve`."""
        with self._lock:
            beginning = [record_id for record_id in self._documents if record_id.startswith(text.lower())]
            return resolve_text(text, self._refs, sorted(beginning))

    def close(self) -> None:
        """Nothing to let go of."""

    def _require(self, record_id: str) -> None:
        if record_id not in self._documents:
            raise unknown_record(record_id)


# ── what every ledger does alike ──────────────────────────────────────────────────────────────────────────────────────
def read_clock() -> str:
    """Now, as ISO 8601 in UTC with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def render_document(record: Record) -> str:
    """The canonical JSON that a record's id is the digest of."""
    return canonical_json(record.model_dump(mode="json")).decode("utf-8")


def parse_document(text: str, record_id: str) -> Record:
    """A stored document as the record of that id. Raises RecordDamaged where it is not that record any more."""
    try:
        return parse_record(json.loads(text), record_id)
    except (json.JSONDecodeError, ValidationError, AttributeError) as error:
        raise RecordDamaged(
            f"The stored record {record_id[:12]} cannot be read.",
            why=" ".join(str(error).split())[:300],
            next_step="Make the ledger again from ledger.jsonl: trainwright store reindex",
        ) from error


def require_ref_name(name: str) -> None:
    """Raises InvalidValue for a name that a ref cannot have."""
    if _REF_NAME.fullmatch(name) is None or _RECORD_ID.fullmatch(name) is not None:
        raise InvalidValue(
            f"{name!r} cannot be the name of a ref.",
            why="A ref is letters, digits and . _ @ / -, begins with a letter or digit, and is unlike a full id.",
            next_step="Choose a name like stories@latest.",
        )


def ref_moved(name: str, expected: str | None, now: str | None) -> RefMoved:
    """The error for a lost compare-and-swap."""
    return RefMoved(
        f"{name} points to {_short(now)}, not to {_short(expected)}.",
        why="It was moved since it was read; moving it on from there would undo that unseen.",
        next_step="Read the ref again, look at what it points to now, and decide again.",
    )


def unknown_record(record_id: str) -> UnknownRef:
    """The error for a full id that is not here."""
    return UnknownRef(
        f"There is no record {record_id[:12]} in this workspace.",
        why=f"Nothing with the id {record_id} was ever put into its ledger.",
        next_step="List what there is with `trainwright runs list`, or name the right workspace with --workspace.",
    )


def is_id_prefix(text: str) -> bool:
    """Whether `text` can be the beginning of an id."""
    return len(text) >= MIN_PREFIX_LENGTH and _HEX.fullmatch(text.lower()) is not None


def resolve_text(text: str, ref_targets: dict[str, str], ids_beginning: Sequence[str]) -> str:
    """What `Ledger.resolve` says, given all refs and the ids that begin with `text` (lower case, ascending)."""
    if text.lower() in ids_beginning:
        return text.lower()
    if text in ref_targets:
        return ref_targets[text]
    if not is_id_prefix(text) or not ids_beginning:
        raise _unknown(text, ref_targets)
    if len(ids_beginning) > 1:
        listed = ", ".join(record_id[:16] for record_id in ids_beginning[:NUM_CANDIDATES])
        more = f" and {len(ids_beginning) - NUM_CANDIDATES} more" if len(ids_beginning) > NUM_CANDIDATES else ""
        raise AmbiguousRef(
            f"{len(ids_beginning)} records begin with {text}.",
            why=f"They are {listed}{more}.",
            next_step="Give more digits of the id.",
        )
    return ids_beginning[0]


def _unknown(text: str, names: Iterable[str]) -> UnknownRef:
    known = sorted(names)
    near = [name for name in known if text and name.startswith(f"{text}@")]
    near += [name for name in difflib.get_close_matches(text, known, n=3, cutoff=0.6) if name not in near]
    if near:
        why = f"Did you mean {' or '.join(near[:3])}?"
    elif _HEX.fullmatch(text.lower()) and len(text) < MIN_PREFIX_LENGTH:
        why = f"The beginning of an id has at least {MIN_PREFIX_LENGTH} digits."
    else:
        why = "It is no ref, no id and no beginning of one."
    return UnknownRef(
        f"Nothing is called {text!r} in this workspace.",
        why=why,
        next_step="List what there is with `trainwright runs list`, or name the right workspace with --workspace.",
    )


def _short(record_id: str | None) -> str:
    return "nothing" if record_id is None else record_id[:12]
