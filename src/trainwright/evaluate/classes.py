"""Answers and targets as classes: which targets there are, and which of them an answer names."""

import re
from collections.abc import Sequence

from trainwright.core.records import ItemScore
from trainwright.evaluate.scorers import normalise

_LETTER = re.compile(r"\(?([A-Za-z])\)?(?=$|[).:\s])")


def read_classes(rows: Sequence[ItemScore]) -> list[str]:
    """The targets there are, in alphabetical order."""
    return sorted({row.target for row in rows if row.target is not None})


def read_class(row: ItemScore, classes: Sequence[str]) -> tuple[int, int] | None:
    """(target, answer) as positions among the classes; None where the row is left out.

    Past the classes: `len(classes)` for an answer that is none of them, one more for one that could not be read.
    """
    if row.target is None or row.status in ("error", "unavailable"):
        return None
    target = classes.index(row.target)
    if row.status != "scored":
        return target, len(classes) + 1
    if row.score == 1:
        return target, target
    return target, _find_class(row.answer, target, classes)


def _find_class(answer: str | None, target: int, classes: Sequence[str]) -> int:
    """The class that a wrong answer names: not the target's, or it would have been right."""
    if answer is None:
        return len(classes) + 1
    if answer in classes:
        return classes.index(answer)
    letter = _LETTER.match(answer.strip()) if all(len(name) == 1 for name in classes) else None
    said = normalise(letter[1] if letter else answer)
    return next(
        (place for place, name in enumerate(classes) if place != target and (normalise(name) or name) == said),
        len(classes),
    )


def count_confusions(rows: Sequence[ItemScore]) -> dict[str, dict[str, int]]:
    """{target: {answer: how many}} of the rows of `answer_correct`, with `other` and `unparsed` among the answers."""
    found = [row for row in rows if row.metric == "answer_correct"]
    classes = read_classes(found)
    columns = [*classes, "other", "unparsed"]
    counted = {target: dict.fromkeys(columns, 0) for target in classes}
    for row in found:
        cell = read_class(row, classes)
        if cell is not None:
            counted[classes[cell[0]]][columns[cell[1]]] += 1
    return counted
