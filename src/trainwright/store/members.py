"""Which dataset versions hold a trace: an index of the lists of ids that versions have, in a SQLite file of its own.

It says nothing that the versions do not say, so it may be deleted: what is missing in it is taken in when it is next asked
(`take_in_versions`), and `trainwright store reindex` makes it again whole. It is no part of the ledger, whose writers need
not wait while a million ids are sorted in, nor of the trace store, which several workspaces may share.
"""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import sqlalchemy as sa

from trainwright.core.records import DatasetVersion
from trainwright.store.database import Database, insert_or_ignore
from trainwright.store.objects import ObjectStore

CHUNK = 100_000
"""Ids that are sorted and written at once: in order, they are several times as fast as they come."""
CACHE_KIB = 65_536

_WHEN_DAMAGED = "Make it again from the dataset versions: trainwright store reindex"

_metadata = sa.MetaData()
_versions = sa.Table(
    "versions",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("dataset", sa.String(64), nullable=False, unique=True),
)
# The key is all there is: without a rowid, a row is stored once.
_members = sa.Table(
    "members",
    _metadata,
    sa.Column("trace", sa.LargeBinary(32), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sqlite_with_rowid=False,
)


class Members:
    """The index in the SQLite file at `path`. A version is in it whole or not at all."""

    def __init__(self, path: Path) -> None:
        """Open, and make the tables on first use. Raises LedgerUnavailable, NotWritable, DiskFull."""
        url = sa.URL.create("sqlite", database=str(path.absolute())).render_as_string()
        self._database = Database(url, "index of traces", _WHEN_DAMAGED)
        with self._database.writing() as connection:
            _metadata.create_all(connection)

    def add(self, dataset_id: str, trace_ids: Iterable[str]) -> int:
        """Take in a version with all its traces, unless it is there; how many traces were taken in."""
        remaining = iter(trace_ids)
        count = 0
        with self._database.writing() as connection:
            if not insert_or_ignore(connection, _versions, {"dataset": dataset_id}):
                return 0
            number = connection.scalar(sa.select(_versions.c.number).where(_versions.c.dataset == dataset_id))
            connection.exec_driver_sql(f"PRAGMA cache_size = -{CACHE_KIB}")
            while chunk := sorted(map(bytes.fromhex, islice(remaining, CHUNK))):
                rows = [(trace, number) for trace in chunk]
                connection.exec_driver_sql("INSERT OR IGNORE INTO members (trace, version) VALUES (?, ?)", rows)
                count += len(rows)
        return count

    def datasets(self) -> set[str]:
        """The ids of the versions that are in it."""
        with self._database.reading() as connection:
            return set(connection.scalars(sa.select(_versions.c.dataset)))

    def find(self, trace_id: str) -> list[str]:
        """The ids of the versions that hold a trace, the first taken in first."""
        query = (
            sa.select(_versions.c.dataset)
            .join(_members, _members.c.version == _versions.c.number)
            .where(_members.c.trace == bytes.fromhex(trace_id))
            .order_by(_versions.c.number)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def ids_beginning(self, text: str, limit: int) -> list[str]:
        """Up to `limit` ids of traces that begin with those hex digits, ascending."""
        low, high = (bytes.fromhex(text.lower().ljust(64, digit)) for digit in "0f")
        within = _members.c.trace.between(low, high)
        query = sa.select(_members.c.trace).where(within).distinct().order_by(_members.c.trace).limit(limit)
        with self._database.reading() as connection:
            return [trace.hex() for trace in connection.scalars(query)]

    def close(self) -> None:
        """Close the connections."""
        self._database.close()


def take_in_version(members: Members, dataset: DatasetVersion, objects: ObjectStore) -> int:
    """Take in the ids that a version of traces lists; how many there were to take in.

    A version whose building was cut short before its list was kept holds nothing yet. Raises ObjectDamaged.
    """
    assert dataset.records is not None
    if not objects.has(dataset.records):
        return 0
    with objects.open_local(dataset.records).open("rb") as lines:
        return members.add(dataset.id, (line.decode("ascii").rstrip("\n") for line in lines))


def take_in_versions(members: Members, datasets: Iterable[DatasetVersion], objects: ObjectStore) -> int:
    """Take in those versions of traces that are not in the index yet; how many traces came in. Raises ObjectDamaged."""
    known = members.datasets()
    return sum(take_in_version(members, one, objects) for one in datasets if one.id not in known)
