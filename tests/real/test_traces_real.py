"""Real traces, read from the folder that TRAINWRIGHT_DATA names."""

import os
from pathlib import Path

import pytest

from trainwright.data.selection import Selection
from trainwright.data.trace_dataset import iter_traces
from trainwright.data.trace_export import FORMATS
from trainwright.pipeline.datasets import build_version, export_version, verify_version
from trainwright.pipeline.traces import import_traces, measure_traces
from trainwright.store.workspace import open_workspace

FOLDER = Path(os.environ.get("TRAINWRIGHT_DATA", ""))
pytestmark = pytest.mark.skipif(
    "TRAINWRIGHT_DATA" not in os.environ, reason="TRAINWRIGHT_DATA names no folder of real data"
)


class Screen:
    def show_progress(self, what, done, total):
        pass


@pytest.fixture
def workspace(tmp_path):
    with open_workspace(tmp_path / "workspace") as opened:
        yield opened


def load(workspace, name):
    return import_traces(
        [str(FOLDER / name)], workspace.traces, on_progress=lambda *_: None, on_bad=lambda bad: pytest.fail(str(bad))
    )


@pytest.mark.parametrize(
    "selection",
    [Selection("random", seed=7), Selection("stratified", by="meta.category", seed=7, limit=200)],
    ids=lambda selection: selection.strategy,
)
def test_reasoning_traces_become_a_version_that_exports_to_the_same_bytes(workspace, tmp_path, selection):
    result = load(workspace, "tunix_traces/dev-reasoning-v2.jsonl")
    assert (result.states["new"], result.states.total()) == (550, 550)
    dataset = build_version("dev@v1", selection, workspace, screen=Screen()).dataset
    assert verify_version(dataset, workspace)["verified"]
    for form in FORMATS:
        first, second = tmp_path / f"1.{form}", tmp_path / f"2.{form}"
        for path in (first, second):
            export_version(dataset, form, path, workspace)
        assert first.read_bytes() == second.read_bytes()
        assert first.stat().st_size > 1000


def test_stratified_keeps_the_shares_of_the_categories(workspace):
    load(workspace, "tunix_traces/dev-reasoning-v2.jsonl")
    everything = measure_traces(workspace.traces)["meta"]["category"]
    selection = Selection("stratified", by="meta.category", limit=110, dedup="none")
    dataset = build_version("dev@v1", selection, workspace, screen=Screen()).dataset
    assert sum(everything.values()) == 550
    for category, count in dataset.statistics["meta"]["category"].items():
        assert abs(count - everything[category] / 5) < 1


def test_all_of_gsm8k_becomes_traces(workspace):
    result = load(workspace, "gsm8k/train.jsonl")
    assert result.adapters == {str(FOLDER / "gsm8k/train.jsonl"): "gsm8k"}
    assert result.states["new"] == 7473
    assert load(workspace, "gsm8k/train.jsonl").states["known"] == 7473
    dataset = build_version("gsm8k@train", Selection("random", seed=1), workspace, screen=Screen()).dataset
    for trace in iter_traces(dataset, "validation", workspace.objects):
        assert not any("<<" in step.content for step in trace.steps)
        float(trace.final_answer.replace(",", ""))


def test_instruction_seeds_become_conversations(workspace):
    assert load(workspace, "alpaca_seed/seed_tasks.jsonl").states["new"] >= 175
    assert measure_traces(workspace.traces)["num_traces"] == 0


def test_what_is_exported_as_parquet_imports_as_the_same_traces(workspace, tmp_path):
    load(workspace, "tunix_traces/dev-reasoning-v2.jsonl")
    dataset = build_version("dev@v1", Selection(dedup="none"), workspace, screen=Screen()).dataset
    export_version(dataset, "parquet", tmp_path / "a.parquet", workspace)
    again = import_traces(
        [str(tmp_path / "a.parquet")], workspace.traces, on_progress=lambda *_: None, on_bad=lambda _: None
    )
    assert again.states["known"] == 550
