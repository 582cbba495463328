"""A run is computed again and compared; what was changed behind its back is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainwright.core.hashing import canonical_json
from trainwright.core.records import Change, Drift
from trainwright.core.state import TrainingState
from trainwright.store.checkpoints import checkpoint_path, read_checkpoint, write_checkpoint
from trainwright.store.run_folder import RunFolder, create_run_folder
from trainwright.store.workspace import open_workspace


def flip_a_bit_of(path: Path, tensor: str) -> None:
    """Change the lowest bit of the first number of one tensor in a safetensors file."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    layout = json.loads(data[8:start])
    data[start + layout[tensor]["data_offsets"][0]] ^= 1
    path.write_bytes(data)


def change_json(path: Path, change: Callable[[dict], None]) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")


def run_of(command) -> tuple[Path, str]:
    (folder,) = command.run_folders()
    return folder, folder.name.rpartition("-")[2]


def newest_verdict(command, run_id: str) -> dict:
    return command("runs", "show", run_id, "--json").document["verdict"]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_verified_and_nothing_in_its_folder_changes(finished_copy):
    folder, run_id = run_of(finished_copy)
    before = snapshot(folder)
    document = finished_copy("verify", run_id, "--json").document
    assert document["status"] == "verified"
    assert document["share"] == 1.0
    assert [(row["first_step"], row["last_step"], row["found"]) for row in document["intervals"]] == [
        (0, 3, "agrees"),
        (3, 4, "agrees"),
        (4, 6, "agrees"),
        (6, 8, "agrees"),
        (8, 9, "agrees"),
        (9, 10, "agrees"),
    ]
    assert snapshot(folder) == before
    verdict = newest_verdict(finished_copy, run_id)
    assert verdict["verdict_id"] == document["verdict_id"]
    assert verdict["intervals"] == [{"first_step": 0, "last_step": 10}]
    assert "verdict" in finished_copy("lineage", run_id).out
    shown = finished_copy("verify", run_id, "--sample=0.1").out
    assert "verified: 10% of the steps" in shown
    assert "not drawn" in shown


def test_an_interrupted_run_is_verified_as_far_as_it_came(stopped_copy):
    _, run_id = run_of(stopped_copy)
    document = stopped_copy("verify", run_id, "--json").document
    assert (document["status"], document["num_steps"], document["share"]) == ("verified", 8, 1.0)


def test_a_flipped_bit_in_a_stored_tensor_is_named_with_its_step(finished_copy):
    folder, run_id = run_of(finished_copy)
    tensor = "model.layers.0.self_attn.q_proj.weight"
    flip_a_bit_of(folder / "checkpoints" / "step-00000009" / "model.safetensors", tensor)
    error = finished_copy("verify", run_id, "--sample=0.1", "--json", expect=5).error
    assert error["name"] == "verification-failed"
    assert f"step 9: {tensor}" in error["message"]
    assert "changed after it was written" in error["why"]
    verdict = newest_verdict(finished_copy, run_id)
    assert verdict["status"] == "differs"
    assert verdict["difference"] == {"step": 9, "tensor": tensor, "cause": "stored"}


def test_a_recorded_loss_that_was_changed_is_named_with_its_step(finished_copy):
    folder, run_id = run_of(finished_copy)
    path = folder / "events.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    (at,) = [index for index, line in enumerate(lines) if '"kind":"step","step":7,' in line]
    event = json.loads(lines[at])
    lines[at] = json.dumps(event | {"loss": event["loss"] - 0.5}, separators=(",", ":")) + "\n"
    path.write_text("".join(lines), encoding="utf-8")
    error = finished_copy("verify", run_id, "--json", expect=5).error
    assert "step 7" in error["message"]
    assert "The loss of the step event at step 7" in error["why"]
    assert newest_verdict(finished_copy, run_id)["difference"]["cause"] == "events"


def test_a_checkpoint_that_plan_and_data_do_not_give_is_named_by_tensor(finished_copy):
    """Forged soundly: files, manifest and record agree with each other, and only computing again can tell."""
    folder, run_id = run_of(finished_copy)
    forge_checkpoint(finished_copy, folder, 9)
    error = finished_copy("verify", run_id, "--json", expect=5).error
    assert "step 9: model.norm.weight" in error["message"]
    assert "Computed again it differs" in error["why"]
    assert newest_verdict(finished_copy, run_id)["difference"] == {"step": 9, "tensor": "model.norm.weight"}


def test_a_difference_in_a_checkpoint_that_is_not_kept_is_told_by_its_digests(finished_copy):
    folder, run_id = run_of(finished_copy)
    forge_checkpoint(finished_copy, folder, 9)
    shutil.rmtree(folder / "checkpoints" / "step-00000009")
    error = finished_copy("verify", run_id, "--json", expect=5).error
    assert "step 9" in error["message"]
    assert "model.safetensors" in error["why"]
    assert "no tensor can be named" in error["why"]
    assert newest_verdict(finished_copy, run_id)["difference"] == {"step": 9, "tensor": ""}


def forge_checkpoint(command, folder: Path, step: int) -> None:
    path = checkpoint_path(folder / "checkpoints", step)
    content = read_checkpoint(path)
    weights = dict(content.state.weights)
    weights["model.norm.weight"] = weights["model.norm.weight"] + np.float32(1)
    shutil.rmtree(path)
    forged = write_checkpoint(
        folder / "checkpoints",
        run_id=content.record.run,
        fingerprint=content.fingerprint,
        state=TrainingState(weights, content.state.optimizer, content.state.num_updates),
        position=content.position,
    )
    with open_workspace(command.workspace) as workspace:
        workspace.ledger.put(forged)


def test_an_altered_plan_is_a_designed_error(finished_copy):
    folder, run_id = run_of(finished_copy)
    change_json(folder / "plan.json", lambda plan: plan.update(seed=7))
    assert finished_copy("verify", run_id, "--json", expect=4).error["name"] == "plan-mismatch"
    (folder / "plan.json").write_text("{", encoding="utf-8")
    assert finished_copy("verify", run_id, "--json", expect=4).error["name"] == "run-damaged"


def test_other_packages_cannot_verify_and_are_named(finished_copy):
    run_id = rewrite_run(finished_copy, lambda environment: environment["packages"].update(numpy="1.0.0"))
    error = finished_copy("verify", run_id, "--json", expect=5).error
    assert error["name"] == "cannot-verify"
    assert "numpy was 1.0.0" in error["why"]
    verdict = newest_verdict(finished_copy, run_id)
    assert (verdict["status"], verdict["share"], verdict["intervals"]) == ("cannot-verify", 0.0, [])


def rewrite_run(command, change: Callable[[dict], None]) -> str:
    """The same run as if it had been begun in another environment: every id and digest is right."""
    (path,) = command.run_folders()
    folder = RunFolder(path)
    environment = folder.read_environment()
    change(environment)
    old = folder.read_run()
    with open_workspace(command.workspace) as workspace:
        run = old.model_copy(update={"environment": workspace.objects.put(canonical_json(environment))})
        workspace.ledger.put(run)
        new = create_run_folder(workspace.runs, run, folder.read_plan(), environment)
        shutil.copy(folder.events_path, new.events_path)
        for kept in sorted(folder.checkpoints_path.glob("step-*")):
            content = read_checkpoint(kept)
            record = write_checkpoint(
                new.checkpoints_path,
                run_id=run.id,
                fingerprint=content.fingerprint,
                state=content.state,
                position=content.position,
            )
            workspace.ledger.put(record)
    return run.id


def test_missing_data_cannot_verify_and_is_named(finished_copy):
    folder, run_id = run_of(finished_copy)
    with open_workspace(finished_copy.workspace) as workspace:
        plan = json.loads((folder / "plan.json").read_bytes())
        token_set = workspace.ledger.get(plan["token_set"])
        shard = token_set.splits["train"].shards[0].digest  # type: ignore[attr-defined]
    path = finished_copy.workspace / "objects" / shard[:2] / shard[2:]
    path.unlink()
    error = finished_copy("verify", run_id, "--json", expect=5).error
    assert error["name"] == "cannot-verify"
    assert "shard 1 of train is missing" in error["why"]


def test_steps_after_an_allowed_drift_are_reported_as_such(finished_copy):
    _, run_id = run_of(finished_copy)
    with open_workspace(finished_copy.workspace) as workspace:
        full_id = workspace.ledger.resolve(run_id)
        change = Change(name="numpy", before="1.0", now="2.0", exact=False)
        workspace.ledger.put(Drift(run=full_id, step=6, at="2026-01-01T00:00:00.000+00:00", changes=(change,)))
    shown = finished_copy("verify", run_id, expect=5)
    assert "after drift" in shown.out
    assert "error[cannot-verify]" in shown.err
    verdict = newest_verdict(finished_copy, run_id)
    assert verdict["intervals"] == [{"first_step": 0, "last_step": 6}]
    assert verdict["share"] == 0.6
    assert "after step 6" in verdict["why"]
    assert "drift" in finished_copy("lineage", run_id).out


def test_a_run_that_is_not_there_is_said(finished_copy):
    assert finished_copy("verify", "ffff", "--json", expect=64).error["name"] == "unknown-ref"


@pytest.mark.slow  # many processes, one after the other
def test_a_run_that_was_rolled_back_and_one_that_branched_off_it_are_verified(command, corpus):
    ladder = ("outlier_sigmas=1.2", "window=8", "max_skips=3", "max_rollbacks=100", "rate_factor=0.9")
    settings = ("train.steps=40", "train.keep_last=4", "train.checkpoint_every=5", "train.validate_every=20")
    run_id = command.run(corpus, *settings, *(f"train.stability.{key}" for key in ladder)).document["run_id"]
    assert any(event["kind"] == "rollback" for event in command.events())
    assert command("verify", run_id, "--json").document["status"] == "verified"
    branch = command("train", "--from", f"{run_id}@30", "train.optimizer.learning_rate=0.002", "--json").document
    document = command("verify", branch["run_id"], "--json").document
    assert (document["status"], document["share"]) == ("verified", 1.0)
    assert document["intervals"][0]["first_step"] == 30
