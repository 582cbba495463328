"""The ledger in a database, through SQLAlchemy: SQLite by default, and nothing here that only SQLite understands
(how a database is opened is in `database.py`).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import sqlalchemy as sa

from trainwright.core.records import Record
from trainwright.store.database import Database, insert_or_ignore
from trainwright.store.ledger import (
    Entry,
    Memo,
    Ref,
    RefMove,
    StoredRecord,
    is_id_prefix,
    parse_document,
    read_clock,
    ref_moved,
    render_document,
    require_ref_name,
    resolve_text,
    unknown_record,
)

SCHEMA_VERSION = 2
"""2: `filed`. Version 1 gains the table when it is opened."""

_WHEN_DAMAGED = "Make it again from ledger.jsonl: trainwright store reindex"

_metadata = sa.MetaData()
_id = sa.String(64)
_records = sa.Table(
    "records",
    _metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),  # the order of putting; clocks step back
    sa.Column("id", _id, nullable=False, unique=True),
    sa.Column("kind", sa.String(64), nullable=False, index=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("added_at", sa.String(40), nullable=False),
)
_edges = sa.Table(
    "edges",
    _metadata,
    sa.Column("child", _id, primary_key=True),
    sa.Column("role", sa.String(64), primary_key=True),
    sa.Column("parent", _id, nullable=False, index=True),
)
_refs = sa.Table(
    "refs",
    _metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("record_id", _id, nullable=False),
)
_ref_moves = sa.Table(
    "ref_moves",
    _metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(200), nullable=False, index=True),
    sa.Column("from_id", _id),
    sa.Column("to_id", _id, nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
)
_recalls = sa.Table(
    "recalls",
    _metadata,
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("record_id", _id, nullable=False),
)
# How many bytes of the ledger's file (`filed_ledger.py`) have been taken in; no row where there is no such file.
_filed = sa.Table(
    "filed",
    _metadata,
    sa.Column("only", sa.Integer, primary_key=True),
    sa.Column("num_bytes", sa.BigInteger, nullable=False),
)
_schema_version = sa.Table("schema_version", _metadata, sa.Column("version", sa.Integer, primary_key=True))


class SqlLedger:
    """A ledger at a SQLAlchemy URL, such as `sqlite:////path/ledger.sqlite`. The contract is `Ledger`'s."""

    def __init__(self, url: str) -> None:
        """Open, and make the tables on first use.

        Raises LedgerUnavailable, NotWritable, DiskFull, and TrainwrightTooOld where a newer one made the tables.
        """
        self._database = Database(url, "ledger", _WHEN_DAMAGED)
        self._database.prepare(_schema_version, SCHEMA_VERSION)

    @classmethod
    def open_file(cls, path: Path) -> "SqlLedger":
        """The ledger in the SQLite file at `path` (an absolute path keeps it when the process changes folders)."""
        return cls(sa.URL.create("sqlite", database=str(path.absolute())).render_as_string())

    def put(self, record: Record) -> str:
        """Keep a record; see `Ledger.put`."""
        with self._database.writing() as connection:
            _insert_record(connection, StoredRecord(record, read_clock()))
        return record.id

    def get(self, record_id: str) -> Record:
        """A verified record; see `Ledger.get`."""
        with self._database.reading() as connection:
            document = connection.scalar(sa.select(_records.c.document).where(_records.c.id == record_id))
        if document is None:
            raise unknown_record(record_id)
        return parse_document(document, record_id)

    def has(self, record_id: str) -> bool:
        """Whether there is a record of that full id (it is not read)."""
        with self._database.reading() as connection:
            return connection.scalar(sa.select(_records.c.seq).where(_records.c.id == record_id)) is not None

    def require(self, record_id: str) -> None:
        """Raises UnknownRef where there is no record of that full id."""
        with self._database.reading() as connection:
            _require_record(connection, record_id)

    def find(self, kind: str | None = None, limit: int = 100, after: str | None = None) -> list[StoredRecord]:
        """Newest first; see `Ledger.find`."""
        query = sa.select(_records.c.id, _records.c.document, _records.c.added_at)
        query = query.order_by(_records.c.seq.desc()).limit(limit)
        if kind is not None:
            query = query.where(_records.c.kind == kind)
        with self._database.reading() as connection:
            if after is not None:
                seq = connection.scalar(sa.select(_records.c.seq).where(_records.c.id == after))
                if seq is None:
                    raise unknown_record(after)
                query = query.where(_records.c.seq < seq)
            rows = connection.execute(query).all()
        return [StoredRecord(parse_document(row.document, row.id), row.added_at) for row in rows]

    def ids(self) -> list[str]:
        """All ids; see `Ledger.ids`."""
        with self._database.reading() as connection:
            return list(connection.scalars(sa.select(_records.c.id).order_by(_records.c.seq)))

    def parents(self, record_id: str) -> list[tuple[str, str]]:
        """(role, id), by role; see `Ledger.parents`."""
        query = sa.select(_edges.c.role, _edges.c.parent).where(_edges.c.child == record_id).order_by(_edges.c.role)
        with self._database.reading() as connection:
            return [(role, parent) for role, parent in connection.execute(query)]

    def children(self, record_id: str) -> list[tuple[str, str]]:
        """(role, id), by role; see `Ledger.children`."""
        query = (
            sa.select(_edges.c.role, _edges.c.child)
            .join(_records, _records.c.id == _edges.c.child)
            .where(_edges.c.parent == record_id)
            .order_by(_edges.c.role, _records.c.seq)
        )
        with self._database.reading() as connection:
            return [(role, child) for role, child in connection.execute(query)]

    def move_ref(self, name: str, to: str, expected: str | None, who: str, why: str) -> RefMove:
        """Compare and swap; see `Ledger.move_ref`."""
        require_ref_name(name)
        at = read_clock()
        with self._database.writing() as connection:
            _require_record(connection, to)
            if expected is None:
                swapped = insert_or_ignore(connection, _refs, {"name": name, "record_id": to})
            else:
                is_there = sa.and_(_refs.c.name == name, _refs.c.record_id == expected)
                swapped = connection.execute(sa.update(_refs).where(is_there).values(record_id=to)).rowcount == 1
            if not swapped:
                now = connection.scalar(sa.select(_refs.c.record_id).where(_refs.c.name == name))
                raise ref_moved(name, expected, now)
            values = {"name": name, "from_id": expected, "to_id": to, "at": at, "who": who, "why": why}
            seq = connection.execute(sa.insert(_ref_moves).values(values).returning(_ref_moves.c.seq)).scalar_one()
        return RefMove(seq, name, expected, to, at, who, why)

    def read_ref(self, name: str) -> str | None:
        """Where a ref points."""
        with self._database.reading() as connection:
            return connection.scalar(sa.select(_refs.c.record_id).where(_refs.c.name == name))

    def refs(self) -> list[Ref]:
        """All refs, by name."""
        with self._database.reading() as connection:
            return [Ref(*row) for row in connection.execute(sa.select(_refs).order_by(_refs.c.name))]

    def ref_history(self, name: str) -> list[RefMove]:
        """Every move, oldest first."""
        query = sa.select(_ref_moves).where(_ref_moves.c.name == name).order_by(_ref_moves.c.seq)
        with self._database.reading() as connection:
            return [RefMove(**row) for row in connection.execute(query).mappings()]

    def remember(self, key: str, record_id: str) -> None:
        """Note what a stage gave; see `Ledger.remember`."""
        with self._database.writing() as connection:
            _require_record(connection, record_id)
            _note(connection, Memo(key, record_id))

    def recall(self, key: str) -> str | None:
        """What a stage gave, or None."""
        with self._database.reading() as connection:
            return connection.scalar(sa.select(_recalls.c.record_id).where(_recalls.c.key == key))

    def resolve(self, text: str) -> str:
        """The id a person means; see `Ledger.resolve`."""
        low = text.lower()
        # A range instead of LIKE: it uses the index. "g" comes after every hex digit.
        begins = sa.and_(_records.c.id >= low, _records.c.id < low + "g")
        query = sa.select(_records.c.id).where(begins).order_by(_records.c.id)
        with self._database.reading() as connection:
            ids = connection.scalars(query).all() if is_id_prefix(text) else []
            targets = {ref.name: ref.record_id for ref in connection.execute(sa.select(_refs))}
        return resolve_text(text, targets, ids)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    # ── all of it ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def iter_entries(self) -> Iterator[Entry]:
        """Everything that `take_in` needs to make an equal ledger, records verified: records, then moves, then memos.

        Raises RecordDamaged where a record is no longer what its id says.
        """
        with self._database.reading() as connection:
            for row in connection.execute(sa.select(_records).order_by(_records.c.seq)):
                yield StoredRecord(parse_document(row.document, row.id), row.added_at)
            for move in connection.execute(sa.select(_ref_moves).order_by(_ref_moves.c.seq)).mappings():
                yield RefMove(**move)
            for memo in connection.execute(sa.select(_recalls).order_by(_recalls.c.key)).mappings():
                yield Memo(**memo)

    def take_in(self, entries: Iterable[Entry], num_filed: int | None, *, afresh: bool = False) -> None:
        """Add what is on record elsewhere, all of it or nothing, and note how many bytes of the file that makes.

        `num_filed` None: whoever opens the ledger next makes it again from its file, if there is one. `afresh`: in place
        of everything that is here. The entries are taken as they are: a move was compared when it was
        made.
        """
        with self._database.writing() as connection:
            if afresh:
                for table in (_records, _edges, _refs, _ref_moves, _recalls):
                    connection.execute(sa.delete(table))
            for entry in entries:
                _insert_entry(connection, entry)
            connection.execute(sa.delete(_filed))
            if num_filed is not None:
                connection.execute(sa.insert(_filed).values(only=1, num_bytes=num_filed))

    def num_filed(self) -> int | None:
        """Bytes of the ledger's file that have been taken in; None where it was made without it."""
        with self._database.reading() as connection:
            num_bytes: int | None = connection.scalar(sa.select(_filed.c.num_bytes))
            return num_bytes

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _insert_entry(connection: sa.Connection, entry: Entry) -> None:
    match entry:
        case StoredRecord():
            _insert_record(connection, entry)
        case RefMove():
            values = {column: getattr(entry, column) for column in ("name", "from_id", "to_id", "at", "who", "why")}
            connection.execute(sa.insert(_ref_moves).values(values))
            if not insert_or_ignore(connection, _refs, {"name": entry.name, "record_id": entry.to_id}):
                connection.execute(sa.update(_refs).where(_refs.c.name == entry.name).values(record_id=entry.to_id))
        case Memo():
            _note(connection, entry)


def _insert_record(connection: sa.Connection, stored: StoredRecord) -> None:
    record = stored.record
    row = {"id": record.id, "kind": record.kind, "document": render_document(record), "added_at": stored.added_at}
    insert_or_ignore(connection, _records, row)
    for role, parent in record.parents().items():
        insert_or_ignore(connection, _edges, {"child": record.id, "role": role, "parent": parent})


def _note(connection: sa.Connection, memo: Memo) -> None:
    if not insert_or_ignore(connection, _recalls, {"key": memo.key, "record_id": memo.record_id}):
        connection.execute(sa.update(_recalls).where(_recalls.c.key == memo.key).values(record_id=memo.record_id))


def _require_record(connection: sa.Connection, record_id: str) -> None:
    if connection.scalar(sa.select(_records.c.seq).where(_records.c.id == record_id)) is None:
        raise unknown_record(record_id)
