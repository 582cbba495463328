"""From manifest to plan: every `auto` becomes a number. Pure functions; what was measured comes in as arguments."""

import math
from dataclasses import dataclass
from typing import Any

from trainwright.core.errors import InvalidValue, OutOfRange
from trainwright.core.manifest import Manifest, Section, StabilitySection, TrainSection
from trainwright.core.records import (
    Budgets,
    Compute,
    EarlyStopping,
    Frozen,
    ModelShape,
    Optimizer,
    Plan,
    Schedule,
    Shape,
    Stability,
    Start,
    TokenSet,
    TrainingPlan,
)

LEARNING_RATES = {"muon": 8e-3, "adamw": 3e-3}
"""AdamW's peak where a manifest leaves it open: beside Muon it has the embedding and the norms alone, which stand more."""

MATRIX_RATE_RATIO = 5 / 2
"""Muon's rate over AdamW's where a manifest leaves it open: 0.02 beside 8e-3, measured together."""

DROPOUTS = ((10, 0.2), (5, 0.1))
"""(epochs, what is dropped in a run of more than these) where a manifest leaves it open."""

NUM_VALIDATIONS = 4
"""Validations in a run that leaves `validate_every` open; runs of more epochs validate at each epoch's end instead."""


NUM_WATCHED, WATCH_EVERY_AT_LEAST = 100, 25
"""Looks at the gradients in a run that leaves `watch_every` open, but never more often than every so many steps: a look
costs a few passes over the weights, which is to stay below 1 % of the time (bench/monitoring_cost.py)."""


@dataclass(frozen=True)
class Pace:
    """How fast this machine runs this plan, seconds: the first step's compilation, one step, one validation."""

    start_s: float
    step_s: float
    validation_s: float


def resolve_shape(manifest: Manifest, vocab_size: int) -> ModelShape:
    """The decoder's shape. Raises InvalidValue where heads do not divide, OutOfRange where no layer fits."""
    section = manifest.model
    num_kv_heads = section.heads if section.kv_heads == "auto" else section.kv_heads
    if section.heads % num_kv_heads:
        raise InvalidValue(
            f"model.heads is {section.heads} and model.kv_heads is {num_kv_heads}.",
            why="Every key-value head serves the same number of query heads.",
            next_step="Choose a model.kv_heads that divides model.heads.",
        )
    if section.head_dim % 2:
        raise InvalidValue(
            f"model.head_dim is {section.head_dim}.",
            why="Rotary positions turn pairs of numbers.",
            next_step="Choose an even model.head_dim.",
        )

    def shape_of(num_layers: int) -> ModelShape:
        return ModelShape(
            vocab_size=vocab_size,
            hidden_size=section.hidden_size,
            num_layers=num_layers,
            num_heads=section.heads,
            num_kv_heads=num_kv_heads,
            head_dim=section.head_dim,
            intermediate_size=section.intermediate_size,
            rope_theta=section.rope_theta,
        )

    if section.layers != "auto":
        return shape_of(section.layers)
    one_layer = shape_of(1)
    room = section.max_parameters - (one_layer.num_parameters - one_layer.num_parameters_per_layer)
    num_layers = room // one_layer.num_parameters_per_layer
    if num_layers < 1:
        raise OutOfRange(
            f"No decoder layer fits into model.max_parameters {section.max_parameters:,} "
            f"with a vocabulary of {vocab_size:,} and a width of {section.hidden_size}.",
            why=f"One layer and the embedding already have {one_layer.num_parameters:,} weights.",
            next_step="Raise model.max_parameters, or lower model.hidden_size or --vocab-size.",
        )
    return shape_of(num_layers)


def resolve_num_steps(train: TrainSection, num_windows: int, pace: Pace | None) -> int:
    """Steps of the run. `pace` is needed for a time budget alone, which becomes steps here, once, before the plan is made.

    Raises OutOfRange where the time budget does not hold even one step.

    Under a budget of T seconds, with s a step, v a validation and one validation every e steps, N steps fit where
    start + N·s + ⌈N/e⌉·v ≤ T.
    """
    if train.steps is not None:
        return train.steps
    if train.epochs is not None:
        return max(1, math.ceil(train.epochs * num_windows / train.batch_size))
    if pace is None or train.time_budget_s is None:
        raise ValueError("a time budget needs a measured pace")
    left_s = train.time_budget_s - pace.start_s
    every = _count_epoch_steps(train, num_windows) if train.validate_every == "auto" else train.validate_every
    num_steps = int((left_s - pace.validation_s) / (pace.step_s + pace.validation_s / every))
    if train.validate_every == "auto":  # NUM_VALIDATIONS of them, where there are fewer epochs
        num_steps = min(num_steps, int((left_s - NUM_VALIDATIONS * pace.validation_s) / pace.step_s))
    if num_steps < 1:
        raise OutOfRange(
            f"train.time_budget_s {train.time_budget_s:g} does not hold one step.",
            why=f"Start-up takes {pace.start_s:.1f} s, a validation {pace.validation_s:.1f} s, "
            f"a step {pace.step_s:.2f} s on this machine.",
            next_step="Raise --time-budget, or choose a smaller preset.",
        )
    return num_steps


def _count_epoch_steps(train: TrainSection, num_windows: int) -> int:
    return max(1, math.ceil(num_windows / train.batch_size))


def resolve_optimizer(train: TrainSection) -> Optimizer:
    """The optimizer with both peak rates set."""
    section = train.optimizer
    rate = LEARNING_RATES[section.name] if section.learning_rate == "auto" else section.learning_rate
    matrix_rate = section.matrix_learning_rate
    if matrix_rate == "auto":
        matrix_rate = rate * MATRIX_RATE_RATIO
    uses_muon = section.name == "muon"
    return Optimizer(
        name=section.name,
        learning_rate=rate,
        beta1=section.beta1,
        beta2=section.beta2,
        epsilon=section.epsilon,
        weight_decay=section.weight_decay,
        clip_norm=section.clip_norm,
        matrix_learning_rate=matrix_rate if uses_muon else 0.0,
        matrix_momentum=section.matrix_momentum,
        matrix_weight_decay=section.matrix_weight_decay if uses_muon else 0.0,
    )


def resolve_dropout(train: TrainSection, num_epochs: float, *, is_new: bool) -> float:
    """What is dropped. Text that is read a few times is as good as new (Muennighoff et al. 2023, arXiv:2305.16264); read more
    often it is learnt by heart, and less of it is where part of what the model sees is missing.

    A run that starts from a model (`is_new` False) has that behind it, and drops nothing unless told so.
    """
    if train.dropout != "auto":
        return train.dropout
    if not is_new:
        return 0.0
    return next((share for epochs, share in DROPOUTS if num_epochs > epochs), 0.0)


def resolve_training(train: TrainSection, num_windows: int, num_steps: int, *, is_new: bool = True) -> TrainingPlan:
    """Everything the loop needs. `is_new`: of a model that begins with random weights.

    Raises InvalidValue where the batch does not divide into micro-batches, or a step schedule does not say how often.
    """
    if train.batch_size % train.accumulation:
        raise InvalidValue(
            f"train.batch_size is {train.batch_size} and train.accumulation is {train.accumulation}.",
            why="The global batch is cut into equal micro-batches.",
            next_step="Choose a train.accumulation that divides train.batch_size.",
        )
    schedule = train.schedule
    if schedule.name == "step" and schedule.step_every == 0:
        raise InvalidValue(
            "train.schedule.name is step and train.schedule.step_every is 0.",
            why="A step schedule lowers the rate every so many steps; without that number it would be a constant one.",
            next_step="Set train.schedule.step_every, or choose train.schedule.name=constant.",
        )
    steps_per_epoch = _count_epoch_steps(train, num_windows)
    evenly = max(1, math.ceil(num_steps / NUM_VALIDATIONS))
    validate_every = min(steps_per_epoch, evenly) if train.validate_every == "auto" else train.validate_every
    return TrainingPlan(
        num_steps=num_steps,
        steps_per_epoch=steps_per_epoch,
        batch_size=train.batch_size,
        accumulation=train.accumulation,
        max_seq_length=train.max_seq_length,
        optimizer=resolve_optimizer(train),
        schedule=Schedule(
            name=schedule.name,
            num_warmup_steps=min(60, num_steps // 10) if schedule.warmup_steps == "auto" else schedule.warmup_steps,
            num_decay_steps=round(num_steps * schedule.decay_share),
            floor=schedule.floor,
            step_every=schedule.step_every,
            step_factor=schedule.step_factor,
        ),
        label_smoothing=train.label_smoothing,
        dropout=resolve_dropout(train, num_steps / steps_per_epoch, is_new=is_new),
        init_scale=train.init_scale,
        validate_every=validate_every,
        checkpoint_every=validate_every if train.checkpoint_every == "auto" else train.checkpoint_every,
        keep_last=train.keep_last,
        keep_every=train.keep_every,
        early_stopping=EarlyStopping(
            metric=train.early_stopping.metric,
            patience=train.early_stopping.patience,
            min_delta=train.early_stopping.min_delta,
        ),
        sample_prompts=train.sample_prompts,
        sample_tokens=train.sample_tokens,
        stability=resolve_stability(train.stability),
        ema_decay=train.ema_decay,
        watch_every=resolve_watch_every(train, num_steps),
    )


def describe_training(training: TrainingPlan) -> dict[str, Any]:
    """The manifest's train section that resolves to `training` again: settled numbers stay settled, a rate that is the usual
    multiple of another one goes on following it."""
    document = _copy_alike(TrainSection, training)
    num_steps, optimizer, schedule = training.num_steps, training.optimizer, training.schedule
    document["steps"] = num_steps
    document["schedule"] |= {
        "warmup_steps": schedule.num_warmup_steps,
        "decay_share": schedule.num_decay_steps / num_steps,
    }
    if training.stability is None:
        document["stability"] = {"enabled": False}
    if optimizer.matrix_learning_rate in (0.0, optimizer.learning_rate * MATRIX_RATE_RATIO):
        document["optimizer"]["matrix_learning_rate"] = "auto"
    return document


def _copy_alike(section: type[Section], source: Frozen) -> dict[str, Any]:
    """What a section and a part of a plan call by the same name."""
    document: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        value = getattr(source, name, None)
        if isinstance(value, Frozen) and isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            document[name] = _copy_alike(field.annotation, value)
        elif value is not None:
            document[name] = value
    return document


def resolve_stability(section: StabilitySection) -> Stability | None:
    """The ladder, or none. Raises InvalidValue where the skips that it takes never fit into a window."""
    if not section.enabled:
        return None
    if section.max_skips > section.window:
        raise InvalidValue(
            f"train.stability.max_skips is {section.max_skips} and train.stability.window is {section.window}.",
            why="The skips are counted within the window, so they would never be that many.",
            next_step="Lower train.stability.max_skips, or raise train.stability.window.",
        )
    return Stability(
        outlier_sigmas=section.outlier_sigmas,
        window=section.window,
        max_skips=section.max_skips,
        rate_factor=section.rate_factor,
        max_rollbacks=section.max_rollbacks,
    )


def resolve_watch_every(train: TrainSection, num_steps: int) -> int:
    """Steps between two looks at the gradients; 0: none."""
    if train.watch_every == "auto":
        return max(WATCH_EVERY_AT_LEAST, math.ceil(num_steps / NUM_WATCHED))
    return train.watch_every


def resolve_budgets(manifest: Manifest) -> Budgets:
    """Budgets in bytes and milliseconds (1 MB = 10^6 bytes)."""

    def megabytes(value: float | None) -> int | None:
        return None if value is None else round(value * 1_000_000)

    section = manifest.budgets
    return Budgets(
        latency_p95_ms=section.latency_p95_ms,
        inference_rss_bytes=megabytes(section.inference_rss_mb),
        model_file_bytes=megabytes(section.model_file_mb),
        training_peak_bytes=megabytes(section.training_peak_mb),
    )


def build_plan(
    manifest: Manifest,
    token_set: TokenSet,
    shape: Shape,
    training: TrainingPlan,
    compute: Compute,
    start: Start | None = None,
) -> Plan:
    """The plan. Equal arguments give an equal id."""
    return Plan(
        token_set=token_set.id,
        seed=manifest.seed,
        model=shape,
        training=training,
        compute=compute,
        budgets=resolve_budgets(manifest),
        start=start,
    )
