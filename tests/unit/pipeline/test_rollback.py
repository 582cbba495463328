"""A run that goes wrong, through the pipeline and its files: what is on disk after a rollback, and how it is shown."""

import contextlib
import random
import signal

import pytest

from trainwright.backends.catalogue import open_backend
from trainwright.core.errors import CheckpointDamaged, Interrupted, TrainingUnstable, UnknownRef
from trainwright.core.hashing import digest_bytes
from trainwright.core.manifest import parse_manifest
from trainwright.core.records import Start
from trainwright.core.seeds import derive_seed
from trainwright.evaluate.inference import InferenceCost
from trainwright.pipeline.inspect import find_runs, outcome_of, read_state
from trainwright.pipeline.journal import Journal
from trainwright.pipeline.run import Options, resume, run
from trainwright.pipeline.soundness import check_workspace
from trainwright.pipeline.start import read_start
from trainwright.pipeline.use import find_model
from trainwright.store.checkpoints import (
    checkpoint_path,
    held_path,
    list_checkpoints,
    read_checkpoint,
    read_record,
    render_tensors,
)
from trainwright.store.lineage import check_lineage
from trainwright.store.workspace import open_workspace
from trainwright.watch.events import iter_events
from trainwright.watch.progress import ConsoleProgress, make_console

SMALL = (
    "compute.framework=reference", "compute.threads=1", "data.split.block_lines=20",
    "model.hidden_size=16", "model.heads=2", "model.head_dim=8", "model.intermediate_size=32", "model.layers=1",
    "train.batch_size=4", "train.max_seq_length=32", "train.steps=12", "train.sample_tokens=2", "train.keep_last=1",
    "train.checkpoint_every=4", "train.validate_every=12", "train.watch_every=5",
    "train.stability.window=8", "train.stability.max_skips=2", "train.stability.max_rollbacks=1",
    "budgets.latency_p95_ms=null",
)  # fmt: skip


COST = InferenceCost(latencies_s=(0.01,), tokens_per_s=100, rss_bytes=1, peak_rss_bytes=1, load_s=0.1)
"""What using the model costs is measured elsewhere: it takes a process of its own."""


class Faulty:
    """A backend whose trainers report a loss that is no number at the steps named (from 1)."""

    def __init__(self, steps, seed):
        self._backend = open_backend("reference")
        self._seeds = {derive_seed(seed, "dropout", step - 1) for step in steps}

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def open_trainer(self, *arguments):
        trainer = self._backend.open_trainer(*arguments)
        compute = trainer.compute_gradients

        def compute_gradients(micro_batches, dropout_seed):
            gradients = compute(micro_batches, dropout_seed)
            if dropout_seed in self._seeds:
                return type(gradients)(float("nan"), gradients.num_targets, gradients.num_correct, gradients.norm)
            return gradients

        trainer.compute_gradients = compute_gradients
        return trainer


class PressCtrlC:
    """A sink that asks for a stop when a step is told."""

    def __init__(self, step):
        self._step = step

    def emit(self, event):
        if event["kind"] in ("step", "skip") and event["step"] == self._step:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def corpus(tmp_path):
    draw = random.Random(7)
    words = ["the", "fox", "ran", "over", "a", "hill", "and", "saw", "two", "birds"]
    lines = [" ".join(draw.choice(words) for _ in range(8)) for _ in range(400)]
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def open_named(tmp_path):
    with contextlib.ExitStack() as stack:
        yield lambda name: stack.enter_context(open_workspace(tmp_path / name))


@pytest.fixture
def train(open_named, corpus, monkeypatch):
    """train(workspace's name, steps that go wrong, …) → the finished run."""

    def go(name, wrong, overrides=(), stop_at=None, going_on=False):
        manifest = parse_manifest(None, [f"data.corpus={corpus}", *SMALL, *overrides])
        monkeypatch.setattr("trainwright.pipeline.execute.open_backend", lambda _: Faulty(wrong, manifest.seed))
        monkeypatch.setattr("trainwright.pipeline.validate.measure_inference", lambda *_, **__: COST)
        journal = Journal(ConsoleProgress(make_console(), quiet=True))
        sinks = [] if stop_at is None else [PressCtrlC(stop_at)]
        if going_on:
            return resume(None, open_named(name), journal, sinks, Options())
        return run(manifest, open_named(name), journal, sinks, Options())

    return go


def read_told(folder):
    events = (
        {key: value for key, value in event.items() if key != "timing"} for event in iter_events(folder.events_path)
    )
    return [repr(event) for event in events]  # by their text: a NaN is not equal to itself


def test_rollback_is_on_record_and_the_run_completes(train, open_named):
    finished = train("ws", [6, 7])
    (rollback,) = [event for event in iter_events(finished.folder.events_path) if event["kind"] == "rollback"]
    assert (rollback["step"], rollback["to_step"], rollback["barred_steps"]) == (7, 4, [6, 7])
    assert finished.metrics["stability"] == {
        "skipped_steps": {"not-finite": 2, "barred": 2}, "num_rollbacks": 1, "rate_factor": 0.5,
    }  # fmt: skip
    assert [row["step"] for row in finished.metrics["epoch_history"]] == [12]
    page = finished.folder.report_path.read_text()
    assert "Skipped steps and rollbacks" in page
    assert "rolled back to step 4" in page
    assert read_state(finished.run, open_named("ws")).step == 12


def test_rollback_before_the_first_checkpoint_begins_again(train):
    finished = train("ws", [2, 3])
    (rollback,) = [event for event in iter_events(finished.folder.events_path) if event["kind"] == "rollback"]
    assert (rollback["step"], rollback["to_step"]) == (3, 0)
    assert finished.checkpoint.step == 12


def test_interruption_between_changes_nothing(train, open_named):
    whole = train("whole", [6, 8])
    with pytest.raises(Interrupted):
        train("ws", [6, 8], stop_at=7)
    (run_record,) = find_runs(open_named("ws"))
    folder = open_named("ws").find_run_folder(run_record.id)
    # keep_last is 1, and the newest is the interruption's own: the one a rollback needs is there all the same.
    assert [step for step, _ in list_checkpoints(folder.checkpoints_path)] == [4, 7]
    finished = train("ws", [6, 8], going_on=True)
    assert finished.checkpoint.weights == whole.checkpoint.weights
    assert read_told(folder) == read_told(whole.folder)
    assert [step for step, _ in list_checkpoints(folder.checkpoints_path)] == [12]


def test_checkpoint_that_something_stands_on_outlives_that_its_step_is_computed_again(train, open_named):
    with pytest.raises(Interrupted):
        train("ws", [6, 8], stop_at=7)
    workspace = open_named("ws")
    (run_record,) = find_runs(workspace)
    folder = workspace.find_run_folder(run_record.id)
    before = read_record(checkpoint_path(folder.checkpoints_path, 7))
    start = Start(source=before.id, mode="continue")
    plan = folder.read_plan().model_copy(update={"start": start})
    workspace.ledger.put(plan)
    with pytest.raises(Interrupted):  # rolled back to step 4, and stopped where a checkpoint of step 7 is written again
        train("ws", [6, 8], stop_at=7, going_on=True)
    after = read_record(checkpoint_path(folder.checkpoints_path, 7))
    assert after.weights != before.weights
    held = held_path(folder.checkpoints_path, before)
    for record, path in ((before, held), (after, checkpoint_path(folder.checkpoints_path, 7))):
        assert find_model(record.id, workspace).path == path
        assert read_record(path) == record
        assert check_lineage(workspace.ledger, workspace.objects, workspace.runs, record.id) == []
    assert read_start(plan, workspace).state is not None
    assert check_workspace(workspace).findings == ()
    finished = train("ws", [6, 8], going_on=True)
    assert finished.checkpoint.step == 12
    assert read_record(held) == before  # nothing deletes it later
    (held / "model.safetensors").write_bytes(b"")
    assert [finding.record_id for finding in check_workspace(workspace).findings] == [before.id]


def test_model_of_a_step_that_was_computed_again_is_not_another_one_in_its_place(train, open_named):
    with pytest.raises(Interrupted):
        train("ws", [6, 8], stop_at=7)
    workspace = open_named("ws")
    (run_record,) = find_runs(workspace)
    folder = workspace.find_run_folder(run_record.id)
    before = read_record(checkpoint_path(folder.checkpoints_path, 7))
    with pytest.raises(Interrupted):
        train("ws", [6, 8], stop_at=7, going_on=True)
    with pytest.raises(UnknownRef, match="no longer keeps the checkpoint") as caught:
        find_model(before.id, workspace)
    assert f"{run_record.id[:12]}@7" in caught.value.next_step


def test_damaged_checkpoint_that_a_rollback_needs_is_made_again_by_a_resume(train, open_named):
    whole = train("whole", [10, 11], overrides=["train.keep_last=3"])
    with pytest.raises(Interrupted):
        train("ws", [10, 11], overrides=["train.keep_last=3"], stop_at=9)
    (run_record,) = find_runs(open_named("ws"))
    folder = open_named("ws").find_run_folder(run_record.id)
    (checkpoint_path(folder.checkpoints_path, 8) / "optimizer.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointDamaged):
        train("ws", [10, 11], going_on=True)
    finished = train("ws", [10, 11], going_on=True)
    assert finished.checkpoint.weights == whole.checkpoint.weights
    assert read_told(folder) == read_told(whole.folder)


def test_rollbacks_that_are_used_up_end_the_run_on_record(train, open_named):
    with pytest.raises(TrainingUnstable):
        train("ws", range(5, 13))
    (run_record,) = find_runs(open_named("ws"))
    outcome = outcome_of(run_record, open_named("ws"))
    assert outcome is not None
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.startswith("training-unstable")


def test_watching_and_the_ladder_change_no_bit_of_a_sound_run(train):
    watched = train("watched", [], overrides=["train.watch_every=1"])
    unwatched = train("unwatched", [], overrides=["train.watch_every=0", "train.stability.enabled=false"])
    assert watched.checkpoint.weights == unwatched.checkpoint.weights
    assert watched.metrics["final_metrics"]["val_loss"] == unwatched.metrics["final_metrics"]["val_loss"]


def test_average_is_what_is_validated_and_kept(train, open_named):
    plain, averaged = train("plain", []), train("averaged", [], overrides=["train.ema_decay=0.9"])
    assert averaged.checkpoint.weights != plain.checkpoint.weights
    path = checkpoint_path(averaged.folder.checkpoints_path, 12)
    raw = {
        name.removeprefix("raw."): array
        for name, array in read_checkpoint(path).state.optimizer.items()
        if name.startswith("raw.")
    }
    assert digest_bytes(render_tensors(raw)) == plain.checkpoint.weights  # training itself does not notice
