"""Pages of sweeps: the list, and one with its trials as parallel coordinates, their ranking, and what each key matters."""

from typing import Annotated, Any

from fastapi import Query, Request, Response

from trainwright.serve.context import Opened
from trainwright.serve.drawing import draw_chart, draw_intervals
from trainwright.serve.drawing_sweep import draw_parallel
from trainwright.serve.pages import build_router, render_page
from trainwright.sweep.record import find_sweep
from trainwright.sweep.show import SweepView, chart_progress, list_sweeps, view_sweep

PAGE_SIZE = 50
MAX_INTERVALS = 20

router = build_router()


@router.get("/sweeps")
def show_sweeps(
    request: Request, workspace: Opened, after: Annotated[str | None, Query(max_length=200)] = None
) -> Response:
    """Sweeps, the newest first."""
    rows, following = list_sweeps(workspace, PAGE_SIZE, after)
    return render_page(request, "sweeps.html.j2", {"rows": rows, "next": following}, title="Sweeps")


@router.get("/sweeps/{sweep}")
def show_sweep(request: Request, workspace: Opened, sweep: str) -> Response:
    """One sweep."""
    view = view_sweep(find_sweep(sweep, workspace), workspace)
    values = {
        "view": view,
        "sweep": view.sweep,
        "row": view.row,
        "rows": [_describe(view, number) for number in range(len(view.ranks))],
        "parallel": draw_parallel(view.sweep, view.row.states, view.ranks),
        "progress": draw_chart(chart_progress(view)),
        "intervals": _draw_figures(view),
        "shares": draw_intervals([(one.key, one.share) for one in view.importance.keys], None),
    }
    return render_page(request, "sweep.html.j2", values, title=f"Sweep {view.sweep.name}")


def _describe(view: SweepView, place: int) -> dict[str, Any]:
    rank = view.ranks[place]
    state = view.find_state(rank.number)
    runs = [
        (run.trial.seed, view.run_ids.get((run.trial.number, run.trial.repeat)), run.trial.reused is not None)
        for run in state.runs
    ]
    return {
        "rank": rank,
        "state": state,
        "values": [state.values[one.key] for one in view.sweep.space],
        "runs": [run for run in runs if run[1] is not None],
    }


def _draw_figures(view: SweepView) -> Any:
    """The intervals of the first trials, where there are seeds enough for any."""
    placed = [rank for rank in view.ranks if rank.figure is not None and rank.figure.low is not None]
    return draw_intervals([(f"trial {rank.number}", rank.figure) for rank in placed[:MAX_INTERVALS]], None)
