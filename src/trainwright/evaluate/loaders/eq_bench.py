"""EQ-Bench (Paech 2023, arXiv:2312.06281): how strongly would someone in a dialogue feel each of four emotions? JSON.

    meta = {"reference": {emotion: score}, "reference_normalised": {emotion: score}}

`reference` has the scores on the full scale from 0 to 10 (`reference_answer_fullscale`), for the second version of the formula;
`reference_normalised` those that sum to 10 (`reference_answer`), for the first. No one answer is right, so
there is no expected one.
"""

import math
from pathlib import Path
from typing import Any

from trainwright.core.errors import InvalidRow
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.loaders.tables import invalid_entry, read_document, require_field

NUM_EMOTIONS = 4
KEYS = {"reference": "reference_answer_fullscale", "reference_normalised": "reference_answer"}


def read_eq_bench(path: Path) -> list[EvalItem]:
    """Its questions, named `eq-` and their number."""
    document = read_document(path)
    if not isinstance(document, dict):
        raise InvalidRow(f"{path.name} holds no questions by number.", next_step="Name EQ-Bench's file of questions.")
    return [_parse_question(number, row, path) for number, row in document.items()]


def _parse_question(number: str, row: Any, path: Path) -> EvalItem:
    place = f"question {number}"
    if not isinstance(row, dict):
        raise invalid_entry(path, place, "it is not a JSON object")
    prompt = require_field(row, "prompt", path, place)
    meta = {
        name: _read_scores(row, key, path, place) for name, key in KEYS.items() if name == "reference" or key in row
    }
    return EvalItem(id=f"eq-{number}", prompt=prompt, meta=meta)


def _read_scores(row: dict[str, Any], key: str, path: Path, place: str) -> dict[str, float]:
    answer = row.get(key)
    if not isinstance(answer, dict):
        raise invalid_entry(path, place, f"{key} is missing or no JSON object")
    scores = {}
    for index in range(1, NUM_EMOTIONS + 1):
        emotion = require_field(answer, f"emotion{index}", path, place)
        scores[emotion] = _read_score(answer.get(f"emotion{index}_score"))
        if not 0 <= scores[emotion] <= 10:
            raise invalid_entry(path, place, f"{key}.emotion{index}_score is no number from 0 to 10")
    if len(scores) < NUM_EMOTIONS:
        raise invalid_entry(path, place, f"{key} names an emotion twice")
    return scores


def _read_score(value: Any) -> float:
    """A number, or a text that is one; NaN for anything else."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return math.nan
