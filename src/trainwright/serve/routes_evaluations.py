"""Evaluations: list, show, their items, two held against each other, and who is ahead."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from trainwright.evaluate.statistics import ALPHA
from trainwright.pipeline.compare import compare as compare_evaluations
from trainwright.pipeline.evaluations import build_leaderboard, describe_evaluation, list_evaluations, list_items
from trainwright.pipeline.use import find_checkpoint
from trainwright.serve.context import After, Limit, Opened

router = APIRouter(prefix="/api/evaluations", tags=["evaluations"])


@router.get("")
def read_evaluations(
    workspace: Opened,
    limit: Limit = 20,
    after: After = None,
    evalset: Annotated[str | None, Query(max_length=500)] = None,
    model: Annotated[str | None, Query(max_length=200, description="A ref, a run or a checkpoint.")] = None,
) -> dict[str, Any]:
    """A page of evaluations, the newest first."""
    checkpoint = None if model is None else find_checkpoint(model, workspace).id
    rows, following = list_evaluations(workspace, limit, after, evalset=evalset, checkpoint=checkpoint)
    return {"items": rows, "next": following}


@router.get("/leaderboard")
def read_leaderboard(
    workspace: Opened, evalset: Annotated[str, Query(max_length=500)], metric: Annotated[str, Query(max_length=100)]
) -> dict[str, Any]:
    """Who did best, in groups of those that were asked the same in the same way, each with its interval."""
    return build_leaderboard(workspace, evalset, metric)


@router.get("/compare")
def compare(a: str, b: str, workspace: Opened) -> dict[str, Any]:
    """Two evaluations, or two models with one each that fit, item by item."""
    for ref in (a, b):
        workspace.ledger.resolve(ref.partition("@")[0] if ref.rpartition("@")[2].isdigit() else ref)  # no file's name
    comparison, _, _ = compare_evaluations(a, b, workspace, ALPHA)
    return comparison.model_dump(mode="json")


@router.get("/{evaluation}")
def read_evaluation(evaluation: str, workspace: Opened) -> dict[str, Any]:
    """An evaluation, each of its metrics with its interval."""
    return describe_evaluation(evaluation, workspace)


@router.get("/{evaluation}/items")
def read_items(
    evaluation: str, workspace: Opened, limit: Limit = 100, after: Annotated[int, Query(ge=0)] = 0
) -> dict[str, Any]:
    """A page of its items in their order: what was asked, what came, and how it was scored."""
    rows, following = list_items(evaluation, workspace, limit, after)
    return {"items": rows, "next": following}
