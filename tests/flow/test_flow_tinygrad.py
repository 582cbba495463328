"""The promises that matter most, once more on tinygrad: same plan, same weights; killed and resumed, the same weights."""

import importlib.util
import signal

import pytest

# Every process compiles its kernels anew, but for the C: a minute each on a busy machine.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.extra,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(importlib.util.find_spec("tinygrad") is None, reason="tinygrad is not installed"),
]
PATIENT = {"timeout": 500, "torch": True}  # torch and tinygrad are hidden otherwise


def test_tinygrad_gives_the_same_weights_killed_or_not_and_the_losses_of_the_reference(
    command, finished, corpus, at_instant
):
    words = ["run", "--framework=tinygrad", f"--corpus={corpus}", *command.small, "--json"]
    whole = command(*words, **PATIENT).document
    (folder,) = command.run_folders()
    events = command.read_events(folder)

    at_step_7 = at_instant("KILL", 1, '"kind":"step","step":7,')
    again = command(*words, "--retrain", expect=-signal.SIGKILL, instant=at_step_7, **PATIENT)
    assert again.out == ""
    digest, _ = command.train_to_the_end("resume", "--json", **PATIENT)
    assert digest == whole["weights_digest"]
    (other,) = [path for path in command.run_folders() if path != folder]
    steps, resumed = (
        [event for event in told if event["kind"] == "step"] for told in (events, command.read_events(other))
    )
    assert resumed == steps

    reference = [event for event in finished.command.events() if event["kind"] == "step"]
    assert [event["learning_rate"] for event in steps] == [event["learning_rate"] for event in reference]
    assert [event["loss"] for event in steps] == pytest.approx([event["loss"] for event in reference], abs=1e-3)


def test_without_a_compiler_the_plan_is_refused_with_the_command_that_brings_one(command, corpus):
    packages = command.folder / "packages"
    packages.mkdir()
    (packages / "ziglang.py").write_text("")  # in place of the package
    environment = {
        "PYTHONPATH": f"{packages}:{command.environment(None)['PYTHONPATH']}",
        "CC": "",
        "PATH": str(packages),
    }
    words = ("plan", f"--corpus={corpus}", *command.small, "--framework=tinygrad", "--json")
    error = command(*words, expect=1, environment=environment, **PATIENT).error
    assert error["name"] == "device-unavailable"
    assert "no clang was found" in error["why"]
    assert error["next"].startswith("apt-get install clang")


@pytest.mark.parametrize(
    ("setting", "said"),
    [("compute.dtype=bfloat16", "cannot train in bfloat16"), ("compute.compile=true", "in float32 compiled")],
)
def test_what_tinygrad_cannot_do_is_refused_by_the_plan_with_those_that_can(command, corpus, setting, said):
    words = ("plan", f"--corpus={corpus}", *command.small, "--framework=tinygrad", setting, "--json")
    error = command(*words, expect=4, **PATIENT).error
    assert error["name"] == "unsupported-plan"
    assert said in error["message"]
    able = "none" if importlib.util.find_spec("torch") is None else "torch"
    assert error["why"] == f"Backends installed here that can: {able}."


def test_tinygrad_goes_on_with_what_the_reference_wrote_and_that_is_on_record(finished_copy, finished):
    parent = finished.document["run_id"][:12]
    words = ("train", "--from", f"{parent}@8", "compute.framework=tinygrad", "--allow-drift", "framework", "--json")
    _, said = finished_copy.train_to_the_end(*words, **PATIENT)
    assert "framework was reference and is tinygrad, which can change results" in said
    (folder,) = [path for path in finished_copy.run_folders() if not path.name.endswith(parent)]
    losses = [event["loss"] for event in finished_copy.read_events(folder) if event["kind"] == "step"]
    reference = [event["loss"] for event in finished.events_of_training if event["kind"] == "step"]
    assert losses == pytest.approx(reference[8:], abs=1e-3)
    tree = finished_copy("lineage", folder.name.rpartition("-")[2], "--json").document["tree"]
    assert "from step 8: framework reference → tinygrad" in tree
