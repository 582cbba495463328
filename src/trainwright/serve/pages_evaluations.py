"""Pages of evaluations: the leaderboard, one evaluation item by item, and two side by side with what was gained and lost."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query, Request, Response
from starlette.datastructures import URL

from trainwright.core.errors import UnknownRef
from trainwright.core.records import Checkpoint, Estimate, Evaluation, ImportedModel, ItemScore, Run
from trainwright.evaluate.delta_report import (
    explain_verdict,
    format_difference,
    format_interval,
    format_p,
    format_value,
    name_metric,
    name_verdict,
)
from trainwright.evaluate.figures import direction, list_notes, measure, measure_all
from trainwright.evaluate.metrics import METRICS
from trainwright.pipeline.compare import compare
from trainwright.pipeline.evaluate import Evaluated, read_evaluation
from trainwright.serve.context import Opened
from trainwright.serve.drawing import draw_histogram, draw_intervals
from trainwright.serve.pages import build_router, render_page, render_value
from trainwright.store.workspace import Workspace

MAX_LISTED = 500
"""Evaluations that a leaderboard is made of: the newest."""
PAGE_SIZE = 50
MAX_CLASSES = 12
ALPHA = 0.05

router = build_router()


@router.get("/evaluations")
def show_leaderboard(
    request: Request,
    workspace: Opened,
    suite: Annotated[str, Query(max_length=200)] = "",
    metric: Annotated[str, Query(max_length=100)] = "",
    model: Annotated[str, Query(max_length=200)] = "",
    by: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Who did best at what: evaluations of one suite, the best first by one metric."""
    records = [
        stored.record
        for stored in workspace.ledger.find("evaluation", MAX_LISTED)
        if isinstance(stored.record, Evaluation)
    ]
    suites = sorted({record.evalset for record in records})
    chosen = suite if suite in suites else (records[0].evalset if records else "")
    of_suite = [record for record in records if record.evalset == chosen]
    metrics = list(dict.fromkeys(name for record in of_suite for name in record.metrics if name in METRICS))
    wanted = metric if metric in metrics else (metrics[0] if metrics else "")
    named = [(name_model(record, workspace), record) for record in of_suite if wanted in record.metrics]
    shown = [
        (name, record)
        for name, record in named
        if (not model or model.lower() in name.lower()) and (not by or record.settings.by == by)
    ]
    rows = _rank([_describe_row(name, record, wanted, workspace) for name, record in shown], wanted)
    values = {
        "rows": rows,
        "suites": suites,
        "suite": chosen,
        "metrics": metrics,
        "metric": wanted,
        "model": model,
        "by": by,
        "ways": sorted({record.settings.by for record in of_suite}),
        "drawing": draw_intervals([(row["name"], row["estimate"]) for row in rows], None),
        "is_capped": len(records) == MAX_LISTED,
        "any": bool(records),
    }
    return render_page(request, "evaluations.html.j2", values, title="Evaluations")


@router.get("/evaluations/compare")
def show_comparison(
    request: Request,
    workspace: Opened,
    a: str,
    b: str,
    flip: Annotated[str, Query(max_length=20)] = "",
    metric: Annotated[str, Query(max_length=100)] = "",
    start: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> Response:
    """Two evaluations of the same items: what changed, whether it can be told from chance, and which items flipped."""
    first, second = (find_evaluation(ref, workspace) for ref in (a, b))
    comparison, _, _ = compare(first.id, second.id, workspace, ALPHA)
    items = [
        item
        for item in comparison.items
        if (item.flip == flip if flip else item.flip in ("gained", "lost")) and metric in ("", item.metric)
    ]
    query = {"a": first.id, "b": second.id, "flip": flip, "metric": metric, "start": start + PAGE_SIZE}
    values = {
        "comparison": comparison,
        "a": (first, name_model(first, workspace)),
        "b": (second, name_model(second, workspace)),
        "deltas": [_describe_delta(delta) for delta in comparison.overall],
        "slices": [_describe_delta(delta) for delta in comparison.slices],
        "items": items[start : start + PAGE_SIZE],
        "num_items": len(items),
        "start": start,
        "flip": flip,
        "metric": metric,
        "metrics": list(dict.fromkeys(item.metric for item in comparison.items)),
        "older": URL("/evaluations/compare").include_query_params(**query) if len(items) > start + PAGE_SIZE else None,
    }
    return render_page(request, "compare_evaluations.html.j2", values, title="Evaluations side by side")


@router.get("/evaluations/{ref}")
def show_evaluation(
    request: Request,
    workspace: Opened,
    ref: str,
    metric: Annotated[str, Query(max_length=100)] = "",
    status: Annotated[str, Query(max_length=20)] = "",
    words: Annotated[str, Query(max_length=200)] = "",
    start: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> Response:
    """One evaluation: figures with intervals, and every item."""
    record = find_evaluation(ref, workspace)
    evaluated, estimates = read_measured(record, workspace)
    wanted = metric if metric in record.metrics else next(iter(record.metrics), "")
    of_metric = [row for row in evaluated.rows if row.metric == wanted]
    prompts = dict(zip((item.id for item in evaluated.items), evaluated.prompts, strict=True))
    rows = [row for row in of_metric if _fits(row, status, words.strip(), prompts.get(row.item_id, ""))]
    query = {"metric": wanted, "status": status, "words": words, "start": start + PAGE_SIZE}
    values = {
        "record": record,
        "name": name_model(record, workspace),
        "estimates": [(name, one, draw_intervals([(name, one)], None)) for name, one in estimates.items()],
        "notes": list_notes(evaluated.rows),
        "settings": [(key, render_value(value)) for key, value in record.settings.model_dump().items()],
        "aggregates": [(name, one) for name, one in record.aggregates.items() if name not in estimates],
        "metric": wanted,
        "metrics": list(record.metrics),
        "status": status,
        "statuses": list(record.statuses.get(wanted, {})),
        "words": words,
        "rows": rows[start : start + PAGE_SIZE],
        "prompts": prompts,
        "start": start,
        "num_rows": len(rows),
        "older": URL(f"/evaluations/{record.id}").include_query_params(**query)
        if len(rows) > start + PAGE_SIZE
        else None,
        "confusion": tabulate_confusion(of_metric),
        "histogram": draw_histogram([row.score for row in of_metric if row.score is not None]),
    }
    return render_page(request, "evaluation.html.j2", values, title=f"{record.evalset}: {values['name']}")


# ── finding and naming ────────────────────────────────────────────────────────────────────────────────────────────────
def find_evaluation(ref: str, workspace: Workspace) -> Evaluation:
    """The evaluation that an id, or the beginning of one, names. Raises UnknownRef, AmbiguousRef."""
    record = workspace.ledger.get(workspace.ledger.resolve(ref))
    if not isinstance(record, Evaluation):
        raise UnknownRef(
            f"{ref} does not name an evaluation.",
            why=f"It names a {record.kind}.",
            next_step="The page of evaluations lists them.",
        )
    return record


def name_model(record: Evaluation, workspace: Workspace) -> str:
    """Who answered, as people call it."""
    if record.checkpoint is not None:
        checkpoint = workspace.ledger.get(record.checkpoint)
        run = workspace.ledger.get(checkpoint.run) if isinstance(checkpoint, Checkpoint) else None
        if isinstance(checkpoint, Checkpoint) and isinstance(run, Run):
            return f"{run.name} {run.id[:8]}, step {checkpoint.step:,}"
    if record.imported_model is not None:
        imported = workspace.ledger.get(record.imported_model)
        return imported.name if isinstance(imported, ImportedModel) else record.imported_model[:12]
    return record.settings.endpoint_model or "recorded outputs"


def read_measured(record: Evaluation, workspace: Workspace) -> tuple[Evaluated, dict[str, Estimate]]:
    """An evaluation's table and all that it says. Raises ObjectMissing, ObjectDamaged."""
    evaluated = read_evaluation(record, workspace)
    return evaluated, measure_all(evaluated.rows, ALPHA)


def _measure_one(record: Evaluation, metric: str, workspace: Workspace) -> Estimate:
    """A metric of an evaluation. A table of thousands of items is read in the time of a blink, and kept by nobody."""
    return measure(metric, read_evaluation(record, workspace).rows, ALPHA)


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _describe_row(name: str, record: Evaluation, metric: str, workspace: Workspace) -> dict[str, Any]:
    return {
        "record": record,
        "name": name,
        "estimate": _measure_one(record, metric, workspace),
        "statuses": ", ".join(f"{count} {status}" for status, count in record.statuses.get(metric, {}).items()),
    }


def _rank(rows: list[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    """The best first; what has no figure comes last."""
    sign = -1.0 if metric and direction(metric) == "higher" else 1.0

    def place(row: dict[str, Any]) -> tuple[bool, float]:
        value = row["estimate"].value
        return value is None, 0.0 if value is None else sign * value

    return sorted(rows, key=place)


def _describe_delta(delta: Any) -> dict[str, Any]:
    return {
        "name": name_metric(delta),
        "slice": f"{delta.slice} {delta.value}".strip(),
        "a": f"{format_value(delta, delta.a)} ({format_interval(delta, delta.a)})",
        "b": f"{format_value(delta, delta.b)} ({format_interval(delta, delta.b)})",
        "difference": f"{format_difference(delta)} ({format_interval(delta, delta.difference, '+')})",
        "drawing": draw_intervals([("B − A", delta.difference)], 0.0),
        "gained": delta.gained,
        "lost": delta.lost,
        "left_out": delta.left_out,
        "p": format_p(delta.p_adjusted),
        "verdict": name_verdict(delta),
        "why": explain_verdict(delta),
    }


def _fits(row: ItemScore, status: str, words: str, prompt: str) -> bool:
    if status and row.status != status:
        return False
    said = " ".join((row.item_id, prompt, row.output or "", row.target or "", *row.slices.values())).lower()
    return all(word in said for word in words.lower().split())


def tabulate_confusion(rows: Sequence[ItemScore]) -> dict[str, Any] | None:
    """Expected against answered, where both come from a few classes; None where they do not."""
    pairs = [
        (row.target, row.answer if row.answer is not None else f"({row.status})")
        for row in rows
        if row.target is not None
    ]
    targets = sorted({target for target, _ in pairs})
    answers = sorted({answer for _, answer in pairs})
    if len(targets) < 2 or max(len(targets), len(answers)) > MAX_CLASSES:
        return None
    counts = Counter(pairs)
    rows_of = [(target, [counts[target, answer] for answer in answers]) for target in targets]
    return {"answers": answers, "rows": rows_of, "total": len(pairs)}
