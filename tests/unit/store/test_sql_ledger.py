import json
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trainwright.core.errors import DataError, LedgerUnavailable, NotWritable, RecordDamaged, TrainwrightTooOld
from trainwright.core.records import DatasetVersion
from trainwright.store import database, sql_ledger
from trainwright.store.sql_ledger import SqlLedger

WRITER = """
import sys
from pathlib import Path
from trainwright.core.errors import RefMoved
from trainwright.core.records import DatasetVersion
from trainwright.store.sql_ledger import SqlLedger

ledger = SqlLedger.open_file(Path(sys.argv[1]))
me, count = sys.argv[2], int(sys.argv[3])
for number in range(count):
    shared = DatasetVersion(source=f"shared {number}", files=(), recipe={}, splits={})
    own = DatasetVersion(source=f"{me} {number}", files=(), recipe={}, splits={})
    ledger.put(shared)
    ledger.put(own)
    ledger.remember(f"key {number}", own.id)
    while True:
        at = ledger.read_ref("x@latest")
        try:
            ledger.move_ref("x@latest", own.id, at, me, str(number))
            break
        except RefMoved:
            continue
ledger.close()
"""


def dataset(source: str = "text") -> DatasetVersion:
    return DatasetVersion(source=source, files=(), recipe={}, splits={})


def test_processes_that_open_and_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path, count = tmp_path / "ledger.sqlite", 25
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(count)], stderr=subprocess.PIPE, text=True)
        for name in ("ada", "bob", "eve")
    ]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [("", 0)] * 3
    ledger = SqlLedger.open_file(path)
    sources = sorted(stored.record.source for stored in ledger.find(limit=1000))
    names = ("ada", "bob", "eve", "shared")
    assert sources == sorted(f"{name} {number}" for name in names for number in range(count))
    history = ledger.ref_history("x@latest")
    assert len(history) == 3 * count
    assert [move.from_id for move in history] == [None, *(move.to_id for move in history[:-1])]
    ledger.close()


def test_threads_share_one_ledger(tmp_path: Path) -> None:
    ledger = SqlLedger.open_file(tmp_path / "ledger.sqlite")
    threads = [
        threading.Thread(target=lambda n=n: [ledger.put(dataset(f"{n} {i}")) for i in range(20)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.find(limit=1000)) == 80
    ledger.close()


def test_records_outlive_the_process_that_put_them(tmp_path: Path) -> None:
    ledger = SqlLedger.open_file(tmp_path / "ledger.sqlite")
    record_id = ledger.put(dataset())
    ledger.close()
    again = SqlLedger.open_file(tmp_path / "ledger.sqlite")
    assert again.get(record_id) == dataset()
    again.close()


def test_a_failed_write_leaves_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = SqlLedger.open_file(tmp_path / "ledger.sqlite")
    record_id = ledger.put(dataset())

    def refuse(*_: object) -> None:
        raise DataError("stop")

    ledger.move_ref("x@latest", record_id, None, "ada", "")
    other = ledger.put(dataset("other"))
    monkeypatch.setattr(sql_ledger.sa, "insert", refuse)  # the move's own row, after the ref was updated
    with pytest.raises(DataError):
        ledger.move_ref("x@latest", other, record_id, "ada", "")
    monkeypatch.undo()
    assert ledger.read_ref("x@latest") == record_id
    assert len(ledger.ref_history("x@latest")) == 1
    ledger.close()


def test_sqlite_writes_ahead(tmp_path: Path) -> None:
    ledger = SqlLedger.open_file(tmp_path / "ledger.sqlite")
    with ledger._database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
    ledger.close()


@pytest.mark.parametrize(
    "document",
    ['{"kind": "dataset"', "[]", '{"kind": "dataset"}', '{"kind": "spaceship"}', dataset("b").model_dump_json()],
)
def test_a_changed_record_is_named_and_not_given(tmp_path: Path, document: str) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = SqlLedger.open_file(path)
    record_id = ledger.put(dataset("a"))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE records SET document = ?", (document,))
    connection.close()
    expected = TrainwrightTooOld if "spaceship" in document else RecordDamaged
    with pytest.raises(expected):
        ledger.get(record_id)
    with pytest.raises(expected):
        ledger.find()
    ledger.close()


def test_stored_documents_are_canonical_json(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = SqlLedger.open_file(path)
    ledger.put(dataset("ä"))
    ledger.close()
    connection = sqlite3.connect(path)
    (document,) = connection.execute("SELECT document FROM records").fetchone()
    connection.close()
    assert document == json.dumps(json.loads(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert "ä" in document


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    SqlLedger.open_file(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO schema_version VALUES (3)")
    connection.close()
    with pytest.raises(TrainwrightTooOld, match="newer"):
        SqlLedger.open_file(path)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database at all, just text" * 100)
    with pytest.raises(LedgerUnavailable, match=r"ledger\.sqlite"):
        SqlLedger.open_file(path)
    assert path.read_bytes().startswith(b"not a database")


def test_a_folder_that_is_not_there_is_not_writable(tmp_path: Path) -> None:
    with pytest.raises(NotWritable, match=r"ledger\.sqlite"):
        SqlLedger.open_file(tmp_path / "absent" / "ledger.sqlite")


def test_a_lock_that_is_never_let_go_is_an_error_with_a_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite"
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.1)
    ledger = SqlLedger.open_file(path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable, match="cannot be used") as caught:
        ledger.put(dataset())
    assert "holds the workspace" in caught.value.next_step
    assert ledger.find() == []  # readers never wait
    holder.execute("ROLLBACK")
    holder.close()
    ledger.put(dataset())
    ledger.close()
