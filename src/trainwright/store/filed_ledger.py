"""A ledger that can be made again: `ledger.jsonl` has everything, line by line; the database is its index.

Whoever writes holds the file's lock, adds a line, and then the rows. The database says how much of the file it has taken
in, in the same transaction as the rows, so a process that was killed between the two, or a database that lost its last
moments with the power, is behind by some lines and takes them in when it is next opened or written to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from trainwright.core.records import Record
from trainwright.store.ledger import Entry, Memo, RefMove, StoredRecord, read_clock, ref_moved, require_ref_name
from trainwright.store.ledger_file import LedgerFile
from trainwright.store.sql_ledger import SqlLedger


class FiledLedger(SqlLedger):
    """A ledger in a database beside a file of lines. The contract is `Ledger`'s."""

    def __init__(self, url: str, file: LedgerFile) -> None:
        """Open, and bring database and file together where one is behind the other.

        Raises what `SqlLedger` raises, and LedgerUnavailable where the file is damaged and is needed.
        """
        super().__init__(url)
        self._file = file
        if not self._is_level():
            with file.held():
                self._follow()

    @classmethod
    def open_in(cls, folder: Path) -> "FiledLedger":
        """The ledger of the workspace in `folder`."""
        database = sa.URL.create("sqlite", database=str((folder / "ledger.sqlite").absolute()))
        return cls(database.render_as_string(), LedgerFile(folder / "ledger.jsonl"))

    def put(self, record: Record) -> str:
        """Keep a record; see `Ledger.put`."""
        if not self.has(record.id):
            with self._writing_both():
                if not self.has(record.id):  # another process may have put it while this one waited
                    self._add(StoredRecord(record, read_clock()))
        return record.id

    def move_ref(self, name: str, to: str, expected: str | None, who: str, why: str) -> RefMove:
        """Compare and swap; see `Ledger.move_ref`."""
        require_ref_name(name)
        with self._writing_both():
            self.require(to)
            now = self.read_ref(name)
            if now != expected:
                raise ref_moved(name, expected, now)
            self._add(RefMove(0, name, expected, to, read_clock(), who, why))
            return self.ref_history(name)[-1]

    def remember(self, key: str, record_id: str) -> None:
        """Note what a stage gave; see `Ledger.remember`."""
        if self.recall(key) != record_id:
            with self._writing_both():
                self.require(record_id)
                self._add(Memo(key, record_id))

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────────
    @contextmanager
    def _writing_both(self) -> Iterator[None]:
        with self._file.held():
            self._follow()
            yield

    def _add(self, entry: Entry) -> None:
        before = self._file.num_bytes()
        num_bytes = self._file.append(entry)
        try:
            self.take_in([entry], num_bytes)
        except BaseException:
            self._file.cut(before)
            raise

    def _is_level(self) -> bool:
        return self.num_filed() == self._file.num_bytes()

    def _follow(self) -> None:
        """Bring both to the same state. The caller holds the file."""
        if self._is_level():
            return
        num_filed, num_bytes = self.num_filed(), self._file.num_bytes()
        if num_filed is None and self._file.exists():  # a new database beside an older file: made again
            self.take_in(self._file.iter_entries(), num_bytes, afresh=True)
        elif num_filed is not None and num_filed < num_bytes:  # a writer died between line and rows
            self.take_in(self._file.iter_entries(num_filed), num_bytes)
        else:  # a database from before there was a file, or a file that lost its end
            self.take_in([], self._file.write_out(self.iter_entries()))
