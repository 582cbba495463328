"""The data card of a version: what a reader should know before training on it, from its record alone."""

from collections.abc import Sequence
from typing import Any

from trainwright.core.records import DatasetVersion

_NOT_RECORDED = "not recorded"


def render_card(dataset: DatasetVersion, forgotten: Sequence[str], parents: Sequence[str]) -> str:
    """Markdown. `forgotten` are ids of its traces that were forgotten, `parents` the names of what it was taken from."""
    statistics = dataset.statistics or {}
    sections = [
        f"# {dataset.name}@{dataset.version}",
        _describe_state(forgotten),
        _render_table(
            ("what", "value"),
            [
                ("id", f"`{dataset.id}`"),
                ("records", f"`{dataset.records}`"),
                ("taken from", ", ".join(parents) or "the trace store"),
                ("traces", f"{statistics.get('num_traces', 0):,}"),
                ("conversations", f"{statistics.get('num_conversations', 0):,}"),
                ("licence", _NOT_RECORDED),
            ],
        ),
        "## Splits",
        _render_table(
            ("split", "documents", "characters", "digest"),
            [
                (name, f"{split.num_documents:,}", f"{split.num_characters:,}", f"`{split.documents}`")
                for name, split in sorted(dataset.splits.items())
            ],
        ),
        "## How it was selected",
        _render_table(("setting", "value"), [(key, _render(value)) for key, value in dataset.recipe.items()]),
        _render_table(("counted", "number"), [(key, _render(value)) for key, value in statistics["selection"].items()])
        if statistics.get("selection")
        else "",
        "## Sizes",
        _render_sizes(statistics),
        _render_counts("## Step types", "type", statistics.get("step_types", {})),
        *_render_meta(statistics.get("meta", {})),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _describe_state(forgotten: Sequence[str]) -> str:
    if not forgotten:
        return ""
    ids = ", ".join(f"`{trace_id[:12]}`" for trace_id in forgotten)
    return f"**Withdrawn:** traces of this version were forgotten ({ids}). It can no longer be exported or trained on."


def _render_sizes(statistics: dict[str, Any]) -> str:
    names = {"num_steps": "steps", "num_messages": "messages", "num_characters": "characters", "num_tokens": "tokens"}
    rows = []
    for key, name in names.items():
        sizes = statistics.get(key)
        if sizes:
            rows.append((name, *(f"{sizes[column]:,}" for column in ("min", "mean", "p50", "p95", "max"))))
        elif key == "num_tokens":
            rows.append((name, "not counted: no tokenizer was given", "", "", "", ""))
    return _render_table(("of each", "least", "mean", "half have at most", "95 % have at most", "most"), rows)


def _render_meta(meta: dict[str, dict[str, int]]) -> list[str]:
    if not meta:
        return []
    rows = []
    for key, values in meta.items():
        shown = (
            f"{values['num']:,} values, not listed"
            if set(values) == {"num"}
            else ", ".join(f"{value}: {count:,}" for value, count in list(values.items())[:12])
        )
        rows.append((key, shown + (" …" if len(values) > 12 else "")))
    return ["## Meta", _render_table(("key", "values"), rows)]


def _render_counts(heading: str, name: str, counts: dict[str, int]) -> str:
    if not counts:
        return ""
    return f"{heading}\n\n" + _render_table((name, "number"), [(key, f"{count:,}") for key, count in counts.items()])


def _render(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else f"{value:,}" if type(value) is int else str(value)


def _render_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines)


def _escape(cell: str) -> str:
    return " ".join(str(cell).replace("|", "\\|").split())
