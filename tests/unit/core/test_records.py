"""Records: immutable, named by what they hold. The ids are pinned: were one to change, every stored lineage would break."""

import json
from typing import Literal, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainwright.core.errors import RecordDamaged, TrainwrightTooOld
from trainwright.core.hashing import canonical_json, digest_bytes
from trainwright.core.records import (
    RECORD_TYPES,
    Attestation,
    Budgets,
    Change,
    Check,
    Checkpoint,
    Compute,
    Condition,
    DatasetVersion,
    Decision,
    Difference,
    Drift,
    EarlyStopping,
    Estimate,
    Evaluation,
    EvaluationSettings,
    Forgotten,
    Gate,
    GateResult,
    ImportedModel,
    Interval,
    ItemScore,
    JudgeCalibration,
    Measure,
    ModelShape,
    Optimizer,
    Outcome,
    Plan,
    Policy,
    Release,
    Report,
    Run,
    Sample,
    Schedule,
    Shard,
    SourceFile,
    SpecialTokens,
    SplitContent,
    Stability,
    Start,
    Tokenizer,
    TokenSet,
    TokenSplit,
    TrainedScorer,
    TrainingPlan,
    Verdict,
    parse_record,
)

A, B, C = "a" * 64, "b" * 64, "c" * 64

DATASET = DatasetVersion(
    source="stories.txt",
    files=(SourceFile(name="stories.txt", digest=A, num_bytes=12),),
    recipe={"split": {"by": "block", "share": 0.1}},
    splits={
        "train": SplitContent(documents=B, num_documents=2, num_characters=10, num_bytes=11),
        "validation": SplitContent(documents=C, num_documents=1, num_characters=1, num_bytes=1),
    },
    num_dropped_duplicates=1,
)
TOKENIZER = Tokenizer(
    dataset=A,
    algorithm="unigram",
    vocab_size=300,
    special_tokens=SpecialTokens(pad=0, unknown=1, begin=2, end=3),
    files={"tokenizer.model": B, "tokenizer.json": C},
    settings={"newline": "kept"},
)
TOKEN_SET = TokenSet(
    dataset=A,
    tokenizer=B,
    tokenizer_fingerprint=C,
    vocab_size=300,
    dtype="uint16",
    splits={
        "train": TokenSplit(
            shards=(Shard(digest=A, num_tokens=5),), boundaries=B, num_tokens=5, num_documents=1, num_bytes=11
        )
    },
)
PLAN = Plan(
    token_set=A,
    seed=1337,
    model=ModelShape(
        vocab_size=300, hidden_size=16, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8, intermediate_size=24
    ),
    training=TrainingPlan(
        num_steps=10,
        steps_per_epoch=5,
        batch_size=4,
        accumulation=2,
        max_seq_length=32,
        optimizer=Optimizer(
            name="muon",
            learning_rate=3e-3,
            beta1=0.9,
            beta2=0.95,
            epsilon=1e-8,
            weight_decay=0.01,
            clip_norm=1.0,
            matrix_learning_rate=0.02,
        ),
        schedule=Schedule(name="cosine", num_warmup_steps=1, num_decay_steps=6, floor=0.1),
        label_smoothing=0.0,
        dropout=0.1,
        init_scale=0.02,
        validate_every=5,
        checkpoint_every=5,
        keep_last=3,
        early_stopping=EarlyStopping(metric="val_loss", patience=2, min_delta=0.01),
        sample_prompts=("Once",),
        sample_tokens=8,
    ),
    compute=Compute(framework="reference", device="cpu", dtype="float32", compile=False, num_threads=1),
    budgets=Budgets(
        latency_p95_ms=250.0, inference_rss_bytes=None, model_file_bytes=10_000_000, training_peak_bytes=None
    ),
)
RUN = Run(plan=A, name="stories", started_at="2025-01-31T12:00:00.000+00:00", nonce="n", environment=B)
CHECKPOINT = Checkpoint(run=A, step=5, num_tokens=640, weights=B, files={"model.safetensors": B})
REPORT = Report(
    checkpoint=A,
    token_set=B,
    split="validation",
    metrics={"bits_per_byte": Measure(value=1.5, unit="bits/byte"), "peak": Measure(value=None, why_not="resumed")},
    checks=(Check(name="file", measured=Measure(value=3), limit=4, passed=True),),
    samples=(Sample(prompt="Once", text=" upon"),),
)
OUTCOME = Outcome(run=A, status="completed", checkpoint=B, report=C)
DRIFT = Drift(
    run=A,
    step=5,
    at="2025-01-31T12:00:00.000+00:00",
    changes=(Change(name="threads", before="2", now="4", exact=False),),
)
VERDICT = Verdict(
    run=A,
    at="2025-01-31T12:00:00.000+00:00",
    status="differs",
    intervals=(Interval(first_step=0, last_step=5),),
    share=0.5,
    difference=Difference(step=5, tensor="model.norm.weight"),
    why="",
    environment=B,
)
FORGOTTEN = Forgotten(
    trace=A,
    at="2025-01-31T12:00:00.000+00:00",
    who="someone",
    why="asked for",
    datasets=(B, C),
    affected=(C,),
    erased=(),
)
TRACES = DATASET.model_copy(
    update={
        "name": "dev",
        "version": "v2",
        "derived_from": (A, B),
        "records": C,
        "statistics": {"num_traces": 3},
    }
)
EVALUATION = Evaluation(
    checkpoint=A,
    predictions=None,
    evalset="sums",
    items=A,
    prompts=B,
    num_items=2,
    settings=EvaluationSettings(by="generation", template="{prompt}", max_tokens=8, temperature=0.0, seed=0),
    compute=None,
    metrics={"answer_correct": 1},
    code=C,
    statuses={"answer_correct": {"scored": 1, "unparsed": 1}},
    aggregates={"answer_correct": Measure(value=0.5, unit="share of items")},
    table=C,
)

IMPORTED = ImportedModel(name="tiny", architecture="LlamaForCausalLM", files={"config.json": A})

GATE = Gate(kind="at_least", metric="answer_correct", suite="arithmetic", limit=0.5, min_n=10)
POLICY = Policy(name="ours", stage="staging", baseline="current", alpha=0.05, gates=(GATE,), max_overlap=0.0)
DECISION = Decision(
    name="sums",
    stage="staging",
    policy=A,
    checkpoint=B,
    replaces=None,
    baseline=None,
    verdict=None,
    evaluations=(C,),
    all_evaluations=(C,),
    outcome="inconclusive",
    gates=(
        GateResult(
            gate=GATE, part="", outcome="inconclusive", candidate=None, baseline=None, difference=None,
            items_to_settle=40, why="2 items are fewer than 10",
        ),
    ),
    conditions=(Condition(name="contamination", outcome="pass", why="no item was found"),),
    at="2025-01-31T12:00:00.000+00:00",
    who="someone",
)  # fmt: skip
SHARE = Estimate(value=0.5, low=0.25, high=0.75, n=10, method="Wilson")
SCORER = TrainedScorer(
    name="rude", model=A, labelled=B, columns={"text": "text", "label": "rude"}, classes=("0", "1"), num_rows=10,
    num_groups=5, num_folds=5, seed=0, packages={"scikit-learn": "1.9.1"}, kappa=SHARE, precision={"1": SHARE},
    recall={"1": SHARE},
)  # fmt: skip
CALIBRATION = JudgeCalibration(
    model="m", rubric=A, judge=B, labelled=C, num_rows=10, kappa=SHARE, parse_rate=SHARE
)  # fmt: skip
RELEASE = Release(name="sums", stage="staging", checkpoint=A, weights=B, decision=C, previous=None)
ATTESTATION = Attestation(
    release=A,
    signer=B,
    envelope=C,
    model_signature="d" * 64,
    bill_of_materials="e" * 64,
    at="2025-01-31T12:00:00.000+00:00",
)

RECORDS = [
    *(DATASET, TOKENIZER, TOKEN_SET, PLAN, RUN, CHECKPOINT, REPORT, OUTCOME, DRIFT, VERDICT, FORGOTTEN, EVALUATION),
    *(IMPORTED, POLICY, DECISION, RELEASE, SCORER, CALIBRATION, ATTESTATION),
]
GOLDEN = {
    "dataset": "d1e0fe5856144a3f35dbd63a572fd0daaba200e12b7e710a8dce8237de269768",
    "tokenizer": "6b670ffa51f4e2791598a9e3c6aeeb865060ec8ecb32a2e5ae83802dfe8893dd",
    "token-set": "0aab6f667c7e6daf6a70f47828255f10aae103df9b46bf729f07bb2cfd4b7dee",
    "plan": "293fc28d1ffaf43d433600546797cc616a6a56a0c01733db6cdb1bda1b471b0c",
    "run": "3c941006c1fde6c58db02dc49746c1179eb07466bc3fe7cbcc3d9724bd1bddb0",
    "checkpoint": "ed0e21b2ae16ee96ba52c36cca445a867978dca61cc7e3b56da07afa8de23326",
    "report": "cffad29f987a400d2749a577d4669c7afb61f59d9723a81de5c0ff163679ee97",
    "outcome": "25447f2c52625ec99bfa0a0904879612e82fa89ec3296a9a08da6bc121a11797",
    "drift": "e6b29522fc31ac98fe1c59145f4ca3e00698e3cf821d71aeef551b50e2d8bcb5",
    "verdict": "93a5dd7123c379ff2b20913d77360f79cbf243bcfb9e260cbf8b886b6c6c8e48",
    "receipt": "cb9b8733380c7364c1c13ad732599cf7d2c52445dc9906641f427cf81d3c049d",
    "evaluation": "6ca2e9ac63a5085d81a0270501c5ac52d22a3ab802c8b0b0b836d316c36cbf10",
    "imported-model": "ac88c3743fac825e6cf95598b00a96667b932a0f4da1d9ef8ee777a4f56b1950",
    "policy": "252ab61a4134c97a7df306da54fde13b8f36011e02651fd109400f71ca34027d",
    "decision": "96597a02b4eb56c2c2d9bd22e63f8026a6afebd05b024fe81e67fa6183e6262c",
    "release": "b0744fee263df0f224b257937b0c1b22cb5ece37852dc0fc4106e2cde6d51007",
    "scorer": "1a892e251144e3bdd9fb2478494e8ec388858ef8af4e98c2f233472ac3ff47da",
    "judge-calibration": "40d2f6ad02a3a20ee6e30f69ce682c6ed5b42b11495e501422e17681363c5535",
    "attestation": "b63c6542630d052f96c8075a362af15102c4251058776eff53b25fd721860583",
}
by_kind = pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.kind)


# ── ids ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
@by_kind
def test_id_is_the_pinned_one(record):
    assert record.id == GOLDEN[record.kind]


def test_a_version_of_traces_is_pinned_and_names_what_it_was_taken_from():
    assert TRACES.id == "bd9ab2510827da1862b7e7cb66263b92b50a9c53b4f28b550cfb87515c32f205"
    assert TRACES.parents() == {"dataset 1": A, "dataset 2": B}
    assert TRACES.holds_traces
    assert not DATASET.holds_traces
    assert DATASET.parents() == {}
    assert parse_record(json.loads(canonical_json(TRACES.model_dump(mode="json"))), TRACES.id) == TRACES


def test_every_kind_of_record_is_pinned():
    assert list(GOLDEN) == list(RECORD_TYPES) == [record.kind for record in RECORDS]


@by_kind
def test_id_is_the_digest_of_the_canonical_json(record):
    assert record.id == digest_bytes(canonical_json(record.model_dump(mode="json")))


@by_kind
def test_round_trip_through_json_keeps_the_record_and_its_id(record):
    document = json.loads(json.dumps(record.model_dump(mode="json")))
    again = parse_record(document, record.id)
    assert type(again) is type(record)
    assert again == record
    assert again.id == record.id


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**70), 2**70), st.text())
def test_round_trip_keeps_every_number_and_text(number, integer, text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text
    record = DatasetVersion(source=text, files=(), recipe={"number": number, "integer": integer}, splits={})
    document = json.loads(canonical_json(record.model_dump(mode="json")))
    assert parse_record(document, record.id) == record


def test_order_of_names_and_the_form_of_numbers_mean_nothing():
    turned = {"tokenizer.json": C, "tokenizer.model": B}
    assert TOKENIZER.model_copy(update={"files": turned}).id == TOKENIZER.id
    assert Measure(value=3) == Measure(value=3.0)


@pytest.mark.parametrize(
    ("record", "change"),
    [
        (DATASET, {"source": "other.txt"}),
        (TOKEN_SET, {"vocab_size": 301}),
        (PLAN, {"seed": 1338}),
        (RUN, {"nonce": "m"}),
        (OUTCOME, {"status": "failed"}),
    ],
)
def test_any_change_gives_another_id(record, change):
    assert record.id  # remembered before the copy is made
    changed = record.model_copy(update=change)
    assert changed.id != record.id
    assert changed.id == digest_bytes(canonical_json(changed.model_dump(mode="json")))


def test_copy_is_validated():
    with pytest.raises(ValidationError):
        PLAN.model_copy(update={"seed": "many"})
    with pytest.raises(ValidationError):
        PLAN.model_copy(update={"sede": 1})


def test_field_that_was_added_changes_no_older_id():
    document = PLAN.model_dump(mode="json")
    assert "start" not in document
    assert "stability" not in document["training"]
    steady = Stability(outlier_sigmas=6, window=128, max_skips=3, rate_factor=0.5, max_rollbacks=2)
    changed = PLAN.model_copy(update={"training": PLAN.training.model_copy(update={"stability": steady})})
    assert changed.model_dump(mode="json")["training"]["stability"]["window"] == 128
    assert parse_record(changed.model_dump(mode="json"), changed.id) == changed != PLAN


# ── what a record refuses ─────────────────────────────────────────────────────────────────────────────────────────────
@by_kind
def test_record_does_not_change(record):
    with pytest.raises(ValidationError, match="frozen"):
        record.kind = "other"


@by_kind
def test_unknown_field_is_refused(record):
    with pytest.raises(ValidationError, match="extra"):
        parse_record({**record.model_dump(mode="json"), "note": "x"})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_number_that_is_none_is_refused(number):
    with pytest.raises(ValidationError, match="finite"):
        Measure(value=number)
    with pytest.raises(ValidationError, match="finite"):
        PLAN.training.model_copy(update={"dropout": number})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_number_that_is_none_gives_no_id_even_in_a_free_form_field(number):
    record = DatasetVersion(source="x", files=(), recipe={"share": [number]}, splits={})
    with pytest.raises(ValueError, match="not JSON compliant"):
        _ = record.id


@pytest.mark.parametrize("digest", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64])
def test_reference_that_is_no_digest_is_refused(digest):
    with pytest.raises(ValidationError):
        RUN.model_copy(update={"plan": digest})


def test_measure_without_a_value_says_why():
    assert Measure(value=None, why_not="no GPU").value is None
    with pytest.raises(ValidationError, match="says why"):
        Measure(value=None)


# ── reading stored documents ──────────────────────────────────────────────────────────────────────────────────────────
def test_evaluation_names_the_checkpoint_or_the_recorded_outputs():
    assert EVALUATION.model_copy(update={"checkpoint": None, "predictions": B}).parents() == {}
    with pytest.raises(ValidationError):
        EVALUATION.model_copy(update={"checkpoint": None})


def test_item_has_a_score_if_it_was_scored_and_else_a_reason():
    given = {
        "item_id": "a",
        "cluster_id": None,
        "slices": {},
        "metric": "m",
        "output": "",
        "answer": None,
        "target": "5",
    }
    assert ItemScore(**given, score=0.0, status="scored").why == ""
    for score, status, why in ((None, "scored", "x"), (0.0, "unparsed", "x"), (None, "unparsed", "")):
        with pytest.raises(ValidationError):
            ItemScore(**given, score=score, status=status, why=why)


@by_kind
def test_tampered_content_is_refused_by_id(record):
    document = record.model_dump(mode="json")
    field = next(name for name, value in document.items() if name != "kind" and isinstance(value, str))
    document[field] = ("d" * 64) if len(document[field]) == 64 else document[field] + "x"
    with pytest.raises(RecordDamaged, match=f"{record.kind} {record.id[:12]} is not what its id says") as raised:
        parse_record(document, record.id)
    assert raised.value.next_step


def test_without_an_expected_id_content_alone_decides():
    assert parse_record(RUN.model_dump(mode="json") | {"name": "other"}).name == "other"


@pytest.mark.parametrize("document", [{"kind": "prophecy"}, {}, {"kind": None}])
def test_unknown_kind_is_refused_by_name(document):
    with pytest.raises(TrainwrightTooOld, match=str(document.get("kind"))):
        parse_record(document)


# ── lineage ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_record_names_its_parents():
    assert DATASET.parents() == {}
    assert TOKENIZER.parents() == {"dataset": A}
    assert TOKEN_SET.parents() == {"dataset": A, "tokenizer": B}
    assert PLAN.parents() == {"token_set": A}
    assert PLAN.model_copy(update={"start": Start(source=C, mode="weights")}).parents() == {"token_set": A, "start": C}
    assert FORGOTTEN.parents() == {"dataset 1": B, "dataset 2": C}
    assert DRIFT.parents() == VERDICT.parents() == {"run": A}
    assert RUN.parents() == {"plan": A}
    assert CHECKPOINT.parents() == {"run": A}
    assert REPORT.parents() == {"checkpoint": A, "token_set": B}
    assert OUTCOME.parents() == {"run": A, "checkpoint": B, "report": C}
    assert EVALUATION.parents() == {"checkpoint": A}
    assert ATTESTATION.parents() == {"release": A}


def test_evaluation_comes_from_the_calibration_of_its_judge():
    assert EVALUATION.model_copy(update={"judge": B}).parents() == {"checkpoint": A, "judge": B}


def test_parents_that_are_not_there_are_left_out():
    failed = Outcome(run=A, status="failed", checkpoint=None, report=None, error="non-finite-loss: …")
    assert failed.parents() == {"run": A}
    assert TOKENIZER.model_copy(update={"dataset": None}).parents() == {}


def test_every_reference_to_a_record_is_a_parent():
    for record_type in RECORD_TYPES.values():
        named = {
            name
            for name, field in record_type.model_fields.items()
            if name in {kind.replace("-", "_") for kind in RECORD_TYPES} and get_origin(field.annotation) is not Literal
        }
        assert named <= set(record_type.parent_fields), record_type


# ── what records work out ─────────────────────────────────────────────────────────────────────────────────────────────
def test_fingerprint_depends_on_the_tokenizers_files_alone():
    assert TOKENIZER.model_copy(update={"dataset": None, "settings": {}}).fingerprint == TOKENIZER.fingerprint
    assert TOKENIZER.model_copy(update={"files": {"tokenizer.model": B}}).fingerprint != TOKENIZER.fingerprint


def test_number_of_weights_by_hand():
    shape = PLAN.model
    attention = 16 * 32 + 2 * (16 * 16) + 32 * 16  # q, k and v, o
    mlp = 3 * 16 * 24
    norms = 2 * 16 + 2 * 8
    assert shape.num_parameters_per_layer == attention + mlp + norms
    assert shape.num_parameters == 300 * 16 + 2 * (attention + mlp + norms) + 16


def test_what_is_measured_or_written_with_is_plain_float32_in_the_same_place():
    compute = Compute(framework="torch", device="cuda:1", dtype="bfloat16", compile=True, num_threads=3)
    assert compute.plain() == Compute(framework="torch", device="cuda:1", dtype="float32", compile=False, num_threads=3)
    assert compute.for_writing() == compute.plain().model_copy(update={"num_threads": 1})
