"""The validation table: what a finished model must show, row by row, each passed, failed or not measured."""

import math

from trainwright.core.records import Budgets, Check, Measure, Shape
from trainwright.evaluate.held_out import Likelihood
from trainwright.evaluate.inference import InferenceCost


def check_likelihood(likelihood: Likelihood, shape: Shape) -> tuple[Check, ...]:
    """The held-out loss is finite, and below ln V, which is what guessing among V tokens costs."""
    uniform = math.log(shape.vocab_size)
    measured = (
        Measure(value=likelihood.val_loss, unit="nats/token")
        if math.isfinite(likelihood.val_loss)
        else Measure(value=None, unit="nats/token", why_not=f"the loss is {likelihood.val_loss}")
    )
    return (
        Check(
            name="held-out loss below uniform guessing",
            measured=measured,
            limit=uniform,
            passed=measured.value is not None and measured.value < uniform,
        ),
    )


def check_budgets(
    budgets: Budgets, cost: InferenceCost, model_file_bytes: int, training_peak: Measure
) -> tuple[Check, ...]:
    """One row per budget. A budget that is switched off is shown with its figure and no verdict."""
    latency = Measure(value=cost.latency_ms(95), unit="ms")
    return (
        _check("inference latency, 95th percentile", latency, budgets.latency_p95_ms),
        _check("inference memory (RSS)", Measure(value=cost.rss_bytes, unit="bytes"), budgets.inference_rss_bytes),
        _check("model file", Measure(value=model_file_bytes, unit="bytes"), budgets.model_file_bytes),
        _check("training memory beyond the framework", training_peak, budgets.training_peak_bytes),
    )


def _check(name: str, measured: Measure, limit: float | None) -> Check:
    if measured.value is None:
        return Check(name=name, measured=measured, limit=limit, passed=None, why=f"not measured: {measured.why_not}")
    if limit is None:
        return Check(name=name, measured=measured, limit=None, passed=None, why="no budget set")
    return Check(name=name, measured=measured, limit=limit, passed=measured.value <= limit)
