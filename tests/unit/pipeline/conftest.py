"""A small plan's parts, for the pipeline's tests."""

import pytest

from trainwright.core.records import EarlyStopping, ModelShape, Optimizer, Schedule, TrainingPlan


@pytest.fixture
def model_shape():
    return ModelShape(
        vocab_size=300, hidden_size=16, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=8, intermediate_size=24
    )


@pytest.fixture
def training_plan():
    return TrainingPlan(
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
