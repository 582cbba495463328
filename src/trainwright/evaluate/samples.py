"""Several samples of one item: averaged within the item before anything is said about items."""

from collections.abc import Iterable
from statistics import fmean

from trainwright.core.records import ItemScore
from trainwright.evaluate.metrics import read_value


def merge_samples(rows: Iterable[ItemScore]) -> list[ItemScore]:
    """One row for each item and metric: the mean of its rows that have a value; the first where none has.

    Samples of one item are not independent of each other; counted as items, they would make every interval too narrow.
    """
    grouped: dict[tuple[str, str], list[ItemScore]] = {}
    for row in rows:
        grouped.setdefault((row.metric, row.item_id), []).append(row)
    return [found[0] if len(found) == 1 else _merge(found) for found in grouped.values()]


def _merge(rows: list[ItemScore]) -> ItemScore:
    values = [value for row in rows if (value := read_value(row)) is not None]
    if not values:
        return rows[0]
    return rows[0].model_copy(
        update={"score": fmean(values), "status": "scored", "why": f"mean of {len(values)} samples"}
    )
