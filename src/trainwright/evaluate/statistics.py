"""What a handful of items says about the rest: intervals, paired tests, and how many items would settle a question.

Pure functions of numbers. What cannot be had from the numbers given is undefined and says why; it is never 0. `alpha` is
the chance of being wrong that is put up with: intervals hold with probability 1 − alpha, two-sided.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from trainwright.core.records import Estimate, Frozen, PairedTest
from trainwright.core.seeds import build_generator

ALPHA = 0.05
NUM_RESAMPLES = 2_000

Floats = Sequence[float] | NDArray[np.float64]


# ── intervals ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def estimate_rate(num_successes: int, n: int, alpha: float = ALPHA) -> Estimate:
    """A share with its Wilson score interval (Wilson 1927, J. Am. Stat. Assoc. 22:209); the bounds 0 and 1 are exact."""
    if n == 0:
        return Estimate(value=None, low=None, high=None, n=0, method="Wilson", why_not="no item has a value")
    low, high = _wilson(num_successes, n, alpha)
    return Estimate(value=num_successes / n, low=low, high=high, n=n, method="Wilson")


def _wilson(num_successes: int, n: int, alpha: float) -> tuple[float, float]:
    z, share = _normal_quantile(1 - alpha / 2), num_successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At the ends the formula gives 0 and 1 up to rounding.
    return (0.0 if num_successes == 0 else centre - reach), (1.0 if num_successes == n else centre + reach)


def estimate_mean(values: Floats, alpha: float = ALPHA) -> Estimate:
    """A mean with its Student-t interval (Student 1908, Biometrika 6:1)."""
    array = np.asarray(values, np.float64)
    n = len(array)
    if n == 0:
        return Estimate(value=None, low=None, high=None, n=0, method="Student t", why_not="no item has a value")
    mean = float(array.mean())
    if n == 1:
        return _without_interval(mean, n, "Student t", "one item has no spread")
    reach = _t_quantile(1 - alpha / 2, n - 1) * float(array.std(ddof=1)) / math.sqrt(n)
    return Estimate(value=mean, low=mean - reach, high=mean + reach, n=n, method="Student t")


def estimate_clustered_mean(values: Floats, clusters: Sequence[Hashable], alpha: float = ALPHA) -> Estimate:
    """A mean of items that come in clusters, with its sandwich interval on G − 1 degrees of freedom.

    Variance G/(G−1) · Σ over clusters of (Σ of residuals)² / n² (Liang and Zeger 1986, Biometrika 73:13; the factor and
    the degrees of freedom as in Cameron and Miller 2015, J. Hum. Resour. 50:317). Fewer than two clusters: undefined.
    """
    method, array = "clustered t", np.asarray(values, np.float64)
    n, num_clusters = len(array), len(set(clusters))
    if n == 0:
        return Estimate(value=None, low=None, high=None, n=0, method=method, why_not="no item has a value")
    mean = float(array.mean())
    if num_clusters < 2:
        return _without_interval(mean, n, method, "all items are of one cluster", num_clusters)
    reach = _t_quantile(1 - alpha / 2, num_clusters - 1) * _clustered_error(array, clusters)
    return Estimate(value=mean, low=mean - reach, high=mean + reach, n=n, method=method, num_clusters=num_clusters)


def _clustered_error(array: NDArray[np.float64], clusters: Sequence[Hashable]) -> float:
    sums: defaultdict[Hashable, float] = defaultdict(float)
    for residual, cluster in zip(array - array.mean(), clusters, strict=True):
        sums[cluster] += float(residual)
    factor = len(sums) / (len(sums) - 1)
    return math.sqrt(factor * sum(total**2 for total in sums.values())) / len(array)


def estimate_statistic(
    statistic: Callable[[NDArray[np.intp]], float],
    n: int,
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    alpha: float = ALPHA,
    num_resamples: int = NUM_RESAMPLES,
) -> Estimate:
    """Any statistic of items with its percentile bootstrap interval (Efron 1979, Ann. Stat. 7:1), by seed.

    `statistic` takes the positions [≤ n] of the items of one resample. With `clusters`, whole clusters are drawn. A
    statistic that is not finite on some resample leaves the interval undefined; so does one that is the same on all of
    them: that nothing was seen to vary (every item right, say) does not mean that nothing can.
    """
    method = "bootstrap"
    if n == 0:
        return Estimate(value=None, low=None, high=None, n=0, method=method, why_not="no item has a value")
    groups = _group_positions(clusters if clusters is not None else range(n))
    num_clusters = None if clusters is None else len(groups)
    value = statistic(np.arange(n))
    if not math.isfinite(value):
        why = "it is not finite"
        return Estimate(value=None, low=None, high=None, n=n, method=method, num_clusters=num_clusters, why_not=why)
    if len(groups) < 2:
        why = "one item has no spread" if clusters is None else "all items are of one cluster"
        return _without_interval(value, n, method, why, num_clusters)
    generator = build_generator(seed, "bootstrap")
    drawn = np.array([statistic(_draw(groups, n, generator)) for _ in range(num_resamples)])
    if not np.isfinite(drawn).all():
        return _without_interval(value, n, method, "it is not finite on every resample", num_clusters)
    if np.ptp(drawn) <= 1e-12 * max(1.0, abs(value)):  # but for rounding
        why = "every resample gives the same figure, so the bootstrap knows no interval"
        return _without_interval(value, n, method, why, num_clusters)
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    return Estimate(value=value, low=float(low), high=float(high), n=n, method=method, num_clusters=num_clusters)


def _draw(groups: Sequence[NDArray[np.intp]], n: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """The positions of one resample: as many groups as there are, with replacement."""
    chosen = generator.integers(len(groups), size=len(groups))
    if len(groups) == n:  # groups of one, in the order of the items
        return chosen
    return np.concatenate([groups[group] for group in chosen])


def _group_positions(clusters: Sequence[Hashable]) -> list[NDArray[np.intp]]:
    positions: defaultdict[Hashable, list[int]] = defaultdict(list)
    for position, cluster in enumerate(clusters):
        positions[cluster].append(position)
    return [np.array(found, np.intp) for found in positions.values()]


def estimate_rate_difference(
    num_both: int, num_first: int, num_second: int, num_neither: int, alpha: float = ALPHA
) -> Estimate:
    """Second share minus first of paired yes-or-no items, with Newcombe's interval.

    `num_first` items are right only the first time, `num_second` only the second. Method 10 of Newcombe 1998 (Stat. Med.
    17:2635): the two Wilson intervals, combined with the correlation of the pairs.
    """
    n = num_both + num_first + num_second + num_neither
    if n == 0:
        return Estimate(value=None, low=None, high=None, n=0, method="Newcombe", why_not="no item has a value")
    first, second = (num_both + num_first) / n, (num_both + num_second) / n
    difference = (num_second - num_first) / n
    first_low, first_high = _wilson(num_both + num_first, n, alpha)
    second_low, second_high = _wilson(num_both + num_second, n, alpha)
    phi = _correlate(num_both, num_first, num_second, num_neither)

    def reach(of_second: float, of_first: float) -> float:
        squared = of_second**2 - 2 * phi * of_second * of_first + of_first**2
        return math.sqrt(max(0.0, squared))

    return Estimate(
        value=difference,
        low=difference - reach(second - second_low, first_high - first),
        high=difference + reach(second_high - second, first - first_low),
        n=n,
        method="Newcombe",
    )


def _correlate(both: int, first: int, second: int, neither: int) -> float:
    """Newcombe's phi: the correlation of a 2×2 table, with a continuity correction where it is positive; 0 at an edge."""
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    if margins == 0:
        return 0.0
    covariance: float = both * neither - first * second
    if covariance > 0:
        covariance = max(covariance - (both + first + second + neither) / 2, 0)
    return float(covariance / math.sqrt(margins))


def _without_interval(value: float, n: int, method: str, why: str, num_clusters: int | None = None) -> Estimate:
    return Estimate(value=value, low=None, high=None, n=n, method=method, num_clusters=num_clusters, why_not=why)


# ── paired tests ──────────────────────────────────────────────────────────────────────────────────────────────────────
def check_mcnemar(num_first: int, num_second: int) -> PairedTest:
    """Exact McNemar test (McNemar 1947, Psychometrika 12:153) on the items that are right only once, first or second.

    `n` counts these alone. Where there are none, nothing speaks against equality, and p is 1.
    """
    from scipy.stats import binomtest

    n = num_first + num_second
    p_value = 1.0 if n == 0 else float(binomtest(num_first, n, 0.5).pvalue)
    return PairedTest(p_value=p_value, n=n, method="exact McNemar")


def check_paired_t(differences: Floats) -> PairedTest:
    """Student's t test that the mean of paired differences is 0."""
    return _check_t(np.asarray(differences, np.float64), None, "paired t")


def check_clustered_t(differences: Floats, clusters: Sequence[Hashable]) -> PairedTest:
    """The t test that the mean of clustered differences is 0; see `estimate_clustered_mean`."""
    return _check_t(np.asarray(differences, np.float64), clusters, "clustered t")


def _check_t(array: NDArray[np.float64], clusters: Sequence[Hashable] | None, method: str) -> PairedTest:
    from scipy.stats import t

    n = len(array)
    num_independent = n if clusters is None else len(set(clusters))
    if num_independent < 2:
        what = "one item or none" if clusters is None else "all items are of one cluster: they"
        return PairedTest(p_value=None, n=n, method=method, why_not=f"{what} cannot be tested")
    error = float(array.std(ddof=1)) / math.sqrt(n) if clusters is None else _clustered_error(array, clusters)
    if error == 0:
        if not array.any():
            return PairedTest(p_value=1.0, n=n, method=method)
        return PairedTest(p_value=None, n=n, method=method, why_not="every item differs by exactly as much")
    return PairedTest(p_value=float(2 * t.sf(abs(array.mean()) / error, num_independent - 1)), n=n, method=method)


def check_permutation(differences: Floats, *, seed: int, num_resamples: int = 9_999) -> PairedTest:
    """The sign-flip test that paired differences are symmetric about 0 (Fisher 1935, The Design of Experiments, § 21).

    All 2ⁿ sign patterns where they are not more than `num_resamples`; else that many drawn by seed, with the observed one
    counted among them (Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39).
    """
    from scipy.stats import permutation_test

    array = np.asarray(differences, np.float64)
    if len(array) == 0:
        return PairedTest(p_value=None, n=0, method="permutation", why_not="no item cannot be tested")
    found = permutation_test(
        (array,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        n_resamples=num_resamples,
        rng=build_generator(seed, "permutation"),
        vectorized=True,
        batch=1_000,
    )
    return PairedTest(p_value=float(found.pvalue), n=len(array), method="permutation")


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment (Holm 1979, Scand. J. Stat. 6:65): p-values as they count when all of them are looked at."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = largest
    return adjusted


# ── several runs ──────────────────────────────────────────────────────────────────────────────────────────────────────
class SeedSpread(Frozen):
    """One figure of several runs that differ in their seed alone. `deviation` None: one run has none.

    It is what training varies by, which no interval over items knows of.
    """

    num_runs: int
    mean: float
    deviation: float | None
    lowest: float
    highest: float


def summarise_seeds(values: Floats) -> SeedSpread:
    """Mean, sample standard deviation (n − 1) and range of one figure over runs. Raises ValueError for none at all."""
    array = np.asarray(values, np.float64)
    if len(array) == 0:
        raise ValueError("no run has a figure")
    deviation = None if len(array) == 1 else float(array.std(ddof=1))
    lowest, highest = float(array.min()), float(array.max())
    return SeedSpread(
        num_runs=len(array), mean=float(array.mean()), deviation=deviation, lowest=lowest, highest=highest
    )


# ── how many would settle it ──────────────────────────────────────────────────────────────────────────────────────────
def count_items_to_settle(spread: float, distance: float, alpha: float = ALPHA, power: float = 0.8) -> int | None:
    """Items with which a one-sided bound at `alpha` would clear its threshold with probability `power`; None: no number.

    `spread` is the standard deviation per item (of the paired differences, where two models are compared), `distance`
    how far the true figure lies from the threshold: its margin for non-inferiority, 0 for superiority, the limit itself
    for a bound on one model. n = ((z₁₋α + z_power) · spread / distance)² (Chow, Shao and Wang 2008, Sample Size
    Calculations in Clinical Research, § 3.1). Nothing settles a distance of 0, or one without a known spread.
    """
    if not (math.isfinite(spread) and math.isfinite(distance)) or distance == 0 or spread < 0:
        return None
    reach = _normal_quantile(1 - alpha) + _normal_quantile(power)
    return max(2, math.ceil((reach * spread / distance) ** 2))


def _normal_quantile(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))


def _t_quantile(probability: float, degrees_of_freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, probability))
