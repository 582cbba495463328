"""The training loop. It knows no framework, no file format and no screen: it is told whom to ask.

    for each step:  batch → gradients → judge ─┬→ update (now and then watched) ─┬→ validate? → checkpoint? → stop?
                                               └→ skip ──────────────────────────┘
    too many skips, or a number that is none:  back to the last scheduled checkpoint

Everything it does is a function of (plan, step), the position and the trainer's state, so a run that is stopped and
continued from a checkpoint does what it would have done, skips and rollbacks included. What depends on the clock is put
under an event's timing and is never acted on.
"""

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainwright.backends.protocol import Batch, Gradients, Rates, Trainer
from trainwright.core.errors import NonFiniteLoss
from trainwright.core.records import Plan, TrainingPlan
from trainwright.core.seeds import derive_seed
from trainwright.core.state import Position, TrainingState
from trainwright.train.batches import Batches
from trainwright.train.schedule import learning_rate_factor
from trainwright.train.stability import (
    BARRED,
    Objection,
    Setback,
    SetbackReason,
    calls_for_rollback,
    find_objection,
    remember_skipped,
    remember_taken,
    roll_back,
)
from trainwright.train.telling import EventWriter, HeldOut, Teller
from trainwright.train.timing import Clock


@dataclass(frozen=True)
class Surroundings:
    """Whom the loop asks for what it does not know how to do itself.

    `save(state, position)` takes a checkpoint, which is durable at the latest when the next one is taken; `state` is its own
    from then on. The one of `position.scheduled_step` must be kept, because `read_scheduled(step)` is asked for it at a
    rollback (step 0: the state and position at the start), and with it whatever was saved of later steps is void.
    `should_stop` is asked after every step. `read_memory` gives this process's memory, now and at its peak, in bytes.
    `peak_flops_per_s` is what the machine was measured to be able to do, where it was.
    """

    events: EventWriter
    validate: Callable[[], HeldOut]
    write_samples: Callable[[int], list[tuple[str, str]]]
    save: Callable[[TrainingState, Position], None]
    read_scheduled: Callable[[int], tuple[TrainingState, Position]]
    should_stop: Callable[[], bool]
    read_memory: Callable[[], tuple[int, int]] | None = None
    peak_flops_per_s: float | None = None


@dataclass(frozen=True)
class LoopResult:
    """Where the loop ended: `interrupted` means that it was asked to stop and saved its state first."""

    position: Position
    interrupted: bool
    stopped_early: bool


def train(plan: Plan, trainer: Trainer, batches: Batches, around: Surroundings, position: Position) -> LoopResult:
    """Train from `position` to the plan's last step, to an early stop, or until asked to stop.

    Where the plan has a stability ladder, a step that goes wrong is skipped, and several roll the run back; raises
    TrainingUnstable where the rollbacks are used up. Where it has none, raises NonFiniteLoss: before any weight is
    changed, where the loss or the gradient is not finite, and before a checkpoint is made, where the held-out loss or a
    weight is not.
    """
    loop = _Loop(plan, trainer, batches, around)
    while True:
        try:
            return loop.go_forward(position)
        except Setback as setback:
            position = loop.go_back(setback)


def rates_at(training: TrainingPlan, step: int, lowered_by: float = 1.0) -> Rates:
    """The learning rates of `step` (0-based), multiplied by what rollbacks have lowered them by."""
    factor = learning_rate_factor(training.schedule, step, training.num_steps) * lowered_by
    return Rates(training.optimizer.learning_rate * factor, training.optimizer.matrix_learning_rate * factor)


def replace_position(position: Position, **changes: Any) -> Position:
    """A position with some fields changed (checked again, unlike pydantic's own copy)."""
    return Position(**{**dict(position), **changes})


class _Loop:
    """The loop, with whom it works: each method takes a position, and returns the next one."""

    def __init__(self, plan: Plan, trainer: Trainer, batches: Batches, around: Surroundings) -> None:
        self.plan, self.training = plan, plan.training
        self.trainer, self.batches, self.around = trainer, batches, around
        self.clock = Clock()
        self.teller = Teller(plan, around.events, self.clock, around.peak_flops_per_s)

    def go_forward(self, position: Position) -> LoopResult:
        """Step after step. Raises Setback where it cannot go on."""
        training, clock = self.training, self.clock
        if _stops_early(training, position):  # resumed after an early stop: there is nothing left to do
            return LoopResult(position, interrupted=False, stopped_early=True)
        clock.begin_step()
        with closing(self.batches.iter_steps(position.step, training.num_steps)) as steps:
            for _, micro_batches in clock.waiting(steps):
                position = self._take_step(position, micro_batches)
                is_last = position.step == training.num_steps
                is_best = False
                if is_last or position.step % training.validate_every == 0:
                    with clock.part("validation_s"):
                        position, is_best = self._validate(position)
                stops_early = _stops_early(training, position)
                if stops_early:
                    self.teller.tell_early_stop(position)
                if is_last or is_best or stops_early or position.step % training.checkpoint_every == 0:
                    with clock.part("checkpoint_s"):
                        position = self._save(position)
                clock.begin_step()
                if stops_early:
                    break
                if self.around.should_stop() and not is_last:
                    self._save_silently(position)
                    return LoopResult(position, interrupted=True, stopped_early=False)
        return LoopResult(position, interrupted=False, stopped_early=_stops_early(training, position))

    def go_back(self, setback: Setback) -> Position:
        """Become again what the last scheduled checkpoint holds. Raises TrainingUnstable where that was done too often."""
        stability = self.training.stability
        assert stability is not None, "without a ladder there are no setbacks"
        state, scheduled = self.around.read_scheduled(setback.position.scheduled_step)
        position = roll_back(stability, setback, scheduled)
        self.trainer.load_state(state)
        self.teller.tell_rollback(setback, position)
        return position

    # ── a step ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _take_step(self, position: Position, micro_batches: tuple[Batch, ...]) -> Position:
        """Gradients, and the update if nothing speaks against it. Either way the step counts."""
        step, steadiness = position.step, position.steadiness
        if step in steadiness.barred_steps:
            return self._skip(position, BARRED, None)
        with self.clock.part("compute_s"):
            gradients = self.trainer.compute_gradients(micro_batches, derive_seed(self.plan.seed, "dropout", step))
        stability = self.training.stability
        objection = find_objection(stability, steadiness, gradients.loss, gradients.norm)
        if objection is not None:
            return self._skip(position, objection, gradients)
        position = replace_position(
            position,
            step=step + 1,
            num_tokens=position.num_tokens + gradients.num_targets,
            steadiness=remember_taken(stability, steadiness, gradients.loss, gradients.norm),
        )
        self._update(position, gradients, rates_at(self.training, step, steadiness.rate_factor))
        return position

    def _update(self, position: Position, gradients: Gradients, rates: Rates) -> None:
        """Change the weights and say so; now and then, look at what that did to each of them."""
        watch_every = self.training.watch_every
        epoch = self.batches.epoch_at(position.step)
        if watch_every == 0 or position.step % watch_every:
            with self.clock.part("update_s"):
                self.trainer.apply_update(rates)
            self.teller.tell_step(position, epoch, gradients, rates)
        else:
            with self.clock.part("update_s"):
                anatomy = self.trainer.apply_watched_update(rates)
            self.teller.tell_step(position, epoch, gradients, rates)
            self.teller.tell_anatomy(position, anatomy, self.around.read_memory)

    def _skip(self, position: Position, objection: Objection, gradients: Gradients | None) -> Position:
        """Pass a step over. `gradients` None: nothing was computed. Raises Setback; NonFiniteLoss without a ladder."""
        stability, step = self.training.stability, position.step
        if stability is None:
            raise _non_finite(
                f"The loss or its gradient is not finite at step {step + 1}"
                + (f" (loss {gradients.loss}, gradient norm {gradients.norm})." if gradients else "."),
                "The weights were left as they were before this step; the newest checkpoint is good.",
            )
        if objection is BARRED:
            position = replace_position(position, step=step + 1)
        else:
            steadiness = remember_skipped(stability, position.steadiness, step)
            position = replace_position(position, step=step + 1, steadiness=steadiness)
        self.teller.tell_skip(position, self.batches.epoch_at(position.step), objection, gradients)
        if objection is not BARRED and calls_for_rollback(stability, position.steadiness):
            raise Setback(position, "skips")
        return position

    # ── validation ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _validate(self, position: Position) -> tuple[Position, bool]:
        """Measure on the held-out split, say so, and return the position with its best-so-far brought up to date."""
        held_out = self.around.validate()
        if not math.isfinite(held_out.val_loss):
            error = _non_finite(
                f"The held-out loss is not finite after step {position.step} (it is {held_out.val_loss}).",
                "The loss that was trained on was still finite; the last updates were too large.",
            )
            raise self._give_up(position, "held-out-loss", error)
        self.teller.tell_validation(position, self.batches.epoch_at(position.step), held_out)
        for prompt, text in self.around.write_samples(position.step):
            self.teller.tell_sample(position, prompt, text)
        return _compare_with_best(self.training, position, held_out)

    # ── checkpoints ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _save(self, position: Position) -> Position:
        """Checkpoint, so that a resume from it continues the event stream right behind the checkpoint's own event.

        The event is written first and the checkpoint counts it: were it the other way round, a death between the two
        would leave a stream that lacks an event.
        """
        state = self.trainer.read_state()
        if (spoilt := _find_spoilt(state)) is not None:
            raise self._give_up(position, "weights", _spoilt_weight(spoilt, position))
        self.teller.tell_checkpoint(position)
        num_events = self.around.events.num_events
        position = replace_position(position, num_events=num_events, scheduled_step=position.step)
        self.around.save(state, position)
        return position

    def _save_silently(self, position: Position) -> None:
        """Checkpoint for an interruption, which is no part of the run's story: a run never stopped has no such event.

        So no rollback ever goes there. Where the scheduled one is of this very step, or a weight is spoilt and the run
        would be rolled back, none is made: a resume from the scheduled one comes to the same.
        """
        if position.step == position.scheduled_step:
            return
        state = self.trainer.read_state()
        if (spoilt := _find_spoilt(state)) is None:
            self.around.save(state, replace_position(position, num_events=self.around.events.num_events))
        elif self.training.stability is None:
            raise _spoilt_weight(spoilt, position)

    def _give_up(self, position: Position, reason: SetbackReason, error: NonFiniteLoss) -> Exception:
        """What to raise where the weights are spoilt: skipping a step mends nothing then, going back may."""
        return error if self.training.stability is None else Setback(position, reason)


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


def _find_spoilt(state: TrainingState) -> str | None:
    """The first weight that is not finite: a checkpoint with it would be worth nothing."""
    return next((name for name, weight in state.weights.items() if not np.isfinite(weight).all()), None)


def _spoilt_weight(name: str, position: Position) -> NonFiniteLoss:
    return _non_finite(
        f"The weight {name} is not finite after step {position.step}.",
        "The last update was too large; no checkpoint was made of it, and the newest one is good.",
    )


def _non_finite(message: str, why: str) -> NonFiniteLoss:
    return NonFiniteLoss(
        message,
        why=why,
        next_step="Lower --learning-rate, or lengthen train.schedule.warmup_steps, and run again.",
    )
