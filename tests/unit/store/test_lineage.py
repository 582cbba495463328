from pathlib import Path

import pytest

from trainwright.core.errors import UnknownRef
from trainwright.core.records import (
    Checkpoint,
    Decision,
    Evaluation,
    EvaluationSettings,
    Gate,
    Measure,
    Outcome,
    Policy,
    Release,
    Report,
)
from trainwright.core.state import Position
from trainwright.store.checkpoints import write_checkpoint
from trainwright.store.ledger import MemoryLedger
from trainwright.store.lineage import check_lineage, label_record, render_tree, trace_lineage, trace_use
from trainwright.store.objects import FolderObjects
from trainwright.store.run_folder import create_run_folder


class World:
    """A whole history on disk: two checkpoints, a report on the second, an outcome."""

    def __init__(self, tmp_path: Path, make_history, make_state, environment) -> None:
        self.objects = FolderObjects(tmp_path / "objects")
        self.ledger = MemoryLedger()
        self.runs = tmp_path / "runs"
        self.history = make_history(self.objects)
        self.folder = create_run_folder(self.runs, self.history.run, self.history.plan, environment)
        self.checkpoints: list[Checkpoint] = [
            write_checkpoint(
                self.folder.checkpoints_path,
                run_id=self.history.run.id,
                fingerprint=self.history.tokenizer.fingerprint,
                state=make_state(step),
                position=Position(step=step, num_tokens=step, num_events=step),
            )
            for step in (5, 10)
        ]
        self.report = Report(
            checkpoint=self.checkpoints[1].id,
            token_set=self.history.token_set.id,
            split="validation",
            metrics={"bits_per_byte": Measure(value=1.5)},
            checks=(),
            samples=(),
        )
        self.outcome = Outcome(
            run=self.history.run.id, status="completed", checkpoint=self.checkpoints[1].id, report=self.report.id
        )
        for record in self.records():
            self.ledger.put(record)

    def records(self):
        return [*self.history.records(), *self.checkpoints, self.report, self.outcome]

    def check(self, record):
        return check_lineage(self.ledger, self.objects, self.runs, record.id)

    def object_path(self, digest: str) -> Path:
        return self.objects.root / digest[:2] / digest[2:]


@pytest.fixture
def world(tmp_path, make_history, make_state, environment) -> World:
    return World(tmp_path, make_history, make_state, environment)


def test_the_walk_goes_both_ways(world) -> None:
    lineage = trace_lineage(world.ledger, world.history.plan.id)
    assert set(lineage.nodes) == {record.id for record in world.records()}
    assert {(edge.child, edge.role, edge.parent) for edge in lineage.edges} == {
        (record.id, role, parent) for record in world.records() for role, parent in record.parents().items()
    }


def test_siblings_are_not_part_of_a_lineage(world) -> None:
    lineage = trace_lineage(world.ledger, world.checkpoints[0].id)
    kept = [*world.history.records(), world.checkpoints[0]]
    assert set(lineage.nodes) == {record.id for record in kept}


def test_the_tree_marks_the_record_between_ancestors_and_descendants(world) -> None:
    lines = render_tree(trace_lineage(world.ledger, world.history.run.id)).splitlines()
    dataset, token_set = world.history.dataset.id[:12], world.history.token_set.id[:12]
    run, plan, tokenizer = world.history.run.id[:12], world.history.plan.id[:12], world.history.tokenizer.id[:12]
    first, last = (checkpoint.id[:12] for checkpoint in world.checkpoints)
    assert lines == [
        f"dataset {dataset}  hello.txt, 1 documents",
        f"└─ tokenizer {tokenizer}  bpe, 300 pieces",
        f"   └─ token-set {token_set}  3 tokens  (also from dataset {dataset})",
        f"      └─ plan {plan}  6,784 parameters, 10 steps, reference on cpu",
        f"         └─ run {run}  hello, started 2025-01-01T00:00:00Z  ◀",
        f"            ├─ checkpoint {first}  step 5",
        f"            └─ checkpoint {last}  step 10",
        f"               └─ report {world.report.id[:12]}  on validation, 1.5000 bits per byte"
        f"  (also from token-set {token_set})",
        f"                  └─ outcome {world.outcome.id[:12]}  completed  (also from checkpoint {last}, run {run})",
    ]


def test_every_record_of_the_history_can_be_traced_and_rendered(world) -> None:
    for record in world.records():
        text = render_tree(trace_lineage(world.ledger, record.id))
        marked = [line for line in text.splitlines() if line.endswith("◀")]
        assert len(marked) == 1
        assert record.id[:12] in marked[0]


def test_an_unknown_record_has_no_lineage(world) -> None:
    with pytest.raises(UnknownRef):
        trace_lineage(world.ledger, "0" * 64)
    with pytest.raises(UnknownRef):
        check_lineage(world.ledger, world.objects, world.runs, "0" * 64)


def test_an_intact_history_has_no_findings(world) -> None:
    for record in world.records():
        assert world.check(record) == []


def test_a_record_that_is_not_here_is_shown_and_found(world) -> None:
    ledger = MemoryLedger()
    for record in world.records():
        if record is not world.history.tokenizer:
            ledger.put(record)
    missing = world.history.tokenizer.id
    lineage = trace_lineage(ledger, world.report.id)
    assert lineage.nodes[missing].kind == "missing"
    assert f"missing {missing[:12]}" in render_tree(lineage)
    findings = check_lineage(ledger, world.objects, world.runs, world.report.id)
    assert [(finding.record_id, finding.problem) for finding in findings] == [(missing, "missing")]


def test_damaged_and_missing_objects_are_named_with_their_record(world) -> None:
    token_set, dataset = world.history.token_set, world.history.dataset
    shard = world.object_path(token_set.splits["train"].shards[1].digest)
    shard.chmod(0o644)
    shard.write_bytes(b"\0\0")
    world.object_path(dataset.splits["train"].documents).unlink()
    found = {(finding.kind, finding.name, finding.problem) for finding in world.check(world.outcome)}
    assert found == {("token-set", "shard 2 of train", "damaged"), ("dataset", "documents of train", "missing")}


@pytest.mark.parametrize(
    "digest",
    [
        lambda world: world.history.tokenizer.files["tokenizer.json"],
        lambda world: world.history.token_set.splits["train"].boundaries,
        lambda world: world.history.token_set.splits["train"].shards[0].digest,
        lambda world: world.history.run.environment,
        lambda world: world.history.dataset.splits["train"].documents,
    ],
)
def test_every_object_that_a_record_names_is_hashed(world, digest) -> None:
    assert world.check(world.report) == []  # verified once; it must be read again all the same
    path = world.object_path(digest(world))
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    assert [finding.problem for finding in world.check(world.report)] == ["damaged"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_damaged_checkpoint_files_are_named(world, name) -> None:
    path = world.folder.checkpoints_path / "step-00000010" / name
    path.write_bytes(path.read_bytes() + b" ")
    (finding,) = world.check(world.report)
    assert (finding.kind, finding.name, finding.problem) == ("checkpoint", "step-00000010", "damaged")
    assert name in finding.why
    assert world.check(world.checkpoints[0]) == []


def test_a_checkpoint_that_is_gone_is_named(world) -> None:
    (world.folder.checkpoints_path / "step-00000010").rename(world.folder.checkpoints_path / "elsewhere")
    (finding,) = world.check(world.outcome)
    assert (finding.kind, finding.name, finding.problem) == ("checkpoint", "step-00000010", "missing")


# ── decisions and releases ────────────────────────────────────────────────────────────────────────────────────────────
class Releases:
    """Two models at one stage, one after the other, each with its evaluation and its decision."""

    def __init__(self, world: World) -> None:
        self.policy = Policy(
            name="strict",
            stage="production",
            baseline="current",
            alpha=0.05,
            gates=(Gate(kind="at_least", metric="answer_accuracy", suite="sums", limit=0.5),),
            max_overlap=None,
        )
        first, second = world.checkpoints
        self.evaluations = [build_evaluation(world, checkpoint) for checkpoint in world.checkpoints]
        old, new = self.evaluations
        self.first = self.build_decision(first, None, evaluations=(old.id,), all_evaluations=(old.id,))
        self.old = self.build_release(first, self.first, None)
        self.second = self.build_decision(
            second, self.old, evaluations=(new.id, old.id), all_evaluations=(new.id, old.id), baseline=first.id
        )
        self.new = self.build_release(second, self.second, self.old)
        for record in (self.policy, *self.evaluations, self.first, self.old, self.second, self.new):
            world.ledger.put(record)

    def build_decision(self, checkpoint: Checkpoint, replaces: Release | None, **changes) -> Decision:
        return Decision(
            name="hello",
            stage="production",
            policy=self.policy.id,
            checkpoint=checkpoint.id,
            replaces=None if replaces is None else replaces.id,
            outcome="pass",
            gates=(),
            conditions=(),
            at="2025-01-02T00:00:00Z",
            who="ada",
            verdict=None,
            **{"baseline": None} | changes,
        )

    def build_release(self, checkpoint: Checkpoint, decision: Decision, previous: Release | None) -> Release:
        return Release(
            name="hello",
            stage="production",
            checkpoint=checkpoint.id,
            weights=checkpoint.weights,
            decision=decision.id,
            previous=None if previous is None else previous.id,
        )


def build_evaluation(world: World, checkpoint: Checkpoint) -> Evaluation:
    return Evaluation(
        checkpoint=checkpoint.id,
        predictions=None,
        evalset="sums",
        items=world.objects.put(b"items"),
        prompts=world.objects.put(b"prompts"),
        num_items=3,
        settings=EvaluationSettings(by="generation", template="{prompt}"),
        compute=None,
        metrics={},
        code="0" * 64,
        statuses={},
        aggregates={},
        table=world.objects.put(b"table"),
        suite=world.objects.put(b"suite"),
    )


@pytest.fixture
def releases(world) -> Releases:
    return Releases(world)


def test_policies_decisions_and_releases_say_what_they_are(releases) -> None:
    assert label_record(releases.policy) == "strict for production, 1 gate"
    assert label_record(releases.second) == "hello@production: pass, 2025-01-02"
    assert label_record(releases.new) == "hello@production"
    overridden = releases.new.model_copy(update={"decision": None, "override": {"who": "ada", "why": "asked for"}})
    assert label_record(overridden) == "hello@production, overridden"


def test_a_release_is_traced_to_its_text_and_names_what_it_replaced(world, releases) -> None:
    lineage = trace_lineage(world.ledger, releases.new.id)
    assert {world.history.dataset.id, world.checkpoints[1].id, releases.second.id, releases.policy.id} <= set(
        lineage.nodes
    )
    # What it replaced is there, and what that one had to show is not.
    assert releases.old.id in lineage.nodes
    assert releases.first.id not in lineage.nodes
    assert ("previous", releases.old.id) in {
        (edge.role, edge.parent) for edge in lineage.edges if edge.child == releases.new.id
    }
    assert releases.new.id in trace_lineage(world.ledger, releases.old.id).nodes


def test_a_model_did_not_come_of_the_one_that_it_replaced(world, releases) -> None:
    only_old = MemoryLedger()
    # As if only the old model had been trained on the text of this history.
    for record in (*world.history.records(), world.checkpoints[0], *releases.evaluations):
        only_old.put(record)
    for record in (releases.policy, releases.first, releases.old, releases.second, releases.new):
        only_old.put(record)
    use = trace_use(only_old, "f" * 64, [world.history.dataset.id], "a trace")
    assert {world.history.run.id, world.checkpoints[0].id, releases.first.id, releases.old.id} <= set(use.nodes)
    assert not {releases.second.id, releases.new.id} & set(use.nodes)
    assert use.nodes["f" * 64].kind == "trace"
    assert render_tree(use).splitlines()[0] == f"trace {'f' * 12}  a trace  ◀"


def test_everything_that_a_release_names_is_hashed(world, releases) -> None:
    assert world.check(releases.new) == []
    world.object_path(releases.evaluations[1].suite).unlink()
    (finding,) = [one for one in world.check(releases.new) if one.record_id == releases.evaluations[1].id]
    assert (finding.kind, finding.name, finding.problem) == ("evaluation", "suite", "missing")


def test_a_release_of_other_weights_than_its_checkpoints_is_found(world, releases) -> None:
    forged = releases.new.model_copy(update={"weights": "0" * 64})
    world.ledger.put(forged)
    (finding,) = world.check(forged)
    assert (finding.kind, finding.name, finding.problem) == ("release", "weights", "damaged")


def test_an_evaluation_that_a_decision_knew_of_and_that_is_gone_is_found(world, releases) -> None:
    decision = releases.second.model_copy(update={"all_evaluations": (*releases.second.evaluations, "1" * 64)})
    world.ledger.put(decision)
    (finding,) = world.check(decision)
    assert (finding.kind, finding.name, finding.problem) == ("decision", "evaluation 3 of all", "missing")
