"""`train --from`: a run that goes on from another run's checkpoint."""

import json
import shutil
import signal

import pytest


@pytest.fixture
def run_id(finished):
    return finished.document["run_id"][:12]


def test_branch_with_nothing_changed_ends_in_the_very_weights_of_its_run(finished_copy, finished, run_id):
    digest, said = finished_copy.train_to_the_end("train", "--from", f"{run_id}@8", "--json")
    assert f"from step 8 of run {run_id}" in said
    assert digest == finished.document["weights_digest"]
    branch = find_branch(finished_copy, run_id)
    events = finished_copy.read_events(branch)
    assert events[0]["from_step"] == 8
    assert list_losses(events) == list_losses(finished.events_of_training)[8:]


@pytest.mark.slow  # many processes, one after the other
def test_branch_with_other_settings_is_another_run_and_stands_in_the_lineage(finished_copy, finished, run_id):
    settings = ("train.steps=12", "train.optimizer.learning_rate=0.002", "name=branched")
    ended = finished_copy("train", "--from", f"{run_id}@9", *settings, "--json").document
    assert ended["weights_digest"] != finished.document["weights_digest"]
    assert ended["run_id"] != finished.document["run_id"]
    shown = finished_copy("runs", "show", "branched@latest", "--json").document
    parent = finished_copy("runs", "show", run_id, "--json").document
    assert (shown["status"], shown["step"], parent["status"]) == ("completed", 12, "completed")
    training, inherited = shown["plan"]["training"], parent["plan"]["training"]
    changed = {key for key in training if training[key] != inherited.get(key)}
    # Twelve steps of which the same share is spent decaying; the one rate takes the other with it.
    assert changed == {"num_steps", "optimizer", "schedule"}
    assert training["optimizer"]["matrix_learning_rate"] == pytest.approx(0.002 * 5 / 2)
    lineage = finished_copy("lineage", "branched@latest", "--check", "--json").document
    kinds = {node["id"]: node["kind"] for node in lineage["nodes"]}
    (edge,) = (edge for edge in lineage["edges"] if edge["role"] == "start")
    assert (edge["child"], kinds[edge["parent"]]) == (ended["plan_id"], "checkpoint")
    assert finished.document["run_id"] in kinds
    assert lineage["findings"] == []


def test_branch_killed_before_and_after_its_first_checkpoint_ends_the_same(finished_copy, finished, run_id, at_instant):
    words = ("train", "--from", f"{run_id}@8", "--json")
    for at, match in (
        (2, "/checkpoints/.step-00000008"),
        (1, '"kind":"step","step":9,'),
        (1, "/checkpoints/.step-00000010"),
    ):
        finished_copy(*words, expect=-signal.SIGKILL, instant=at_instant("KILL", at, match))
        words = ("resume", "--json")
    # Its own first checkpoint is all it needs from now on.
    shutil.rmtree(finished_copy.workspace / "runs" / finished.run_folder.name / "checkpoints")
    digest, _ = finished_copy.train_to_the_end("resume", "--json")
    assert digest == finished.document["weights_digest"]
    events = finished_copy.read_events(find_branch(finished_copy, run_id))
    assert list_losses(events) == list_losses(finished.events_of_training)[8:]


def test_checkpoint_that_a_branch_starts_from_is_never_deleted(stopped_copy, finished, at_instant):
    (folder,) = stopped_copy.run_folders()
    parent = folder.name.rpartition("-")[2]
    branch = ("train", "--from", f"{parent}@4", "--json")
    stopped_copy(*branch, expect=-signal.SIGKILL, instant=at_instant("KILL", 1, '"kind":"step","step":5,'))
    digest, _ = stopped_copy.train_to_the_end("resume", parent, "--json")
    assert digest == finished.document["weights_digest"]
    kept = sorted(path.name for path in (folder / "checkpoints").glob("step-*"))
    assert kept == [f"step-{step:08d}" for step in (4, 8, 9, 10)]


@pytest.mark.parametrize(
    ("setting", "name", "said"),
    [
        ("seed=1337", "invalid-value", "seed"),
        ("model.layers=2", "invalid-value", "model.layers"),
        ("data.corpus=other.txt", "invalid-value", "data.corpus"),
        ("tokenizer.vocab_size=400", "invalid-value", "tokenizer.vocab_size"),
        ("train={optimizer: {name: adamw}}", "invalid-value", "train.optimizer.name"),
        ("train.batch_size=8", "invalid-value", "which text"),
        ("train.epochs=2", "invalid-value", "steps"),
        ("train.steps=8", "out-of-range", "step 8"),
        ("train.optimizer.lerning_rate=1", "unknown-key", "learning_rate"),
        ("compute.dtype=float32", "invalid-value", "where it computes"),
        ("compute.framework=[torch, tinygrad]", "invalid-value", "One framework goes on"),
    ],
)
def test_setting_that_a_branch_cannot_have_is_refused(finished_copy, run_id, setting, name, said):
    error = finished_copy("train", "--from", f"{run_id}@8", setting, "--json", expect=64).error
    assert error["name"] == name
    assert said in " ".join([error["message"], error["why"]])
    assert len(finished_copy.run_folders()) == 1


def test_framework_that_is_missing_does_not_go_on_with_anything(finished_copy, run_id):
    words = ("train", "--from", f"{run_id}@8", "compute.framework=torch", "--allow-drift", "framework", "--json")
    error = finished_copy(*words, expect=1).error
    assert error["name"] == "package-missing"
    assert "pip install 'trainwright[torch]'" in error["next"]
    assert len(finished_copy.run_folders()) == 1


def test_checkpoint_that_is_not_kept_is_answered_with_those_that_are(finished_copy, run_id):
    error = finished_copy("train", "--from", f"{run_id}@5", "--json", expect=64).error
    assert error["name"] == "unknown-ref"
    assert "8, 9, 10" in error["why"]


def find_branch(command, parent: str):
    (folder,) = (folder for folder in command.run_folders() if not folder.name.endswith(parent))
    assert json.loads((folder / "plan.json").read_text(encoding="utf-8"))["start"]["mode"] == "continue"
    return folder


def list_losses(events) -> list[tuple[int, float]]:
    return [(event["step"], event["loss"]) for event in events if event["kind"] == "step"]
