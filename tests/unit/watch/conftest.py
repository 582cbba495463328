"""A made-up run for the readers of events: 100 steps, a validation every 20, samples; no clock, no framework."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from trainwright.core.records import (
    Budgets,
    Check,
    Compute,
    DatasetVersion,
    EarlyStopping,
    Measure,
    ModelShape,
    Optimizer,
    Plan,
    Report,
    Run,
    Sample,
    Schedule,
    SourceFile,
    SpecialTokens,
    SplitContent,
    Tokenizer,
    TokenSet,
    TokenSplit,
    TrainingPlan,
)
from trainwright.watch.events import render_event

AT = "2025-01-31T12:00:00.000+00:00"


def build_events(num_steps: int = 100, validate_every: int = 20) -> list[dict[str, Any]]:
    """Events as the loop writes them, and as `iter_events` reads them."""
    facts: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("run-started", {"plan": "p" * 64, "num_steps": num_steps, "num_parameters": 2_447_680}, {})
    ]
    for step in range(1, num_steps + 1):
        loss = 2.0 + 6.0 * math.exp(-step / (num_steps / 6)) + 0.12 * math.sin(step * 12.9898) * math.cos(step * 4.1)
        share = step / num_steps
        rate = 3e-3 * min(1.0, share / 0.06, (1.0 - share) / 0.6 + 1e-3)
        elapsed = {"elapsed_s": 0.1 * step}
        numbers = {"loss": loss, "learning_rate": rate, "gradient_norm": 0.5 + 1 / step, "accuracy": 0.4 * share}
        place = {"step": step, "epoch": 3.0 * share}
        facts.append(
            ("step", place | numbers | {"num_tokens": 4096 * step}, {"step_s": 0.1, "tokens_per_s": 40960.0} | elapsed)
        )
        if step % validate_every == 0:
            held_out = {
                "val_loss": loss + 0.1,
                "perplexity": math.exp(loss + 0.1),
                "bits_per_byte": (loss + 0.1) / 2,
                "accuracy": 0.3,
            }
            facts.append(("validation", place | held_out, elapsed))
            facts.append(
                ("sample", {"step": step, "prompt": "Once upon a time", "text": f" there was a fox. ({step})"}, {})
            )
            facts.append(("checkpoint", {"step": step, "weights": "c" * 64, "best": True}, {}))
    facts.append(("run-finished", {"status": "completed", "step": num_steps}, {}))
    return [
        {"seq": seq, "kind": kind, **said, "timing": {"at": AT, **timing}}
        for seq, (kind, said, timing) in enumerate(facts)
    ]


def build_anatomy(step: int, scale: float = 1.0, flags: tuple[str, ...] = ()) -> dict[str, Any]:
    """A look into the layers, as the loop writes it; its `seq` is for whoever puts it into a stream."""
    groups = [
        {
            "name": name,
            "gradient_norm": scale * norm,
            "weight_norm": 5.0,
            "update_ratio": scale * norm / 100,
            "first_octave": first,
            "octaves": [1, 10, 100, 10],
        }
        for name, norm, first in (
            ("embedding", 2.0, -9),
            ("layer 0", 1.0, -10),
            ("layer 1", 0.5, -11),
            ("norm", 0.1, -14),
        )
    ]
    timing = {"at": AT, "rss_bytes": 1, "peak_rss_bytes": 2}
    return {
        "seq": 0,
        "kind": "anatomy",
        "step": step,
        "groups": groups,
        "weights": [],
        "flags": list(flags),
        "timing": timing,
    }


def build_skip(step: int) -> dict[str, Any]:
    facts = {"step": step, "epoch": 0.1, "reason": "gradient norm", "loss": 9.5, "gradient_norm": 88.0, "limit": 12.0}
    return {"seq": 0, "kind": "skip", **facts, "timing": {"at": AT}}


def build_rollback(step: int, to_step: int) -> dict[str, Any]:
    facts = {
        "step": step,
        "to_step": to_step,
        "reason": "3 skips",
        "num_rollbacks": 1,
        "rate_factor": 0.5,
        "barred_steps": [],
    }
    return {"seq": 0, "kind": "rollback", **facts, "timing": {"at": AT}}


def build_eventful(num_steps: int = 60) -> list[dict[str, Any]]:
    """A run with a look into its layers every ten steps, whose step 25 was skipped, and which then went back to step 20."""
    told: list[dict[str, Any]] = []
    for event in build_events(num_steps):
        told.append(event)
        if event["kind"] == "step" and event["step"] % 10 == 0:
            told.append(build_anatomy(event["step"], scale=1 / event["step"]))
        if event["kind"] == "step" and event["step"] == 24:
            told += [build_skip(25), build_rollback(25, 20)]
            again = [old for old in told if old["kind"] == "step" and 20 < old["step"] <= 24]
            told += [{**old, "loss": old["loss"] + 0.5} for old in again]
    return [{**event, "seq": seq} for seq, event in enumerate(told)]


@pytest.fixture
def eventful() -> list[dict[str, Any]]:
    return build_eventful()


@pytest.fixture
def anatomy() -> Callable[..., dict[str, Any]]:
    return build_anatomy


@pytest.fixture
def write_stream() -> Callable[..., bytes]:
    """Events as the bytes of a stream; `at` tells apart two times of writing the same events."""

    def write(events: list[dict[str, Any]], at: str = AT) -> bytes:
        return b"".join(render_event({**event, "timing": {**event["timing"], "at": at}}) for event in events)

    return write


@pytest.fixture
def events() -> list[dict[str, Any]]:
    return build_events()


@pytest.fixture
def dataset() -> DatasetVersion:
    return DatasetVersion(
        source="builtin:stories",
        files=(SourceFile(name="stories.txt", digest="1" * 64, num_bytes=4_200_000),),
        recipe={"split": {"by": "document", "validation_share": 0.1}},
        splits={
            "train": SplitContent(
                documents="2" * 64, num_documents=9000, num_characters=3_780_000, num_bytes=3_780_000
            ),
            "validation": SplitContent(
                documents="3" * 64, num_documents=1000, num_characters=420_000, num_bytes=420_000
            ),
        },
        num_dropped_duplicates=12,
    )


@pytest.fixture
def tokenizer(dataset: DatasetVersion) -> Tokenizer:
    return Tokenizer(
        dataset=dataset.id,
        algorithm="unigram",
        vocab_size=4096,
        special_tokens=SpecialTokens(pad=0, unknown=1, begin=2, end=3),
        files={"tokenizer.model": "4" * 64},
        settings={"byte_fallback": True},
    )


@pytest.fixture
def token_set(dataset: DatasetVersion, tokenizer: Tokenizer) -> TokenSet:
    def split(num_tokens: int, num_documents: int, num_bytes: int) -> TokenSplit:
        return TokenSplit(
            shards=(), boundaries="5" * 64, num_tokens=num_tokens, num_documents=num_documents, num_bytes=num_bytes
        )

    return TokenSet(
        dataset=dataset.id,
        tokenizer=tokenizer.id,
        tokenizer_fingerprint=tokenizer.fingerprint,
        vocab_size=4096,
        dtype="uint16",
        splits={"train": split(945_000, 9000, 3_780_000), "validation": split(105_000, 1000, 420_000)},
    )


@pytest.fixture
def plan(token_set: TokenSet) -> Plan:
    return Plan(
        token_set=token_set.id,
        seed=1337,
        model=ModelShape(
            vocab_size=4096, hidden_size=160, num_layers=5, num_heads=5, num_kv_heads=5, head_dim=32,
            intermediate_size=448,
        ),
        training=TrainingPlan(
            num_steps=100,
            steps_per_epoch=34,
            batch_size=32,
            accumulation=1,
            max_seq_length=128,
            optimizer=Optimizer(
                name="muon", learning_rate=3e-3, beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.01, clip_norm=1.0,
                matrix_learning_rate=0.02,
            ),
            schedule=Schedule(name="warmup-stable-decay", num_warmup_steps=6, num_decay_steps=60, floor=0.0),
            label_smoothing=0.0,
            dropout=0.0,
            init_scale=0.02,
            validate_every=20,
            checkpoint_every=20,
            keep_last=3,
            early_stopping=EarlyStopping(metric="val_loss", patience=0, min_delta=0.0),
            sample_prompts=("Once upon a time",),
            sample_tokens=60,
        ),
        compute=Compute(framework="torch", device="cpu", dtype="bfloat16", compile=True, num_threads=2),
        budgets=Budgets(
            latency_p95_ms=250.0, inference_rss_bytes=400_000_000, model_file_bytes=10_000_000,
            training_peak_bytes=512_000_000,
        ),
    )  # fmt: skip


@pytest.fixture
def run_record(plan: Plan) -> Run:
    return Run(plan=plan.id, name="stories", started_at="2025-01-31T11:59:00+00:00", nonce="n", environment="6" * 64)


@pytest.fixture
def checks() -> tuple[Check, ...]:
    return (
        Check(name="latency_p95_ms", measured=Measure(value=93.2, unit="ms"), limit=250.0, passed=True),
        Check(name="model_file_bytes", measured=Measure(value=11_000_000, unit="bytes"), limit=1e7, passed=False),
        Check(
            name="training_peak_bytes",
            measured=Measure(value=None, unit="bytes", why_not="the run was resumed"),
            limit=512e6,
            passed=None,
            why="the run was resumed, so no process saw all of it",
        ),
    )


@pytest.fixture
def report_record(token_set: TokenSet, checks: tuple[Check, ...]) -> Report:
    return Report(
        checkpoint="7" * 64,
        token_set=token_set.id,
        split="validation",
        metrics={
            "bits_per_byte": Measure(value=0.742, unit="bits per byte"),
            "perplexity": Measure(value=7.83),
            "val_loss": Measure(value=2.058, unit="nats per token"),
            "accuracy": Measure(value=0.512),
        },
        checks=checks,
        samples=(Sample(prompt="Once upon a time", text=" there was a little fox named Tim."),),
    )
