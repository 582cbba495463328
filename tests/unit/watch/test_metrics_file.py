"""training_metrics.json against events whose numbers are known."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from trainwright.core.records import Check, Measure, Plan, Run
from trainwright.watch.metrics_file import (
    Phase,
    build_epoch_history,
    build_training_metrics,
    judge_convergence,
    write_training_metrics,
)

CONTRACT_KEYS = {
    "run_id", "plan_id", "start_timestamp", "end_timestamp", "configuration", "environment", "epoch_history",
    "final_metrics", "phases", "stability", "validation",
}  # fmt: skip
ROW_KEYS = {
    "epoch", "step", "train_loss", "val_loss", "perplexity", "bits_per_byte", "lr", "gradient_norm", "tokens_per_s",
    "elapsed_s", "sample_outputs",
}  # fmt: skip
FINAL_KEYS = {
    "best_val_loss", "best_epoch", "final_train_loss", "final_val_loss", "total_epochs", "total_training_time_s",
    "convergence_achieved", "overfitting_detected", "bits_per_byte", "perplexity", "val_loss", "accuracy",
}  # fmt: skip


def step(number: int, loss: float, elapsed_s: float) -> dict[str, Any]:
    return {
        "kind": "step", "step": number, "epoch": number / 10, "loss": loss, "learning_rate": number / 1000,
        "gradient_norm": float(number), "accuracy": 0.5, "num_tokens": 100 * number,
        "timing": {"at": f"t{number}", "step_s": 0.5, "tokens_per_s": 200.0, "elapsed_s": elapsed_s},
    }  # fmt: skip


def validation(number: int, val_loss: float, elapsed_s: float) -> dict[str, Any]:
    return {
        "kind": "validation", "step": number, "epoch": number / 10, "val_loss": val_loss, "perplexity": 9.0,
        "bits_per_byte": val_loss / 2, "accuracy": 0.25, "timing": {"at": f"v{number}", "elapsed_s": elapsed_s},
    }  # fmt: skip


def sample(number: int) -> dict[str, Any]:
    return {"kind": "sample", "step": number, "prompt": "p", "text": f"t{number}", "timing": {"at": "s"}}


def final_metrics(run: Run, plan: Plan, events: list[dict[str, Any]], metrics: Any = None) -> dict[str, Any]:
    document = build_training_metrics(run, plan, {}, events, [], [], metrics)
    found: dict[str, Any] = document["final_metrics"]
    return found


def test_the_document_has_what_the_contract_names(
    run_record: Run, plan: Plan, events: list[dict[str, Any]], checks: tuple[Check, ...]
) -> None:
    phases = [
        Phase(name="data", status="reused", elapsed_s=0.1, artefacts={"corpus.txt": "out/corpus.txt"}),
        Phase(name="validation", status="failed", elapsed_s=2.0, error="budget-exceeded"),
    ]
    document = build_training_metrics(run_record, plan, {"hostname": "h"}, events, phases, checks)
    assert set(document) == CONTRACT_KEYS
    assert document["run_id"] == run_record.id
    assert document["plan_id"] == plan.id
    assert document["configuration"]["training"]["batch_size"] == 32
    assert len(document["epoch_history"]) == 5
    assert set(document["epoch_history"][0]) >= ROW_KEYS
    assert set(document["final_metrics"]) == FINAL_KEYS
    assert document["phases"][0] == {
        "name": "data", "status": "reused", "elapsed_s": 0.1, "artefacts": {"corpus.txt": "out/corpus.txt"},
    }  # fmt: skip
    assert document["phases"][1]["error"] == "budget-exceeded"
    assert [row["passed"] for row in document["validation"]] == [True, False, None]
    assert document["end_timestamp"] == events[-1]["timing"]["at"]


def test_a_row_is_the_mean_since_the_row_before() -> None:
    first = [step(1, 4.0, 0.5), step(2, 3.0, 1.0), validation(2, 3.5, 1.2)]
    second = [step(3, 2.0, 1.7), step(4, 1.0, 2.2), validation(4, 2.5, 2.4), sample(4)]
    rows = build_epoch_history(first + second)
    assert [row["train_loss"] for row in rows] == [3.5, 1.5]
    assert [row["gradient_norm"] for row in rows] == [1.5, 3.5]
    assert [row["lr"] for row in rows] == [0.002, 0.004]
    assert [row["tokens_per_s"] for row in rows] == [200.0, 200.0]
    assert [row["elapsed_s"] for row in rows] == [1.2, 2.4]
    assert [row["val_loss"] for row in rows] == [3.5, 2.5]
    assert [row["sample_outputs"] for row in rows] == [[], [{"prompt": "p", "text": "t4"}]]


def test_samples_written_before_their_validation_event_belong_to_it() -> None:
    rows = build_epoch_history([step(1, 4.0, 0.5), sample(1), validation(1, 3.0, 1.0), step(2, 2.0, 1.5), sample(2)])
    assert [len(row["sample_outputs"]) for row in rows] == [1, 1]
    assert rows[1]["val_loss"] is None


def test_time_between_interruption_and_resume_is_left_out() -> None:
    restarted = [step(1, 4.0, 10.0), step(2, 3.0, 20.0), step(3, 2.0, 5.0), validation(3, 2.0, 6.0)]
    continued = [step(1, 4.0, 10.0), step(2, 3.0, 20.0), step(3, 2.0, 25.0), validation(3, 2.0, 26.0)]
    assert build_epoch_history(restarted)[0]["elapsed_s"] == 26.0
    assert build_epoch_history(continued)[0]["elapsed_s"] == 26.0


def test_final_metrics_name_the_best_and_the_last(run_record: Run, plan: Plan) -> None:
    events = [step(1, 2.0, 1.0), validation(1, 2.2, 1.0), step(2, 1.0, 2.0), validation(2, 2.4, 2.0)]
    final = final_metrics(run_record, plan, events)
    assert (final["best_val_loss"], final["best_epoch"]) == (2.2, 0.1)
    assert (final["final_val_loss"], final["final_train_loss"]) == (2.4, 1.0)
    assert final["overfitting_detected"] is True
    assert final["convergence_achieved"] is None
    assert (final["total_epochs"], final["total_training_time_s"]) == (0.2, 2.0)
    assert final["bits_per_byte"] == 1.2


def test_a_gap_of_half_a_nat_is_not_yet_overfitting(run_record: Run, plan: Plan) -> None:
    events = [step(1, 2.0, 1.0), validation(1, 2.5, 1.0)]
    assert final_metrics(run_record, plan, events)["overfitting_detected"] is False


def test_the_reports_measurements_speak_for_the_finished_model(run_record: Run, plan: Plan) -> None:
    measured = {"bits_per_byte": Measure(value=0.7), "perplexity": Measure(value=None, why_not="not asked for")}
    final = final_metrics(run_record, plan, [step(1, 2.0, 1.0), validation(1, 2.2, 1.0)], measured)
    assert final["bits_per_byte"] == 0.7
    assert final["perplexity"] is None
    assert final["accuracy"] is None


def test_a_run_without_a_step_claims_nothing(run_record: Run, plan: Plan) -> None:
    document = build_training_metrics(run_record, plan, {}, [], [], [])
    assert document["epoch_history"] == []
    assert document["end_timestamp"] is None
    final = document["final_metrics"]
    assert final["total_epochs"] == 0.0
    assert final["total_training_time_s"] == 0.0
    assert {final[key] for key in FINAL_KEYS - {"total_epochs", "total_training_time_s"}} == {None}


@pytest.mark.parametrize(
    ("val_losses", "verdict"),
    [
        ([3.0, 2.0, 1.5], None),
        ([3.0, 2.0, 1.5, 1.4], False),
        ([3.0, 2.0, 1.5, 1.49], True),
        ([3.0, 2.0, 1.5, 1.6], True),
        ([3.0, 2.0, 1.5, math.nan], False),
        ([math.nan, math.nan, math.nan, 1.0], False),
        ([3.0, 2.0, 1.5, 1.4, 1.4], False),
        ([3.0, 1.0, 1.0, 1.0, 0.995], True),
    ],
)
def test_convergence_is_a_last_quarter_that_won_less_than_one_percent(
    val_losses: list[float], verdict: bool | None
) -> None:
    assert judge_convergence(val_losses) is verdict


def test_a_loss_that_is_not_a_number_is_shown_and_the_file_stays_json(
    tmp_path: Path, run_record: Run, plan: Plan
) -> None:
    events = [step(1, math.nan, 1.0), validation(1, math.inf, 1.0)]
    document = build_training_metrics(run_record, plan, {}, events, [], [])
    assert document["final_metrics"]["best_val_loss"] is None
    assert document["final_metrics"]["overfitting_detected"] is None
    write_training_metrics(tmp_path / "training_metrics.json", document)
    text = (tmp_path / "training_metrics.json").read_text(encoding="utf-8")
    read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert read["epoch_history"][0]["train_loss"] == "NaN"
    assert "/epoch_history/0/train_loss" in read["nonfinite"]
