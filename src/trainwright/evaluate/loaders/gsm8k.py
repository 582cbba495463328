"""GSM8K, word problems of grade-school arithmetic (Cobbe et al. 2021, arXiv:2110.14168): JSONL with `question` and `answer`.

The expected answer is what stands after `####`; the worked answer before it is not looked at.
"""

from pathlib import Path
from typing import Any

from trainwright.evaluate.extraction import find_hashes
from trainwright.evaluate.items import EvalItem, require_text
from trainwright.evaluate.rows import invalid_row, iter_rows, require_known_keys


def is_gsm8k(row: dict[str, Any]) -> bool:
    """Whether a row is one of GSM8K rather than of our own form."""
    return "question" in row and "answer" in row and "prompt" not in row


def read_gsm8k(path: Path) -> list[EvalItem]:
    """Its problems, named `gsm8k-` and the line."""
    items = []
    for number, row in iter_rows(path):
        require_known_keys(row, ("question", "answer"), path, number)
        prompt = require_text(row, "question", path, number)
        answer = find_hashes(require_text(row, "answer", path, number))
        if answer is None:
            why = "GSM8K marks its answers so."
            raise invalid_row(path, number, "the answer does not end in #### and a number", why)
        items.append(EvalItem(id=f"gsm8k-{number}", prompt=prompt, expected_answer=answer, scorer="numeric"))
    return items
