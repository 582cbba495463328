"""The validation table."""

import math

import pytest

from trainwright.core.records import Budgets, Measure, ModelShape
from trainwright.evaluate.checks import check_budgets, check_likelihood
from trainwright.evaluate.held_out import Likelihood
from trainwright.evaluate.inference import InferenceCost

SHAPE = ModelShape(
    vocab_size=100, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, intermediate_size=8
)
COST = InferenceCost(latencies_s=(0.1, 0.2, 0.3), tokens_per_s=50.0, rss_bytes=300, peak_rss_bytes=350, load_s=0.1)
NONE = Budgets(latency_p95_ms=None, inference_rss_bytes=None, model_file_bytes=None, training_peak_bytes=None)
PEAK = Measure(value=400, unit="bytes")


def likelihood(val_loss):
    return Likelihood(nll_sum=val_loss * 10, num_tokens=10, num_correct=1, num_bytes=20)


# ── likelihood ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("val_loss", "passed"), [(4.6, True), (math.log(100) + 1e-9, False), (5.0, False)])
def test_model_beats_guessing_or_fails(val_loss, passed):
    (check,) = check_likelihood(likelihood(val_loss), SHAPE)
    assert check.passed is passed
    assert check.limit == pytest.approx(math.log(100))
    assert check.measured.value == pytest.approx(val_loss)


@pytest.mark.parametrize("val_loss", [math.nan, math.inf])
def test_loss_that_is_no_number_fails_and_says_what_it_is(val_loss):
    (check,) = check_likelihood(likelihood(val_loss), SHAPE)
    assert check.passed is False
    assert check.measured.value is None
    assert str(val_loss) in check.measured.why_not


# ── budgets ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def rows(budgets, peak=PEAK):
    return {check.name: check for check in check_budgets(budgets, COST, 500, peak)}


def test_there_is_a_row_for_every_budget():
    assert len(rows(NONE)) == len(Budgets.model_fields)


@pytest.mark.parametrize(
    ("budget", "name", "value"),
    [
        ("latency_p95_ms", "inference latency, 95th percentile", 290.0),
        ("inference_rss_bytes", "inference memory (RSS)", 300),
        ("model_file_bytes", "model file", 500),
        ("training_peak_bytes", "training memory beyond the framework", 400),
    ],
)
def test_budget_is_kept_up_to_its_limit_and_broken_beyond_it(budget, name, value):
    for limit, passed in ((value + 1, True), (value - 1, False)):
        check = rows(NONE.model_copy(update={budget: limit}))[name]
        assert (check.passed, check.limit) == (passed, limit)
        assert check.measured.value == pytest.approx(value)
        assert check.measured.unit in ("ms", "bytes")
        others = [row for row in rows(NONE.model_copy(update={budget: limit})).values() if row.name != name]
        assert all(row.passed is None for row in others)
    if budget != "latency_p95_ms":
        assert rows(NONE.model_copy(update={budget: value}))[name].passed is True


def test_budget_that_is_switched_off_shows_its_figure_and_no_verdict():
    for check in rows(NONE).values():
        assert check.passed is None
        assert check.why == "no budget set"
        assert check.measured.value is not None


def test_what_was_not_measured_neither_passes_nor_fails_and_says_why():
    peak = Measure(value=None, unit="bytes", why_not="the run was resumed")
    check = rows(NONE.model_copy(update={"training_peak_bytes": 1}), peak)["training memory beyond the framework"]
    assert check.passed is None
    assert check.why == "not measured: the run was resumed"
    assert check.limit == 1


def test_latency_percentiles_by_hand():
    assert COST.latency_ms(50) == pytest.approx(200)
    assert COST.latency_ms(95) == pytest.approx(290)
    assert COST.latency_ms(100) == pytest.approx(300)
