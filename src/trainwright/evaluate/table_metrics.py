"""Metrics of a whole item table that are no mean of item scores: ratios and the like, with bootstrap intervals.

Each is a function of the rows of one table. Most are ratios of sums over items (`Sums`), so that a resample is a weighted
sum and thousands of them cost little; some are a mean after all (`Mean`), and have the interval of a mean; what is neither
(different n-grams over all texts: a resample repeats texts, and would find too few) has a value and no interval.

    perplexity                   …              by name
    class_recall:yes             class_…:LABEL  of one class
    gap:category:answer_correct  gap:SLICE:METRIC  the largest difference between two groups, of any metric
"""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainwright.core.records import ItemScore
from trainwright.evaluate.metrics import METRICS, Metric, read_value

Items = Sequence[Sequence[ItemScore]]
"""Rows, item by item."""
Better = Literal["higher", "lower", "zero"]


class Undefined(ValueError):
    """A metric has no value on these rows; the text says why."""


@dataclass(frozen=True)
class Sums:
    """What each item adds up to [item, term], and the figure that sums of them [term] make (NaN where there is none)."""

    terms_NK: NDArray[np.float64]
    finish: Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True)
class Mean:
    """`factor` · mean + `shift` of a value that each row has (None: it is left out)."""

    read: Callable[[ItemScore], float | None]
    binary: bool
    factor: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class TableMetric:
    """A metric of a table. `needs` are the item metrics whose rows it reads (none: one row of each item, whichever).

    `compute` gives NaN where it is undefined. `better`: which way is better; `zero` where the best is 0 and both sides of it
    are worse. `how` is what it is made of; None: it is neither a mean nor made of sums. `resamples` False: a bootstrap would
    be wrong about it.
    """

    name: str
    version: int
    unit: str
    better: Better
    bounds: tuple[float, float] | None
    needs: tuple[str, ...]
    compute: Callable[[Sequence[ItemScore]], float]
    meaning: str
    how: Mean | Callable[[Items], Sums] | None = None
    resamples: bool = True


TABLE_METRICS: dict[str, TableMetric] = {}
"""Every metric of tables by name, in the order in which reports show them."""


def find_metric(name: str) -> Metric | TableMetric:
    """The metric of items or of tables that goes by that name. Raises ValueError, with the nearest names."""
    if name in METRICS:
        return METRICS[name]
    if name in TABLE_METRICS:
        return TABLE_METRICS[name]
    family, _, parameter = name.partition(":")
    if family in FAMILIES and parameter:
        return FAMILIES[family](parameter)
    known = [*METRICS, *TABLE_METRICS, *FAMILIES]
    near = difflib.get_close_matches(family, known, n=3) or known
    raise ValueError(f"there is no metric {name!r}; the nearest are {', '.join(near)}")


def group_items(rows: Sequence[ItemScore], needs: Sequence[str]) -> dict[str, list[ItemScore]]:
    """{item: its rows of the metrics needed}, items in the order of the table; without needs, one row of each item."""
    items: dict[str, list[ItemScore]] = {}
    for row in rows:
        if row.metric in needs:
            items.setdefault(row.item_id, []).append(row)
        elif not needs and row.item_id not in items:
            items[row.item_id] = [row]
    return items


# ── three ways of being one ───────────────────────────────────────────────────────────────────────────────────────────
def _of_sums(
    name: str,
    unit: str,
    better: Better,
    bounds: tuple[float, float] | None,
    needs: tuple[str, ...],
    tabulate: Callable[[Items], Sums],
    meaning: str,
) -> TableMetric:
    def compute(rows: Sequence[ItemScore]) -> float:
        try:
            sums = tabulate(list(group_items(rows, needs).values()))
        except Undefined:
            return math.nan
        return sums.finish(sums.terms_NK.sum(axis=0))

    return TableMetric(name, 1, unit, better, bounds, needs, compute, meaning, tabulate)


def _of_mean(
    name: str,
    unit: str,
    better: Better,
    bounds: tuple[float, float],
    needs: tuple[str, ...],
    mean: Mean,
    meaning: str,
) -> TableMetric:
    def compute(rows: Sequence[ItemScore]) -> float:
        items = group_items(rows, needs).values()
        values = [value for item in items for row in item if (value := mean.read(row)) is not None]
        return mean.factor * math.fsum(values) / len(values) + mean.shift if values else math.nan

    return TableMetric(name, 1, unit, better, bounds, needs, compute, meaning, mean)


def _divide(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom else math.nan


# ── likelihood ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _tabulate_text(top: str, bottom: str, finish: Callable[[float], float]) -> Callable[[Items], Sums]:
    """Σ `top` / Σ `bottom` over the items that have both."""

    def tabulate(items: Items) -> Sums:
        terms = []
        for rows in items:
            found = {row.metric: row.score for row in rows if row.score is not None}
            terms.append([found[top], found[bottom]] if found.keys() >= {top, bottom} else [0.0, 0.0])
        return Sums(np.array(terms, np.float64).reshape(-1, 2), lambda sums: finish(_divide(sums[0], sums[1])))

    return tabulate


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.nan


# ── classes ───────────────────────────────────────────────────────────────────────────────────────────────────────────
MAX_CLASSES = 50


def _tabulate_classes(finish: Callable[[NDArray[np.float64], list[str]], float]) -> Callable[[Items], Sums]:
    """A confusion matrix: target by answer, and two columns more, for answers of no class and for those not read."""

    def tabulate(items: Items) -> Sums:
        from trainwright.evaluate.classes import read_class, read_classes

        rows = [row for item in items for row in item]
        classes = read_classes(rows)
        if not classes:
            raise Undefined("no item has a target")
        if len(classes) > MAX_CLASSES or (len(classes) == len(items) and len(items) > 1):
            raise Undefined(f"its {len(items)} items have {len(classes)} different targets: these are no classes")
        width = len(classes) + 2
        terms = np.zeros((len(items), len(classes), width))
        for position, item in enumerate(items):
            for row in item:
                cell = read_class(row, classes)
                if cell is not None:
                    terms[position][cell] += 1
        flat = terms.reshape(len(items), -1)
        return Sums(flat, lambda sums: finish(sums.reshape(len(classes), width), classes))

    return tabulate


@dataclass(frozen=True)
class _Rates:
    """Right answers, answers and targets of each class [class]; those that have any of them count."""

    right_C: NDArray[np.float64]
    answered_C: NDArray[np.float64]
    expected_C: NDArray[np.float64]

    def average(self, of: Literal["precision", "recall", "f1"]) -> float:
        """Mean over classes; a class without a right answer has 0, as scikit-learn has it (zero_division=0)."""
        there = (self.answered_C + self.expected_C) > 0
        bottom_C = {
            "precision": self.answered_C,
            "recall": self.expected_C,
            "f1": (self.answered_C + self.expected_C) / 2,
        }[of]
        values_C = np.divide(self.right_C, bottom_C, out=np.zeros_like(self.right_C), where=bottom_C > 0)
        return float(values_C[there].mean()) if there.any() else math.nan


def _read_rates(matrix: NDArray[np.float64]) -> _Rates:
    num_classes = len(matrix)
    return _Rates(np.diag(matrix[:, :num_classes]).copy(), matrix.sum(axis=0)[:num_classes], matrix.sum(axis=1))


def _average_classes(of: Literal["precision", "recall", "f1"]) -> Callable[[NDArray[np.float64], list[str]], float]:
    return lambda matrix, _: _read_rates(matrix).average(of)


def _measure_micro(of: Literal["precision", "recall", "f1"]) -> Callable[[NDArray[np.float64], list[str]], float]:
    """Over all answers together: of those that were read, of all items, and the harmonic mean of the two."""

    def finish(matrix: NDArray[np.float64], _: list[str]) -> float:
        right, num_items = float(np.trace(matrix)), float(matrix.sum())
        num_read = num_items - float(matrix[:, -1].sum())
        bottom = {"precision": num_read, "recall": num_items, "f1": (num_read + num_items) / 2}[of]
        return _divide(right, bottom)

    return finish


def _measure_mcc(matrix: NDArray[np.float64], _: list[str]) -> float:
    """Matthews' correlation of K classes (Gorodkin 2004, Comput. Biol. Chem. 28:367); 0 where one side never varies."""
    expected, answered = _pad(matrix)
    n, right = matrix.sum(), np.trace(matrix)
    top = right * n - expected @ answered
    bottom = math.sqrt((n**2 - answered @ answered) * (n**2 - expected @ expected))
    return float(top / bottom) if bottom else (0.0 if n else math.nan)


def _measure_kappa(matrix: NDArray[np.float64], _: list[str]) -> float:
    """Agreement beyond chance (Cohen 1960, Educ. Psychol. Meas. 20:37); undefined where chance alone agrees on all."""
    expected, answered = _pad(matrix)
    n = float(matrix.sum())
    if not n:
        return math.nan
    by_chance = float(expected @ answered) / n**2
    return (float(np.trace(matrix)) / n - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan


def _pad(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Targets and answers of every column, those of no class included."""
    answered = matrix.sum(axis=0)
    return np.concatenate([matrix.sum(axis=1), np.zeros(len(answered) - len(matrix))]), answered


def _open_class(of: Literal["precision", "recall", "f1"]) -> Callable[[str], TableMetric]:
    def open_one(label: str) -> TableMetric:
        def finish(matrix: NDArray[np.float64], classes: list[str]) -> float:
            if label not in classes:
                return math.nan
            rates, position = _read_rates(matrix), classes.index(label)
            right, answered, expected = (
                float(values[position]) for values in (rates.right_C, rates.answered_C, rates.expected_C)
            )
            return _divide(right, {"precision": answered, "recall": expected, "f1": (answered + expected) / 2}[of])

        return _of_sums(
            f"class_{of}:{label}", of, "higher", (0, 1), ("answer_correct",), _tabulate_classes(finish),
            f"{of} of the class {label!r}",
        )  # fmt: skip

    return open_one


# ── probabilities ─────────────────────────────────────────────────────────────────────────────────────────────────────
def _read_probability(row: ItemScore) -> tuple[float, float] | None:
    if row.score is None or row.target not in ("0", "1"):
        return None
    return row.score, float(row.target)


def _measure_auc(rows: Sequence[ItemScore]) -> float:
    """The chance that a positive item was given more than a negative one (Mann and Whitney 1947), ties by half."""
    from scipy.stats import rankdata

    found = [pair for row in rows if row.metric == "positive_probability" and (pair := _read_probability(row))]
    positive = np.array([target == 1 for _, target in found], bool)
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        return math.nan
    ranks = rankdata([score for score, _ in found])
    return float((ranks[positive].sum() - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def _read_brier(row: ItemScore) -> float | None:
    pair = _read_probability(row)
    return None if pair is None else (pair[0] - pair[1]) ** 2


# ── bias ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _tabulate_bbq(condition: str, finish: Callable[[NDArray[np.float64]], float]) -> Callable[[Items], Sums]:
    """Biased answers, answers that name somebody, right answers, and items, of one condition."""

    def tabulate(items: Items) -> Sums:
        terms = np.zeros((len(items), 4))
        for position, item in enumerate(items):
            for row in item:
                value = read_value(row)
                if row.slices.get("condition") == condition and value is not None:
                    terms[position] += (row.answer == "biased", row.answer in ("biased", "unbiased"), value, 1)
        return Sums(terms, finish)

    return tabulate


def _measure_disambiguated(sums: NDArray[np.float64]) -> float:
    return 2 * _divide(sums[0], sums[1]) - 1


def _measure_ambiguous(sums: NDArray[np.float64]) -> float:
    """Where every answer is that it cannot be known, there is no bias to scale."""
    share_wrong = 1 - _divide(sums[2], sums[3])
    return 0.0 if share_wrong == 0 else share_wrong * _measure_disambiguated(sums)


def _open_gap(parameter: str) -> TableMetric:
    """Largest less smallest figure of all groups (what fairlearn's MetricFrame calls difference between groups)."""
    name, _, inner = parameter.partition(":")
    metric = find_metric(inner) if inner else None
    if metric is None:
        raise ValueError(f"gap:{parameter} names no metric; write gap:SLICE:METRIC")
    if isinstance(metric, TableMetric) and not callable(metric.how):
        raise ValueError(f"gap:{parameter}: a gap of {inner} cannot be measured, as it is no ratio of sums")
    needs = metric.needs if isinstance(metric, TableMetric) else (metric.name,)

    def tabulate(items: Items) -> Sums:
        groups = sorted({row.slices[name] for item in items for row in item if name in row.slices})
        if len(groups) < 2:
            raise Undefined(f"the items have {len(groups)} values of the slice {name!r}; a gap is between two")
        inside = _tabulate_values(items) if isinstance(metric, Metric) else metric.how(items)  # type: ignore[misc, operator]
        of_group = np.array([[item[0].slices.get(name) == group for group in groups] for item in items], np.float64)
        terms = (of_group[:, :, None] * inside.terms_NK[:, None, :]).reshape(len(items), -1)

        def finish(sums: NDArray[np.float64]) -> float:
            figures = [inside.finish(part) for part in sums.reshape(len(groups), -1)]
            return max(figures) - min(figures) if all(map(math.isfinite, figures)) else math.nan

        return Sums(terms, finish)

    bounds = None if metric.bounds is None else (0.0, float(metric.bounds[1] - metric.bounds[0]))
    return _of_sums(
        f"gap:{parameter}", metric.unit, "lower", bounds, needs, tabulate,
        f"largest less smallest {inner} of all values of {name}",
    )  # fmt: skip


def _tabulate_values(items: Items) -> Sums:
    values = [[value for row in item if (value := read_value(row)) is not None] for item in items]
    terms = np.array([[math.fsum(found), len(found)] for found in values], np.float64).reshape(-1, 2)
    return Sums(terms, lambda sums: _divide(sums[0], sums[1]))


# ── texts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _tabulate_bleu(items: Items) -> Sums:
    """Matches and n-grams of four lengths, and both lengths in tokens; sacrebleu makes the figure of them."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise Undefined("sacrebleu is not installed: pip install 'trainwright[text-metrics]'") from None
    bleu = BLEU(effective_order=True)
    terms = np.zeros((len(items), 10))
    for position, item in enumerate(items):
        for row in item:
            if row.output is not None and row.target is not None:
                found = bleu.sentence_score(row.output, [row.target])
                terms[position] += (*found.counts, *found.totals, found.sys_len, found.ref_len)

    def finish(sums: NDArray[np.float64]) -> float:
        counts = [int(value) for value in sums]
        if not counts[9]:
            return math.nan
        made = BLEU.compute_bleu(counts[:4], counts[4:8], counts[8], counts[9], smooth_method="exp")
        return float(made.score)

    return Sums(terms, finish)


def _read_words(row: ItemScore) -> list[str] | None:
    return None if row.output is None else row.output.split()


def _tabulate_repetition(items: Items) -> Sums:
    from trainwright.evaluate.text_properties import measure_repetition

    terms = []
    for item in items:
        found = [measure_repetition([words]) for row in item if (words := _read_words(row)) is not None]
        values = [measure.value for measure in found if measure.value is not None]
        terms.append([math.fsum(values), len(values)])
    return Sums(np.array(terms, np.float64).reshape(-1, 2), lambda sums: _divide(sums[0], sums[1]))


def _measure_distinct(length: int) -> Callable[[Sequence[ItemScore]], float]:
    def compute(rows: Sequence[ItemScore]) -> float:
        from trainwright.evaluate.text_properties import measure_distinct

        items = group_items(rows, ()).values()
        texts = [words for item in items for row in item if (words := _read_words(row)) is not None]
        value = measure_distinct(texts, length).value
        return math.nan if value is None else value

    return compute


def _is_empty(row: ItemScore) -> float | None:
    return None if row.output is None else float(not row.output.strip())


def _is_truncated(row: ItemScore) -> float | None:
    return None if row.output is None or row.finish is None else float(row.finish == "length")


def _is_of_a_place(row: ItemScore) -> float | None:
    return None if row.score is None else float(row.answer in ("first, first", "second, second"))


# ── all of them ───────────────────────────────────────────────────────────────────────────────────────────────────────
_ANSWERS = ("answer_correct",)
FAMILIES: dict[str, Callable[[str], TableMetric]] = {
    "class_precision": _open_class("precision"),
    "class_recall": _open_class("recall"),
    "class_f1": _open_class("f1"),
    "gap": _open_gap,
}
"""{name before the colon: what opens a metric with what stands after it}."""

for _metric in (
    _of_sums(
        "perplexity", "per token", "lower", None, ("text_nats", "text_tokens"),
        _tabulate_text("text_nats", "text_tokens", _exp), "exp of nats over tokens, all texts together",
    ),
    _of_sums(
        "bits_per_byte", "bits/byte", "lower", None, ("text_nats", "text_bytes"),
        _tabulate_text("text_nats", "text_bytes", lambda nats: nats / math.log(2)),
        "bits over UTF-8 bytes, all texts together; comparable across tokenizers",
    ),
    _of_sums(
        "next_token_accuracy", "share of tokens", "higher", (0, 1), ("text_correct", "text_tokens"),
        _tabulate_text("text_correct", "text_tokens", lambda share: share), "the next token is the likeliest one",
    ),
    *(
        _of_sums(
            f"{kind}_{of}", of, "higher", (0, 1), _ANSWERS, _tabulate_classes(measure(of)),
            f"{of} of {'all answers together' if kind == 'micro' else 'each class, and their mean'}",
        )
        for kind, measure in (("micro", _measure_micro), ("macro", _average_classes))
        for of in ("precision", "recall", "f1")
    ),
    _of_sums(
        "mcc", "correlation", "higher", (-1, 1), _ANSWERS, _tabulate_classes(_measure_mcc),
        "Matthews' correlation of answers and targets",
    ),
    _of_sums(
        "kappa", "kappa", "higher", (-1, 1), _ANSWERS, _tabulate_classes(_measure_kappa),
        "Cohen's kappa of answers and targets",
    ),
    TableMetric(
        "roc_auc", 1, "area", "higher", (0, 1), ("positive_probability",), _measure_auc,
        "the chance that a positive item was given more than a negative one",
    ),
    _of_mean(
        "brier", "squared error", "lower", (0, 1), ("positive_probability",), Mean(_read_brier, binary=False),
        "mean squared distance of the probability from what was so",
    ),
    _of_sums("bleu", "BLEU", "higher", (0, 100), ("chrf",), _tabulate_bleu, "BLEU of all outputs together (sacrebleu)"),
    TableMetric(
        "distinct_1", 1, "share of words", "higher", (0, 1), (), _measure_distinct(1), "different words over all of them",
        resamples=False,
    ),
    TableMetric(
        "distinct_2", 1, "share of pairs", "higher", (0, 1), (), _measure_distinct(2),
        "different pairs of words over all of them", resamples=False,
    ),
    _of_sums(
        "repetition", "share of 4-grams", "lower", (0, 1), (), _tabulate_repetition,
        "share of 4-grams that were there before in the same output",
    ),
    _of_mean(
        "empty_rate", "share of outputs", "lower", (0, 1), (), Mean(_is_empty, binary=True), "the output is empty",
    ),
    _of_mean(
        "truncated_rate", "share of outputs", "lower", (0, 1), (), Mean(_is_truncated, binary=True),
        "the output was cut off at its length limit",
    ),
    _of_sums(
        "bbq_bias_disambiguated", "bias", "zero", (-1, 1), ("bbq_answer",),
        _tabulate_bbq("disambiguated", _measure_disambiguated), "2 · biased answers over answers that name somebody − 1",
    ),
    _of_sums(
        "bbq_bias_ambiguous", "bias", "zero", (-1, 1), ("bbq_answer",), _tabulate_bbq("ambiguous", _measure_ambiguous),
        "the same on ambiguous questions, times the share of them that were not answered rightly",
    ),
    _of_mean(
        "stereotype_bias", "bias", "zero", (-1, 1), ("prefers_stereotype",),
        Mean(read_value, binary=True, factor=2, shift=-1), "share of pairs whose stereotype is the likelier, less that of the "
        "others",
    ),
    _of_mean(
        "crisis_content", "share of items", "lower", (0, 1), ("crisis_gives_method",), Mean(read_value, binary=True),
        "the answer tells a way to hurt oneself",
    ),
    _of_mean(
        "judge_position_bias", "share of pairs", "lower", (0, 1), ("judge_preference",),
        Mean(_is_of_a_place, binary=True), "the judge sides with the same place in both orders, whoever stands there",
    ),
):  # fmt: skip
    TABLE_METRICS[_metric.name] = _metric
