"""Gates look at the end of an interval, know which way is better, and fail where anything is missing."""

import pytest

from trainwright.core.records import Condition, Estimate, Gate
from trainwright.evaluate.statistics import count_items_to_settle
from trainwright.release.gates import Evidence, combine, judge_gate, refuse_gate


def gate(kind="at_least", **fields):
    return Gate(kind=kind, metric="m", suite="s", **fields)


def estimate(low, value, high, n=100):
    return Estimate(value=value, low=low, high=high, n=n, method="Wilson")


UNDEFINED = Estimate(value=None, low=None, high=None, n=0, method="Wilson", why_not="no item has a value")


def judge(asked, better="higher", **figures):
    return judge_gate(asked, Evidence(better=better, **figures), count_items_to_settle)


@pytest.mark.parametrize(
    ("low", "value", "high", "outcome"),
    [(0.81, 0.9, 0.95, "pass"), (0.8, 0.9, 0.95, "pass"), (0.7, 0.85, 0.9, "inconclusive"), (0.5, 0.6, 0.79, "fail")],
)
def test_at_least_is_decided_by_the_ends_of_the_interval(low, value, high, outcome):
    assert judge(gate(limit=0.8), candidate=estimate(low, value, high)).outcome == outcome


@pytest.mark.parametrize(
    ("low", "value", "high", "outcome"),
    [(0.01, 0.02, 0.1, "pass"), (0.05, 0.08, 0.2, "inconclusive"), (0.11, 0.2, 0.3, "fail")],
)
def test_at_most_is_its_mirror(low, value, high, outcome):
    result = judge(gate("at_most", limit=0.1), "lower", candidate=estimate(low, value, high))
    assert result.outcome == outcome
    assert f"{low:.4g} to {high:.4g}" in result.why


def test_a_limit_that_asks_for_the_worse_direction_fails():
    assert "asks for the opposite" in judge(gate(limit=0.1), "lower", candidate=estimate(0.2, 0.3, 0.4)).why
    assert judge(gate("at_most", limit=0.9), "higher", candidate=estimate(0.2, 0.3, 0.4)).outcome == "fail"
    assert judge(gate(limit=0.1), "zero", candidate=estimate(0.2, 0.3, 0.4)).outcome == "fail"


@pytest.mark.parametrize(
    ("low", "value", "high", "outcome"),
    [
        (-0.05, 0.0, 0.05, "pass"),
        (-0.2, -0.05, 0.05, "inconclusive"),
        (-0.4, -0.3, -0.2, "fail"),
        (0.2, 0.3, 0.4, "fail"),
    ],
)
def test_of_a_metric_that_is_best_at_zero_the_size_counts(low, value, high, outcome):
    assert judge(gate("at_most", limit=0.1), "zero", candidate=estimate(low, value, high)).outcome == outcome


def test_what_is_undefined_or_too_few_fails():
    assert judge(gate(limit=0.1), candidate=UNDEFINED).outcome == "fail"
    few = judge(gate(limit=0.1, min_n=200), candidate=estimate(0.8, 0.9, 0.95))
    assert (few.outcome, few.why) == ("fail", "100 items are fewer than the 200 that are asked for")
    no_interval = Estimate(value=0.9, low=None, high=None, n=100, method="clustered t", why_not="one cluster")
    assert judge(gate(limit=0.1), candidate=no_interval).outcome == "fail"


def paired(low, value, high, better="higher", asked=None, **facts):
    figures = {"candidate": estimate(0.5, 0.6, 0.7), "baseline": estimate(0.5, 0.6, 0.7)} | facts
    return judge(asked or gate("non_inferior", margin=0.03), better, difference=estimate(low, value, high), **figures)


def test_non_inferior_puts_up_with_the_margin_alone():
    assert paired(-0.02, 0.0, 0.02).outcome == "pass"
    assert paired(-0.03, 0.0, 0.02).outcome == "inconclusive"
    assert paired(-0.2, -0.1, -0.03).outcome == "fail"


def test_where_lower_is_better_a_rise_is_the_loss():
    assert paired(-0.02, 0.0, 0.02, "lower").outcome == "pass"
    assert paired(0.04, 0.1, 0.2, "lower").outcome == "fail"


def test_a_relative_margin_is_a_share_of_the_baselines_figure():
    asked = gate("non_inferior", margin=0.02, relative=True)
    figures = {"candidate": estimate(1.5, 1.61, 1.7), "baseline": estimate(1.4, 1.6, 1.7)}
    assert paired(0.0, 0.01, 0.031, "lower", asked, **figures).outcome == "pass"
    assert paired(0.0, 0.01, 0.033, "lower", asked, **figures).outcome == "inconclusive"


def test_superior_needs_a_gain_beyond_chance():
    assert paired(0.01, 0.1, 0.2, asked=gate("superior")).outcome == "pass"
    assert paired(-0.01, 0.1, 0.2, asked=gate("superior")).outcome == "inconclusive"
    assert paired(-0.2, -0.1, 0.0, asked=gate("superior")).outcome == "fail"


def test_identical_outputs_are_no_change_never_a_gain():
    same = paired(0.0, 0.0, 0.0, identical=True)
    assert (same.outcome, same.why[:9]) == ("pass", "no change")
    assert paired(0.0, 0.0, 0.0, asked=gate("superior"), identical=True).outcome == "fail"


@pytest.mark.parametrize("edge", ["floor", "ceiling"])
def test_at_floor_and_ceiling_nothing_can_be_told(edge):
    result = paired(-0.01, 0.0, 0.01, edge=edge)
    assert result.outcome == "inconclusive"
    assert edge in result.why


def test_a_comparison_without_a_baseline_or_a_good_side_fails():
    assert judge(gate("superior"), candidate=estimate(0.5, 0.6, 0.7)).outcome == "fail"
    assert paired(-0.02, 0.0, 0.02, "zero").outcome == "fail"
    assert (
        judge(
            gate("superior"), candidate=estimate(0.5, 0.6, 0.7), baseline=estimate(0.5, 0.6, 0.7), difference=UNDEFINED
        ).outcome
        == "fail"
    )


def test_an_inconclusive_gate_says_how_many_items_would_settle_it():
    result = judge(gate(limit=0.8), candidate=estimate(0.7, 0.85, 0.9), spread=0.357)
    # ((1.645 + 0.842) · 0.357 / 0.05)²
    assert result.items_to_settle == 316
    assert judge(gate(limit=0.8), candidate=estimate(0.7, 0.85, 0.9)).items_to_settle is None
    assert judge(gate(limit=0.8), candidate=estimate(0.81, 0.85, 0.9), spread=0.3).items_to_settle is None


def test_all_must_pass():
    good = judge(gate(limit=0.1), candidate=estimate(0.8, 0.9, 0.95))
    unsure = judge(gate(limit=0.85), candidate=estimate(0.8, 0.9, 0.95))
    bad = refuse_gate(gate(limit=0.1), "nothing is known")
    clean = Condition(name="contamination", outcome="pass", why="")
    assert combine([good], [clean]) == "pass"
    assert combine([good, unsure], [clean]) == "inconclusive"
    assert combine([good, unsure, bad], [clean]) == "fail"
    assert combine([good], [clean.model_copy(update={"outcome": "fail"})]) == "fail"
    assert combine([], [clean]) == "fail"
