"""Sweeps: list, show. They are begun at the command line: a job is one manifest, and a sweep is many."""

from typing import Any

from fastapi import APIRouter

from trainwright.serve.context import After, Limit, Opened
from trainwright.sweep.record import find_sweep
from trainwright.sweep.show import list_sweeps, view_sweep

router = APIRouter(prefix="/api/sweeps", tags=["sweeps"])


@router.get("")
def read_sweeps(workspace: Opened, limit: Limit = 20, after: After = None) -> dict[str, Any]:
    """A page of sweeps, the last begun first."""
    rows, following = list_sweeps(workspace, limit, after)
    return {"items": [row.as_document() for row in rows], "next": following}


@router.get("/{sweep}")
def read_sweep(sweep: str, workspace: Opened) -> dict[str, Any]:
    """A sweep, by id or name: its trials in their order with intervals, the importance of keys, and what may be concluded."""
    return view_sweep(find_sweep(sweep, workspace), workspace).as_document()
