"""Scorers by name: each takes all items with what was said to them, and gives rows of the item table.

    ground-truth   the answer against the expected one, and its steps against arithmetic

A suite names those it wants. One that cannot work here (a package or a trained part is missing) gives rows with the status
`unavailable`, which say what would provide it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from trainwright.core.records import ItemScore
from trainwright.evaluate.ground_truth import score_outputs
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.outputs import Output


class TableScorer(Protocol):
    """From items and outputs (in one order) to rows, all of one item together."""

    def __call__(self, items: Sequence[EvalItem], outputs: Sequence[Output]) -> list[ItemScore]:
        """Score every item under every metric of this scorer."""


def parse_table_scorer(text: str) -> TableScorer:
    """The scorer called `name` or `name:parameter`. Raises ValueError, with what is wrong, for one that does not exist."""
    name, _, parameter = text.partition(":")
    if name not in TABLE_SCORERS:
        raise ValueError(f"there is no scorer {name!r}; there are {', '.join(TABLE_SCORERS)}")
    return TABLE_SCORERS[name](parameter)


def _open_ground_truth(parameter: str) -> TableScorer:
    if parameter:
        raise ValueError("ground-truth takes no parameter: every item names its own scorer")
    return score_outputs


TABLE_SCORERS: dict[str, Callable[[str], TableScorer]] = {"ground-truth": _open_ground_truth}
"""{name: what opens it with its parameter}."""
