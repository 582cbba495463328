"""The trace store in a database, through SQLAlchemy: SQLite by default, PostgreSQL by its URL.

It is a database of its own, beside the ledger: an import of millions is one transaction, and a run that writes to the
ledger meanwhile must not wait for it. Writers of traces wait for each other, so `seq` grows in the order of committing.

The words are indexed when they are first searched for (FTS5 in SQLite, tsvector in PostgreSQL), not on import: whoever
never searches does not pay.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import sqlalchemy as sa

from trainwright.core.errors import LedgerUnavailable
from trainwright.core.traces import AnyTrace
from trainwright.store.database import Database
from trainwright.store.ledger import is_id_prefix, read_clock
from trainwright.store.traces import (
    NUM_CANDIDATES,
    Added,
    AddedState,
    Counts,
    Import,
    StoredTrace,
    Tombstone,
    choose_id,
    forgotten_error,
    require_batch,
    split_words,
    unknown_trace,
    verify_stored,
)

SCHEMA_VERSION = 1
PAGE = 200
"""Rows that are read at once: 200 MiB where every trace is as large as it may be."""
MAX_INDEXED_CHARACTERS = 500_000
"""PostgreSQL's tsvector has room for no more; what a trace has beyond is not found by searching."""

_WHEN_DAMAGED = "Restore it from a copy, or move it away and import again; dataset versions hold their own traces."

_metadata = sa.MetaData()
_seq = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_traces = sa.Table(
    "traces",
    _metadata,
    sa.Column("seq", _seq, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("document", sa.Text),  # canonical JSON; null once forgotten
    sa.Column("added_at", sa.String(40), nullable=False),
    sa.Column("forgotten_at", sa.String(40)),
    sa.Column("forgotten_by", sa.Text),
    sa.Column("forgotten_why", sa.Text),
)
_IS_FORGOTTEN = _traces.c.forgotten_at.is_not(None)
sa.Index("traces_forgotten", _traces.c.forgotten_at, sqlite_where=_IS_FORGOTTEN, postgresql_where=_IS_FORGOTTEN)
_indexed = sa.Table("traces_indexed", _metadata, sa.Column("up_to", _seq, primary_key=True))
_schema_version = sa.Table("traces_schema", _metadata, sa.Column("version", sa.Integer, primary_key=True))

_WORDS = {
    "sqlite": {
        "create": "CREATE VIRTUAL TABLE IF NOT EXISTS traces_words USING "
        "fts5(words, content='', tokenize='unicode61 remove_diacritics 0')",
        "add": "INSERT INTO traces_words (rowid, words) VALUES (:seq, :words)",
        "find": "SELECT rowid FROM traces_words WHERE traces_words MATCH :words AND rowid < :before "
        "ORDER BY rowid DESC LIMIT :limit",
        "clear": "INSERT INTO traces_words (traces_words) VALUES ('delete-all')",
    },
    "postgresql": {
        "create": "CREATE TABLE IF NOT EXISTS traces_words (seq BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
        "index": "CREATE INDEX IF NOT EXISTS traces_words_index ON traces_words USING gin (words)",
        "add": "INSERT INTO traces_words (seq, words) VALUES (:seq, to_tsvector('simple', :words))",
        "find": "SELECT seq FROM traces_words WHERE words @@ plainto_tsquery('simple', :words) AND seq < :before "
        "ORDER BY seq DESC LIMIT :limit",
        "clear": "TRUNCATE traces_words",
    },
}
"""The only statements that differ. Both indexes are emptied whole when something is forgotten, and made anew at the next
search: neither forgets a single entry at once."""


class SqlTraces:
    """Traces at a SQLAlchemy URL, such as `sqlite:////path/traces.sqlite`. The contract is `TraceStore`'s."""

    def __init__(self, url: str) -> None:
        """Open, and make the tables on first use.

        Raises LedgerUnavailable, NotWritable, DiskFull, InvalidValue, PackageMissing, and TrainwrightTooOld where a newer
        one made the tables.
        """
        self._database = Database(url, "trace store", _WHEN_DAMAGED)
        self._words = _WORDS[self._database.dialect]
        if self._is_sqlite:
            sa.event.listen(self._database.engine, "connect", _set_up_forgetting)
        statements = [self._words[name] for name in ("create", "index") if name in self._words]
        self._database.prepare(_schema_version, SCHEMA_VERSION, statements)

    @classmethod
    def open_file(cls, path: Path) -> "SqlTraces":
        """The store in the SQLite file at `path`."""
        return cls(sa.URL.create("sqlite", database=str(path.absolute())).render_as_string())

    @contextmanager
    def importing(self) -> Iterator[Import]:
        """All or nothing; see `TraceStore.importing`."""
        with self._writing() as connection:
            last = connection.scalar(sa.select(sa.func.max(_traces.c.seq))) or 0
            yield _SqlImport(connection, last)

    def get(self, trace_id: str) -> StoredTrace:
        """One trace; see `TraceStore.get`."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(_traces).where(_traces.c.id == trace_id)).one_or_none()
        return _require_row(trace_id, row)

    def find(self, limit: int = 100, after: str | None = None) -> list[StoredTrace]:
        """Newest first; see `TraceStore.find`."""
        query = sa.select(_traces).where(_traces.c.document.is_not(None)).order_by(_traces.c.seq.desc()).limit(limit)
        with self._database.reading() as connection:
            if after is not None:
                query = query.where(_traces.c.seq < _find_seq(connection, after))
            return [_read_row(row) for row in connection.execute(query)]

    def search(self, words: str, limit: int = 100, after: str | None = None) -> list[StoredTrace]:
        """By words; see `TraceStore.search`."""
        wanted = split_words(words)
        self._catch_up_index()
        asked = " ".join(f'"{word}"' for word in wanted) if self._is_sqlite else " ".join(wanted)
        with self._database.reading() as connection:
            before = (1 << 63) - 1 if after is None else _find_seq(connection, after)
            values = {"words": asked, "before": before, "limit": limit}
            found = connection.scalars(sa.text(self._words["find"]), values).all()
            rows = connection.execute(
                sa.select(_traces)
                .where(_traces.c.seq.in_(found), _traces.c.document.is_not(None))
                .order_by(_traces.c.seq.desc())
            )
            return [_read_row(row) for row in rows]

    def iter_all(self) -> Iterator[StoredTrace]:
        """Oldest first; see `TraceStore.iter_all`."""
        with self._database.reading() as connection:
            last = connection.scalar(sa.select(sa.func.max(_traces.c.seq))) or 0
        # A page at a time, each read in its own moment: no reader stays open for as long as its user takes.
        yield from self._iter_pages(0, last)

    def iter_ids(self, ids: Iterable[str]) -> Iterator[StoredTrace]:
        """In the given order; see `TraceStore.iter_ids`."""
        remaining = iter(ids)
        while wanted := list(islice(remaining, PAGE)):
            with self._database.reading() as connection:
                rows = {row.id: row for row in connection.execute(sa.select(_traces).where(_traces.c.id.in_(wanted)))}
            for trace_id in wanted:
                yield _require_row(trace_id, rows.get(trace_id))

    def count(self) -> Counts:
        """How many; see `TraceStore.count`."""
        is_kept = _traces.c.document.is_not(None)
        query = sa.select(_traces.c.kind, is_kept, sa.func.count()).group_by(_traces.c.kind, is_kept)
        with self._database.reading() as connection:
            counts = {(kind, bool(kept)): number for kind, kept, number in connection.execute(query)}
        num_forgotten = sum(number for (_, kept), number in counts.items() if not kept)
        return Counts(counts.get(("trace", True), 0), counts.get(("conversation", True), 0), num_forgotten)

    def resolve(self, text: str) -> str:
        """A full id; see `TraceStore.resolve`."""
        low = text.lower()
        # A range instead of LIKE: it uses the index. "g" comes after every hex digit.
        begins = sa.and_(_traces.c.id >= low, _traces.c.id < low + "g")
        query = sa.select(_traces.c.id).where(begins).order_by(_traces.c.id).limit(NUM_CANDIDATES)
        with self._database.reading() as connection:
            return choose_id(text, connection.scalars(query).all() if is_id_prefix(text) else [])

    def forget(self, trace_id: str, who: str, why: str) -> Tombstone:
        """Destroy the content; see `TraceStore.forget`. Killed anywhere, a second call finishes the first."""
        with self._writing() as connection:
            is_kept = sa.and_(_traces.c.id == trace_id, _traces.c.document.is_not(None))
            values = {"document": None, "forgotten_at": read_clock(), "forgotten_by": who, "forgotten_why": why}
            connection.execute(sa.update(_traces).where(is_kept).values(values))
            row = connection.execute(sa.select(_traces).where(_traces.c.id == trace_id)).one_or_none()
            if row is None:
                raise unknown_trace(trace_id)
            self._clear_index(connection)
        self._leave_nothing_behind()
        return Tombstone(row.id, row.forgotten_at, row.forgotten_by, row.forgotten_why)

    def tombstones(self) -> list[Tombstone]:
        """The forgotten; see `TraceStore.tombstones`."""
        columns = (_traces.c.id, _traces.c.forgotten_at, _traces.c.forgotten_by, _traces.c.forgotten_why)
        query = sa.select(*columns).where(_IS_FORGOTTEN)
        with self._database.reading() as connection:
            return [
                Tombstone(*row) for row in connection.execute(query.order_by(_traces.c.forgotten_at, _traces.c.seq))
            ]

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def _is_sqlite(self) -> bool:
        return self._database.dialect == "sqlite"

    def _iter_pages(self, after: int, last: int) -> Iterator[StoredTrace]:
        while True:
            query = sa.select(_traces).where(_traces.c.seq > after, _traces.c.seq <= last)
            with self._database.reading() as connection:
                rows = connection.execute(query.order_by(_traces.c.seq).limit(PAGE)).all()
            if not rows:
                return
            after = rows[-1].seq
            yield from (_read_row(row) for row in rows if row.document is not None)

    def _catch_up_index(self) -> None:
        """Index the words of what was added since the last time, a page in a transaction."""
        while True:
            with self._writing() as connection:
                up_to = connection.scalar(sa.select(sa.func.max(_indexed.c.up_to))) or 0
                query = sa.select(_traces).where(_traces.c.seq > up_to).order_by(_traces.c.seq).limit(PAGE)
                rows = connection.execute(query).all()
                if not rows:
                    return
                words = [{"seq": row.seq, "words": _find_text(row)} for row in rows if row.document is not None]
                if words:
                    connection.execute(sa.text(self._words["add"]), words)
                connection.execute(sa.delete(_indexed))
                connection.execute(sa.insert(_indexed).values(up_to=rows[-1].seq))

    def _clear_index(self, connection: sa.Connection) -> None:
        connection.execute(sa.text(self._words["clear"]))
        connection.execute(sa.delete(_indexed))

    def _leave_nothing_behind(self) -> None:
        """SQLite overwrote the content with zeros in its file; what is left of it in the write-ahead log goes here."""
        with self._database.reading() as connection:
            raw = connection.execution_options(isolation_level="AUTOCOMMIT")
            if not self._is_sqlite:
                raw.exec_driver_sql("VACUUM traces")
                return
            is_busy, _, _ = raw.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        if is_busy:
            raise LedgerUnavailable(
                f"The content is forgotten, but {self._database.place}-wal may still hold bytes of it.",
                why="Another process kept reading the trace store.",
                next_step="Let it finish, then run the same command again: it finishes the job.",
            )

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """One transaction: all of the block, or nothing of it. Writers wait for each other."""
        with self._database.writing() as connection:
            if not self._is_sqlite:
                connection.execute(sa.text("LOCK TABLE traces IN SHARE ROW EXCLUSIVE MODE"))
            yield connection


class _SqlImport:
    def __init__(self, connection: sa.Connection, last_before: int) -> None:
        self._connection = connection
        self._last_before = last_before

    def add(self, traces: Sequence[AnyTrace]) -> list[Added]:
        """Add some; see `Import.add`. Writers wait for each other, so nothing comes between looking and adding."""
        require_batch(len(traces))
        added = [Added("", "new")] * len(traces)
        fresh: dict[str, AnyTrace] = {}
        states = self._look_up([trace.id for trace in traces])
        for position, trace in enumerate(traces):
            added[position] = Added(trace.id, "repeated" if trace.id in fresh else states.get(trace.id, "new"))
            if added[position].state == "new":
                fresh[trace.id] = trace
        now = read_clock()
        rows = [
            {"id": trace_id, "kind": trace.kind, "document": trace.canonical.decode("utf-8"), "added_at": now}
            for trace_id, trace in fresh.items()
        ]
        if rows:
            self._connection.execute(sa.insert(_traces), rows)
        return added

    def _look_up(self, ids: list[str]) -> dict[str, AddedState]:
        is_forgotten = _traces.c.document.is_(None)
        query = sa.select(_traces.c.id, _traces.c.seq, is_forgotten).where(_traces.c.id.in_(ids))
        return {
            trace_id: "forgotten" if forgotten else "known" if seq <= self._last_before else "repeated"
            for trace_id, seq, forgotten in self._connection.execute(query)
        }


def _set_up_forgetting(connection: object, _record: object) -> None:
    connection.execute("PRAGMA secure_delete=ON")  # type: ignore[attr-defined]  # what is deleted is overwritten with zeros


def _find_seq(connection: sa.Connection, trace_id: str) -> int:
    seq: int | None = connection.scalar(sa.select(_traces.c.seq).where(_traces.c.id == trace_id))
    if seq is None:
        raise unknown_trace(trace_id)
    return seq


def _require_row(trace_id: str, row: sa.Row[tuple[object, ...]] | None) -> StoredTrace:
    if row is None:
        raise unknown_trace(trace_id)
    if row.document is None:
        raise forgotten_error(trace_id, Tombstone(row.id, row.forgotten_at, row.forgotten_by, row.forgotten_why))
    return _read_row(row)


def _read_row(row: sa.Row[tuple[object, ...]]) -> StoredTrace:
    return verify_stored(StoredTrace(row.seq, row.id, row.document.encode("utf-8"), row.added_at))


def _find_text(row: sa.Row[tuple[object, ...]]) -> str:
    # PostgreSQL has no NUL in text.
    return _read_row(row).trace.text.replace("\0", " ")[:MAX_INDEXED_CHARACTERS]
