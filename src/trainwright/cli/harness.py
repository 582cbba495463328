"""`trainwright harness run`: a task of lm-evaluation-harness, put to a model of ours."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from trainwright.cli.options import Json, WorkspacePath, print_json, workspace_root

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def harness() -> None:
    """Tasks of lm-evaluation-harness (`pip install 'trainwright[lm-eval]'`)."""


@app.command("run")
def run(
    ref: Annotated[str, typer.Argument(help="name@latest, a run's id, RUN@STEP, or a checkpoint's id.")],
    task: Annotated[str, typer.Argument(help="The task's name.")],
    include_path: Annotated[
        Path, typer.Option("--include-path", help="The folder of the task's YAML file.", metavar="DIR")
    ],
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="So many items at most.")] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Run one task by the harness's own code, and keep its samples as an evaluation."""
    from trainwright.evaluate.figures import measure_all
    from trainwright.pipeline.harness import run_harness
    from trainwright.store.workspace import open_workspace

    with open_workspace(workspace_root(workspace)) as opened:
        done = run_harness(ref, task, include_path, opened, limit)
    estimates = measure_all(done.rows)
    if as_json:
        print_json(
            {
                "evaluation_id": done.record.id,
                **done.record.model_dump(mode="json", exclude={"kind"}),
                "estimates": {name: estimate.model_dump(mode="json") for name, estimate in estimates.items()},
                "figures": done.figures,
                "left_out": done.left_out,
            }
        )
        return
    for name, value in done.figures.items():
        sys.stdout.write(f"{name} (as the harness has it): {value:.4f}\n")
    for name, estimate in estimates.items():
        has_interval = estimate.low is not None and estimate.high is not None
        interval = f"{estimate.low:.4f} to {estimate.high:.4f}" if has_interval else estimate.why_not
        shown = "undefined" if estimate.value is None else f"{estimate.value:.4f}"
        sys.stdout.write(f"{name}: {shown} ({interval})\n")
    for name in done.left_out:
        sys.stdout.write(f"{name}: left to the harness, as the item table has no such metric\n")
    sys.stdout.write(f"evaluation {done.record.id[:12]}: {done.record.num_items:,} items\n")
