"""What was said to each item: written by a model, or recorded elsewhere and read from a file.

A line of a predictions file is {"id": "add-1", "output": "Answer: 5"}; it may say how the output ended ("finish": "end" or
"length"), that the answer was a refusal ("refused": true), or, in place of an output, what went wrong ("error": "timed out").
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from trainwright.core.errors import PredictionsIncomplete
from trainwright.core.records import Frozen, added
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.rows import invalid_row, iter_rows, require_known_keys

KEYS = ("id", "output", "finish", "refused", "error")
NUM_NAMED = 5
"""How many ids an error lists."""


class Output(Frozen):
    """What was said to one item. `text` None comes with the `error` that there was instead."""

    id: str
    text: str | None
    finish: Literal["end", "length"] | None = added(None)
    refused: bool = added(False)
    error: str | None = added(None)


def read_predictions(path: Path, items: Sequence[EvalItem]) -> list[Output]:
    """Recorded outputs in the order of `items`.

    Raises InvalidRow with the line of a malformed or repeated one; PredictionsIncomplete where an item has none, or one is
    of no item; SourceNotFound, SourceUnreadable, InvalidEncoding.
    """
    outputs: dict[str, Output] = {}
    for number, row in iter_rows(path):
        output = _parse_output(row, path, number)
        if output.id in outputs:
            raise invalid_row(path, number, f"the id {output.id!r} is there twice")
        outputs[output.id] = output
    _require_complete(outputs, items, path)
    return [outputs[item.id] for item in items]


def _parse_output(row: dict[str, Any], path: Path, number: int) -> Output:
    require_known_keys(row, KEYS, path, number)
    text, error, finish = row.get("output"), row.get("error"), row.get("finish")
    if not isinstance(row.get("id"), str):
        raise invalid_row(path, number, "id is missing or not a text")
    if isinstance(error, str) == isinstance(text, str) or not isinstance(text, str | None):
        raise invalid_row(path, number, "it has neither an output nor an error, or both")
    if finish not in ("end", "length", None):
        raise invalid_row(path, number, f"finish is 'end' or 'length', not {finish!r}")
    if not isinstance(row.get("refused", False), bool):
        raise invalid_row(path, number, "refused is true or false")
    return Output(id=row["id"], text=text, finish=finish, refused=row.get("refused", False), error=error)


def _require_complete(outputs: dict[str, Output], items: Sequence[EvalItem], path: Path) -> None:
    known = {item.id for item in items}
    missing = [item.id for item in items if item.id not in outputs]
    foreign = [output_id for output_id in outputs if output_id not in known]
    if missing or foreign:
        found = [
            f"{len(ids)} {what}: {', '.join(ids[:NUM_NAMED])}{' …' if len(ids) > NUM_NAMED else ''}"
            for ids, what in ((missing, "items have no output"), (foreign, "outputs are of no item"))
            if ids
        ]
        raise PredictionsIncomplete(
            f"{path.name} does not fit the evalset.",
            why=f"{'; '.join(found)}.",
            next_step='Record an output for every item; where there is none, {"id": …, "error": "what went wrong"}.',
        )
