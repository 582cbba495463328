"""What is done with a finished run: text, export, lineage, lists; and the plan and the machine before one."""

import hashlib
import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest


def test_generate_writes_text_after_the_prompt(finished):
    said = finished.command("generate", "sentences@latest", "The cat", "--max-tokens=5").out
    assert said.startswith("The cat")
    assert said.endswith("\n")


def test_equal_seeds_write_equal_text_and_other_seeds_other_text(finished):
    def write(seed: int, ref: str = "sentences@latest") -> dict[str, object]:
        return finished.command("generate", ref, "The cat", "--max-tokens=24", f"--seed={seed}", "--json").document

    first = write(1)
    assert set(first) == {"run_id", "step", "prompt", "text", "seed", "elapsed_s"}
    assert first["run_id"] == finished.document["run_id"]
    assert first["text"] == write(1, finished.document["run_id"][:10])["text"]
    assert first["text"] != write(2)["text"]


def test_checkpoint_of_a_step_can_be_named(finished):
    run_id = finished.document["run_id"]
    assert finished.command("generate", f"{run_id[:12]}@9", "The", "--max-tokens=2", "--json").document["step"] == 9
    error = finished.command("generate", f"{run_id[:12]}@7", "The", "--json", expect=64).error
    assert error["name"] == "unknown-ref"
    assert "9, 10" in error["why"]


def test_unknown_name_is_answered_with_the_nearest(finished):
    error = finished.command("generate", "sentence@latest", "The", "--json", expect=64).error
    assert error["name"] == "unknown-ref"
    assert "sentences@latest" in error["why"]


def test_export_writes_a_folder_that_others_open_and_never_over_another(finished_copy):
    exported = finished_copy("export", "sentences@latest", "hf", "--to", "hf", "--json").document
    names = {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"}
    assert names <= set(exported["artefacts"])
    folder = finished_copy.folder / "hf"
    assert json.loads((folder / "config.json").read_bytes())["model_type"] == "qwen3"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    error = finished_copy("export", "sentences@latest", "hf", "--to", "hf", "--json", expect=64).error
    assert error["name"] == "output-exists"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / "mine.txt").write_text("replace me", encoding="utf-8")
    finished_copy("export", "sentences@latest", "hf", "--overwrite")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_lineage_goes_from_text_to_report(finished):
    said = finished.command("lineage", "sentences@latest").out
    for kind in ("dataset", "tokenizer", "token-set", "plan", "run", "checkpoint", "report"):
        assert kind in said
    document = finished.command("lineage", "sentences@latest", "--check", "--json").document
    assert document["findings"] == []
    kinds = {node["id"]: node["kind"] for node in document["nodes"]}
    assert document["record_id"] in kinds
    assert {(kinds[edge["child"]], kinds[edge["parent"]]) for edge in document["edges"]} >= {
        ("tokenizer", "dataset"),
        ("token-set", "tokenizer"),
        ("plan", "token-set"),
        ("run", "plan"),
        ("checkpoint", "run"),
        ("report", "checkpoint"),
    }


def test_flipped_byte_anywhere_behind_a_model_is_found_and_named(finished_copy):
    objects = [path for path in (finished_copy.workspace / "objects").rglob("*") if path.is_file()]
    largest = max(objects, key=lambda path: path.stat().st_size)
    for path in (largest, finished_copy.run_folders()[0] / "checkpoints" / "step-00000010" / "optimizer.safetensors"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    error = finished_copy("lineage", "sentences@latest", "--check", "--json", expect=2).error
    assert error["name"] == "object-damaged"
    assert (
        largest.parent.name + largest.name in error["why"] or (largest.parent.name + largest.name)[:12] in error["why"]
    )
    assert "optimizer.safetensors" in error["why"]


def test_runs_are_listed_newest_first_page_by_page(finished_copy, finished, corpus, at_instant):
    # Two more runs that end at once: killed as their first event is written.
    for seed in (2, 3):
        finished_copy.run(corpus, f"--seed={seed}", expect=-9, instant=at_instant("KILL", 1, '"kind":"step"'))
    everything = finished_copy("runs", "list", "--json").document
    assert set(everything) == {"items", "next"}
    assert everything["next"] is None
    ids = [row["run_id"] for row in everything["items"]]
    assert len(ids) == 3
    assert ids[-1] == finished.document["run_id"]
    assert [row["status"] for row in everything["items"]] == ["interrupted", "interrupted", "completed"]
    first = finished_copy("runs", "list", "--limit=2", "--json").document
    assert [row["run_id"] for row in first["items"]] == ids[:2]
    rest = finished_copy("runs", "list", "--limit=2", f"--after={first['next']}", "--json").document
    assert [row["run_id"] for row in rest["items"]] == ids[2:]
    assert rest["next"] is None
    said = finished_copy("runs", "list").out
    assert all(run_id[:12] in said for run_id in ids)


def test_run_is_shown_with_its_plan_environment_and_checkpoints(finished):
    document = finished.document
    shown = finished.command("runs", "show", document["run_id"], "--json").document
    assert set(document) - {"reused"} <= set(shown)
    assert {"plan", "environment", "checkpoints"} <= set(shown)
    for key in ("run_id", "plan_id", "status", "run_dir", "weights_digest", "final_metrics"):
        assert shown[key] == document[key]
    assert [set(checkpoint) for checkpoint in shown["checkpoints"]] == [{"step", "path", "digest"}] * 3
    assert shown["checkpoints"][-1]["digest"] == document["weights_digest"]
    assert "weights_digest" in finished.command("runs", "show", document["run_id"][:6]).out


def test_run_shows_the_model_that_it_made(finished):
    shown = finished.command("runs", "show", "sentences@latest", "--json").document
    assert shown["artefacts"]["model.safetensors"].startswith(shown["run_dir"])
    model = Path(shown["artefacts"]["model.safetensors"]).read_bytes()
    assert hashlib.sha256(model).hexdigest() == shown["weights_digest"]


def test_run_whose_folder_was_removed_does_not_hide_the_others(finished_copy, finished, corpus, at_instant):
    finished_copy.run(corpus, "--seed=2", expect=-9, instant=at_instant("KILL", 1, '"kind":"step"'))
    (gone,) = [path for path in finished_copy.run_folders() if path.name[-12:] != finished.document["run_id"][:12]]
    shutil.rmtree(gone)
    (row,) = finished_copy("runs", "list", "--json").document["items"]
    assert row["run_id"] == finished.document["run_id"]


def test_plan_is_the_one_that_the_run_has(command, finished, corpus):
    words = ["plan", "--framework=reference", f"--corpus={corpus}", *command.small, "--json"]
    first = command(*words).document
    assert first["plan_id"] == finished.document["plan_id"]
    assert {"plan_id", "plan", "num_parameters", "estimate"} <= set(first)
    assert first["plan"]["training"]["num_steps"] == 10
    assert command(*words).document == first
    assert command.run_folders() == []


@pytest.mark.parametrize("torch", [False, True])
def test_doctor_says_what_is_there_and_what_mends_the_rest(command, torch):
    rows = {row["name"]: row for row in command("doctor", "--json", torch=torch).document["items"]}
    assert rows["Python"]["ok"] is True
    assert rows["reference"]["ok"] is True
    row = rows["torch"]
    if torch and importlib.util.find_spec("torch"):
        assert row["ok"] is True
        return
    assert row["ok"] is None
    assert row["remedy"] == "pip install 'trainwright[torch]'"
    said = command("doctor").out
    assert re.search(r"^absent +torch\b.*not installed", said, re.MULTILINE)
    assert "pip install 'trainwright[torch]'" in said
