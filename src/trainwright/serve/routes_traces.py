"""Traces and conversations: add, list, search, show, compare."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from pydantic import Field

from trainwright.core.records import Frozen
from trainwright.core.traces import parse_trace
from trainwright.pipeline.traces import compare_traces, describe_stored, list_traces, show_trace
from trainwright.serve.access import Operator
from trainwright.serve.context import After, Limit, Opened
from trainwright.store.traces import import_batch

router = APIRouter(prefix="/api/traces", tags=["traces"])

MAX_BATCH = 1000


class Batch(Frozen):
    """Traces to be added together, or not at all."""

    traces: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_BATCH)


@router.post("", status_code=201)
def add_trace(
    trace: Annotated[dict[str, Any], Body()],
    caller: Operator,  # noqa: ARG001 - the role is checked
    workspace: Opened,
) -> dict[str, Any]:
    """Add a trace or a conversation; `known` where it was here already."""
    (added,) = import_batch(workspace.traces, [parse_trace(trace)])
    return {"id": added.id, "state": added.state}


@router.post("/batch", status_code=201)
def add_batch(batch: Batch, caller: Operator, workspace: Opened) -> dict[str, Any]:  # noqa: ARG001 - the role is checked
    """Add up to 1000 at once, all or nothing."""
    added = import_batch(workspace.traces, [parse_trace(trace) for trace in batch.traces])
    return {"items": [{"id": one.id, "state": one.state} for one in added]}


@router.get("")
def read_traces(
    workspace: Opened,
    limit: Limit = 20,
    after: After = None,
    q: Annotated[str | None, Query(min_length=1, max_length=1000, description="Words that must all occur.")] = None,
) -> dict[str, Any]:
    """A page of traces, the last added first."""
    found, following = list_traces(workspace.traces, limit, after, q)
    return {"items": [describe_stored(stored) for stored in found], "next": following}


@router.get("/compare")
def compare(a: str, b: str, workspace: Opened) -> dict[str, Any]:
    """Two traces side by side: every part that differs."""
    return compare_traces(workspace.traces, a, b)


@router.get("/{trace_id}")
def read_trace(trace_id: str, workspace: Opened) -> dict[str, Any]:
    """All of one trace."""
    return show_trace(workspace.traces, trace_id)
