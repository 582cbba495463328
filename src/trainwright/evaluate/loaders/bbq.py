"""BBQ, the bias benchmark for question answering (Parrish et al. 2022, arXiv:2110.08193): its JSONL files as they are.

An item is a context with a question and three answers, of which one is "unknown". In an ambiguous context, unknown is right;
in a disambiguated one, the context says who it was. Measured by likelihood (the likeliest answer is the one that is given), an
item has, beside the rows of any multiple choice, one row of the metric `bbq_answer`: score 1 if the answer is right, `answer`
one of `biased`, `unbiased`, `unknown`, and in `slices` the `condition`, the `polarity` and the `category`. Those are what the
bias scores of a table are computed from.

    meta = {"condition": "ambiguous" | "disambiguated", "polarity": "negative" | "non-negative",
            "biased_choice": int | None, "unknown_choice": int}

The biased answer is the stereotyped group for a negative question, and the other group for a non-negative one (section 3.3
there). `biased_choice` is None where the file does not say which answer is the stereotyped group; such an item has no
`bbq_answer` unless "unknown" was chosen. The cluster is the template (`question_index`) within its category.
"""

from pathlib import Path
from typing import Any

from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.loaders.tables import require_field
from trainwright.evaluate.rows import invalid_row, iter_rows

NUM_ANSWERS = 3
UNKNOWN = "unknown"
CONDITIONS = {"ambig": "ambiguous", "disambig": "disambiguated"}
POLARITIES = {"neg": "negative", "nonneg": "non-negative"}
SLICES = ("category", "condition", "polarity")


def read_bbq(path: Path) -> list[EvalItem]:
    """The questions of one category."""
    return [_parse_question(row, path, number) for number, row in iter_rows(path)]


def _parse_question(row: dict[str, Any], path: Path, number: int) -> EvalItem:
    category = require_field(row, "category", path, number)
    condition = CONDITIONS[require_field(row, "context_condition", path, number, tuple(CONDITIONS))]
    polarity = POLARITIES[require_field(row, "question_polarity", path, number, tuple(POLARITIES))]
    context, question = (require_field(row, key, path, number) for key in ("context", "question"))
    answers = tuple(require_field(row, f"ans{index}", path, number) for index in range(NUM_ANSWERS))
    label, example = row.get("label"), row.get("example_id")
    if not isinstance(label, int) or not 0 <= label < NUM_ANSWERS:
        raise invalid_row(path, number, f"label is {label!r}", "It is 0, 1 or 2.")
    if not isinstance(example, int):
        raise invalid_row(path, number, "example_id is missing or no whole number")
    if len(set(answers)) < NUM_ANSWERS:
        raise invalid_row(path, number, "two of its answers are the same")
    groups = _read_groups(row, path, number)
    unknown = [index for index, (_, group) in enumerate(groups) if group == UNKNOWN]
    if len(unknown) != 1:
        raise invalid_row(path, number, f"answer_info has {len(unknown)} unknown answers", "Each question has one.")
    return EvalItem(
        id=f"bbq-{category}-{example}",
        prompt=f"{context}\n{question}",
        expected_answer=answers[label],
        choices=answers,
        category=category,
        cluster_id=f"{category}-{row.get('question_index')}",
        meta={
            "condition": condition,
            "polarity": polarity,
            "biased_choice": _find_biased(row, groups, unknown[0], polarity),
            "unknown_choice": unknown[0],
        },
    )


def _read_groups(row: dict[str, Any], path: Path, number: int) -> list[tuple[str, str]]:
    """(name, group) of each answer."""
    info = row.get("answer_info")
    groups: list[tuple[str, str]] = []
    for index in range(NUM_ANSWERS):
        group = info.get(f"ans{index}") if isinstance(info, dict) else None
        if not isinstance(group, list) or len(group) != 2 or not all(isinstance(part, str) for part in group):
            raise invalid_row(path, number, f"answer_info does not say of which group ans{index} is")
        groups.append((group[0], group[1]))
    return groups


def _find_biased(row: dict[str, Any], groups: list[tuple[str, str]], unknown: int, polarity: str) -> int | None:
    """Which answer is the biased one; None where not exactly one of them is of a stereotyped group."""
    details = row.get("additional_metadata")
    named = details.get("stereotyped_groups") if isinstance(details, dict) else None
    stereotyped = {_plain(name) for name in named if isinstance(name, str)} if isinstance(named, list) else set()
    others = [index for index in range(NUM_ANSWERS) if index != unknown]
    targets = [index for index in others if _labels_of(groups[index]) & stereotyped]
    if len(targets) != 1:
        return None
    return targets[0] if polarity == "negative" else next(index for index in others if index != targets[0])


def _labels_of(group: tuple[str, str]) -> set[str]:
    """A group's names: as written, and, where a gender stands before it (`F-Black`), without that."""
    return {_plain(part) for part in (*group, group[1].partition("-")[2]) if part}


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
