"""A small history of records, and a small training state, for the store's tests."""

from dataclasses import dataclass

import numpy as np
import pytest

from trainwright.core.hashing import canonical_json
from trainwright.core.records import (
    Budgets,
    Compute,
    DatasetVersion,
    EarlyStopping,
    ModelShape,
    Optimizer,
    Plan,
    Run,
    Schedule,
    SpecialTokens,
    SplitContent,
    Tokenizer,
    TokenSet,
    TokenSplit,
    TrainingPlan,
)
from trainwright.core.state import TrainingState
from trainwright.store.objects import ObjectStore
from trainwright.store.shards import ShardWriter

ENVIRONMENT = {"python": "3.11.2", "threads": 2, "name": "ä"}


@dataclass
class History:
    """From text to a run; every object that the records name is in the store."""

    dataset: DatasetVersion
    tokenizer: Tokenizer
    token_set: TokenSet
    plan: Plan
    run: Run

    def records(self):
        return [self.dataset, self.tokenizer, self.token_set, self.plan, self.run]


def build_plan(token_set_id: str) -> Plan:
    return Plan(
        token_set=token_set_id,
        seed=1337,
        model=ModelShape(
            vocab_size=300, hidden_size=16, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=8, intermediate_size=24
        ),
        training=TrainingPlan(
            num_steps=10,
            steps_per_epoch=5,
            batch_size=2,
            accumulation=1,
            max_seq_length=32,
            optimizer=Optimizer(
                name="adamw",
                learning_rate=1e-3,
                beta1=0.9,
                beta2=0.95,
                epsilon=1e-8,
                weight_decay=0.1,
                clip_norm=1.0,
            ),
            schedule=Schedule(name="constant", num_warmup_steps=0, num_decay_steps=0, floor=0.0),
            label_smoothing=0.0,
            dropout=0.0,
            init_scale=0.02,
            validate_every=5,
            checkpoint_every=5,
            keep_last=3,
            early_stopping=EarlyStopping(metric="val_loss", patience=0, min_delta=0.0),
            sample_prompts=(),
            sample_tokens=1,
        ),
        compute=Compute(framework="reference", device="cpu", dtype="float32", compile=False, num_threads=1),
        budgets=Budgets(latency_p95_ms=None, inference_rss_bytes=None, model_file_bytes=None, training_peak_bytes=None),
    )


def build_history(objects: ObjectStore) -> History:
    documents = objects.put(b'{"text": "hello"}\n')
    content = SplitContent(documents=documents, num_documents=1, num_characters=5, num_bytes=5)
    dataset = DatasetVersion(source="hello.txt", files=(), recipe={}, splits={"train": content})
    tokens = SpecialTokens(pad=0, unknown=1, begin=2, end=3)
    tokenizer = Tokenizer(
        dataset=dataset.id,
        algorithm="bpe",
        vocab_size=300,
        special_tokens=tokens,
        files={"tokenizer.json": objects.put(b"{}")},
        settings={},
    )
    writer = ShardWriter(objects, "uint16", max_tokens=2)
    writer.append(np.array([4, 5, 3]))
    shards, boundaries = writer.close()
    split = TokenSplit(shards=shards, boundaries=boundaries, num_tokens=3, num_documents=1, num_bytes=5)
    token_set = TokenSet(
        dataset=dataset.id,
        tokenizer=tokenizer.id,
        tokenizer_fingerprint=tokenizer.fingerprint,
        vocab_size=300,
        dtype="uint16",
        splits={"train": split},
    )
    plan = build_plan(token_set.id)
    environment = objects.put(canonical_json(ENVIRONMENT))
    run = Run(plan=plan.id, name="hello", started_at="2025-01-01T00:00:00Z", nonce="1", environment=environment)
    return History(dataset, tokenizer, token_set, plan, run)


def build_state(seed: int = 0) -> TrainingState:
    generator = np.random.default_rng(seed)
    shapes = {"model.norm.weight": (16,), "model.embed_tokens.weight": (300, 16)}
    weights = {name: generator.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    optimizer = {f"{name}.mean": generator.standard_normal(shape) for name, shape in shapes.items()}
    optimizer["count"] = np.array([seed], dtype=np.int64)
    return TrainingState(weights, optimizer, num_updates=seed)


@pytest.fixture
def make_state():
    return build_state


@pytest.fixture
def make_history():
    return build_history


@pytest.fixture
def environment():
    return dict(ENVIRONMENT)
