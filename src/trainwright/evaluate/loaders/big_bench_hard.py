"""BIG-Bench-Hard (Suzgun et al. 2022, arXiv:2210.09261): one JSON file for each task, {"examples": [{"input", "target"}]}.

A folder of them is all of its tasks; `category` is the task. A target such as `(B)` is scored as a letter.
"""

from pathlib import Path
from typing import Any

from trainwright.core.errors import InvalidRow, SourceEmpty
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.loaders.tables import invalid_entry, read_document, require_field


def read_big_bench_hard(path: Path) -> list[EvalItem]:
    """The examples of a task, or of every task in a folder, named after the task and their place."""
    if not path.is_dir():
        return _read_task(path)
    files = sorted(path.glob("*.json"))
    if not files:
        raise SourceEmpty(f"There is no task in {path}.", why="Tasks are .json files.", next_step="Check the path.")
    return [item for file in files for item in _read_task(file)]


def _read_task(path: Path) -> list[EvalItem]:
    document = read_document(path)
    examples = document.get("examples") if isinstance(document, dict) else None
    if not isinstance(examples, list):
        raise InvalidRow(f"{path.name} has no list of examples.", next_step="Name a task file of BIG-Bench-Hard.")
    return [_parse_example(row, path, number) for number, row in enumerate(examples, start=1)]


def _parse_example(row: Any, path: Path, number: int) -> EvalItem:
    place = f"example {number}"
    if not isinstance(row, dict):
        raise invalid_entry(path, place, "it is not a JSON object")
    prompt, target = (require_field(row, key, path, place) for key in ("input", "target"))
    return EvalItem(id=f"{path.stem}-{number}", prompt=prompt, expected_answer=target, category=path.stem)
