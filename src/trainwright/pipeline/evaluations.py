"""Evaluations that are already there: listed, shown, their items, and who is ahead."""

from collections.abc import Iterator
from typing import Any

from trainwright.core.errors import InvalidValue, UnknownRef
from trainwright.core.records import Evaluation
from trainwright.evaluate.figures import list_notes, measure, measure_all
from trainwright.evaluate.metrics import METRICS
from trainwright.evaluate.table import parse_table
from trainwright.evaluate.table_metrics import TABLE_METRICS
from trainwright.pipeline.evaluate import read_evaluation
from trainwright.store.workspace import Workspace

PAGE = 500


def find_evaluation(ref: str, workspace: Workspace) -> Evaluation:
    """The evaluation of that id, or beginning of one. Raises UnknownRef, AmbiguousRef."""
    record = workspace.ledger.get(workspace.ledger.resolve(ref))
    if not isinstance(record, Evaluation):
        raise UnknownRef(f"{ref} does not name an evaluation.", why=f"It names a {record.kind}.")
    return record


def list_evaluations(
    workspace: Workspace,
    limit: int,
    after: str | None = None,
    *,
    evalset: str | None = None,
    checkpoint: str | None = None,
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of evaluations, newest first, and the id to ask for the next page with (None on the last one)."""
    last = None if after is None else find_evaluation(after, workspace).id
    found = []
    for record, added_at in _iter_evaluations(workspace, last):
        if evalset in (None, record.evalset) and checkpoint in (None, record.checkpoint):
            found.append(_summarise(record, added_at))
        if len(found) > limit:
            return found[:limit], found[limit - 1]["evaluation_id"]
    return found, None


def describe_evaluation(ref: str, workspace: Workspace) -> dict[str, Any]:
    """The record of an evaluation, and each metric with its interval. Raises ObjectMissing, ObjectDamaged."""
    record = find_evaluation(ref, workspace)
    rows = parse_table(workspace.objects.get(record.table))
    return {
        "evaluation_id": record.id,
        **record.model_dump(mode="json", exclude={"kind"}),
        "estimates": {name: estimate.model_dump(mode="json") for name, estimate in measure_all(rows).items()},
        "notes": list_notes(rows),
    }


def list_items(ref: str, workspace: Workspace, limit: int, after: int = 0) -> tuple[list[dict[str, Any]], int | None]:
    """A page of items in their order, each with its prompt and what was scored, and where the next page begins."""
    evaluated = read_evaluation(find_evaluation(ref, workspace), workspace)
    scores: dict[str, list[dict[str, Any]]] = {}
    for row in evaluated.rows:
        scores.setdefault(row.item_id, []).append(row.model_dump(mode="json", exclude={"item_id"}))
    end = min(after + limit, len(evaluated.items))
    page = [
        {
            "item": evaluated.items[number].model_dump(mode="json"),
            "prompt": evaluated.prompts[number],
            "scores": scores.get(evaluated.items[number].id, []),
        }
        for number in range(min(after, end), end)
    ]
    return page, end if end < len(evaluated.items) else None


def build_leaderboard(workspace: Workspace, evalset: str, metric: str) -> dict[str, Any]:
    """Who did best at an evalset, the best first, each with its interval; a model's newest evaluation counts.

    Only what was asked the same items in the same words, in the same way, is in one group: across groups nobody is ahead of
    anybody. Raises InvalidValue for an unknown metric.
    """
    _require_metric(metric)
    groups: dict[tuple[object, ...], dict[str, Any]] = {}
    seen: set[tuple[object, ...]] = set()
    for record, added_at in _iter_evaluations(workspace, None):
        way = (record.items, record.prompts, record.settings.model_dump_json())
        who = (*way, record.checkpoint or record.imported_model or record.predictions)
        if record.evalset != evalset or who in seen:
            continue
        seen.add(who)
        estimate = measure(metric, parse_table(workspace.objects.get(record.table)))
        group = groups.setdefault(
            way,
            {
                "items": record.items,
                "prompts": record.prompts,
                "num_items": record.num_items,
                "settings": record.settings.model_dump(mode="json"),
                "rows": [],
            },
        )
        group["rows"].append({**_summarise(record, added_at), "estimate": estimate.model_dump(mode="json")})
    for group in groups.values():
        group["rows"].sort(key=lambda row: _rank(metric, row["estimate"]["value"]))
    return {"evalset": evalset, "metric": metric, "better": _better(metric), "groups": list(groups.values())}


def _iter_evaluations(workspace: Workspace, after: str | None) -> Iterator[tuple[Evaluation, str]]:
    while page := workspace.ledger.find("evaluation", PAGE, after=after):
        after = page[-1].record.id
        for stored in page:
            if isinstance(stored.record, Evaluation):
                yield stored.record, stored.added_at


def _summarise(record: Evaluation, added_at: str) -> dict[str, Any]:
    return {
        "evaluation_id": record.id,
        "evalset": record.evalset,
        "checkpoint": record.checkpoint,
        "imported_model": record.imported_model,
        "num_items": record.num_items,
        "by": record.settings.by,
        "aggregates": {name: one.model_dump(mode="json") for name, one in record.aggregates.items()},
        "added_at": added_at,
    }


def _require_metric(metric: str) -> None:
    if metric not in METRICS and metric not in TABLE_METRICS:
        raise InvalidValue(
            f"There is no metric {metric!r}.",
            why="docs/files.md lists those there are.",
            next_step="For example: answer_correct",
        )


def _better(metric: str) -> str:
    if metric in METRICS:
        return "higher" if METRICS[metric].higher_is_better else "lower"
    return TABLE_METRICS[metric].better


def _rank(metric: str, value: float | None) -> tuple[bool, float]:
    """What is sorted by: undefined last, else the best first."""
    if value is None:
        return True, 0.0
    better = _better(metric)
    return False, abs(value) if better == "zero" else value if better == "lower" else -value
