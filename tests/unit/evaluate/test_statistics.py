"""Intervals, tests and sample sizes, held against statsmodels, scipy and published values."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trainwright.core.records import Estimate
from trainwright.evaluate.statistics import (
    adjust_holm,
    check_clustered_t,
    check_mcnemar,
    check_paired_t,
    check_permutation,
    count_items_to_settle,
    estimate_clustered_mean,
    estimate_mean,
    estimate_rate,
    estimate_rate_difference,
    estimate_statistic,
    summarise_seeds,
)

VALUES = [0.2, 1.4, -0.7, 3.1, 0.9, 2.2, 0.4, -1.0, 0.3, 1.8]
CLUSTERS = ["a", "a", "a", "b", "b", "c", "c", "d", "d", "d"]


@pytest.fixture(scope="module")
def sm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import statsmodels.api
        import statsmodels.stats.contingency_tables
        import statsmodels.stats.multitest
        import statsmodels.stats.proportion
    return statsmodels


# ── rates ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("count", "n"), [(0, 1), (1, 1), (3, 10), (81, 263), (15, 148), (0, 20), (399, 400)])
def test_rate_has_the_wilson_interval_of_statsmodels(sm, count, n):
    found = estimate_rate(count, n)
    low, high = sm.stats.proportion.proportion_confint(count, n, alpha=0.05, method="wilson")
    assert found.value == count / n
    assert found.low == pytest.approx(low, abs=1e-12)
    assert found.high == pytest.approx(high, abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_bounds_of_a_rate_are_exact_at_its_ends():
    assert (estimate_rate(0, 7).low, estimate_rate(7, 7).high) == (0.0, 1.0)
    assert estimate_rate(0, 7).high == pytest.approx(0.35433, abs=1e-5)


def test_what_cannot_be_known_is_undefined_and_never_nought():
    for found in (
        estimate_rate(0, 0),
        estimate_mean([]),
        estimate_clustered_mean([], []),
        estimate_rate_difference(0, 0, 0, 0),
    ):
        assert (found.value, found.low, found.high, found.n) == (None, None, None, 0)
        assert found.why_not
    single = estimate_mean([3.0])
    assert (single.value, single.low) == (3.0, None)
    assert single.why_not == "one item has no spread"
    together = estimate_clustered_mean([1.0, 2.0], ["a", "a"])
    assert (together.value, together.high, together.num_clusters) == (1.5, None, 1)
    assert check_paired_t([1.0]).p_value is None
    assert check_clustered_t([1.0, 2.0], ["a", "a"]).why_not
    assert check_permutation([], seed=1).p_value is None
    with pytest.raises(ValidationError):
        Estimate(value=1.0, low=None, high=None, n=1, method="none")


# ── means ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_mean_has_the_student_interval_of_scipy():
    from scipy import stats

    found = estimate_mean(VALUES, alpha=0.1)
    low, high = stats.t.interval(0.9, len(VALUES) - 1, np.mean(VALUES), stats.sem(VALUES))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_clustered_mean_is_the_sandwich_of_statsmodels(sm):
    groups = np.unique(CLUSTERS, return_inverse=True)[1]
    fitted = sm.api.OLS(VALUES, np.ones(len(VALUES))).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True, "df_correction": True}, use_t=True
    )
    found = estimate_clustered_mean(VALUES, CLUSTERS)
    assert found.value == pytest.approx(fitted.params[0])
    assert (found.low, found.high) == pytest.approx(tuple(fitted.conf_int()[0]))
    assert (found.n, found.num_clusters) == (10, 4)
    assert check_clustered_t(VALUES, CLUSTERS).p_value == pytest.approx(fitted.pvalues[0])


def test_clusters_of_one_are_no_clusters():
    alone, plain = estimate_clustered_mean(VALUES, range(10)), estimate_mean(VALUES)
    assert (alone.low, alone.high) == pytest.approx((plain.low, plain.high))


def test_items_that_repeat_each_other_widen_the_interval():
    repeated, clusters = np.repeat(VALUES, 5), np.repeat(range(10), 5)
    naive, honest = estimate_mean(repeated), estimate_clustered_mean(repeated, list(clusters))
    assert honest.high - honest.low > 1.9 * (naive.high - naive.low)


# ── bootstrap ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_bootstrap_of_a_mean_agrees_with_scipy_and_is_the_same_by_seed():
    from scipy import stats

    values = np.array(VALUES)
    found = estimate_statistic(lambda taken: float(values[taken].mean()), 10, seed=3, num_resamples=2000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=2000, rng=np.random.default_rng(0))
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.08)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.08)
    again = estimate_statistic(lambda taken: float(values[taken].mean()), 10, seed=3, num_resamples=2000)
    other = estimate_statistic(lambda taken: float(values[taken].mean()), 10, seed=4, num_resamples=2000)
    assert found == again != other


def test_bootstrap_draws_whole_clusters():
    seen = []

    def count(taken):
        seen.append(sorted(taken.tolist()))
        return float(len(taken))

    estimate_statistic(count, 4, clusters=["a", "a", "b", "b"], seed=1, num_resamples=50)
    assert {tuple(taken) for taken in seen} <= {(0, 1, 2, 3), (0, 0, 1, 1), (2, 2, 3, 3)}
    assert len({tuple(taken) for taken in seen}) == 3


def test_statistic_that_is_undefined_on_a_resample_leaves_the_interval_undefined():
    values = np.array([0.0, 0.0, 1.0])

    def ratio(taken):
        total = float(values[taken].sum())
        return 1 / total if total else math.nan

    found = estimate_statistic(ratio, 3, seed=1)
    assert (found.value, found.low) == (1.0, None)
    assert found.why_not == "it is not finite on every resample"
    assert estimate_statistic(lambda taken: math.nan, 3, seed=1).value is None
    assert estimate_statistic(lambda taken: 1.0, 1, seed=1).low is None


# ── paired ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("table", [(0, 0), (1, 0), (3, 12), (12, 3), (40, 40), (0, 9)])
def test_mcnemar_is_that_of_statsmodels(sm, table):
    only_first, only_second = table
    theirs = sm.stats.contingency_tables.mcnemar([[50, only_first], [only_second, 50]], exact=True)
    assert check_mcnemar(only_first, only_second).p_value == pytest.approx(min(1.0, theirs.pvalue))


def test_difference_of_rates_has_newcombes_interval():
    # Both right 36, only the second 12, only the first 2, none 0: his tenth method gives 0.0569 to 0.3404.
    found = estimate_rate_difference(num_both=36, num_first=2, num_second=12, num_neither=0)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@settings(max_examples=60)
@given(st.tuples(*[st.integers(0, 60)] * 4).filter(any))
def test_difference_of_rates_is_within_its_interval_and_turns_round_with_the_sides(table):
    both, first, second, neither = table
    found = estimate_rate_difference(both, first, second, neither)
    turned = estimate_rate_difference(both, second, first, neither)
    assert -1 - 1e-9 <= found.low <= found.value <= found.high <= 1 + 1e-9
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_interval_of_a_difference_holds_as_often_as_it_says():
    generator = np.random.Generator(np.random.Philox(key=7))
    shares = np.array([0.5, 0.1, 0.2, 0.2])  # both, only first, only second, neither
    covered = 0
    for counts in generator.multinomial(80, shares, size=600):
        found = estimate_rate_difference(*(int(count) for count in counts))
        covered += found.low <= shares[2] - shares[1] <= found.high
    assert 0.93 < covered / 600 < 0.975


def test_paired_t_is_that_of_scipy():
    from scipy import stats

    assert check_paired_t(VALUES).p_value == pytest.approx(stats.ttest_1samp(VALUES, 0).pvalue)
    assert check_paired_t([0.0, 0.0, 0.0]).p_value == 1.0
    assert check_paired_t([0.5, 0.5, 0.5]).why_not == "every item differs by exactly as much"


def test_permutation_counts_all_sign_patterns_of_few_items():
    # Of the eight patterns of 1, 2, 3 only +++ and --- are as far from nought as 6.
    assert check_permutation([1.0, 2.0, 3.0], seed=1).p_value == pytest.approx(2 / 8)
    assert check_permutation([0.0, 0.0], seed=1).p_value == 1.0


def test_permutation_of_many_items_is_the_same_by_seed_and_near_the_t_test():
    values = [*VALUES, *(np.array(VALUES) * 0.5 + 0.1)]
    found = check_permutation(values, seed=5, num_resamples=2000)
    assert found == check_permutation(values, seed=5, num_resamples=2000)
    assert found.p_value == pytest.approx(check_paired_t(values).p_value, abs=0.02)


@pytest.mark.parametrize(
    "p_values", [[0.03], [0.01, 0.04, 0.03, 0.005], [0.5, 0.5, 0.01], [0.0, 1.0], [0.9, 0.02, 0.02, 0.02, 0.04]]
)
def test_holm_is_that_of_statsmodels(sm, p_values):
    theirs = sm.stats.multitest.multipletests(p_values, method="holm")[1]
    assert adjust_holm(p_values) == pytest.approx(theirs)


def test_holm_of_nothing_is_nothing():
    assert adjust_holm([]) == []


# ── several runs ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_spread_over_seeds_is_that_of_the_standard_library():
    import statistics

    found = summarise_seeds(VALUES)
    assert (found.num_runs, found.lowest, found.highest) == (10, -1.0, 3.1)
    assert (found.mean, found.deviation) == pytest.approx((statistics.fmean(VALUES), statistics.stdev(VALUES)))
    assert summarise_seeds([2.0]).deviation is None
    with pytest.raises(ValueError, match="no run"):
        summarise_seeds([])


def test_bootstrap_that_sees_no_spread_has_no_interval():
    found = estimate_statistic(lambda positions: 1.0, 10, seed=0, num_resamples=50)
    assert (found.value, found.low, found.high) == (1.0, None, None)
    assert "same figure" in found.why_not


# ── how many ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_number_of_items_is_the_one_of_the_textbook():
    # (1.6449 + 0.8416)² · 0.5² / 0.1² = 154.6
    assert count_items_to_settle(spread=0.5, distance=0.1) == 155
    assert count_items_to_settle(spread=0.5, distance=-0.1) == 155
    assert count_items_to_settle(spread=0.5, distance=0.05) == pytest.approx(4 * 155, abs=3)
    assert count_items_to_settle(spread=0.0, distance=0.1) == 2


def test_number_of_items_that_settles_it_does_so_as_often_as_it_says():
    n = count_items_to_settle(spread=1.0, distance=0.4, alpha=0.05, power=0.8)
    generator = np.random.Generator(np.random.Philox(key=11))
    settled = sum(estimate_mean(generator.normal(0.4, 1.0, n), alpha=0.1).low > 0 for _ in range(500))
    assert 0.74 < settled / 500 < 0.86


@pytest.mark.parametrize(("spread", "distance"), [(0.5, 0.0), (math.nan, 0.1), (0.5, math.inf), (-1.0, 0.1)])
def test_question_that_no_number_settles_has_none(spread, distance):
    assert count_items_to_settle(spread, distance) is None
