"""The workspace's own books: made again, and checked."""

import json
from pathlib import Path

import pytest

from trainwright.store.workspace import open_workspace


def dump(workspace: Path) -> dict:
    with open_workspace(workspace) as opened:
        ledger = opened.ledger
        return {
            "records": [(stored.record.id, stored.added_at) for stored in ledger.find(limit=1000)],
            "edges": [(ledger.parents(found), ledger.children(found)) for found in ledger.ids()],
            "refs": ledger.refs(),
            "moves": [ledger.ref_history(ref.name) for ref in ledger.refs()],
        }


def remove_database(workspace: Path) -> None:
    for path in workspace.glob("ledger.sqlite*"):
        path.unlink()


def test_a_deleted_ledger_is_made_again_equal_and_everything_is_still_reused(finished_copy, corpus):
    before = dump(finished_copy.workspace)
    remove_database(finished_copy.workspace)
    document = finished_copy("store", "reindex", "--json").document
    assert document["before"] == "missing"
    assert document["num_records"]["checkpoint"] == 6
    assert (document["unreadable"], document["found_in_runs"]) == ([], [])
    assert dump(finished_copy.workspace) == before
    again = finished_copy.run(corpus)
    assert again.document["reused"] == ["data", "tokenizer", "training"]
    assert "the database that was there: equal" in finished_copy("store", "reindex").out


def test_a_sound_workspace_is_checked_and_counted(finished_copy):
    document = finished_copy("store", "check", "--json").document
    assert document["findings"] == []
    assert (document["num_runs"], document["num_checkpoints"]) == (1, 3)
    assert document["num_records"] >= 12


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("objects/??/*", "is damaged"),
        ("runs/*/checkpoints/step-00000009/optimizer.safetensors", "step-00000009 is damaged"),
        ("runs/*/environment.json", "run sentences-"),
        ("ledger.jsonl", "ledger.jsonl, line 1 is damaged"),
    ],
)
def test_whatever_is_damaged_is_named(finished_copy, pattern, said):
    path = sorted(finished_copy.workspace.glob(pattern))[0]
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    error = finished_copy("store", "check", "--json", expect=2).error
    assert error["name"] == "object-damaged"
    assert said in error["why"]


def test_a_checkpoint_that_a_release_stands_on_is_missed_and_a_retired_one_is_not(finished_copy):
    (folder,) = finished_copy.run_folders()
    best = folder / "checkpoints" / "step-00000010"
    best.rename(folder / "aside")
    error = finished_copy("store", "check", "--json", expect=2).error
    assert "step-00000010 is missing" in error["why"]
    (folder / "aside").rename(best)
    run_id = json.loads((folder / "training_metrics.json").read_bytes())["run_id"]
    assert finished_copy("runs", "show", run_id, "--json").document["verdict"] is None
    assert finished_copy("store", "check").out.endswith("every byte is what its record says\n")
