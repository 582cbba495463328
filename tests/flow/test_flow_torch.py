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
