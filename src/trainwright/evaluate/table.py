"""The item table as bytes and back, and what follows from it at once: counts, means, right answers with wrong steps."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import get_args

from pydantic import ValidationError

from trainwright.core.errors import ObjectDamaged
from trainwright.core.hashing import digest_file, digest_json
from trainwright.core.records import ItemScore, ItemStatus, Measure
from trainwright.evaluate.metrics import METRICS, order_metrics, read_value
from trainwright.evaluate.rows import render_rows
from trainwright.evaluate.text_properties import measure_texts

SCORING_MODULES = (
    "answer_likelihood", "behaviour", "extraction", "generation", "ground_truth", "items", "judge", "judged_rows", "matchers",
    "metrics", "numbers", "outputs", "references", "scorers", "steps", "table", "table_scorers", "text_properties",
    "trained_scorers",
)  # fmt: skip

OUTCOMES = {
    "right_steps_right": "answer right, steps right",
    "right_steps_wrong": "answer right, steps wrong",
    "right_steps_unknown": "answer right, no step that can be checked",
    "not_right": "answer not right",
}
"""How answer and steps go together, for items that have both."""


def render_table(rows: Iterable[ItemScore]) -> bytes:
    """The table's canonical bytes, one row a line."""
    return render_rows(rows)


def parse_table(data: bytes) -> list[ItemScore]:
    """The rows of a stored table. Raises ObjectDamaged where they are none."""
    try:
        return [ItemScore.model_validate(json.loads(line)) for line in data.splitlines()]
    except (ValueError, ValidationError) as error:
        raise ObjectDamaged(
            "A stored item table cannot be read.",
            why=" ".join(str(error).split())[:300],
            next_step="Evaluate again.",
        ) from error


def count_statuses(rows: Sequence[ItemScore]) -> dict[str, dict[ItemStatus, int]]:
    """{metric: {status: how many items}}."""
    counted = Counter((row.metric, row.status) for row in rows)
    return {
        metric: {status: counted[metric, status] for status in get_args(ItemStatus) if counted[metric, status]}
        for metric in order_metrics(row.metric for row in rows)
    }


def build_aggregates(rows: Sequence[ItemScore]) -> dict[str, Measure]:
    """Means of all metrics, how answers and steps go together, and properties of the outputs."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        value = read_value(row)
        if value is not None:
            values[row.metric].append(value)
    means = {name: _average(name, values[name]) for name in order_metrics(row.metric for row in rows)}
    outcomes = classify_outcomes(rows)
    shares = {
        name: Measure(
            value=list(outcomes.values()).count(name) / len(outcomes), unit="share of items with a number to find"
        )
        for name in OUTCOMES
        if outcomes
    }
    return means | shares | measure_texts(rows)


def classify_outcomes(rows: Sequence[ItemScore]) -> dict[str, str]:
    """{item: one of OUTCOMES}, for the items that were judged by their answer and their steps."""
    answers = {row.item_id: row for row in rows if row.metric == "answer_correct"}
    steps = {row.item_id: row for row in rows if row.metric == "steps_correct"}
    outcomes = {}
    for item_id, row in answers.items():
        value = read_value(row)
        if item_id in steps and value is not None:
            outcomes[item_id] = _name_outcome(value, steps[item_id].score)
    return outcomes


def _name_outcome(answer: float, steps: float | None) -> str:
    if not answer:
        return "not_right"
    return "right_steps_unknown" if steps is None else "right_steps_right" if steps else "right_steps_wrong"


def _average(name: str, values: Sequence[float]) -> Measure:
    unit = METRICS[name].unit
    if not values:
        return Measure(value=None, unit=unit, why_not="no item could be scored")
    return Measure(value=fmean(values), unit=unit)


def digest_code() -> str:
    """The digest of the code between an output and its row."""
    return digest_json({name: digest_file(Path(__file__).parent / f"{name}.py") for name in SCORING_MODULES})
