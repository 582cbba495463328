"""Pages of runs: the list, one run (followed while it trains), and runs side by side."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import URL

from trainwright.core.errors import UnknownRef
from trainwright.core.records import Report, Run
from trainwright.pipeline.compare_runs import compare_runs
from trainwright.pipeline.inspect import RunState, find_run, find_verdict, list_run_checkpoints, read_state
from trainwright.pipeline.run_rows import list_rows
from trainwright.serve.context import Opened
from trainwright.serve.drawing import draw_chart, draw_run
from trainwright.serve.pages import HEADERS, build_router, render_fragment, render_page, render_value
from trainwright.serve.readers import Readers
from trainwright.serve.streaming import Stream
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace
from trainwright.watch.events import Event, is_finite_number, leave_out_undone
from trainwright.watch.live import RunSoFar
from trainwright.watch.views import describe_setback

PAGE_SIZE = 50
STATUSES = ("running", "interrupted", "completed", "failed")
LOOK_EVERY_S = 1.0
MAX_SETBACKS = 20
MAX_COMPARED = 6

router = build_router()


@router.get("/runs")
def list_runs(
    request: Request,
    workspace: Opened,
    after: str | None = None,
    words: Annotated[str, Query(max_length=200)] = "",
    status: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Runs, newest first."""
    rows, following = list_rows(workspace, PAGE_SIZE, after, words=words.strip(), status=status)
    older = URL("/runs").include_query_params(words=words, status=status, after=following) if following else None
    values = {
        "rows": rows,
        "older": older,
        "words": words,
        "status": status,
        "statuses": STATUSES,
        "is_filtered": bool(words or status),
        "is_first": after is None,
    }
    return render_page(request, "runs.html.j2", values, title="Runs")


@router.get("/runs/compare")
def show_comparison(request: Request, workspace: Opened, run: Annotated[list[str] | None, Query()] = None) -> Response:
    """Two runs or more over each other. Raises InvalidValue for fewer."""
    comparison = compare_runs((run or [])[:MAX_COMPARED], workspace)
    values = {
        "runs": comparison.contestants,
        "notes": comparison.notes,
        "drawings": [draw_chart(chart) for chart in comparison.charts],
        "metrics": comparison.metrics,
        "differences": [
            ("Configuration", [(row.key, [_short(value) for value in row.values]) for row in comparison.configuration]),
            ("Environment", [(row.key, [_short(value) for value in row.values]) for row in comparison.environment]),
        ],
    }
    return render_page(request, "compare_runs.html.j2", values, title="Runs side by side")


@router.get("/runs/{ref}")
def show_run(request: Request, workspace: Opened, ref: str) -> Response:
    """All about one run."""
    run = find_run(ref, workspace)
    live = _describe_live(request, run, workspace)
    state: RunState = live["state"]
    values = {
        **live,
        "checkpoints": list(reversed(list_run_checkpoints(state.folder, workspace))),
        "report": _find_report(state, workspace),
        "verdict": find_verdict(run, workspace),
        "plan": _list_facts(state.folder.read_plan().model_dump(mode="json")),
        "environment": _list_facts(state.folder.read_environment()),
        "attempts": state.folder.read_attempts(),
        "has_report": state.folder.report_path.exists(),
    }
    return render_page(request, "run.html.j2", values, title=f"Run {run.name}")


@router.get("/runs/{ref}/live")
def show_live(request: Request, workspace: Opened, ref: str) -> Response:
    """The part of a run's page that changes while it trains."""
    return render_fragment("run_live.html.j2", _describe_live(request, find_run(ref, workspace), workspace))


@router.get("/runs/{ref}/report")
def show_report(workspace: Opened, ref: str) -> Response:
    """The run's own report, as it was written. It may not run or load anything."""
    path = workspace.find_run_folder(find_run(ref, workspace).id).report_path
    if not path.is_file():
        raise UnknownRef(f"Run {ref[:12]} has no report.", why="It is written when the model was validated.")
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox allow-top-navigation-by-user-activation"
    )
    return Response(
        path.read_bytes(), media_type="text/html; charset=utf-8", headers={**HEADERS, "Content-Security-Policy": policy}
    )


@router.get("/runs/{ref}/changes")
async def follow_run(workspace: Opened, ref: str) -> Response:
    """Server-sent events: `change` whenever the run said more, `end` when nobody writes it any more."""
    folder = await run_in_threadpool(lambda: workspace.find_run_folder(find_run(ref, workspace).id))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(_iter_changes(folder), media_type="text/event-stream", headers=headers)


async def _iter_changes(folder: RunFolder) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    size = None
    num_looks = 0
    while True:
        is_written = folder.is_locked()
        found = folder.events_path.stat().st_size if folder.events_path.exists() else 0
        if size is not None and found != size:
            yield f"id: {found}\nevent: change\ndata: {json.dumps({'num_bytes': found})}\n\n"
        elif not is_written and size is not None:
            yield "event: end\ndata: {}\n\n"
            return
        elif num_looks % 15 == 0:
            yield ": still here\n\n"
        size = found
        num_looks += 1
        await asyncio.sleep(LOOK_EVERY_S)


def get_readers(request: Request) -> Readers:
    """The event streams that are kept read."""
    readers: Readers = request.app.state.readers
    return readers


# ── what a page says about a run ──────────────────────────────────────────────────────────────────────────────────────
def _describe_live(request: Request, run: Run, workspace: Workspace) -> dict[str, Any]:
    events = get_readers(request).read(workspace.find_run_folder(run.id))
    state = read_state(run, workspace, events)
    so_far = RunSoFar()
    for event in events:
        so_far.add(event)
    standing = leave_out_undone(events)
    setbacks = [event for event in standing if event["kind"] in ("skip", "rollback")]
    return {
        "run": run,
        "state": state,
        "is_live": state.status == "running",
        "numbers": _list_numbers(so_far, state),
        "left_s": so_far.left_s() if state.status == "running" else None,
        "elapsed_s": _read_elapsed(so_far),
        "drawings": draw_run(events),
        "samples": _newest_samples(standing),
        "setbacks": [describe_setback(event) for event in setbacks[-MAX_SETBACKS:]],
        "num_setbacks": len(setbacks),
        "flags": (so_far.newest("anatomy") or {}).get("flags", []),
        "looked": so_far.newest("anatomy") is not None,
        "not_finite": [event["step"] for event in standing if event["kind"] == "step" and _is_odd(event["loss"])][-5:],
    }


def _list_numbers(so_far: RunSoFar, state: RunState) -> list[tuple[str, float | None, str]]:
    """(name, value, unit) of the newest numbers."""
    step, validation, anatomy = (so_far.newest(kind) or {} for kind in ("step", "validation", "anatomy"))
    timing = step.get("timing", {})
    return [
        ("training loss", step.get("loss"), "nats per token"),
        ("held-out loss", validation.get("val_loss"), "nats per token"),
        ("bits per byte", state.bits_per_byte, "held out"),
        ("learning rate", step.get("learning_rate"), ""),
        ("gradient norm", step.get("gradient_norm"), "before clipping"),
        ("throughput", timing.get("tokens_per_s"), "tokens per second"),
        ("memory", _in_mb(anatomy.get("timing", {}).get("rss_bytes")), "MB, resident"),
    ]


def _in_mb(num_bytes: float | None) -> float | None:
    return None if num_bytes is None else num_bytes / 1e6


def _read_elapsed(so_far: RunSoFar) -> float | None:
    step = so_far.newest("step")
    return None if step is None else step["timing"].get("elapsed_s")


def _is_odd(loss: object) -> bool:
    return loss is not None and not is_finite_number(loss)


def _newest_samples(events: list[Event]) -> list[Event]:
    """The samples that were written last, one for each prompt."""
    newest = {event["prompt"]: event for event in events if event["kind"] == "sample"}
    return list(newest.values())[-6:]


def _find_report(state: RunState, workspace: Workspace) -> Report | None:
    if state.outcome is None or state.outcome.report is None:
        return None
    report = workspace.ledger.get(state.outcome.report)
    return report if isinstance(report, Report) else None


def _list_facts(document: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """A document as dotted keys and text."""
    facts: list[tuple[str, str]] = []
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            facts += _list_facts(value, f"{above}{key}.")
        else:
            facts.append((f"{above}{key}", render_value(value)))
    return facts


def _short(value: object) -> str:
    text = render_value(value)
    is_digest = len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
    return text[:12] if is_digest else text
