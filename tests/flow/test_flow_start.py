"""A run that starts from a model of ours: its weights, its tokenizer, a fresh optimizer, and lineage that says so."""

import json
import shutil
import signal

import numpy as np
import pytest
import safetensors.numpy

FINE = (
    "--framework=reference",
    "--batch-size=4",
    "--max-seq-length=32",
    "data.split.block_lines=20",
    "train.start=sentences@latest",
    "train.steps=10",
    "train.validate_every=4",
    "train.checkpoint_every=3",
    "train.sample_tokens=4",
    "train.optimizer.learning_rate=0.001",
    "compute.threads=1",
    "budgets.latency_p95_ms=null",
    "name=tuned",
)


@pytest.fixture(scope="module")
def tuned(finished, corpus, tmp_path_factory):
    """A finished run, and one that started from its model."""
    folder = tmp_path_factory.mktemp("tuned") / "copy"
    shutil.copytree(finished.command.folder, folder)
    text = corpus.read_text(encoding="utf-8").replace("cat", "horse").replace("saw", "met")
    (folder / "more.txt").write_text(text, encoding="utf-8")
    command = type(finished.command)(folder)
    return command, command("run", *FINE, "--corpus=more.txt", "--json", expect=None)


def plan_of(document):
    return json.loads((document_path(document) / "plan.json").read_bytes())


def document_path(document):
    from pathlib import Path

    return Path(document["run_dir"])


def test_run_starts_at_the_weights_of_the_model_and_at_step_zero(finished, tuned):
    command, result = tuned
    assert result.code == 0, result.err
    plan = plan_of(result.document)
    base = plan_of(finished.document)
    assert plan["start"]["mode"] == "weights"
    assert plan["model"] == base["model"]
    assert "start" not in base
    events = command.read_events(document_path(result.document))
    first = next(event for event in events if event["kind"] == "step")
    assert first["step"] == 1
    trained = [event for event in command.read_events(document_path(finished.document)) if event["kind"] == "step"]
    assert first["loss"] < trained[0]["loss"] - 0.1


def test_lineage_shows_what_the_run_started_from(finished, tuned):
    command, _ = tuned
    lineage = command("lineage", "tuned@latest", "--json", "--check").document
    assert lineage["findings"] == []
    start = [edge for edge in lineage["edges"] if edge["role"] == "start"]
    assert len(start) == 1
    kinds = {node["id"]: node["kind"] for node in lineage["nodes"]}
    assert (kinds[start[0]["child"]], kinds[start[0]["parent"]]) == ("plan", "checkpoint")


def test_tokenizer_is_the_models_own(finished, tuned):
    command, _ = tuned
    lineage = command("lineage", "tuned@latest", "--json").document
    assert [node["kind"] for node in lineage["nodes"]].count("tokenizer") == 1


def test_killed_and_resumed_run_ends_in_the_same_weights(tuned, at_instant, tmp_path):
    command, result = tuned
    shutil.copytree(command.folder, tmp_path / "copy")
    again = type(command)(tmp_path / "copy")
    words = ("run", *FINE, f"--corpus={command.folder}/more.txt", "--retrain", "--json")
    again(*words, expect=-signal.SIGKILL, instant=at_instant("KILL", 1, '"kind":"step","step":2,'))
    resumed = again("resume", "--json").document
    assert resumed["weights_digest"] == result.document["weights_digest"]
    assert resumed["plan_id"] == result.document["plan_id"]


def test_start_that_is_no_longer_kept_is_an_error_by_name(tuned, tmp_path):
    command, _ = tuned
    shutil.copytree(command.folder, tmp_path / "copy")
    again = type(command)(tmp_path / "copy")
    for folder in (again.workspace / "runs").glob("sentences-*/checkpoints/step-*"):
        shutil.rmtree(folder)
    error = again("run", *FINE, f"--corpus={command.folder}/more.txt", "--retrain", "--json", expect=64).error
    assert error["name"] == "unknown-ref"


def test_damaged_start_is_an_error_by_name(tuned, tmp_path):
    command, _ = tuned
    shutil.copytree(command.folder, tmp_path / "copy")
    again = type(command)(tmp_path / "copy")
    for path in (again.workspace / "runs").glob("sentences-*/checkpoints/step-*/model.safetensors"):
        weights = safetensors.numpy.load(path.read_bytes())
        path.write_bytes(safetensors.numpy.save({name: np.zeros_like(array) for name, array in weights.items()}))
    error = again("run", *FINE, f"--corpus={command.folder}/more.txt", "--json", expect=4).error
    assert error["name"] == "checkpoint-damaged"


@pytest.mark.parametrize("section", ["model.layers=1", "tokenizer.vocab_size=300"])
def test_another_shape_or_tokenizer_than_the_starts_is_refused(tuned, section):
    error = tuned[0]("run", *FINE, section, "--corpus=more.txt", "--json", expect=64).error
    assert error["name"] == "invalid-value"
    assert section.partition(".")[0] in error["message"]


def test_unknown_start_is_an_error_before_anything_is_read(tuned):
    words = [word.replace("sentences@latest", "nobody@latest") for word in FINE]
    error = tuned[0]("run", *words, "--corpus=nowhere.txt", "--json", expect=64).error
    assert error["name"] == "unknown-ref"
