"""The promises that matter most, once more on PyTorch: same plan, same weights; killed and resumed, the same weights."""

import importlib.util
import signal

import pytest

# Five processes that import torch: half a minute. The backend contract has the same promises without the command line.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed"),
]


def test_torch_gives_the_same_weights_killed_or_not_and_the_losses_of_the_reference(
    command, tmp_path, finished, corpus, at_instant
):
    words = ["run", "--framework=torch", f"--corpus={corpus}", *command.small]
    words += ["compute.device=cpu", "compute.dtype=float32", "compute.compile=false", "--json"]
    whole = command(*words, torch=True).document
    (folder,) = command.run_folders()
    events = command.read_events(folder)

    again = command(
        *words,
        "--retrain",
        torch=True,
        expect=-signal.SIGKILL,
        instant=at_instant("KILL", 1, '"kind":"step","step":7,'),
    )
    assert again.out == ""
    resumed = command("resume", "--json", torch=True).document
    assert resumed["run_id"] != whole["run_id"]
    assert resumed["plan_id"] == whole["plan_id"]
    assert resumed["weights_digest"] == whole["weights_digest"]
    (other,) = [path for path in command.run_folders() if path != folder]
    assert command.read_events(other) == events

    steps = [event for event in events if event["kind"] == "step"]
    reference = [event for event in finished.command.events() if event["kind"] == "step"]
    assert [event["learning_rate"] for event in steps] == [event["learning_rate"] for event in reference]
    assert [event["loss"] for event in steps] == pytest.approx([event["loss"] for event in reference], abs=1e-4)


def test_torch_goes_on_with_what_the_reference_wrote_and_that_is_on_record(finished_copy, finished):
    parent = finished.document["run_id"][:12]
    words = ("train", "--from", f"{parent}@8", "compute.framework=torch", "--json")
    refused = finished_copy(*words, torch=True, expect=4).error
    assert refused["name"] == "drift"
    assert refused["next"].endswith(f"--from {parent}@8 compute.framework=torch --allow-drift framework")
    assert len(finished_copy.run_folders()) == 1

    ended = finished_copy(*words, "--allow-drift", "framework", torch=True)
    assert "framework was reference and is torch, which can change results" in ended.err
    (folder,) = [path for path in finished_copy.run_folders() if not path.name.endswith(parent)]
    losses = [event["loss"] for event in finished_copy.read_events(folder) if event["kind"] == "step"]
    reference = [event["loss"] for event in finished.events_of_training if event["kind"] == "step"]
    assert losses == pytest.approx(reference[8:], abs=1e-4)
    run_id = ended.document["run_id"][:12]
    assert "from step 8: framework reference → torch" in finished_copy("lineage", run_id, "--json").document["tree"]
    # Its plan names its framework, so that it is computed again by that one.
    assert finished_copy("verify", run_id, "--json", torch=True).document["status"] == "verified"
