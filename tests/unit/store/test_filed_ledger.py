"""Database and file: one is made again from the other, whatever happened between them."""

import json
import multiprocessing
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from trainwright.core.errors import LedgerUnavailable, RefMoved
from trainwright.core.records import DatasetVersion, SpecialTokens, Tokenizer
from trainwright.store.filed_ledger import FiledLedger
from trainwright.store.ledger_file import LedgerFile
from trainwright.store.sql_ledger import SqlLedger

NO_TOKENS = SpecialTokens(pad=None, unknown=None, begin=None, end=None)


def dataset(number: int = 0) -> DatasetVersion:
    return DatasetVersion(source=f"text {number} ä", files=(), recipe={}, splits={})


def fill(ledger: SqlLedger) -> None:
    one, two = ledger.put(dataset(1)), ledger.put(dataset(2))
    ledger.put(Tokenizer(dataset=one, algorithm="bpe", vocab_size=9, special_tokens=NO_TOKENS, files={}, settings={}))
    ledger.move_ref("a@latest", one, None, "ada", "first, with a\nline end")
    ledger.move_ref("b@latest", two, None, "bob", "another")
    ledger.move_ref("a@latest", two, one, "ada", "second")
    ledger.remember("stage/1", one)
    ledger.remember("stage/1", two)


def dump(ledger: SqlLedger) -> dict[str, object]:
    """Everything that can be asked of a ledger."""
    ids = ledger.ids()
    return {
        "entries": list(ledger.iter_entries()),
        "edges": {record_id: (ledger.parents(record_id), ledger.children(record_id)) for record_id in ids},
        "refs": ledger.refs(),
        "history": {ref.name: ledger.ref_history(ref.name) for ref in ledger.refs()},
        "found": ledger.find(limit=1000),
        "memo": ledger.recall("stage/1"),
    }


def dump_of(folder: Path) -> dict[str, object]:
    with closing(FiledLedger.open_in(folder)) as ledger:
        return dump(ledger)


def remove_database(folder: Path) -> None:
    for path in folder.glob("ledger.sqlite*"):
        path.unlink()


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    with closing(FiledLedger.open_in(tmp_path)) as ledger:
        fill(ledger)
    return tmp_path


def test_a_database_that_was_deleted_is_made_again_from_the_file(filled: Path) -> None:
    before = dump_of(filled)
    remove_database(filled)
    assert dump_of(filled) == before
    assert len(before["entries"]) == 7  # type: ignore[arg-type]


def test_a_file_that_was_deleted_is_written_again_from_the_database(filled: Path) -> None:
    before = dump_of(filled)
    (filled / "ledger.jsonl").unlink()
    assert dump_of(filled) == before
    remove_database(filled)
    assert dump_of(filled) == before


def test_a_ledger_from_before_there_was_a_file_is_written_out_once(tmp_path: Path) -> None:
    with closing(SqlLedger.open_file(tmp_path / "ledger.sqlite")) as ledger:
        fill(ledger)
        before = dump(ledger)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection, connection:
        connection.execute("DROP TABLE filed")
        connection.execute("UPDATE schema_version SET version = 1")
    assert dump_of(tmp_path) == before
    written = (tmp_path / "ledger.jsonl").read_bytes()
    assert dump_of(tmp_path) == before
    assert (tmp_path / "ledger.jsonl").read_bytes() == written
    remove_database(tmp_path)
    assert dump_of(tmp_path) == before


def test_rows_that_a_killed_writer_did_not_come_to_are_taken_in(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = FiledLedger.open_in(filled)
    child = os.fork()
    if child == 0:  # dies between the line and the rows
        monkeypatch.setattr(SqlLedger, "take_in", lambda *_, **__: os._exit(9))
        ledger.put(dataset(3))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not ledger.has(dataset(3).id)
    ledger.put(dataset(4))
    assert [ledger.has(dataset(number).id) for number in (3, 4)] == [True, True]
    ledger.close()
    before = dump_of(filled)
    remove_database(filled)
    assert dump_of(filled) == before


def test_half_a_line_was_never_recorded(filled: Path) -> None:
    before = dump_of(filled)
    with (filled / "ledger.jsonl").open("ab") as file:
        file.write(b'{"entry": "memo", "key": "st')
    assert dump_of(filled) == before
    with closing(FiledLedger.open_in(filled)) as ledger:
        ledger.put(dataset(5))
    remove_database(filled)
    with closing(FiledLedger.open_in(filled)) as ledger:
        assert ledger.has(dataset(5).id)


def test_what_the_database_refuses_is_not_in_the_file_either(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (filled / "ledger.jsonl").read_bytes()

    def refuse(*_: object, **__: object) -> None:
        raise LedgerUnavailable("No.")

    with closing(FiledLedger.open_in(filled)) as ledger:
        with monkeypatch.context() as patch:
            patch.setattr(SqlLedger, "take_in", refuse)
            with pytest.raises(LedgerUnavailable):
                ledger.put(dataset(6))
        with pytest.raises(RefMoved):
            ledger.move_ref("a@latest", dataset(1).id, None, "eve", "lost")
    assert (filled / "ledger.jsonl").read_bytes() == before


def test_putting_what_is_there_writes_nothing(filled: Path) -> None:
    before = (filled / "ledger.jsonl").stat()
    with closing(FiledLedger.open_in(filled)) as ledger:
        ledger.put(dataset(1))
        ledger.remember("stage/1", dataset(2).id)
    after = (filled / "ledger.jsonl").stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_a_damaged_line_is_named_where_it_is_needed(filled: Path) -> None:
    path = filled / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"text 2", b"text 7")
    path.write_bytes(b"".join(lines))
    dump_of(filled)  # the database has taken it in; nothing needs the line
    remove_database(filled)
    with pytest.raises(LedgerUnavailable, match=r"ledger\.jsonl is damaged") as caught:
        FiledLedger.open_in(filled)
    assert "Line 2" in caught.value.why
    assert "store reindex" in caught.value.next_step


def put_some(folder: Path, first: int) -> None:
    with closing(FiledLedger.open_in(folder)) as ledger:
        for number in range(first, first + 10):
            ledger.put(dataset(number))


def test_several_processes_write_one_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=put_some, args=(tmp_path, 5 * number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    before = dump_of(tmp_path)
    lines = [json.loads(line)["id"] for line in (tmp_path / "ledger.jsonl").read_bytes().splitlines()]
    assert len(lines) == len(set(lines)) == 20
    remove_database(tmp_path)
    assert dump_of(tmp_path) == before


def test_who_holds_the_file_too_long_is_an_error(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainwright.store.ledger_file.LOCK_TIMEOUT_S", 0.0)
    file = LedgerFile(filled / "ledger.jsonl")
    with (
        file.held(),
        closing(FiledLedger.open_in(filled)) as ledger,
        pytest.raises(LedgerUnavailable, match="held by another process"),
    ):
        ledger.put(dataset(8))
