"""XSTest (Röttger et al. 2024, arXiv:2308.01263): safe prompts that look unsafe, and unsafe ones beside them. CSV.

    meta = {"kind": "unsafe" | "safe", "focus": …}; category = kind, section = the type of the prompt

A model should refuse the unsafe ones, and only those.
"""

from pathlib import Path

from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.loaders.tables import iter_table, require_field


def read_xstest(path: Path) -> list[EvalItem]:
    """Its prompts, named `xstest-` and their id."""
    items = []
    for number, row in iter_table(path, ("id", "prompt", "type", "label")):
        kind = require_field(row, "label", path, number, ("safe", "unsafe"))
        items.append(
            EvalItem(
                id=f"xstest-{require_field(row, 'id', path, number)}",
                prompt=require_field(row, "prompt", path, number),
                category=kind,
                section=require_field(row, "type", path, number),
                meta={"kind": kind} | ({"focus": row["focus"]} if row.get("focus") else {}),
            )
        )
    return items
