"""What the loop says, as events: facts that are a function of (plan, step), and apart from them what the clock says."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from trainwright.backends.protocol import Gradients, Rates, WeightAnatomy
from trainwright.core.records import Plan
from trainwright.core.state import Position
from trainwright.train.anatomy import describe_anatomy
from trainwright.train.stability import Objection, Setback
from trainwright.train.timing import Clock, flops_per_token

LARGEST_LOSS = 700.0
"""Above it, the perplexity overflows."""


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


class Teller:
    """Writes the events of one run. Steps are told as people count them, from 1: "step" is the number of steps done."""

    def __init__(self, plan: Plan, events: EventWriter, clock: Clock, peak_flops_per_s: float | None) -> None:
        self._training, self._events, self._clock = plan.training, events, clock
        self._peak_flops_per_s = peak_flops_per_s
        num_positions = plan.training.batch_size * plan.training.max_seq_length
        self._step_flops = num_positions * flops_per_token(plan.model, plan.training.max_seq_length)

    def tell_step(self, position: Position, epoch: float, gradients: Gradients, rates: Rates) -> None:
        """A step was taken."""
        lap = self._clock.lap()
        step_s = lap["step_s"]
        flops_per_s = self._step_flops / step_s
        peak = self._peak_flops_per_s
        self._events.emit(
            "step",
            {
                "step": position.step,
                "epoch": epoch,
                "loss": gradients.loss,
                "perplexity": math.exp(gradients.loss) if gradients.loss < LARGEST_LOSS else math.inf,
                "accuracy": gradients.num_correct / gradients.num_targets,
                "gradient_norm": gradients.norm,
                "learning_rate": rates.learning_rate,
                "num_tokens": position.num_tokens,
            },
            {
                **lap,
                "tokens_per_s": gradients.num_targets / step_s,
                "samples_per_s": self._training.batch_size / step_s,
                "flops_per_s": flops_per_s,
                "peak_share": None if peak is None else flops_per_s / peak,
            },
        )

    def tell_anatomy(
        self,
        position: Position,
        anatomy: Mapping[str, WeightAnatomy],
        read_memory: Callable[[], tuple[int, int]] | None,
    ) -> None:
        """What the step's update did to each weight, and how much memory there is to it."""
        groups, weights, flags = describe_anatomy(anatomy)
        rss_bytes, peak_rss_bytes = read_memory() if read_memory else (None, None)
        self._events.emit(
            "anatomy",
            {"step": position.step, "groups": groups, "weights": weights, "flags": flags},
            {"rss_bytes": rss_bytes, "peak_rss_bytes": peak_rss_bytes},
        )

    def tell_skip(self, position: Position, epoch: float, objection: Objection, gradients: Gradients | None) -> None:
        """A step was passed over."""
        self._events.emit(
            "skip",
            {
                "step": position.step,
                "epoch": epoch,
                "reason": objection.reason,
                "loss": None if gradients is None else gradients.loss,
                "gradient_norm": None if gradients is None else gradients.norm,
                "limit": objection.limit,
            },
            self._clock.lap(),
        )

    def tell_rollback(self, setback: Setback, position: Position) -> None:
        """The run went back to `position`."""
        steadiness = position.steadiness
        self._events.emit(
            "rollback",
            {
                "step": setback.position.step,
                "to_step": position.step,
                "reason": setback.reason,
                "num_rollbacks": steadiness.num_rollbacks,
                "rate_factor": steadiness.rate_factor,
                "barred_steps": [step + 1 for step in steadiness.barred_steps],
            },
        )

    def tell_validation(self, position: Position, epoch: float, held_out: HeldOut) -> None:
        """The held-out split was measured."""
        self._events.emit(
            "validation",
            {
                "step": position.step,
                "epoch": epoch,
                "val_loss": held_out.val_loss,
                "perplexity": held_out.perplexity,
                "bits_per_byte": held_out.bits_per_byte,
                "accuracy": held_out.accuracy,
            },
            {"elapsed_s": self._clock.elapsed_s},
        )

    def tell_sample(self, position: Position, prompt: str, text: str) -> None:
        """The model wrote something."""
        self._events.emit("sample", {"step": position.step, "prompt": prompt, "text": text})

    def tell_checkpoint(self, position: Position) -> None:
        """A checkpoint is about to be made."""
        self._events.emit("checkpoint", {"step": position.step, "best": position.best_step == position.step})

    def tell_early_stop(self, position: Position) -> None:
        """Patience is lost."""
        self._events.emit("early-stop", {"step": position.step, "metric": self._training.early_stopping.metric})
