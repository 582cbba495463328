"""How a database is opened, written to, and how its refusals become ours. SQLite by default, PostgreSQL by its URL.

SQLite runs in write-ahead mode: readers never wait, writers wait for each other (up to 30 s), and a power cut loses at
most the last moments, never the database.
"""

import sqlite3
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from trainwright.core.errors import (
    DiskFull,
    InvalidValue,
    LedgerUnavailable,
    NotWritable,
    PackageMissing,
    PrerequisiteError,
    TrainwrightTooOld,
)

BUSY_TIMEOUT_S = 30.0
_PREPARING = 7_126_002
"""The number of the lock under which tables are made in PostgreSQL: several services may start at once."""


def build_engine(url: str) -> sa.Engine:
    """An engine for a SQLAlchemy URL. Raises InvalidValue (no such database), PackageMissing (its driver)."""
    try:
        if sa.make_url(url).get_backend_name() != "sqlite":
            # A connection is tried before it is used: the server may have been begun again since.
            return sa.create_engine(url, pool_pre_ping=True)
        engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
        raise InvalidValue(
            "That is not the URL of a database.",
            why=" ".join(str(error).split()),
            next_step="Give one like postgresql+psycopg://USER@HOST/DATABASE or sqlite:////PATH.",
        ) from None
    except ModuleNotFoundError as error:
        raise PackageMissing(
            f"The driver of that database, {error.name}, is not installed.",
            why="Only SQLite comes with Python.",
            next_step="pip install 'trainwright[postgresql]'",
        ) from None
    sa.event.listen(engine, "connect", _set_up_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


class Database:
    """An open database that holds `what` (the ledger, the trace store), its refusals translated into our errors.

    `when_damaged` is what to do where it cannot be read any more.
    """

    def __init__(self, url: str, what: str, when_damaged: str) -> None:
        self.engine = build_engine(url)
        self.place = self.engine.url.render_as_string(hide_password=True)
        self._what, self._when_damaged = what, when_damaged
        weakref.finalize(self, self.engine.dispose)

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.engine.dialect.name

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to read with."""
        with self.translated_errors(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction: all of the block, or nothing of it."""
        with (
            self.translated_errors(),
            self.engine.connect().execution_options(is_writing=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """What the database says in the block, as our errors."""
        with translate_database_errors(self._what, self.place, self._when_damaged):
            yield

    def prepare(self, versions: sa.Table, version: int, statements: Sequence[str] = ()) -> None:
        """Make what is missing of the tables beside `versions`, whose rows say which version of them was made. A column that
        came later is added; it has to be nullable, or to have a default of the database's.

        `statements` make what SQLAlchemy has no words for. Raises TrainwrightTooOld where a newer one made the tables.
        """
        found = self._read_version(versions)
        if found is None or found < version:
            with self.writing() as connection:
                if self.dialect == "postgresql":  # SQLite has one writer anyway
                    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:number)"), {"number": _PREPARING})
                versions.metadata.create_all(connection)
                _add_missing_columns(connection, versions.metadata)
                for statement in statements:
                    connection.execute(sa.text(statement))
                insert_or_ignore(connection, versions, {"version": version})
            found = self._read_version(versions)
        if found is not None and found > version:
            raise TrainwrightTooOld(
                f"The {self._what} {self.place} was made by a newer Trainwright.",
                why=f"Its tables have version {found}; this Trainwright knows versions up to {version}.",
                next_step="Upgrade: pip install --upgrade trainwright",
            )

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def _read_version(self, versions: sa.Table) -> int | None:
        with self.reading() as connection:
            if not sa.inspect(connection).has_table(versions.name):
                return None
            version: int | None = connection.scalar(sa.select(sa.func.max(versions.c.version)))
            return version


def insert_or_ignore(connection: sa.Connection, table: sa.Table, row: dict[str, Any]) -> bool:
    """Insert a row unless its key is there; whether it was inserted."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    # Not by the count of rows, which PostgreSQL's driver does not always tell.
    statement = insert(table).values(row).on_conflict_do_nothing().returning(sa.literal(1))
    return connection.execute(statement).first() is not None


def _add_missing_columns(connection: sa.Connection, metadata: sa.MetaData) -> None:
    for table in metadata.sorted_tables:
        known = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                added = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
                connection.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN {added}"))


@contextmanager
def translate_database_errors(what: str, place: str, when_damaged: str) -> Iterator[None]:
    """Turn what a database says about `what` (the ledger, the trace store) at `place` into our errors.

    `when_damaged` is what to do about a database that cannot be read any more.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _translate(error, what, place, when_damaged) from error


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin_sqlite`, not guessed from the statement
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while not _switch_to_write_ahead(connection) and time.monotonic() < deadline:
        time.sleep(0.02)
    connection.execute("PRAGMA synchronous=NORMAL")


def _switch_to_write_ahead(connection: Any) -> bool:
    """False where another process is just opening the database: SQLite does not wait for *this* lock by itself."""
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname.startswith("SQLITE_BUSY"):
            return False
        raise
    return True


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes its lock at the beginning, where SQLite waits for it; a reader turning writer would fail at once.
    is_writing = connection.get_execution_options().get("is_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")


def _translate(error: sa.exc.DBAPIError, what: str, place: str, when_damaged: str) -> PrerequisiteError:
    code = getattr(error.orig, "sqlite_errorname", "")
    said = " ".join(str(error.orig).split())
    if code.startswith("SQLITE_FULL"):
        return DiskFull(
            f"No room to write the {what} {place}.", why=f"SQLite said: {said}.", next_step="Free some space."
        )
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return NotWritable(
            f"The {what} {place} cannot be opened for writing.",
            why=f"SQLite said: {said}.",
            next_step="Choose a workspace that you may write to with --workspace.",
        )
    remedy = "Check that the database is reachable; then run it again."
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        remedy = "Find the process that holds the workspace and let it finish; then run it again."
    elif code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        remedy = when_damaged
    return LedgerUnavailable(f"The {what} {place} cannot be used.", why=f"The database said: {said}.", next_step=remedy)
