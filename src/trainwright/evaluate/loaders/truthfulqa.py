"""TruthfulQA's multiple choice (Lin et al. 2022, arXiv:2109.07958): `mc_task.json`, a list of questions with `mc1_targets`.

Exactly one of a question's `mc1_targets` is true (value 1): that is the expected answer among the choices, and an item is
right if it is the likeliest. The longer lists of `mc2_targets` are kept: meta = {"mc2": {"true": […], "false": […]}}. Empty
answers, which the published file has where its lists were divided at semicolons, are left out.
"""

from pathlib import Path
from typing import Any

from trainwright.core.errors import InvalidRow
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.loaders.tables import invalid_entry, read_document, require_field


def read_truthfulqa(path: Path) -> list[EvalItem]:
    """Its questions, named `truthfulqa-` and their place in the file."""
    document = read_document(path)
    if not isinstance(document, list):
        raise InvalidRow(f"{path.name} holds no list of questions.", next_step="Name TruthfulQA's mc_task.json.")
    return [_parse_question(row, path, number) for number, row in enumerate(document, start=1)]


def _parse_question(row: Any, path: Path, number: int) -> EvalItem:
    place = f"question {number}"
    if not isinstance(row, dict):
        raise invalid_entry(path, place, "it is not a JSON object")
    choices = _read_targets(row, "mc1_targets", path, place)
    right = [text for text, is_true in choices.items() if is_true]
    if len(right) != 1 or len(choices) < 2:
        raise invalid_entry(path, place, f"mc1_targets has {len(right)} of {len(choices)} that are true", "One is.")
    longer = _read_targets(row, "mc2_targets", path, place) if "mc2_targets" in row else {}
    sorted_out = {
        "true": [text for text, is_true in longer.items() if is_true],
        "false": [text for text, is_true in longer.items() if not is_true],
    }
    return EvalItem(
        id=f"truthfulqa-{number}",
        prompt=require_field(row, "question", path, place),
        expected_answer=right[0],
        choices=tuple(choices),
        meta={"mc2": sorted_out} if longer else None,
    )


def _read_targets(row: dict[str, Any], key: str, path: Path, place: str) -> dict[str, bool]:
    targets = row.get(key)
    if not isinstance(targets, dict) or any(value not in (0, 1) for value in targets.values()):
        raise invalid_entry(path, place, f"{key} is no object of answers with 0 or 1")
    return {text: bool(value) for text, value in targets.items() if text.strip()}
