"""Steps that a rollback undid come again; whoever reads the stream takes the later ones."""

import io

import pytest

from trainwright.watch.events import leave_out_undone
from trainwright.watch.metrics_file import build_epoch_history, build_stability
from trainwright.watch.plots import draw_loss
from trainwright.watch.progress import ConsoleProgress, describe_trouble, make_console


def step(number, loss):
    return {
        "kind": "step", "step": number, "epoch": number / 10, "loss": loss, "learning_rate": 1e-3,
        "gradient_norm": 1.0, "accuracy": 0.1, "num_tokens": 10 * number, "timing": {"step_s": 1.0, "tokens_per_s": 10.0},
    }  # fmt: skip


def validation(number, val_loss):
    return {
        "kind": "validation", "step": number, "epoch": number / 10, "val_loss": val_loss, "perplexity": 2.0,
        "bits_per_byte": 1.0, "accuracy": 0.1, "timing": {},
    }  # fmt: skip


def skip(number, reason="not-finite", loss=float("nan"), limit=None):
    norm = None if loss is None else 3.0
    facts = {"step": number, "epoch": 0.1, "reason": reason, "loss": loss, "gradient_norm": norm, "limit": limit}
    return {"kind": "skip", **facts, "timing": {}}


ROLLBACK = {
    "kind": "rollback", "step": 4, "to_step": 2, "reason": "skips", "num_rollbacks": 1, "rate_factor": 0.5,
    "barred_steps": [4], "timing": {},
}  # fmt: skip
STARTED = {"kind": "run-started", "plan": "p" * 64, "num_steps": 5, "num_parameters": 1, "timing": {}}
STREAM = [
    STARTED, step(1, 5.0), step(2, 4.0), step(3, 9.0), validation(3, 9.0), skip(4), ROLLBACK,
    step(3, 3.0), validation(3, 3.5), skip(4, "barred", loss=None), step(5, 2.0),
]  # fmt: skip


def test_undone_steps_are_left_out_and_what_went_wrong_stays():
    kept = leave_out_undone(STREAM)
    assert [event["loss"] for event in kept if event["kind"] == "step"] == [5.0, 4.0, 3.0, 2.0]
    assert [event["val_loss"] for event in kept if event["kind"] == "validation"] == [3.5]
    assert [event["kind"] for event in kept].count("skip") == 2
    assert ROLLBACK in kept


def test_stream_without_a_rollback_is_left_alone(events):
    assert leave_out_undone(events) == events


def test_metrics_take_the_later_steps():
    rows = build_epoch_history(STREAM)
    assert [(row["step"], row["train_loss"], row["val_loss"]) for row in rows] == [(3, 4.0, 3.5), (5, 2.0, None)]


def test_metrics_count_what_went_wrong():
    counted = {"skipped_steps": {"not-finite": 1, "barred": 1}, "num_rollbacks": 1, "rate_factor": 0.5}
    assert build_stability(STREAM) == counted
    assert build_stability([step(1, 1.0)]) == {"skipped_steps": {}, "num_rollbacks": 0, "rate_factor": 1.0}


def test_curve_takes_the_later_steps_and_marks_the_skipped():
    axes = draw_loss(STREAM).axes[0]
    curves = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert curves["training"] == [5.0, 4.0, 3.0, 2.0]
    assert "skipped" in curves


def test_console_says_it_and_goes_back():
    said = io.StringIO()
    clock = iter(range(1000))
    progress = ConsoleProgress(make_console(said), every_s=0.0, clock=lambda: float(next(clock)))
    for event in STREAM:
        progress.emit(event)
    lines = said.getvalue().splitlines()
    assert "step 4 skipped: its loss or gradient is not finite (loss nan, gradient 3)" in lines
    assert "rolled back from step 4 to 2; going on with 0.5 of the planned rates" in lines
    assert "step 4 skipped: a rollback barred it" in lines
    assert progress._losses.means == [5.0, 4.0, 3.0, 2.0]
    after = lines[lines.index(next(line for line in lines if line.startswith("rolled back"))) + 1]
    assert after.startswith("step 3/5")
    assert "left" not in after  # the pace is learnt anew


def test_limit_that_was_exceeded_is_said():
    outlier = skip(9, "loss-outlier", loss=12.5, limit=3.25)
    assert describe_trouble(outlier) == "step 9 skipped: its loss is an outlier (loss 12.5, gradient 3, limit 3.25)"


@pytest.mark.parametrize(
    ("flags", "line"), [([], ""), (["vanishing layer 3"], "gradients at step 7: vanishing layer 3")]
)
def test_flags_of_the_gradients_are_said(flags, line):
    said = io.StringIO()
    progress = ConsoleProgress(make_console(said))
    progress.emit({"kind": "anatomy", "step": 7, "groups": [], "weights": [], "flags": flags, "timing": {}})
    assert said.getvalue().strip() == line
