"""What runs cost, and what budgets there are."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from trainwright.pipeline.costs import group_costs, list_costs, list_standings, page_costs, read_costs
from trainwright.serve.context import After, Limit, Opened

router = APIRouter(prefix="/api", tags=["costs"])


@router.get("/costs")
def list_run_costs(workspace: Opened, limit: Limit = 100, after: After = None) -> dict[str, Any]:
    """A page of runs with what they used and cost, so far and projected, newest first."""
    found, following = page_costs(workspace, limit, after)
    return {"items": [one.as_document() for one in found], "next": following}


@router.get("/costs/by")
def sum_costs(
    workspace: Opened,
    by: Annotated[Literal["project", "user", "tag"], Query(description="What to sum up by.")] = "project",
) -> dict[str, Any]:
    """All runs' costs summed up."""
    return {"by": by, "items": [group.as_document() for group in group_costs(list_costs(workspace), by)]}


@router.get("/costs/{run}")
def read_run_costs(run: str, workspace: Opened) -> dict[str, Any]:
    """What one run used and cost, so far and projected."""
    return read_costs(run, workspace).as_document()


@router.get("/budgets")
def read_budgets(workspace: Opened) -> dict[str, Any]:
    """Every budget of projects and runs, and what is spent of it."""
    return {"items": [{"target": target, **standing.as_document()} for target, standing in list_standings(workspace)]}
