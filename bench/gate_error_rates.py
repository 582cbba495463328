"""How often gates are wrong: simulated pairs of models whose true quality is known, judged by the gates as they are.

    python bench/gate_error_rates.py [--pairs 200] [--alpha 0.05] [--seed 0]

Every row is one kind of pair, many times over. The two models of a pair answer the same items; `shared` of each answer's
luck is the item's (hard items are hard for both). What counts as wrong is named in the row, and may happen to at most alpha
of the pairs; with 200 of them, the count itself is known to about ±3 points, so its own interval is printed.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from trainwright.core.records import Gate, ItemScore
from trainwright.evaluate.figures import measure, measure_difference
from trainwright.evaluate.statistics import count_items_to_settle, estimate_rate
from trainwright.release.gates import Evidence, judge_gate

MARGIN = 0.03
LIMIT = 0.80
Draw = Callable[[np.random.Generator], tuple[list[ItemScore], list[ItemScore]]]


@dataclass(frozen=True)
class Case:
    """A kind of pair: the gate, how a pair is drawn, and the outcome that would be wrong."""

    name: str
    gate: Gate
    draw: Draw
    wrong: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    table = Table(title=f"{asked.pairs} pairs a row, alpha {asked.alpha:g}", title_justify="left")
    for heading in ("pair", "pass", "inconclusive", "fail", "wrong is", "share wrong", "95 % of it"):
        table.add_column(heading)
    for case in list_cases():
        generator = np.random.default_rng(asked.seed)
        found = Counter(judge(case, generator, asked.alpha) for _ in range(asked.pairs))
        share = estimate_rate(found[case.wrong], asked.pairs)
        interval = f"{share.low:.3f} to {share.high:.3f}"
        counts = [str(found[outcome]) for outcome in ("pass", "inconclusive", "fail")]
        table.add_row(case.name, *counts, case.wrong, f"{share.value:.3f}", interval)
    Console(width=150).print(table)


def list_cases() -> Iterator[Case]:
    """Equal models, a truly worse one at the edge of what is put up with, and one that lies just at its limit."""
    no_worse = Gate(kind="non_inferior", metric="answer_correct", suite="s", margin=MARGIN)
    better = Gate(kind="superior", metric="answer_correct", suite="s")
    limit = Gate(kind="at_least", metric="answer_correct", suite="s", limit=LIMIT)
    graded_no_worse = no_worse.model_copy(update={"metric": "answer_f1"})
    graded_better = better.model_copy(update={"metric": "answer_f1"})
    yield Case("the same model twice: no worse", no_worse, draw_answers(400, 0.7, 0.7, identical=True), "fail")
    yield Case("the same model twice: better", better, draw_answers(400, 0.7, 0.7, identical=True), "pass")
    for n in (100, 400, 1_600):
        yield Case(f"equal, n {n}: no worse", no_worse, draw_answers(n, 0.7, 0.7), "fail")
        yield Case(f"equal, n {n}: better", better, draw_answers(n, 0.7, 0.7), "pass")
        yield Case(f"worse by the margin, n {n}: no worse", no_worse, draw_answers(n, 0.7, 0.7 - MARGIN), "pass")
        yield Case(f"worse by twice that, n {n}: no worse", no_worse, draw_answers(n, 0.7, 0.7 - 2 * MARGIN), "pass")
        yield Case(f"just under its limit, n {n}", limit, draw_answers(n, 0.7, LIMIT - 1e-9), "pass")
    clustered = draw_answers(400, 0.7, 0.7 - MARGIN, cluster_size=5)
    yield Case("worse by the margin, 80 clusters of 5", no_worse, clustered, "pass")
    yield Case("equal, 80 clusters of 5: better", better, draw_answers(400, 0.7, 0.7, cluster_size=5), "pass")
    yield Case("graded, worse by the margin, n 400", graded_no_worse, draw_grades(400, MARGIN), "pass")
    yield Case("graded, equal, n 400: better", graded_better, draw_grades(400, 0.0), "pass")


def judge(case: Case, generator: np.random.Generator, alpha: float) -> str:
    """The outcome of one pair, by the figures that gates are given."""
    baseline, candidate = case.draw(generator)
    name = case.gate.metric
    evidence = Evidence(
        candidate=measure(name, candidate, 2 * alpha),
        better="higher",
        baseline=measure(name, baseline, 2 * alpha),
        difference=measure_difference(name, baseline, candidate, 2 * alpha),
        identical=[row.score for row in baseline] == [row.score for row in candidate],
    )
    return judge_gate(case.gate, evidence, count_items_to_settle).outcome


def draw_answers(
    n: int, baseline: float, candidate: float, *, shared: float = 0.5, cluster_size: int = 1, identical: bool = False
) -> Draw:
    """Right and wrong answers with these true shares. `shared`: how much of an answer's luck is its item's (or cluster's)."""

    def draw(generator: np.random.Generator) -> tuple[list[ItemScore], list[ItemScore]]:
        luck = np.repeat(generator.normal(size=n // cluster_size), cluster_size)
        sides = []
        for share in (baseline, candidate):
            own = luck if identical else generator.normal(size=n)
            total = luck if identical else np.sqrt(shared) * luck + np.sqrt(1 - shared) * own
            threshold = float(np.sqrt(2) * _inverse_erf(2 * share - 1))
            sides.append(build_rows("answer_correct", (total < threshold).astype(float), cluster_size))
        return sides[0], sides[1]

    return draw


def draw_grades(n: int, loss: float) -> Draw:
    """Grades between 0 and 1, the candidate's lower by `loss` on the mean."""

    def draw(generator: np.random.Generator) -> tuple[list[ItemScore], list[ItemScore]]:
        level = generator.beta(4, 3, size=n) * 0.8 + 0.1
        noise = generator.normal(0, 0.05, size=(2, n))
        return build_rows("answer_f1", level + noise[0], 1), build_rows("answer_f1", level + noise[1] - loss, 1)

    return draw


def build_rows(metric: str, scores: np.ndarray, cluster_size: int) -> list[ItemScore]:
    """Rows of an item table with these scores."""
    return [
        ItemScore(
            item_id=str(number),
            cluster_id=str(number // cluster_size) if cluster_size > 1 else None,
            slices={},
            metric=metric,
            score=float(score),
            output=None,
            answer=None,
            target=None,
            status="scored",
        )
        for number, score in enumerate(scores)
    ]


def _inverse_erf(value: float) -> float:
    from scipy.special import erfinv

    return float(erfinv(value))


if __name__ == "__main__":
    main()
