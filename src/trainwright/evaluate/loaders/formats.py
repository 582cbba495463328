"""The forms of items by name: how a file is read, and how its items are asked and scored where a suite does not say."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainwright.core.errors import InvalidRow
from trainwright.evaluate.items import SLICES, EvalItem, read_items, require_items
from trainwright.evaluate.loaders import bbq, crows_pairs
from trainwright.evaluate.loaders.big_bench_hard import read_big_bench_hard
from trainwright.evaluate.loaders.eq_bench import read_eq_bench
from trainwright.evaluate.loaders.gsm8k import is_gsm8k, read_gsm8k
from trainwright.evaluate.loaders.simple_safety_tests import read_simple_safety_tests
from trainwright.evaluate.loaders.truthfulqa import read_truthfulqa
from trainwright.evaluate.loaders.vera_mh import read_vera_mh
from trainwright.evaluate.loaders.winobias import read_winobias
from trainwright.evaluate.loaders.xstest import read_xstest
from trainwright.evaluate.rows import iter_rows

By = Literal["generation", "likelihood", "text"]


@dataclass(frozen=True)
class Format:
    """A form of items, and what a suite of them is where its file leaves it open."""

    read: Callable[[Path], list[EvalItem]]
    by: By = "generation"
    template: str = "{prompt}"
    scorers: tuple[str, ...] = ("ground-truth",)
    slices: tuple[str, ...] = SLICES


QUESTION = "Question: {prompt}\nAnswer:"

FORMATS: dict[str, Format] = {
    "items": Format(lambda path: read_items(path, need_answers=False)),
    "gsm8k": Format(read_gsm8k, template=QUESTION),
    "bbq": Format(bbq.read_bbq, "likelihood", template="{prompt}\nAnswer:", slices=bbq.SLICES),
    "crows-pairs": Format(crows_pairs.read_crows_pairs, "likelihood", slices=crows_pairs.SLICES),
    "winobias": Format(read_winobias, "likelihood"),
    "xstest": Format(read_xstest, scorers=("refusal",)),
    "simple-safety-tests": Format(read_simple_safety_tests, scorers=("refusal",)),
    "truthfulqa": Format(read_truthfulqa, "likelihood", template=QUESTION),
    "eq-bench": Format(read_eq_bench, scorers=("eq-bench",)),
    "vera-mh": Format(read_vera_mh, scorers=("crisis-checklist",)),
    "big-bench-hard": Format(read_big_bench_hard, template=QUESTION),
}
"""Every form by name. `items` is our own."""


def read_format(name: str, path: Path) -> list[EvalItem]:
    """The items of a file (or folder) in one of the FORMATS.

    Raises SourceNotFound, SourceUnreadable, SourceEmpty, InvalidEncoding, and InvalidRow with the place of a fault.
    """
    items = require_items(FORMATS[name].read(path), path)
    (item_id, count), *_ = Counter(item.id for item in items).most_common(1)
    if count > 1:
        raise InvalidRow(
            f"{path.name} has {count} items that would be called {item_id}.",
            why="Results are kept by the item's id.",
            next_step="Give every item an id of its own.",
        )
    return items


def read_evalset(path: Path, *, need_answers: bool = True) -> list[EvalItem]:
    """The items of a file of our own form, or of GSM8K's, which its first line tells. Raises what `read_items` raises."""
    first = next(iter_rows(path), None)
    if first is not None and is_gsm8k(first[1]):
        return read_format("gsm8k", path)
    return read_items(path, need_answers=need_answers)
