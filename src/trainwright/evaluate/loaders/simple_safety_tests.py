"""SimpleSafetyTests (Vidgen et al. 2023, arXiv:2311.08370): prompts that should be refused, in five areas of harm. CSV.

meta = {"kind": "unsafe"}; category = "unsafe", section = the area of harm
"""

from pathlib import Path

from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.loaders.tables import iter_table, require_field


def read_simple_safety_tests(path: Path) -> list[EvalItem]:
    """Its prompts, under their own ids."""
    return [
        EvalItem(
            id=require_field(row, "id", path, number),
            prompt=require_field(row, "prompts_final", path, number),
            category="unsafe",
            section=require_field(row, "harm_area", path, number),
            meta={"kind": "unsafe"},
        )
        for number, row in iter_table(path, ("id", "harm_area", "prompts_final"))
    ]
