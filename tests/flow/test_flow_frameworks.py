"""A checkpoint of one framework is gone on with by another: weights, what the optimizer remembers, and a drift on record."""

import importlib.util
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

PATIENT = {"timeout": 900, "torch": True}  # torch and tinygrad are hidden otherwise
EXTRA = [pytest.mark.extra, pytest.mark.timeout(1800)]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def parents(tmp_path_factory, open_command, corpus):
    """{framework: (folder, run id, digest of its last weights)} of a run of ten steps, trained when it is first asked for."""
    found = {}

    def train(framework):
        if importlib.util.find_spec(framework) is None and framework != "reference":
            pytest.skip(f"{framework} is not installed")
        if framework not in found:
            command = open_command(tmp_path_factory.mktemp(framework))
            plain = ("compute.device=cpu", "compute.dtype=float32", "compute.compile=false")
            words = ("run", f"--framework={framework}", f"--corpus={corpus}", *command.small, *plain, "--json")
            digest, _ = command.train_to_the_end(*words, **PATIENT)
            (folder,) = command.run_folders()
            found[framework] = command, folder, digest
        return found[framework]

    return train


def losses_of(command, folder):
    return [event["loss"] for event in command.read_events(folder) if event["kind"] == "step"]


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        ("torch", "reference"),
        ("reference", "torch"),
        pytest.param("torch", "tinygrad", marks=EXTRA),
        pytest.param("tinygrad", "torch", marks=EXTRA),
    ],
)
def test_another_framework_goes_on_with_a_checkpoint_as_its_own_would_have(parents, writer, reader):
    if reader != "reference" and importlib.util.find_spec(reader) is None:
        pytest.skip(f"{reader} is not installed")
    command, parent, _ = parents(writer)
    run_id = parent.name.rpartition("-")[2]
    words = ("train", "--from", f"{run_id}@8", f"compute.framework={reader}", "--json")
    refused = command(*words, expect=4, **PATIENT).error
    assert refused["name"] == "drift"

    _, said = command.train_to_the_end(*words, "--allow-drift", "framework", **PATIENT)
    assert f"framework was {writer} and is {reader}, which can change results" in said
    folders = [path for path in command.run_folders() if json.loads((path / "plan.json").read_bytes()).get("start")]
    (folder,) = [path for path in folders if read_framework(path) == reader]
    assert losses_of(command, folder) == pytest.approx(losses_of(command, parent)[8:], abs=1e-3)
    for name in ("model.safetensors", "optimizer.safetensors"):
        mine, theirs = read_last(folder, name), read_last(parent, name)
        assert mine.keys() == theirs.keys()
        for tensor, array in mine.items():  # what two steps alone remember would be another by half and more
            away = np.linalg.norm(array - theirs[tensor])
            assert away <= 0.02 * np.linalg.norm(theirs[tensor]), (name, tensor)
    tree = command("lineage", folder.name.rpartition("-")[2], "--json").document["tree"]
    assert f"from step 8: framework {writer} → {reader}" in tree


def read_framework(folder):
    return json.loads((folder / "plan.json").read_bytes())["compute"]["framework"]


def read_last(folder, name):
    (path,) = sorted((folder / "checkpoints").glob(f"step-*/{name}"))[-1:]
    return load_file(path)
