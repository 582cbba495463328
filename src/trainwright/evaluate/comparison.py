"""Two item tables of the same items, side by side: what changed, by how much, and whether it can be told from chance.

Everything is paired: an item is compared with itself, and one that has no value on either side is left out and counted.
Yes-or-no scores are tested by the exact McNemar test, graded ones by the paired t test; where items come in clusters, both
by the t test over clusters. p-values are adjusted by Holm's method, those of all items together and those of all slices
together: each is a family in which somebody may look for something that got better.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from trainwright.core.records import Estimate, Evaluation, Frozen, ItemScore, PairedTest
from trainwright.evaluate.metrics import METRICS, Metric, order_metrics, read_value
from trainwright.evaluate.samples import merge_samples
from trainwright.evaluate.statistics import (
    ALPHA,
    adjust_holm,
    check_clustered_t,
    check_mcnemar,
    check_paired_t,
    estimate_clustered_mean,
    estimate_mean,
    estimate_rate,
    estimate_rate_difference,
)
from trainwright.evaluate.table import OUTCOMES, classify_outcomes

EDGE = 0.02
"""Both means within this share of the least or the most a metric can be: at its floor, or at its ceiling."""

Verdict = Literal["better", "worse", "no difference shown", "no change", "undefined"]
Flip = Literal["gained", "lost", "same", "left out"]


class Delta(Frozen):
    """One metric on one set of items, before (`a`) and after (`b`). `slice` is empty for all items together.

    `difference` is b − a. `gained` counts items that b does better, `lost` those that a does better, `left_out` those
    without a value on one side. `p_adjusted` is the p-value after Holm's method. `edge` says where both lie, if they lie
    where nothing can be told apart.
    """

    metric: str
    slice: str
    value: str
    a: Estimate
    b: Estimate
    difference: Estimate
    test: PairedTest
    p_adjusted: float | None
    gained: int
    lost: int
    left_out: int
    edge: Literal["floor", "ceiling"] | None
    verdict: Verdict


class ItemDelta(Frozen):
    """One item under one metric, before and after."""

    item_id: str
    metric: str
    slices: dict[str, str]
    target: str | None
    a_score: float | None
    b_score: float | None
    a_status: str
    b_status: str
    a_output: str | None
    b_output: str | None
    a_answer: str | None
    b_answer: str | None
    why: str
    flip: Flip


class Comparison(Frozen):
    """Two evaluations of the same items. `outcomes` counts how answers and steps went together, {outcome: [a, b]}."""

    a: str
    b: str
    evalset: str
    num_items: int
    alpha: float
    identical: bool
    differing_settings: dict[str, tuple[str, str]]
    warnings: tuple[str, ...]
    overall: tuple[Delta, ...]
    slices: tuple[Delta, ...]
    outcomes: dict[str, tuple[int, int]]
    items: tuple[ItemDelta, ...]


@dataclass(frozen=True)
class _Pair:
    """One item under one metric, on both sides."""

    a: ItemScore
    b: ItemScore

    @property
    def values(self) -> tuple[float, float] | None:
        first, second = read_value(self.a), read_value(self.b)
        return None if first is None or second is None else (first, second)


def compare_tables(
    a: Evaluation, a_rows: Sequence[ItemScore], b: Evaluation, b_rows: Sequence[ItemScore], alpha: float = ALPHA
) -> Comparison:
    """Hold two tables against each other. That they are of the same items and prompts was made sure of before."""
    pairs = _pair_rows(merge_samples(a_rows), merge_samples(b_rows))
    overall = _adjust([_compare(metric, "", "", found, alpha) for metric, found in pairs.items()], alpha)
    slices = _adjust(
        [
            _compare(metric, name, value, part, alpha)
            for metric, found in pairs.items()
            for (name, value), part in _divide(found).items()
        ],
        alpha,
    )
    identical = all(
        (pair.a.output, pair.a.score, pair.a.status) == (pair.b.output, pair.b.score, pair.b.status)
        for found in pairs.values()
        for pair in found
    )
    return Comparison(
        a=a.id,
        b=b.id,
        evalset=a.evalset,
        num_items=a.num_items,
        alpha=alpha,
        identical=identical,
        differing_settings=_list_differing_settings(a, b),
        warnings=tuple(_list_warnings(overall, identical)),
        overall=tuple(overall),
        slices=tuple(slices),
        outcomes=_count_outcomes(a_rows, b_rows),
        items=tuple(_build_item(pair) for found in pairs.values() for pair in found),
    )


def estimate_table(rows: Sequence[ItemScore], alpha: float = ALPHA) -> dict[str, Estimate]:
    """Each metric of one table with its interval, {metric: estimate}."""
    estimates = {}
    merged = merge_samples(row for row in rows if not METRICS[row.metric].is_part)
    for name in order_metrics(row.metric for row in merged):
        counted = [row for row in merged if row.metric == name and read_value(row) is not None]
        values = [value for row in counted if (value := read_value(row)) is not None]
        estimates[name] = estimate_values(values, read_clusters(counted), alpha, binary=METRICS[name].binary)
    return estimates


def _pair_rows(a_rows: Sequence[ItemScore], b_rows: Sequence[ItemScore]) -> dict[str, list[_Pair]]:
    others = {(row.metric, row.item_id): row for row in b_rows}
    pairs: dict[str, list[_Pair]] = {name: [] for name in order_metrics(row.metric for row in a_rows)}
    for row in a_rows:
        other = others.get((row.metric, row.item_id))
        if other is not None and not METRICS[row.metric].is_part:
            pairs[row.metric].append(_Pair(row, other))
    return {metric: found for metric, found in pairs.items() if found}


def _divide(pairs: Sequence[_Pair]) -> dict[tuple[str, str], list[_Pair]]:
    """{(slice, value): pairs}, slice by slice, values in alphabetical order. A slice of one value says nothing more."""
    parts: defaultdict[tuple[str, str], list[_Pair]] = defaultdict(list)
    for pair in pairs:
        for name, value in pair.a.slices.items():
            parts[name, value].append(pair)
    num_values = Counter(name for name, _ in parts)
    order = list(dict.fromkeys(name for name, _ in parts))
    kept = [key for key in parts if num_values[key[0]] > 1 or len(parts[key]) < len(pairs)]
    return {key: parts[key] for key in sorted(kept, key=lambda key: (order.index(key[0]), key[1]))}


# ── one metric on one set of items ────────────────────────────────────────────────────────────────────────────────────
def _compare(name: str, slice_name: str, slice_value: str, pairs: Sequence[_Pair], alpha: float) -> Delta:
    metric = METRICS[name]
    counted = [(pair, values) for pair in pairs if (values := pair.values) is not None]
    first = [values[0] for _, values in counted]
    second = [values[1] for _, values in counted]
    clusters = read_clusters([pair.a for pair, _ in counted])
    gained, lost = _count_flips(metric, first, second)
    binary = metric.binary
    return Delta(
        metric=name,
        slice=slice_name,
        value=slice_value,
        a=estimate_values(first, clusters, alpha, binary=binary),
        b=estimate_values(second, clusters, alpha, binary=binary),
        difference=estimate_paired(first, second, clusters, alpha, binary=binary),
        test=_test_paired(first, second, clusters, binary=binary),
        p_adjusted=None,
        gained=gained,
        lost=lost,
        left_out=len(pairs) - len(counted),
        edge=_find_edge(metric, first, second),
        verdict="undefined",
    )


def read_clusters(rows: Sequence[ItemScore]) -> list[tuple[str, str]] | None:
    """The cluster of each item; an item without one is its own. None where no two items share one."""
    named = [row.cluster_id for row in rows if row.cluster_id is not None]
    if len(set(named)) == len(named):
        return None
    return [("item", row.item_id) if row.cluster_id is None else ("cluster", row.cluster_id) for row in rows]


def estimate_values(
    values: Sequence[float], clusters: Sequence[Hashable] | None, alpha: float, *, binary: bool
) -> Estimate:
    """A mean over items: clustered t, Wilson where all values are 0 and 1, else Student's t.

    Clusters that never differ have no spread to go by, which does not mean that they have none: their interval is that of as
    many items as there are clusters.
    """
    if clusters is not None:
        if binary and len(set(clusters)) > 1 and set(values) in ({0.0}, {1.0}):
            num_clusters = len(set(clusters))
            found = estimate_rate(num_clusters if values[0] else 0, num_clusters, alpha)
            return _of_clusters(found, len(values), "Wilson over clusters")
        return estimate_clustered_mean(values, clusters, alpha)
    if binary and _are_binary(values):
        return estimate_rate(round(sum(values)), len(values), alpha)
    return estimate_mean(values, alpha)


def estimate_paired(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable] | None,
    alpha: float,
    *,
    binary: bool,
) -> Estimate:
    """The mean difference of paired values: clustered t, Newcombe where all are 0 and 1, else Student's t.

    Where all pairs differ by the same in every cluster: Newcombe's for as many items as there are clusters.
    """
    differences = [after - before for before, after in zip(first, second, strict=True)]
    if clusters is not None:
        num_clusters = len(set(clusters))
        if binary and num_clusters > 1 and len(set(differences)) == 1 and _are_binary([*first, *second]):
            cells = _shrink(Counter(zip(first, second, strict=True)), num_clusters)
            return _of_clusters(estimate_rate_difference(*cells, alpha), len(first), "Newcombe over clusters")
        return estimate_clustered_mean(differences, clusters, alpha)
    if not (binary and _are_binary([*first, *second])):
        return estimate_mean(differences, alpha)
    table = Counter(zip(first, second, strict=True))
    return estimate_rate_difference(table[1.0, 1.0], table[1.0, 0.0], table[0.0, 1.0], table[0.0, 0.0], alpha)


def _shrink(table: Counter[tuple[float, float]], num_clusters: int) -> tuple[int, int, int, int]:
    """A 2×2 table of items in the same proportions as one of clusters; it has one cell, or the two where nothing differs."""
    num_items = table.total()
    both = round(table[1.0, 1.0] / num_items * num_clusters)
    first, second = (num_clusters if table[cell] == num_items else 0 for cell in ((1.0, 0.0), (0.0, 1.0)))
    return both, first, second, num_clusters - both - first - second


def _of_clusters(estimate: Estimate, n: int, method: str) -> Estimate:
    return estimate.model_copy(update={"n": n, "num_clusters": estimate.n, "method": method})


def _test_paired(
    first: Sequence[float], second: Sequence[float], clusters: Sequence[Hashable] | None, *, binary: bool
) -> PairedTest:
    differences = [after - before for before, after in zip(first, second, strict=True)]
    if clusters is not None:
        return check_clustered_t(differences, clusters)
    if not (binary and _are_binary([*first, *second])):
        return check_paired_t(differences)
    if not differences:
        return PairedTest(p_value=None, n=0, method="exact McNemar", why_not="no item has a value")
    table = Counter(zip(first, second, strict=True))
    return check_mcnemar(table[1.0, 0.0], table[0.0, 1.0])


def _are_binary(values: Sequence[float]) -> bool:
    """Several samples of one item may have a mean that is neither 0 nor 1."""
    return all(value in (0.0, 1.0) for value in values)


def _count_flips(metric: Metric, first: Sequence[float], second: Sequence[float]) -> tuple[int, int]:
    sign = 1 if metric.higher_is_better else -1
    gains = [sign * (after - before) for before, after in zip(first, second, strict=True)]
    return sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)


def _find_edge(metric: Metric, first: Sequence[float], second: Sequence[float]) -> Literal["floor", "ceiling"] | None:
    if metric.bounds is None or not first:
        return None
    low, high = metric.bounds
    shares = [(fmean(values) - low) / (high - low) for values in (first, second)]
    if max(shares) <= EDGE:
        return "floor"
    return "ceiling" if min(shares) >= 1 - EDGE else None


def _adjust(deltas: Sequence[Delta], alpha: float) -> list[Delta]:
    """The same rows with Holm's p-values, and what they come to."""
    tested = [position for position, delta in enumerate(deltas) if delta.test.p_value is not None]
    adjusted = adjust_holm([deltas[position].test.p_value or 0.0 for position in tested])
    by_position = dict(zip(tested, adjusted, strict=True))
    return [
        delta.model_copy(
            update={"p_adjusted": by_position.get(position), "verdict": _judge(delta, by_position.get(position), alpha)}
        )
        for position, delta in enumerate(deltas)
    ]


def _judge(delta: Delta, p_adjusted: float | None, alpha: float) -> Verdict:
    if delta.difference.value is None:
        return "undefined"
    if not delta.gained and not delta.lost:
        return "no change"
    if p_adjusted is None:
        return "undefined"
    if p_adjusted > alpha:
        return "no difference shown"
    return "better" if (delta.difference.value > 0) == METRICS[delta.metric].higher_is_better else "worse"


# ── the rest of the report ────────────────────────────────────────────────────────────────────────────────────────────
def _build_item(pair: _Pair) -> ItemDelta:
    values = pair.values
    flip: Flip = "left out"
    if values is not None:
        gained, lost = _count_flips(METRICS[pair.a.metric], values[:1], values[1:])
        flip = "gained" if gained else "lost" if lost else "same"
    whys = [f"{side}: {row.why}" for side, row in (("A", pair.a), ("B", pair.b)) if row.why]
    return ItemDelta(
        item_id=pair.a.item_id,
        metric=pair.a.metric,
        slices=pair.a.slices,
        target=pair.a.target,
        a_score=pair.a.score,
        b_score=pair.b.score,
        a_status=pair.a.status,
        b_status=pair.b.status,
        a_output=pair.a.output,
        b_output=pair.b.output,
        a_answer=pair.a.answer,
        b_answer=pair.b.answer,
        why="; ".join(whys),
        flip=flip,
    )


def _count_outcomes(a_rows: Sequence[ItemScore], b_rows: Sequence[ItemScore]) -> dict[str, tuple[int, int]]:
    a, b = (Counter(classify_outcomes(rows).values()) for rows in (a_rows, b_rows))
    return {name: (a[name], b[name]) for name in OUTCOMES if a or b}


def _list_differing_settings(a: Evaluation, b: Evaluation) -> dict[str, tuple[str, str]]:
    """Settings that are not equal, as text: what else than the model may have made a difference."""

    def describe(evaluation: Evaluation) -> Mapping[str, object]:
        return evaluation.settings.model_dump() | {"code": evaluation.code[:12]}

    first, second = describe(a), describe(b)
    return {key: (str(first[key]), str(second[key])) for key in first if first[key] != second[key]}


def _list_warnings(overall: Sequence[Delta], identical: bool) -> list[str]:
    if identical:
        return ["No change: both sides gave the same outputs and scores."]
    warnings = []
    for delta in overall:
        if delta.edge is not None:
            at = "near the least" if delta.edge == "floor" else "near the most"
            warnings.append(
                f"Both at {delta.edge}: this set cannot discriminate by {delta.metric} (both are {at} it can be)."
            )
        if delta.left_out:
            warnings.append(
                f"{delta.metric}: {delta.left_out} of {delta.left_out + delta.difference.n} items have no value on one "
                "side or both, and are left out."
            )
    return warnings
