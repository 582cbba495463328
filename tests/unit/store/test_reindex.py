"""The ledger made again: from its lines, from its database, from the run folders."""

from contextlib import closing
from pathlib import Path

import pytest

from trainwright.core.errors import TrainwrightTooOld
from trainwright.core.records import Checkpoint, Outcome
from trainwright.core.state import Position
from trainwright.store.checkpoints import write_checkpoint
from trainwright.store.filed_ledger import FiledLedger
from trainwright.store.objects import FolderObjects
from trainwright.store.reindex import reindex
from trainwright.store.run_folder import create_run_folder


class World:
    """A workspace's folder with a run, two checkpoints, one of them no longer kept, and a ref that was moved."""

    def __init__(self, root: Path, make_history, make_state, environment) -> None:
        self.root = root
        self.history = make_history(FolderObjects(root / "objects"))
        self.folder = create_run_folder(root / "runs", self.history.run, self.history.plan, environment)
        self.checkpoints = [self.write(make_state, step) for step in (5, 10)]
        with closing(FiledLedger.open_in(root)) as ledger:
            for record in (*self.history.records(), *self.checkpoints):
                ledger.put(record)
            first, last = (checkpoint.id for checkpoint in self.checkpoints)
            ledger.move_ref("hello@latest", first, None, "ada", "the first")
            ledger.move_ref("hello@latest", last, first, "ada", "the last")
            ledger.remember("tokens", self.history.token_set.id)
            ledger.put(Outcome(run=self.history.run.id, status="completed", checkpoint=last, report=None))
        for path in (self.folder.checkpoints_path / "step-00000005").iterdir():
            path.unlink()
        (self.folder.checkpoints_path / "step-00000005").rmdir()

    def write(self, make_state, step: int) -> Checkpoint:
        return write_checkpoint(
            self.folder.checkpoints_path,
            run_id=self.history.run.id,
            fingerprint=self.history.tokenizer.fingerprint,
            state=make_state(step),
            position=Position(step=step, num_tokens=step, num_events=step),
        )

    def dump(self):
        with closing(FiledLedger.open_in(self.root)) as ledger:
            return {
                "entries": list(ledger.iter_entries()),
                "edges": [(ledger.parents(found), ledger.children(found)) for found in ledger.ids()],
                "refs": ledger.refs(),
            }

    @property
    def lines(self) -> Path:
        return self.root / "ledger.jsonl"

    @property
    def database(self) -> Path:
        return self.root / "ledger.sqlite"

    def damage_a_line(self, number: int) -> None:
        lines = self.lines.read_bytes().splitlines(keepends=True)
        lines[number - 1] = lines[number - 1].replace(b'"', b"'", 1)
        self.lines.write_bytes(b"".join(lines))


@pytest.fixture
def world(tmp_path, make_history, make_state, environment) -> World:
    return World(tmp_path, make_history, make_state, environment)


def test_made_again_it_is_equal(world) -> None:
    before = world.dump()
    done = reindex(world.root)
    assert (done.before, done.unreadable, done.found_in_runs) == ("equal", (), ())
    assert done.num_records["checkpoint"] == 2
    assert (done.num_moves, done.num_memos) == (2, 1)
    assert world.dump() == before


def test_a_deleted_database_is_made_again_equal(world) -> None:
    before = world.dump()
    for path in world.root.glob("ledger.sqlite*"):
        path.unlink()
    assert reindex(world.root).before == "missing"
    assert world.dump() == before


def test_a_database_that_cannot_be_read_is_set_aside_and_made_again(world) -> None:
    before = world.dump()
    world.database.write_bytes(b"not a database at all" * 1000)
    done = reindex(world.root)
    assert done.before == "unreadable"
    assert [(part.file, part.recovered) for part in done.unreadable] == [("ledger.sqlite", True)]
    assert (world.root / "damaged-ledger.sqlite").read_bytes().startswith(b"not a database")
    assert world.dump() == before


def test_rows_that_were_changed_behind_its_back_are_put_right(world) -> None:
    import sqlite3

    before = world.dump()
    with closing(sqlite3.connect(world.database)) as connection, connection:
        connection.execute("DELETE FROM records WHERE kind = 'outcome'")
        connection.execute("UPDATE refs SET record_id = ?", [world.history.run.id])
    assert reindex(world.root).before == "different"
    assert world.dump() == before


def test_a_damaged_line_is_written_again_from_the_database(world) -> None:
    before = world.dump()
    world.damage_a_line(3)
    done = reindex(world.root)
    assert [(part.file, part.line, part.recovered) for part in done.unreadable] == [("ledger.jsonl", 3, True)]
    assert world.dump() == before
    assert (world.root / "damaged-ledger.jsonl").exists()
    assert reindex(world.root).unreadable == ()


def test_a_line_that_is_lost_is_named_and_the_rest_is_kept(world) -> None:
    before = world.dump()["entries"]
    world.damage_a_line(3)
    for path in world.root.glob("ledger.sqlite*"):
        path.unlink()
    done = reindex(world.root)
    assert [(part.line, part.recovered) for part in done.unreadable] == [(3, False)]
    after = world.dump()["entries"]
    assert [entry for entry in before if entry not in after] == [before[2]]
    assert len(after) == len(before) - 1


def test_without_both_the_run_folders_tell_what_they_hold(world) -> None:
    for path in world.root.glob("ledger.*"):
        path.unlink()
    done = reindex(world.root)
    assert {record.id for record in done.found_in_runs} == {
        world.history.plan.id,
        world.history.run.id,
        world.checkpoints[1].id,
    }
    assert len(world.dump()["entries"]) == 3
    assert reindex(world.root).found_in_runs == ()


def test_a_run_folder_that_is_damaged_is_named(world) -> None:
    world.folder.plan_path.write_text("{", encoding="utf-8")
    done = reindex(world.root)
    assert [(part.file, part.recovered) for part in done.unreadable] == [(f"runs/{world.folder.path.name}", False)]
    assert "plan.json" in done.unreadable[0].why


def test_a_record_of_a_kind_that_only_a_newer_version_knows_stops_it(world) -> None:
    from trainwright.core.hashing import canonical_json, digest_json

    document = {"entry": "record", "at": "now", "id": "0" * 64, "record": {"kind": "prophecy"}}
    with world.lines.open("ab") as file:
        file.write(canonical_json(document | {"digest": digest_json(document)}) + b"\n")
    before = world.lines.read_bytes()
    with pytest.raises(TrainwrightTooOld):
        reindex(world.root)
    assert world.lines.read_bytes() == before


def test_an_empty_folder_gives_an_empty_ledger(tmp_path) -> None:
    done = reindex(tmp_path / "new")
    assert (done.num_records, done.num_moves, done.before) == ({}, 0, "missing")
