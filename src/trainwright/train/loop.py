"""The training loop. It knows no framework, no file format and no screen: it is told whom to ask.

    for each step:  batch → gradients → (look) → update → event → validate? → checkpoint?

Everything it does is a function of (plan, step) and the trainer's state, so a run that is stopped and continued from a
checkpoint does what it would have done. What depends on the clock is put under an event's timing and is never acted on.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trainwright.backends.protocol import Gradients, Rates, Trainer
from trainwright.core.errors import NonFiniteLoss
from trainwright.core.records import Plan, TrainingPlan
from trainwright.core.seeds import derive_seed
from trainwright.core.state import Position, TrainingState
from trainwright.train.batches import Batches
from trainwright.train.schedule import learning_rate_factor


class EventWriter(Protocol):
    """Where the loop says what happened."""

    @property
    def num_events(self) -> int:
        """Events written so far."""

    def emit(self, kind: str, facts: Mapping[str, Any], timing: Mapping[str, Any] | None = None) -> object:
        """Write one event."""


@dataclass(frozen=True)
class HeldOut:
    """Held-out results as the loop needs them: `val_loss` in nats per token."""

    val_loss: float
    perplexity: float
    bits_per_byte: float
    accuracy: float


@dataclass(frozen=True)
class Surroundings:
    """Whom the loop asks for what it does not know how to do itself.

    `save(state, position)` takes a checkpoint, which is durable at the latest when the next one is taken; `state` is its own
    from then on. `should_stop` is asked after every step.
    """

    events: EventWriter
    validate: Callable[[], HeldOut]
    write_samples: Callable[[int], list[tuple[str, str]]]
    save: Callable[[TrainingState, Position], None]
    should_stop: Callable[[], bool]


@dataclass(frozen=True)
class LoopResult:
    """Where the loop ended: `interrupted` means that it was asked to stop and saved its state first."""

    position: Position
    interrupted: bool
    stopped_early: bool


def train(plan: Plan, trainer: Trainer, batches: Batches, around: Surroundings, position: Position) -> LoopResult:
    """Train from `position` to the plan's last step, to an early stop, or until asked to stop.

    Raises NonFiniteLoss, before any weight is changed, where the loss or the gradient is not finite, and where the
    held-out loss is not, before the weights it was measured on can become a checkpoint.
    """
    training = plan.training
    clock = _Clock()
    if _stops_early(training, position):  # resumed after an early stop: there is nothing left to do
        return LoopResult(position, interrupted=False, stopped_early=True)
    for step, micro_batches in batches.iter_steps(position.step, training.num_steps):
        gradients = trainer.compute_gradients(micro_batches, derive_seed(plan.seed, "dropout", step))
        _require_finite(gradients, step)
        rates = rates_at(training, step)
        trainer.apply_update(rates)
        position = replace_position(position, step=step + 1, num_tokens=position.num_tokens + gradients.num_targets)
        _emit_step(around.events, position, batches.epoch_at(step + 1), gradients, rates, clock)

        is_last = position.step == training.num_steps
        is_best = False
        if is_last or position.step % training.validate_every == 0:
            position, is_best = _validate(plan, around, position, batches.epoch_at(position.step), clock)
        stops_early = _stops_early(training, position)
        if stops_early:
            around.events.emit("early-stop", {"step": position.step, "metric": training.early_stopping.metric})
        if is_last or is_best or stops_early or position.step % training.checkpoint_every == 0:
            position = _save(around, trainer, position)
        clock.lap()  # what validation, samples and a checkpoint took is no part of the next step
        if stops_early:
            break
        if around.should_stop() and not is_last:
            _save_silently(around, trainer, position)
            return LoopResult(position, interrupted=True, stopped_early=False)
    return LoopResult(position, interrupted=False, stopped_early=_stops_early(training, position))


def rates_at(training: TrainingPlan, step: int) -> Rates:
    """The learning rates of `step` (0-based)."""
    factor = learning_rate_factor(training.schedule, step, training.num_steps)
    return Rates(training.optimizer.learning_rate * factor, training.optimizer.matrix_learning_rate * factor)


def replace_position(position: Position, **changes: Any) -> Position:
    """A position with some fields changed (checked again, unlike pydantic's own copy)."""
    return Position(**{**position.model_dump(), **changes})


class _Clock:
    """Seconds since the loop began, and since it was last asked."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()

    def lap(self) -> tuple[float, float]:
        now = time.perf_counter()
        since_last, self._last = now - self._last, now
        return since_last, now - self._start


def _require_finite(gradients: Gradients, step: int) -> None:
    if not gradients.is_finite:
        raise NonFiniteLoss(
            f"The loss or its gradient is not finite at step {step + 1} "
            f"(loss {gradients.loss}, gradient norm {gradients.norm}).",
            why="The weights were left as they were before this step; the newest checkpoint is good.",
            next_step="Lower --learning-rate, or lengthen train.schedule.warmup_steps, and run again.",
        )


def _require_finite_held_out(held_out: HeldOut, step: int) -> None:
    if not math.isfinite(held_out.val_loss):
        raise NonFiniteLoss(
            f"The held-out loss is not finite after step {step} (it is {held_out.val_loss}).",
            why="The loss that was trained on was still finite; the last updates were too large.",
            next_step="Lower --learning-rate, or lengthen train.schedule.warmup_steps, and run again.",
        )


def _emit_step(
    events: EventWriter, position: Position, epoch: float, gradients: Gradients, rates: Rates, clock: _Clock
) -> None:
    step_s, elapsed_s = clock.lap()
    events.emit(
        "step",
        {
            "step": position.step,
            "epoch": epoch,
            "loss": gradients.loss,
            "accuracy": gradients.num_correct / gradients.num_targets,
            "gradient_norm": gradients.norm,
            "learning_rate": rates.learning_rate,
            "num_tokens": position.num_tokens,
        },
        {"step_s": step_s, "elapsed_s": elapsed_s, "tokens_per_s": gradients.num_targets / step_s},
    )


def _validate(
    plan: Plan, around: Surroundings, position: Position, epoch: float, clock: _Clock
) -> tuple[Position, bool]:
    """Measure on the held-out split, say so, and return the position with its best-so-far brought up to date."""
    held_out = around.validate()
    _require_finite_held_out(held_out, position.step)
    around.events.emit(
        "validation",
        {
            "step": position.step,
            "epoch": epoch,
            "val_loss": held_out.val_loss,
            "perplexity": held_out.perplexity,
            "bits_per_byte": held_out.bits_per_byte,
            "accuracy": held_out.accuracy,
        },
        {"elapsed_s": clock.lap()[1]},
    )
    for prompt, text in around.write_samples(position.step):
        around.events.emit("sample", {"step": position.step, "prompt": prompt, "text": text})
    return _compare_with_best(plan.training, position, held_out)


def _compare_with_best(training: TrainingPlan, position: Position, held_out: HeldOut) -> tuple[Position, bool]:
    """Lower is better for val_loss and bits_per_byte, higher for accuracy; a gain is more than `min_delta`."""
    stopping = training.early_stopping
    value = getattr(held_out, stopping.metric)
    gain = None if position.best_value is None else position.best_value - value
    if gain is not None and stopping.metric == "accuracy":
        gain = -gain
    if gain is None or gain > stopping.min_delta:
        return (
            replace_position(position, best_step=position.step, best_value=value, num_validations_without_gain=0),
            True,
        )
    without_gain = position.num_validations_without_gain + 1
    return replace_position(position, num_validations_without_gain=without_gain), False


def _stops_early(training: TrainingPlan, position: Position) -> bool:
    """Patience is lost while there are steps left: a run that has done them all did not stop early."""
    patience = training.early_stopping.patience
    return position.step < training.num_steps and 0 < patience <= position.num_validations_without_gain


def _save(around: Surroundings, trainer: Trainer, position: Position) -> Position:
    """Checkpoint, so that a resume from it continues the event stream right behind the checkpoint's own event.

    The event is written first and the checkpoint counts it: were it the other way round, a death between the two would
    leave a stream that lacks an event.
    """
    state = _read_finite_state(trainer, position)
    is_best = position.best_step == position.step
    around.events.emit("checkpoint", {"step": position.step, "best": is_best})
    position = replace_position(position, num_events=around.events.num_events)
    around.save(state, position)
    return position


def _save_silently(around: Surroundings, trainer: Trainer, position: Position) -> None:
    """Checkpoint for an interruption, which is no part of the run's story: a run never stopped has no such event."""
    state = _read_finite_state(trainer, position)
    around.save(state, replace_position(position, num_events=around.events.num_events))


def _read_finite_state(trainer: Trainer, position: Position) -> TrainingState:
    """The trainer's state. Raises NonFiniteLoss where a weight is not finite: such a checkpoint would be worth nothing."""
    state = trainer.read_state()
    for name, weight in state.weights.items():
        if not np.isfinite(weight).all():
            raise NonFiniteLoss(
                f"The weight {name} is not finite after step {position.step}.",
                why="The last update was too large; no checkpoint was made of it, and the newest one is good.",
                next_step="Lower --learning-rate, or lengthen train.schedule.warmup_steps, and run again.",
            )
    return state
