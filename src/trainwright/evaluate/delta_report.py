"""The delta report: a comparison as Markdown, as one self-contained HTML page, and as JSON. Equal input, equal bytes."""

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from trainwright.core.records import Estimate, Frozen, ItemStatus, Measure
from trainwright.evaluate.comparison import Comparison, Delta, ItemDelta
from trainwright.evaluate.metrics import METRICS
from trainwright.evaluate.table import OUTCOMES

MAX_CELL_CHARACTERS = 160
TEXTS = ("distinct_1", "distinct_2", "repetition", "empty_rate", "truncated_rate")


class Side(Frozen):
    """What a report says of one side beside its scores. `label` is the name it was asked for by."""

    label: str
    evaluation: str
    checkpoint: str | None
    settings: dict[str, Any]
    aggregates: dict[str, Measure]
    statuses: dict[str, dict[ItemStatus, int]]


def build_document(comparison: Comparison, a: Side, b: Side) -> dict[str, Any]:
    """The comparison as one JSON document: what `compare --json` prints."""
    return comparison.model_dump(mode="json") | {"a": a.model_dump(mode="json"), "b": b.model_dump(mode="json")}


def render_json(comparison: Comparison, a: Side, b: Side) -> str:
    """The document, indented."""
    return json.dumps(build_document(comparison, a, b), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


# ── Markdown ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def render_markdown(comparison: Comparison, a: Side, b: Side) -> str:
    """The report as GitHub Markdown."""
    parts = [
        f"# {_cell(comparison.evalset)}: {_cell(a.label)} → {_cell(b.label)}",
        f"{comparison.num_items:,} items. A is {_cell(a.label)} (`{a.evaluation[:12]}`), "
        f"B is {_cell(b.label)} (`{b.evaluation[:12]}`). {describe_method(comparison)}",
        *(f"> **{_cell(warning)}**" for warning in comparison.warnings),
        "## All items",
        _table(DELTA_HEADS, [(name_metric(delta), *_delta_cells(delta)) for delta in comparison.overall]),
        *_render_slices(comparison),
        *_render_outcomes(comparison),
        *_render_texts(a, b),
        *_render_items(comparison),
        *_render_settings(comparison, a, b),
    ]
    return "\n\n".join(parts) + "\n"


DELTA_HEADS = ("", "A", "B", "B − A", "gained", "lost", "p (Holm)", "verdict")


def list_delta_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """All rows as text, under DELTA_HEADS: first those of all items, then slice by slice."""
    overall = [(name_metric(delta), *_delta_cells(delta)) for delta in comparison.overall]
    return overall + [
        (f"{delta.slice} {delta.value}: {name_metric(delta)}", *_delta_cells(delta)) for delta in comparison.slices
    ]


def _delta_cells(delta: Delta) -> tuple[str, ...]:
    verdict, why = name_verdict(delta), explain_verdict(delta)
    return (
        f"{format_value(delta, delta.a)} ({format_interval(delta, delta.a)})",
        f"{format_value(delta, delta.b)} ({format_interval(delta, delta.b)})",
        f"{format_difference(delta)} ({format_interval(delta, delta.difference, '+')})",
        str(delta.gained),
        str(delta.lost),
        format_p(delta.p_adjusted),
        f"{verdict}: {why}" if why else verdict,
    )


def _render_slices(comparison: Comparison) -> list[str]:
    parts = []
    for name in dict.fromkeys(delta.slice for delta in comparison.slices):
        rows = [
            (_cell(f"{delta.value}, {name_metric(delta)}"), *_delta_cells(delta))
            for delta in comparison.slices
            if delta.slice == name
        ]
        parts += [f"## By {name}", _table(DELTA_HEADS, rows)]
    return parts


def _render_outcomes(comparison: Comparison) -> list[str]:
    rows = [(OUTCOMES[name], str(a), str(b)) for name, (a, b) in comparison.outcomes.items()]
    return ["## Answers and steps", _table(("items", "A", "B"), rows)] if rows else []


def _render_texts(a: Side, b: Side) -> list[str]:
    rows = [
        (name.replace("_", " "), format_measure(a.aggregates[name]), format_measure(b.aggregates[name]))
        for name in TEXTS
        if name in a.aggregates and name in b.aggregates
    ]
    return ["## Outputs", _table(("", "A", "B"), rows)] if rows else []


def _render_items(comparison: Comparison) -> list[str]:
    heads = ("item", "metric", "expected", "A", "B", "A said", "B said", "")
    rows = [
        (
            _cell(item.item_id),
            item.metric,
            _cell(item.target or ""),
            format_score(item.a_score, item.a_status),
            format_score(item.b_score, item.b_status),
            _cell(shorten(item.a_output or item.a_answer or "")),
            _cell(shorten(item.b_output or item.b_answer or "")),
            item.flip if item.flip in ("gained", "lost", "left out") else "",
        )
        for item in comparison.items
    ]
    return ["## Items", _table(heads, rows)]


def _render_settings(comparison: Comparison, a: Side, b: Side) -> list[str]:
    rows = [("evaluation", a.evaluation, b.evaluation), ("checkpoint", a.checkpoint or "–", b.checkpoint or "–")]
    keys = dict.fromkeys([*a.settings, *b.settings])
    rows += [(key, _cell(repr(a.settings.get(key))), _cell(repr(b.settings.get(key)))) for key in keys]
    differ = ", ".join(comparison.differing_settings)
    said = f"Not equal on both sides: {differ}." if differ else "Everything but the model is equal on both sides."
    return ["## Settings", said, _table(("", "A", "B"), rows)]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    """A text that stays within its cell, whatever a model wrote."""
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(mark, entity)
    for mark in "\\`*_[]|":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


# ── HTML ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def render_html(comparison: Comparison, a: Side, b: Side) -> str:
    """The report as one page that makes no request; every text in it is escaped, for an output may hold anything."""
    page: str = _open_template().render(
        comparison=comparison,
        a=a,
        b=b,
        primary=comparison.overall[0],
        method=describe_method(comparison),
        overall=[_page_row(delta, name_metric(delta)) for delta in comparison.overall],
        slices={
            name: [
                _page_row(delta, delta.value)
                for delta in comparison.slices
                if delta.slice == name and delta.metric == comparison.overall[0].metric
            ]
            for name in dict.fromkeys(delta.slice for delta in comparison.slices)
        },
        others=[
            _page_row(delta, f"{delta.slice} {delta.value}: {name_metric(delta)}")
            for delta in comparison.slices
            if delta.metric != comparison.overall[0].metric
        ],
        outcomes=[(OUTCOMES[name], *counts) for name, counts in comparison.outcomes.items()],
        texts=[
            (name.replace("_", " "), format_measure(a.aggregates[name]), format_measure(b.aggregates[name]))
            for name in TEXTS
            if name in a.aggregates and name in b.aggregates
        ],
        flips={
            flip: [
                item for item in comparison.items if item.flip == flip and item.metric == comparison.overall[0].metric
            ]
            for flip in ("gained", "lost")
        },
        settings=[(key, a.settings.get(key), b.settings.get(key)) for key in dict.fromkeys([*a.settings, *b.settings])],
    )
    return page


def _page_row(delta: Delta, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "n": delta.difference.n,
        "a": (format_value(delta, delta.a), format_interval(delta, delta.a)),
        "b": (format_value(delta, delta.b), format_interval(delta, delta.b)),
        "difference": (format_difference(delta), format_interval(delta, delta.difference, "+")),
        "gained": delta.gained,
        "lost": delta.lost,
        "p": format_p(delta.p_adjusted),
        "verdict": name_verdict(delta),
        "why": explain_verdict(delta),
        "kind": _kind_of(delta),
        "bar": _place_bar(delta),
    }


def _place_bar(delta: Delta) -> dict[str, float] | None:
    """The difference and its interval as percentages of a bar from the worst to the best that could be; None: no bar."""
    bounds, found = METRICS[delta.metric].bounds, delta.difference
    if bounds is None or found.value is None or found.low is None or found.high is None:
        return None
    reach = bounds[1] - bounds[0]

    def place(value: float) -> float:
        return round(min(100.0, max(0.0, 50 + 50 * value / reach)), 2)

    return {
        "low": place(found.low),
        "width": round(place(found.high) - place(found.low), 2),
        "value": place(found.value),
    }


def _kind_of(delta: Delta) -> str:
    if delta.edge is not None and delta.verdict != "no change":
        return "open"
    return {"better": "pass", "worse": "fail", "undefined": "open"}.get(delta.verdict, "quiet")


def _open_template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["score"] = _score_of
    source = resources.files("trainwright.evaluate").joinpath("delta_report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)


def _score_of(item: ItemDelta, side: str) -> str:
    return format_score(getattr(item, f"{side}_score"), getattr(item, f"{side}_status"))


# ── figures as text ───────────────────────────────────────────────────────────────────────────────────────────────────
def name_metric(delta: Delta) -> str:
    """A metric in words."""
    return delta.metric.replace("_", " ")


def describe_method(comparison: Comparison) -> str:
    """One sentence on how the figures were made."""
    methods = dict.fromkeys(
        (delta.a.method, delta.difference.method, delta.test.method) for delta in comparison.overall
    )
    said = "; ".join(f"{own} and {paired} intervals, {test} test" for own, paired, test in methods)
    return f"Intervals hold with probability {1 - comparison.alpha:.0%}; every item is paired with itself ({said})."


def format_value(delta: Delta, estimate: Estimate) -> str:
    """A side's figure."""
    if estimate.value is None:
        return "undefined"
    scale, decimals, sign = _scale_of(delta)
    return f"{_signed(estimate.value * scale, decimals)}{sign}"


def format_difference(delta: Delta) -> str:
    """The difference; shares in percentage points."""
    if delta.difference.value is None:
        return "undefined"
    scale, decimals, _ = _scale_of(delta)
    return _signed(delta.difference.value * scale, decimals, "+") + (" points" if scale == 100 else "")


def format_interval(delta: Delta, estimate: Estimate, plus: str = "") -> str:
    """The interval of a figure, or why there is none."""
    if estimate.low is None or estimate.high is None:
        return estimate.why_not
    scale, decimals, _ = _scale_of(delta)
    return f"{_signed(estimate.low * scale, decimals, plus)} to {_signed(estimate.high * scale, decimals, plus)}"


def _signed(value: float, decimals: int, plus: str = "") -> str:
    """A number with a real minus sign, and no sign on zero."""
    shown = f"{value:{plus}.{decimals}f}"
    return shown.lstrip("+-") if not float(shown) else shown.replace("-", "−")


def name_verdict(delta: Delta) -> str:
    """The verdict in a few words."""
    if delta.edge is not None and delta.verdict != "no change":
        return f"both at {delta.edge}"
    return delta.verdict


def explain_verdict(delta: Delta) -> str:
    """Why a verdict says nothing; empty where it does."""
    if delta.verdict == "undefined":
        return delta.difference.why_not or delta.test.why_not
    return "cannot discriminate" if delta.edge is not None and delta.verdict != "no change" else ""


def format_p(p_value: float | None) -> str:
    """A p-value to three decimals, or that it is smaller."""
    if p_value is None:
        return "–"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def format_measure(measure: Measure) -> str:
    """A share in per cent, or why there is none."""
    if measure.value is None:
        return f"not measured: {measure.why_not}"
    return f"{measure.value:.1%}"


def format_score(score: float | None, status: str) -> str:
    """A score, or the status that an item has in place of one."""
    return status if score is None else f"{score:g}" if score == int(score) else f"{score:.3f}"


def shorten(text: str) -> str:
    """A text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_CELL_CHARACTERS else f"{line[: MAX_CELL_CHARACTERS - 1]}…"


def _scale_of(delta: Delta) -> tuple[float, int, str]:
    """(factor, decimals, sign) of a metric as it is shown: shares in per cent."""
    return (100, 1, "%") if METRICS[delta.metric].binary else (1, 3, "")
