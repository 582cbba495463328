"""The trace store in SQLite: what the file holds and does not hold, and what a killed import leaves."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from trainwright.core.errors import InvalidValue, LedgerUnavailable, RecordDamaged, TrainwrightTooOld
from trainwright.core.traces import Trace, parse_trace
from trainwright.store import database
from trainwright.store.sql_traces import SqlTraces
from trainwright.store.traces import import_batch

KILLED = """
import os, signal, sys
from pathlib import Path
from trainwright.core.traces import parse_trace
from trainwright.store.sql_traces import SqlTraces

store = SqlTraces.open_file(Path(sys.argv[1]))
with store.importing() as running:
    for start in range(0, 20_000, 1000):
        running.add([parse_trace({"trace_version": "1", "prompt": f"killed {number}" * 20, "final_answer": "b",
            "steps": [{"i": 0, "type": "a", "content": "b"}]}) for number in range(start, start + 1000)])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def make_trace(number: int, secret: str = "") -> Trace:
    document = {
        "trace_version": "1.0",
        "prompt": f"prompt {number} {secret}",
        "final_answer": f"{number} " + secret * 200,  # long enough to lie on pages of its own
        "steps": [{"i": 0, "type": "a", "content": f"step {number} {secret}"}],
    }
    trace = parse_trace(document)
    assert isinstance(trace, Trace)
    return trace


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())


@pytest.mark.parametrize("search_first", [False, True])
def test_no_file_holds_what_was_forgotten(tmp_path: Path, search_first: bool) -> None:
    store = SqlTraces.open_file(tmp_path / "traces.sqlite")
    secret = make_trace(50, "Xyzzyplugh")
    import_batch(store, [make_trace(number) for number in range(50)])
    import_batch(store, [secret])
    import_batch(store, [make_trace(number) for number in range(51, 400)])
    if search_first:
        assert [found.id for found in store.search("xyzzyplugh")] == [secret.id]
    assert b"Xyzzyplugh" in bytes_in(tmp_path)
    store.forget(secret.id, who="someone", why="asked for")
    left = bytes_in(tmp_path)
    assert b"yzzyplugh" not in left  # the index of words holds them in lower case
    assert store.search("xyzzyplugh") == []
    assert len(store.search("step", limit=1000)) == 399
    store.close()


def test_forgetting_that_a_reader_hinders_says_so_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.1)
    store = SqlTraces.open_file(tmp_path / "traces.sqlite")
    trace = make_trace(1, "Xyzzyplugh")
    import_batch(store, [trace])
    reader = sqlite3.connect(tmp_path / "traces.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM traces").fetchone()
    with pytest.raises(LedgerUnavailable, match="may still hold bytes of it"):
        store.forget(trace.id, who="someone", why="asked for")
    reader.execute("ROLLBACK")
    reader.close()
    assert store.forget(trace.id, who="another", why="again").who == "someone"
    assert b"Xyzzyplugh" not in bytes_in(tmp_path)
    store.close()


def test_an_import_that_is_killed_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "traces.sqlite"
    store = SqlTraces.open_file(path)
    import_batch(store, [make_trace(1)])
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], env=os.environ, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert store.count().num_traces == 1
    assert [one.state for one in import_batch(store, [make_trace(1), make_trace(2)])] == ["known", "new"]
    store.close()


def test_a_trace_that_was_changed_in_the_file_is_not_read(tmp_path: Path) -> None:
    store = SqlTraces.open_file(tmp_path / "traces.sqlite")
    import_batch(store, [make_trace(1)])
    connection = sqlite3.connect(tmp_path / "traces.sqlite")
    connection.execute("UPDATE traces SET document = replace(document, 'prompt 1', 'prompt 2')")
    connection.commit()
    connection.close()
    with pytest.raises(RecordDamaged, match=make_trace(1).id[:12]):
        store.get(make_trace(1).id)
    with pytest.raises(RecordDamaged):
        list(store.iter_all())
    store.close()


def test_tables_of_a_newer_version_are_left_alone(tmp_path: Path) -> None:
    SqlTraces.open_file(tmp_path / "traces.sqlite").close()
    connection = sqlite3.connect(tmp_path / "traces.sqlite")
    connection.execute("INSERT INTO traces_schema VALUES (99)")
    connection.commit()
    connection.close()
    with pytest.raises(TrainwrightTooOld, match="newer Trainwright"):
        SqlTraces.open_file(tmp_path / "traces.sqlite")


@pytest.mark.parametrize("url", ["not a url", "nosuchdatabase://x"])
def test_what_is_no_url_of_a_database_is_refused(url: str) -> None:
    with pytest.raises(InvalidValue, match="not the URL of a database"):
        SqlTraces(url)
