"""What is done about a step that goes wrong. A ladder of three rungs, each a pure function of what came before.

    skip       nothing is updated: weights and optimizer stay as they are, bit for bit; the step still counts
    roll back  after several skips: to the last scheduled checkpoint, with lower rates, past the steps that went wrong
    stop       after several rollbacks

What the ladder remembers (`Steadiness`) is part of a checkpoint's position, so a resumed run climbs it as the run that was
never stopped did.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trainwright.core.errors import TrainingUnstable
from trainwright.core.records import Stability
from trainwright.core.state import Position, Steadiness

SMALLEST_DEVIATION = 1e-3
"""σ is taken as at least this share of the mean: where a loss hardly moves, a rounding error is no outlier."""


@dataclass(frozen=True)
class Objection:
    """Why a step is not taken; `limit` is what its loss or its gradient norm exceeded, where it was a finite number."""

    reason: Literal["not-finite", "loss-outlier", "gradient-outlier", "barred"]
    limit: float | None = None


BARRED = Objection("barred")

SetbackReason = Literal["skips", "held-out-loss", "weights"]


class Setback(Exception):
    """The run cannot go on from `position`: it has to be rolled back."""

    def __init__(self, position: Position, reason: SetbackReason) -> None:
        super().__init__(reason)
        self.position, self.reason = position, reason


def find_objection(
    settings: Stability | None, steadiness: Steadiness, loss: float, gradient_norm: float
) -> Objection | None:
    """Whether a step with this loss and gradient norm is to be skipped; None: it is to be taken.

    It is an outlier above mean + `outlier_sigmas`·σ of the steps that are remembered, once those are half a window: fewer
    say little about σ, and at a run's start both quantities rightly move fast.
    """
    if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
        return Objection("not-finite")
    if settings is None or not settings.outlier_sigmas or 2 * len(steadiness.losses) < settings.window:
        return None
    loss_limit = _limit(steadiness.losses, settings.outlier_sigmas)
    if loss > loss_limit:
        return Objection("loss-outlier", loss_limit)
    norm_limit = _limit(steadiness.norms, settings.outlier_sigmas)
    if gradient_norm > norm_limit:
        return Objection("gradient-outlier", norm_limit)
    return None


def _limit(values: Sequence[float], num_sigmas: float) -> float:
    """Mean + σs, summed exactly (`fsum`), so that the limit does not depend on an order of summation."""
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    return mean + num_sigmas * max(deviation, SMALLEST_DEVIATION * abs(mean))


def remember_taken(settings: Stability | None, steadiness: Steadiness, loss: float, gradient_norm: float) -> Steadiness:
    """After a step that was taken."""
    if settings is None or not settings.outlier_sigmas:
        return steadiness
    keep = settings.window - 1
    losses, norms = steadiness.losses[-keep:], steadiness.norms[-keep:]
    return _replace(steadiness, losses=(*losses, loss), norms=(*norms, gradient_norm))


def remember_skipped(settings: Stability, steadiness: Steadiness, step: int) -> Steadiness:
    """After `step` (0-based) was skipped; skips that are `window` steps old are forgotten."""
    recent = (skipped for skipped in steadiness.skipped_steps if skipped > step - settings.window)
    return _replace(steadiness, skipped_steps=(*recent, step))


def calls_for_rollback(settings: Stability, steadiness: Steadiness) -> bool:
    """Whether too many of the last `window` steps were skipped."""
    return len(steadiness.skipped_steps) >= settings.max_skips


def roll_back(settings: Stability, setback: Setback, scheduled: Position) -> Position:
    """Where the run goes on: at the `scheduled` position, but with lower rates and the steps that went wrong barred.

    What is usual is again what was usual there. Raises TrainingUnstable where the rollbacks are used up.
    """
    now = setback.position.steadiness
    num_rollbacks = now.num_rollbacks + 1
    if num_rollbacks > settings.max_rollbacks:
        raise TrainingUnstable(
            f"Training is unstable: after {now.num_rollbacks} rollbacks it went wrong again "
            f"at step {setback.position.step} ({_describe(setback)}).",
            why=f"Rates were down to {now.rate_factor:g} of the plan's, and it did not help. "
            "The checkpoints are good; events.jsonl names every skipped step and why.",
            next_step="Look at the text of the skipped steps; lower --learning-rate, or lengthen "
            "train.schedule.warmup_steps, and run again.",
        )
    barred = {step for step in (*now.barred_steps, *now.skipped_steps) if step >= scheduled.step}
    steadiness = _replace(
        scheduled.steadiness,
        skipped_steps=(),
        barred_steps=tuple(sorted(barred)),
        num_rollbacks=num_rollbacks,
        rate_factor=now.rate_factor * settings.rate_factor,
    )
    return Position(**{**dict(scheduled), "steadiness": steadiness})


def _describe(setback: Setback) -> str:
    words = {"skips": "too many skipped steps", "held-out-loss": "the held-out loss", "weights": "a weight"}
    return words[setback.reason] + ("" if setback.reason == "skips" else " is not finite")


def _replace(steadiness: Steadiness, **changes: object) -> Steadiness:
    return Steadiness.model_validate({**dict(steadiness), **changes})
