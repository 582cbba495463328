"""`training_metrics.json`: one document a program can read about a run, made from its records and its events."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from trainwright.core.durable import write_file
from trainwright.core.records import Check, Frozen, Measure, Plan, Run
from trainwright.watch.events import Event, encode_nonfinite, is_finite_number, leave_out_undone

OVERFITTING_GAP = 0.5
"""Nats by which the validation loss may lie above the training loss before the file says "overfitting"."""

CONVERGENCE_GAIN = 0.01
"""Share of the validation loss that the last quarter may still win for the file to say "converged"."""

MIN_VALIDATIONS_TO_JUDGE = 4

PhaseStatus = Literal["completed", "reused", "skipped", "failed", "interrupted"]


class Phase(Frozen):
    """One phase of the pipeline as it went. `artefacts` is {name: path}; `error` is the error's kebab-case name."""

    name: str
    status: PhaseStatus
    elapsed_s: float
    artefacts: dict[str, str] = Field(default_factory=dict)
    error: str | None = None


def build_training_metrics(
    run: Run,
    plan: Plan,
    environment: Mapping[str, Any],
    events: Iterable[Event],
    phases: Sequence[Phase],
    checks: Sequence[Check],
    metrics: Mapping[str, Measure] | None = None,
) -> dict[str, Any]:
    """The document of `training_metrics.json`. See `build_epoch_history` and `_build_final_metrics` for each number.

    `metrics` are the held-out measurements of the finished model (a Report's); without them the last validation during
    training speaks for it. What was never measured is None. Numbers may be NaN here; `write_training_metrics` copes.
    """
    events = leave_out_undone(events)
    rows = build_epoch_history(events)
    return {
        "run_id": run.id,
        "plan_id": plan.id,
        "start_timestamp": run.started_at,
        "end_timestamp": events[-1]["timing"]["at"] if events else None,
        "configuration": plan.model_dump(mode="json"),
        "environment": dict(environment),
        "epoch_history": rows,
        "final_metrics": _build_final_metrics(rows, events, metrics),
        "stability": build_stability(events),
        "phases": [phase.model_dump(mode="json", exclude_none=True) for phase in phases],
        "validation": [check.model_dump(mode="json") for check in checks],
    }


def build_stability(events: Iterable[Event]) -> dict[str, Any]:
    """What went wrong: skipped steps by reason (those that a rollback passed over are `barred`), rollbacks, and what every
    rate was multiplied by in the end."""
    skips: dict[str, int] = {}
    num_rollbacks, rate_factor = 0, 1.0
    for event in events:
        if event["kind"] == "skip":
            skips[event["reason"]] = skips.get(event["reason"], 0) + 1
        elif event["kind"] == "rollback":
            num_rollbacks, rate_factor = event["num_rollbacks"], event["rate_factor"]
    return {"skipped_steps": skips, "num_rollbacks": num_rollbacks, "rate_factor": rate_factor}


def write_training_metrics(path: Path, document: Mapping[str, Any]) -> None:
    """Write the document whole, as JSON that any reader accepts: NaN and infinities as in `watch/events.py`.

    Raises DiskFull, NotWritable.
    """
    text = json.dumps(encode_nonfinite(document), indent=2, ensure_ascii=False, allow_nan=False)
    write_file(path, text.encode("utf-8", "backslashreplace") + b"\n")


def build_epoch_history(events: Iterable[Event]) -> list[dict[str, Any]]:
    """One row for each validation, and one for the steps after the last of them, oldest first.

    `train_loss` (nats per token) and `gradient_norm` are means over the steps since the row before; `lr` is the rate of
    the last of those steps; `tokens_per_s` is their tokens over the seconds spent in them; `elapsed_s` is training time
    since the run began, time between an interruption and its resume left out. Validation columns are None where the
    steps were not followed by a validation. Accuracy is added to what the contract names, as a share of 1. Of steps that
    a rollback undid, the later ones count.
    """
    rows: list[dict[str, Any]] = []
    samples: list[Event] = []
    clock = _RunClock()
    window = _Window()
    for event in leave_out_undone(events):
        clock.see(event)
        if event["kind"] == "step":
            window.add(event)
        elif event["kind"] == "validation":
            rows.append(window.build_row(clock.elapsed_s, event))
            window = _Window(num_tokens_before=window.num_tokens)
        elif event["kind"] == "sample":
            samples.append(event)
    if window.losses:
        rows.append(window.build_row(clock.elapsed_s, None))
    _attach_samples(rows, samples)
    return rows


def _attach_samples(rows: list[dict[str, Any]], samples: Sequence[Event]) -> None:
    """Give each sample to the first row that is not older than it: the validation it was drawn beside."""
    for sample in samples:
        at_or_after = [row for row in rows if row["step"] >= sample["step"]]
        if rows:
            row = at_or_after[0] if at_or_after else rows[-1]
            row["sample_outputs"].append({"prompt": sample["prompt"], "text": sample["text"]})


@dataclass
class _RunClock:
    """Adds up `elapsed_s`, whether it starts again at 0 in a process that continues a run, or goes on."""

    _earlier_s: float = 0.0
    _latest_s: float = 0.0

    @property
    def elapsed_s(self) -> float:
        return self._earlier_s + self._latest_s

    def see(self, event: Event) -> None:
        if event["kind"] not in ("step", "validation"):
            return
        elapsed_s = event["timing"].get("elapsed_s")
        if elapsed_s is None:
            return
        if elapsed_s < self._latest_s:
            self._earlier_s += self._latest_s
        self._latest_s = elapsed_s


@dataclass
class _Window:
    """The steps between two rows."""

    num_tokens_before: int = 0
    num_tokens: int = 0
    losses: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    last: Event | None = None

    def __post_init__(self) -> None:
        self.num_tokens = self.num_tokens_before

    def add(self, step: Event) -> None:
        self.losses.append(step["loss"])
        self.gradient_norms.append(step["gradient_norm"])
        if (step_s := step["timing"].get("step_s")) is not None:
            self.seconds.append(step_s)
        self.num_tokens = step["num_tokens"]
        self.last = step

    def build_row(self, elapsed_s: float, validation: Event | None) -> dict[str, Any]:
        said = validation or {}
        seen = validation or self.last or {}
        return {
            "epoch": seen.get("epoch"),
            "step": seen.get("step"),
            "train_loss": _mean(self.losses),
            "val_loss": said.get("val_loss"),
            "perplexity": said.get("perplexity"),
            "bits_per_byte": said.get("bits_per_byte"),
            "accuracy": said.get("accuracy"),
            "lr": None if self.last is None else self.last["learning_rate"],
            "gradient_norm": _mean(self.gradient_norms),
            "tokens_per_s": self._tokens_per_s(),
            "elapsed_s": elapsed_s,
            "sample_outputs": [],
        }

    def _tokens_per_s(self) -> float | None:
        seconds = sum(self.seconds)
        return (self.num_tokens - self.num_tokens_before) / seconds if seconds > 0 else None


def _build_final_metrics(
    rows: Sequence[dict[str, Any]], events: Sequence[Event], metrics: Mapping[str, Measure] | None
) -> dict[str, Any]:
    """What is left of a run in a dozen numbers.

    `best_val_loss` is the lowest finite one and `best_epoch` where it was; `final_train_loss` is the last row's mean;
    `overfitting_detected` is final validation − final training loss > 0.5 nats. Each is None where it was not measured.
    """
    validated = [row for row in rows if row["val_loss"] is not None]
    finite = [row for row in validated if is_finite_number(row["val_loss"])]
    best = min(finite, key=lambda row: float(row["val_loss"]), default=None)
    final = validated[-1] if validated else None
    train_loss: Any = rows[-1]["train_loss"] if rows else None
    val_loss: Any = final["val_loss"] if final else None
    gap = val_loss - train_loss if is_finite_number(val_loss) and is_finite_number(train_loss) else None
    return {
        "best_val_loss": best["val_loss"] if best else None,
        "best_epoch": best["epoch"] if best else None,
        "final_train_loss": train_loss,
        "final_val_loss": val_loss,
        "total_epochs": max((event["epoch"] for event in events if event["kind"] == "step"), default=0.0),
        "total_training_time_s": rows[-1]["elapsed_s"] if rows else 0.0,
        "convergence_achieved": judge_convergence([row["val_loss"] for row in validated]),
        "overfitting_detected": None if gap is None else gap > OVERFITTING_GAP,
        **{name: _pick(name, metrics, final) for name in ("bits_per_byte", "perplexity", "val_loss", "accuracy")},
    }


def judge_convergence(val_losses: Sequence[float]) -> bool | None:
    """Whether training had stopped paying: the last quarter of the validations won less than 1 %.

    Compared are the best validation loss before the last quarter (rounded up, so of 5 validations the last 2) and the
    best in it. None with fewer than four validations, too few to say; False where one of the last quarter is not
    finite. A learning rate that decays to the end still wins much there, and such a run is rightly "not converged": it
    stopped because its steps were used up.
    """
    if len(val_losses) < MIN_VALIDATIONS_TO_JUDGE:
        return None
    num_last = math.ceil(len(val_losses) / 4)
    earlier = [loss for loss in val_losses[:-num_last] if math.isfinite(loss)]
    last = val_losses[-num_last:]
    if not earlier or not all(math.isfinite(loss) for loss in last):
        return False
    return min(earlier) - min(last) < CONVERGENCE_GAIN * min(earlier)


def _pick(name: str, metrics: Mapping[str, Measure] | None, final: Mapping[str, Any] | None) -> float | None:
    if metrics is not None:
        return metrics[name].value if name in metrics else None
    return final[name] if final else None


def _mean(values: Sequence[float]) -> float | None:
    """NaN where one value is: a mean that left it out would hide what happened."""
    if not values:
        return None
    return sum(values) / len(values)  # not fsum, which raises where inf meets -inf
