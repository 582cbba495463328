"""Runs: list, show, their events, what they left, and several side by side."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from trainwright.core.errors import UnknownRef
from trainwright.pipeline.compare_runs import compare_runs
from trainwright.pipeline.inspect import describe_run, find_run, list_states, read_events
from trainwright.pipeline.publish import list_artefacts
from trainwright.serve.context import After, Limit, Opened
from trainwright.store.checkpoints import list_checkpoints
from trainwright.store.workspace import Workspace
from trainwright.watch.events import encode_nonfinite

router = APIRouter(prefix="/api/runs", tags=["runs"])

MAX_EVENTS = 10_000


@router.get("")
def read_runs(workspace: Opened, limit: Limit = 20, after: After = None) -> dict[str, Any]:
    """A page of runs, the last begun first."""
    states, following = list_states(workspace, limit, after)
    return {"items": [encode_nonfinite(state.as_document()) for state in states], "next": following}


@router.get("/compare")
def compare(workspace: Opened, run: Annotated[list[str], Query(min_length=2, max_length=20)]) -> dict[str, Any]:
    """Two runs or more side by side (`?run=A&run=B`): what differs, and what may be concluded."""
    return encode_nonfinite(compare_runs(run, workspace).as_document())


@router.get("/{run}")
def read_run(run: str, workspace: Opened) -> dict[str, Any]:
    """All about a run."""
    return encode_nonfinite(describe_run(run, workspace))


@router.get("/{run}/metrics")
def read_metrics(
    run: str,
    workspace: Opened,
    kind: Annotated[list[str] | None, Query(max_length=50, description="Events of these kinds alone.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = MAX_EVENTS,
    after: Annotated[int, Query(ge=-1, description="Go on after the event of that number.")] = -1,
) -> dict[str, Any]:
    """What a run measured, event by event, as it lies in events.jsonl."""
    events = read_events(run, workspace)
    wanted = [event for event in events[after + 1 :] if kind is None or event["kind"] in kind]
    following = wanted[limit - 1]["seq"] if len(wanted) > limit else None
    return {
        "run_id": find_run(run, workspace).id,
        "items": [encode_nonfinite(event) for event in wanted[:limit]],
        "next": following,
    }


@router.get("/{run}/artefacts")
def read_artefacts(run: str, workspace: Opened) -> dict[str, Any]:
    """What a run left, by name."""
    found = _list_artefacts(run, workspace)
    return {"items": [{"name": name, "num_bytes": path.stat().st_size} for name, path in found.items()], "next": None}


@router.get("/{run}/artefacts/{name:path}", response_class=FileResponse)
def download_artefact(run: str, name: str, workspace: Opened) -> FileResponse:
    """One of the files that a run left. A name is looked up among theirs, never made into a path."""
    found = _list_artefacts(run, workspace)
    if name not in found:
        raise UnknownRef(
            f"The run left no {name[:100]!r}.",
            why=f"It left {', '.join(found) or 'nothing yet'}.",
            next_step=f"GET /api/runs/{run}/artefacts",
        )
    # As an attachment, and never to be taken for another type: a report holds texts that somebody else may have written.
    headers = {"X-Content-Type-Options": "nosniff"}
    return FileResponse(found[name], filename=name, headers=headers)


def _list_artefacts(run: str, workspace: Workspace) -> dict[str, Path]:
    folder = workspace.find_run_folder(find_run(run, workspace).id)
    checkpoints = list_checkpoints(folder.checkpoints_path)
    newest = checkpoints[-1][1] if checkpoints else folder.checkpoints_path
    return {name: Path(path) for name, path in list_artefacts(folder, newest).items()}
