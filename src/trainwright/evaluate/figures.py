"""What an item table says about a metric, of items or of the table: a figure with its interval, alone or as a difference.

The one place that gates, reports and model cards ask. Intervals are two-sided at `alpha`; for a one-sided bound at level
α, ask for the interval at 2α and use the end that matters (at α = 0.05: `alpha=0.1`). What is undefined stays undefined and
says why. Several samples of an item are averaged within the item first; where a metric is a ratio over the table, an item is
drawn with all of its samples.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainwright.core.records import Estimate, Evaluation, ItemScore
from trainwright.evaluate.comparison import estimate_paired, estimate_values, read_clusters
from trainwright.evaluate.metrics import METRICS, Metric, order_metrics, read_value
from trainwright.evaluate.samples import merge_samples
from trainwright.evaluate.statistics import ALPHA, estimate_rate, estimate_statistic
from trainwright.evaluate.table_metrics import (
    TABLE_METRICS,
    Items,
    Mean,
    TableMetric,
    Undefined,
    find_metric,
    group_items,
)

Rows = Sequence[ItemScore]
JUDGED = ("judge_score", "judge_preference")
LEAST_PARSE_RATE = 0.9
"""Below this share of readable verdicts, those that could be read are no fair sample of what the judge thinks."""


def direction(metric: str) -> Literal["higher", "lower", "zero"]:
    """Which way is better; `zero`: nearer to 0. Raises ValueError for an unknown metric, with the nearest names."""
    found = find_metric(metric)
    if isinstance(found, TableMetric):
        return found.better
    return "higher" if found.higher_is_better else "lower"


def list_needs(metric: str) -> tuple[str, ...]:
    """The item metrics whose rows it is measured from. Raises ValueError for an unknown metric."""
    found = find_metric(metric)
    return found.needs if isinstance(found, TableMetric) else (found.name,)


def bounds(metric: str) -> tuple[float, float] | None:
    """The least and the most it can be, where there are such. Raises ValueError for an unknown metric."""
    return find_metric(metric).bounds


def measure(metric: str, rows: Rows, alpha: float = ALPHA, *, cluster: bool = True, seed: int = 0) -> Estimate:
    """A metric of one table. `cluster` False: items count as independent, whatever they share.

    Means of items as `comparison` has them (Wilson, Student's t, clustered t), everything else by percentile bootstrap over
    items, or over clusters. Raises ValueError for an unknown metric.
    """
    found = find_metric(metric)
    mean = _read_as_mean(found)
    if mean is not None:
        column = _read_column(found, mean, rows)
        if not column.values:
            return _say_nothing(found, rows)
        estimate = estimate_values(column.values, column.clusters if cluster else None, alpha, binary=mean.binary)
        return _shift(estimate, mean.factor, mean.shift)
    assert isinstance(found, TableMetric)
    return _bootstrap(found, [_keep_whole(found, rows)], rows, alpha, cluster=cluster, seed=seed)


def measure_difference(
    metric: str,
    baseline_rows: Rows,
    candidate_rows: Rows,
    alpha: float = ALPHA,
    *,
    cluster: bool = True,
    seed: int = 0,
) -> Estimate:
    """Candidate less baseline, paired: over the items that have a value on both sides. `n` counts these.

    Means by Newcombe's interval, Student's t or clustered t of the differences; everything else by a bootstrap that draws
    the same items on both sides. Raises ValueError for an unknown metric.
    """
    found = find_metric(metric)
    mean = _read_as_mean(found)
    if mean is not None:
        first, second = (_read_column(found, mean, rows) for rows in (baseline_rows, candidate_rows))
        first, second = first.keep(second.item_ids), second.keep(first.item_ids)
        if not first.values:
            return _say_nothing(found, [*baseline_rows, *candidate_rows])
        clusters = first.clusters if cluster else None
        estimate = estimate_paired(first.values, second.values, clusters, alpha, binary=mean.binary)
        return _shift(estimate, mean.factor, 0.0)
    assert isinstance(found, TableMetric)
    tables = [_keep_whole(found, rows) for rows in (baseline_rows, candidate_rows)]
    shared = [item for item in tables[0] if item in tables[1]]
    paired = [{item: table[item] for item in shared} for table in tables]
    every = [*baseline_rows, *candidate_rows]
    return _bootstrap(found, paired, every, alpha, cluster=cluster, seed=seed)


def spread(
    metric: str,
    rows: Rows,
    baseline_rows: Rows | None = None,
    *,
    cluster: bool = True,
    seed: int = 0,
) -> float | None:
    """Standard deviation per item, of the values or of the paired differences: what `count_items_to_settle` asks for.

    Half the width of the 95 % interval, times √n / z: for a mean that is the standard deviation itself (with the design
    effect of its clusters), for a ratio what one item adds to its spread. None where there is no interval.
    """
    estimate = (
        measure(metric, rows, cluster=cluster, seed=seed)
        if baseline_rows is None
        else measure_difference(metric, baseline_rows, rows, cluster=cluster, seed=seed)
    )
    if estimate.low is None or estimate.high is None:
        return None
    z = 1.959963984540054  # the normal quantile of 0.975
    return (estimate.high - estimate.low) / 2 * math.sqrt(estimate.n) / z


def measure_all(rows: Rows, alpha: float = ALPHA, *, seed: int = 0) -> dict[str, Estimate]:
    """Every metric that the rows of a table give, those of items first, {metric: estimate}."""
    present = {row.metric for row in rows}
    names = [name for name in order_metrics(present) if not METRICS[name].is_part]
    found = {name: measure(name, rows, alpha, seed=seed) for name in names}
    for name, metric in TABLE_METRICS.items():
        if present.issuperset(metric.needs):
            estimate = measure(name, rows, alpha, seed=seed)
            if estimate.n:
                found[name] = estimate
    return found


def measure_parse_rate(metric: str, rows: Rows, alpha: float = ALPHA) -> Estimate:
    """The share of a metric's rows that could be read, of those where something was said: what a judge is asked for."""
    said = [row for row in rows if row.metric == metric and row.status in ("scored", "unparsed")]
    return estimate_rate(sum(row.status == "scored" for row in said), len(said), alpha)


def count_missing(metric: str, rows: Rows) -> tuple[int, int]:
    """(rows without a value, all rows) of a metric. Raises ValueError for an unknown metric.

    An answer that could not be read has a value where its metric says what it counts as.
    """
    needs = list_needs(metric)
    found = [row for item in group_items(rows, needs).values() for row in item]
    if needs:
        return sum(read_value(row) is None for row in found), len(found)
    return sum(row.status in ("error", "unavailable") for row in found), len(found)


def find_objection(metric: str, evaluation: Evaluation, rows: Rows) -> str | None:
    """Why no gate may rest on a metric of this table, whatever its figure; None where one may.

    A judge that nobody held against people, or whose verdicts often cannot be read. Raises ValueError for an unknown metric.
    """
    found = find_metric(metric)
    needs = (found.name,) if isinstance(found, Metric) else found.needs
    for name in needs:
        if name in JUDGED:
            if evaluation.judge is None:
                return f"{name} is of a judge that nobody held against people: trainwright scorers calibrate"
            rate = measure_parse_rate(name, rows).value or 0.0
            if rate < LEAST_PARSE_RATE:
                return f"{rate:.0%} of the judge's verdicts could be read, less than {LEAST_PARSE_RATE:.0%}"
    return None


def list_notes(rows: Rows) -> dict[str, str]:
    """{metric: what its scorer says of itself}, for metrics whose rows all say the same (precision, recall, kappa)."""
    notes: dict[str, set[str]] = {}
    for row in rows:
        if row.status == "scored":
            notes.setdefault(row.metric, set()).add(row.why)
    return {name: next(iter(found)) for name, found in notes.items() if len(found) == 1 and "" not in found}


# ── means of items ────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class _Column:
    """One value for each item that has one; `clusters` None where no item has a cluster."""

    item_ids: tuple[str, ...]
    values: tuple[float, ...]
    clusters: tuple[Hashable, ...] | None

    def keep(self, item_ids: Sequence[str]) -> "_Column":
        """The items that are among these, in the order they have here."""
        wanted = set(item_ids)
        places = [place for place, item in enumerate(self.item_ids) if item in wanted]
        order = sorted(places, key=lambda place: self.item_ids[place])
        return _Column(
            tuple(self.item_ids[place] for place in order),
            tuple(self.values[place] for place in order),
            None if self.clusters is None else tuple(self.clusters[place] for place in order),
        )


def _read_as_mean(metric: Metric | TableMetric) -> Mean | None:
    if isinstance(metric, Metric):
        return Mean(read_value, binary=metric.binary)
    return metric.how if isinstance(metric.how, Mean) else None


def _read_column(metric: Metric | TableMetric, mean: Mean, rows: Rows) -> _Column:
    needs = (metric.name,) if isinstance(metric, Metric) else metric.needs
    if isinstance(metric, Metric):
        rows = merge_samples(row for row in rows if row.metric == metric.name)
    kept: list[ItemScore] = []
    values: list[float] = []
    for found in group_items(rows, needs).values():
        of_item = [value for row in found if (value := mean.read(row)) is not None]
        if of_item:
            kept.append(found[0])
            values.append(math.fsum(of_item) / len(of_item))
    clusters = read_clusters(kept)
    return _Column(tuple(row.item_id for row in kept), tuple(values), None if clusters is None else tuple(clusters))


def _shift(estimate: Estimate, factor: float, shift: float) -> Estimate:
    if (factor, shift) == (1.0, 0.0):
        return estimate
    ends = {
        key: None if value is None else factor * value + shift
        for key, value in (("value", estimate.value), ("low", estimate.low), ("high", estimate.high))
    }
    return estimate.model_copy(update=ends)


# ── everything else ───────────────────────────────────────────────────────────────────────────────────────────────────
def _keep_whole(metric: TableMetric, rows: Rows) -> dict[str, list[ItemScore]]:
    """{item: its rows} of the items that have what the metric needs; those that went wrong are left out."""
    items = group_items(rows, metric.needs)
    kept = {}
    for item, found in items.items():
        good = [row for row in found if row.status not in ("error", "unavailable")]
        if good and {row.metric for row in good}.issuperset(metric.needs):
            kept[item] = good
    return kept


def _bootstrap(
    metric: TableMetric,
    tables: Sequence[dict[str, list[ItemScore]]],
    rows: Rows,
    alpha: float,
    *,
    cluster: bool,
    seed: int,
) -> Estimate:
    """The figure of one table, or the second's less the first's, over the items that both hold in one order."""
    items = [list(table.values()) for table in tables]
    if not items[0]:
        return _say_nothing(metric, rows)
    n = len(items[0])
    clusters = read_clusters([found[0] for found in items[0]]) if cluster else None
    try:
        figure = _open_figure(metric, items)
    except Undefined as error:
        return Estimate(value=None, low=None, high=None, n=n, method="bootstrap", why_not=str(error))
    if not metric.resamples:
        value = figure(np.arange(n))
        why = "a resample repeats texts, which this counts" if math.isfinite(value) else "it is not finite"
        known = value if math.isfinite(value) else None
        return Estimate(value=known, low=None, high=None, n=n, method="none", why_not=why)
    if len(items) > 1 and items[0] == items[1] and math.isfinite(figure(np.arange(n))):
        return Estimate(value=0.0, low=0.0, high=0.0, n=n, method="bootstrap")  # the same on every resample
    return estimate_statistic(figure, n, seed=seed, clusters=clusters, alpha=alpha)


def _open_figure(metric: TableMetric, items: Sequence[Items]) -> Callable[[NDArray[np.intp]], float]:
    """From positions of items to the figure. Raises Undefined."""
    n = len(items[0])
    if callable(metric.how):
        sums = metric.how([found for table in items for found in table])  # at once, so that all have the same terms
        parts = [sums.terms_NK[place * n : (place + 1) * n] for place in range(len(items))]

        def figures(positions: NDArray[np.intp]) -> list[float]:
            counts = np.bincount(positions, minlength=n)
            return [sums.finish(counts @ part) for part in parts]
    else:

        def figures(positions: NDArray[np.intp]) -> list[float]:
            return [metric.compute([row for position in positions for row in table[position]]) for table in items]

    def figure(positions: NDArray[np.intp]) -> float:
        found = figures(positions)
        return found[0] if len(found) == 1 else next(after - before for before, after in pairwise(found))

    return figure


def _say_nothing(metric: Metric | TableMetric, rows: Rows) -> Estimate:
    """That there is no value, and why: in the words of the rows where they say it."""
    needs = (metric.name,) if isinstance(metric, Metric) else metric.needs
    found = [row for row in rows if row.metric in needs]
    whys = [row.why for row in found if row.score is None and row.why]
    missing = [name for name in needs if name not in {row.metric for row in rows}]
    if missing:
        why = f"there is no row of {' and '.join(missing)}"
    else:
        why = f"no item has a value: {found[0].status}, {whys[0]}" if whys else "no item has a value"
    return Estimate(value=None, low=None, high=None, n=0, method="none", why_not=why)
