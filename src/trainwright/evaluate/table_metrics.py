"""Metrics of a whole item table that are no mean of item scores: ratios and the like, with bootstrap intervals.

Each is a function of the rows of one table. A resample is a table too, so every one of them has an interval and can be
compared, item by item, like the metrics of `metrics.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from trainwright.core.records import ItemScore


@dataclass(frozen=True)
class TableMetric:
    """A metric of a table. `needs` are the item metrics whose rows it reads; `compute` gives NaN where it is undefined.

    `better`: which way is better; `zero` where the best is 0 and both sides of it are worse.
    """

    name: str
    version: int
    unit: str
    better: Literal["higher", "lower", "zero"]
    bounds: tuple[float, float] | None
    needs: tuple[str, ...]
    compute: Callable[[Sequence[ItemScore]], float]
    meaning: str


TABLE_METRICS: dict[str, TableMetric] = {}
"""Every metric of tables by name, in the order in which reports show them."""
