"""A small plan's parts, and a whole release, for the pipeline's tests."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from trainwright.core.hashing import canonical_json
from trainwright.core.records import (
    Budgets,
    Check,
    Checkpoint,
    Compute,
    DatasetVersion,
    Decision,
    EarlyStopping,
    Estimate,
    Evaluation,
    EvaluationSettings,
    Gate,
    GateResult,
    ItemScore,
    Measure,
    ModelShape,
    Optimizer,
    Outcome,
    Plan,
    Policy,
    Release,
    Report,
    Run,
    Schedule,
    SourceFile,
    SpecialTokens,
    SplitContent,
    Tokenizer,
    TokenSet,
    TokenSplit,
    TrainingPlan,
)
from trainwright.core.state import Position, TrainingState
from trainwright.evaluate.table import count_statuses, render_table
from trainwright.pipeline.attest import attest, find_attestation, find_release
from trainwright.release.signing import create_keys
from trainwright.store.checkpoints import checkpoint_path, write_checkpoint
from trainwright.store.run_folder import create_run_folder
from trainwright.store.workspace import Workspace, open_workspace

SHAPE = ModelShape(
    vocab_size=300, hidden_size=16, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=8, intermediate_size=24
)
TRAINING = TrainingPlan(
    num_steps=10,
    steps_per_epoch=5,
    batch_size=4,
    accumulation=1,
    max_seq_length=32,
    optimizer=Optimizer(
        name="adamw", learning_rate=1e-3, beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1, clip_norm=1.0
    ),
    schedule=Schedule(name="constant", num_warmup_steps=2, num_decay_steps=6, floor=0.0),
    label_smoothing=0.0,
    dropout=0.0,
    init_scale=0.02,
    validate_every=5,
    checkpoint_every=5,
    keep_last=3,
    early_stopping=EarlyStopping(metric="val_loss", patience=0, min_delta=0.0),
    sample_prompts=("The",),
    sample_tokens=1,
)


@pytest.fixture
def model_shape():
    return SHAPE


@pytest.fixture
def training_plan():
    return TRAINING


# ── a release, as promotion leaves it ─────────────────────────────────────────────────────────────────────────────────
ENVIRONMENT = {
    "trainwright": "0.1.0",
    "python": {"version": "3.11.2"},
    "packages": {"numpy": "2.1.0", "torch": None},
    "cpu": {"model": "a processor"},
    "gpu": {"name": None, "why_not": "not measured: no framework was asked for one"},
    "git": {"sha": None},
}
SCORES = (1.0, 1.0, 0.0, 1.0)


@dataclass
class Released:
    """A workspace in which `ours@staging` points to a release of a run's last checkpoint."""

    workspace: Workspace
    release: Release
    decision: Decision
    checkpoint: Checkpoint
    evaluation: Evaluation
    run: Run

    @property
    def folder(self) -> Path:
        return checkpoint_path(self.workspace.find_run_folder(self.run.id).checkpoints_path, self.checkpoint.step)

    def object_path(self, digest: str) -> Path:
        return self.workspace.root / "objects" / digest[:2] / digest[2:]


def put_history(workspace: Workspace) -> tuple[Plan, Tokenizer, TokenSet]:
    objects = workspace.objects
    documents = objects.put(b'{"text": "hello"}\n')
    content = SplitContent(documents=documents, num_documents=1, num_characters=5, num_bytes=5)
    dataset = DatasetVersion(
        source="hello.txt",
        files=(SourceFile(name="hello.txt", digest=documents, num_bytes=5),),
        recipe={},
        splits={"train": content},
    )
    tokenizer = Tokenizer(
        dataset=dataset.id,
        algorithm="bpe",
        vocab_size=300,
        special_tokens=SpecialTokens(pad=0, unknown=1, begin=2, end=3),
        files={"tokenizer.json": objects.put(b"{}")},
        settings={},
    )
    split = TokenSplit(shards=(), boundaries=objects.put(b""), num_tokens=3, num_documents=1, num_bytes=5)
    token_set = TokenSet(
        dataset=dataset.id,
        tokenizer=tokenizer.id,
        tokenizer_fingerprint=tokenizer.fingerprint,
        vocab_size=300,
        dtype="uint16",
        splits={"train": split},
    )
    plan = Plan(
        token_set=token_set.id,
        seed=1337,
        model=SHAPE,
        training=TRAINING,
        compute=Compute(framework="reference", device="cpu", dtype="float32", compile=False, num_threads=1),
        budgets=Budgets(latency_p95_ms=None, inference_rss_bytes=None, model_file_bytes=None, training_peak_bytes=None),
    )
    for record in (dataset, tokenizer, token_set, plan):
        workspace.ledger.put(record)
    return plan, tokenizer, token_set


def put_run(
    workspace: Workspace, plan: Plan, tokenizer: Tokenizer, nonce: str = "1", weight: float = 1.0
) -> tuple[Run, Checkpoint]:
    environment = workspace.objects.put(canonical_json(ENVIRONMENT))
    run = Run(plan=plan.id, name="ours", started_at="2025-01-01T00:00:00+00:00", nonce=nonce, environment=environment)
    folder = create_run_folder(workspace.runs, run, plan, ENVIRONMENT)
    metrics = {"end_timestamp": "2025-01-01T01:00:00+00:00", "final_metrics": {"total_training_time_s": 3600.0}}
    folder.metrics_path.write_text(json.dumps(metrics), encoding="utf-8")
    folder.report_path.write_text("<p>report</p>", encoding="utf-8")
    folder.events_path.write_text("{}\n", encoding="utf-8")
    checkpoint = write_checkpoint(
        folder.checkpoints_path,
        run_id=run.id,
        fingerprint=tokenizer.fingerprint,
        state=TrainingState(
            {"model.norm.weight": np.full(16, weight, np.float32)}, {"count": np.zeros(1)}, num_updates=10
        ),
        position=Position(step=10, num_tokens=320, num_events=1),
    )
    for record in (run, checkpoint):
        workspace.ledger.put(record)
    return run, checkpoint


def put_evaluation(workspace: Workspace, checkpoint: Checkpoint) -> Evaluation:
    rows = [
        ItemScore(
            item_id=f"i{number}", cluster_id=None, slices={"category": "sums"}, metric="answer_correct", score=score,
            output=str(number), answer=str(number), target=str(number), status="scored", finish="end",
        )
        for number, score in enumerate(SCORES)
    ]  # fmt: skip
    evaluation = Evaluation(
        checkpoint=checkpoint.id,
        predictions=None,
        evalset="sums",
        items=workspace.objects.put(b'{"id": "i0"}\n'),
        prompts=workspace.objects.put(b'{"id": "i0", "prompt": "2 + 3"}\n'),
        num_items=len(rows),
        settings=EvaluationSettings(by="generation", template="{prompt}"),
        compute=None,
        metrics={"answer_correct": 1},
        code="c" * 64,
        statuses=count_statuses(rows),
        aggregates={"repetition": Measure(value=None, unit="share", why_not="no output has 4 words")},
        table=workspace.objects.put(render_table(rows)),
    )
    workspace.ledger.put(evaluation)
    return evaluation


def put_release(workspace: Workspace, checkpoint: Checkpoint, evaluation: Evaluation) -> tuple[Release, Decision]:
    gate = Gate(kind="at_least", metric="answer_correct", suite="sums", limit=0.1)
    policy = Policy(name="ours", stage="staging", baseline="none", alpha=0.05, gates=(gate,), max_overlap=None)
    estimate = Estimate(value=0.75, low=0.3, high=0.95, n=4, method="Wilson")
    decision = Decision(
        name="ours", stage="staging", policy=policy.id, checkpoint=checkpoint.id, replaces=None, baseline=None,
        verdict=None, evaluations=(evaluation.id,), all_evaluations=(evaluation.id,), outcome="pass",
        gates=(
            GateResult(
                gate=gate, part="", outcome="pass", candidate=estimate, baseline=None, difference=None,
                items_to_settle=None, why="0.3 is not less than 0.1",
            ),
        ),
        conditions=(), at="2025-01-02T00:00:00+00:00", who="someone",
    )  # fmt: skip
    release = Release(
        name="ours",
        stage="staging",
        checkpoint=checkpoint.id,
        weights=checkpoint.weights,
        decision=decision.id,
        previous=None,
    )
    for record in (policy, decision, release):
        workspace.ledger.put(record)
    workspace.ledger.move_ref("ours@staging", release.id, expected=None, who="someone", why="it passed")
    return release, decision


def put_report(workspace: Workspace, run: Run, checkpoint: Checkpoint, token_set: TokenSet) -> None:
    report = Report(
        checkpoint=checkpoint.id,
        token_set=token_set.id,
        split="validation",
        metrics={"bits_per_byte": Measure(value=1.5, unit="bits/byte")},
        checks=(
            Check(name="model file", measured=Measure(value=20.0, unit="MB"), limit=10.0, passed=False),
            Check(
                name="latency", measured=Measure(value=None, why_not="it was not asked for"), limit=None, passed=None
            ),
        ),
        samples=(),
    )
    workspace.ledger.put(report)
    workspace.ledger.put(Outcome(run=run.id, status="completed", checkpoint=checkpoint.id, report=report.id))


@pytest.fixture(scope="session")
def keys():
    return create_keys("someone")


@pytest.fixture(scope="session")
def other_keys():
    return create_keys("somebody else")


@pytest.fixture(scope="session")
def unsigned_folder(tmp_path_factory):
    """A workspace with a release. Not to be changed."""
    root = tmp_path_factory.mktemp("unsigned") / "workspace"
    with open_workspace(root) as workspace:
        plan, tokenizer, token_set = put_history(workspace)
        run, checkpoint = put_run(workspace, plan, tokenizer)
        put_report(workspace, run, checkpoint, token_set)
        put_release(workspace, checkpoint, put_evaluation(workspace, checkpoint))
    return root


@pytest.fixture(scope="session")
def signed_folder(unsigned_folder, tmp_path_factory, keys):
    """The same workspace after the release was signed. Not to be changed."""
    root = tmp_path_factory.mktemp("signed") / "workspace"
    shutil.copytree(unsigned_folder, root)
    with open_workspace(root) as workspace:
        attest(find_release("ours@staging", workspace), workspace, keys)
    return root


def open_released(workspace: Workspace) -> Released:
    release = find_release("ours@staging", workspace)
    decision, checkpoint = (workspace.ledger.get(each) for each in (release.decision, release.checkpoint))
    evaluation = workspace.ledger.get(decision.evaluations[0])
    return Released(workspace, release, decision, checkpoint, evaluation, workspace.ledger.get(checkpoint.run))


@pytest.fixture
def released(unsigned_folder, tmp_path):
    """A release that nobody signed yet, to be changed as one likes."""
    shutil.copytree(unsigned_folder, tmp_path / "workspace")
    with open_workspace(tmp_path / "workspace") as workspace:
        yield open_released(workspace)


@pytest.fixture
def signed(signed_folder, tmp_path):
    """(a signed release, its attestation), to be changed as one likes."""
    shutil.copytree(signed_folder, tmp_path / "workspace")
    with open_workspace(tmp_path / "workspace") as workspace:
        found = open_released(workspace)
        yield found, find_attestation(found.release, workspace)


@pytest.fixture
def workspace(tmp_path):
    with open_workspace(tmp_path / "workspace") as opened:
        yield opened


@pytest.fixture
def make_checkpoint(workspace):
    """Make the last checkpoint of another run, with weights of its own."""
    plan, tokenizer, _ = put_history(workspace)
    made = []

    def make():
        made.append(put_run(workspace, plan, tokenizer, nonce=str(len(made)), weight=float(len(made)))[1])
        return made[-1]

    return make
