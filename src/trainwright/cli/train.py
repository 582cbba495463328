"""`trainwright train --from RUN@STEP`: a branch of a run."""

from pathlib import Path
from typing import Annotated

import typer

from trainwright.cli.options import AllowDrift, Json, Overrides, Overwrite, WorkspacePath, workspace_root

app = typer.Typer(add_completion=False)


@app.command()
def train(
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="The checkpoint to go on from: RUN@STEP, its id, or a run or ref (its best one).",
            metavar="RUN@STEP",
            show_default=False,
        ),
    ],
    overrides: Overrides = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Copy the plain artefacts here.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train even where this branch was trained before.")
    ] = False,
    allow_drift: AllowDrift = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Go on from a checkpoint of another run, with other settings if wanted (train.steps is the new total)."""
    from trainwright.cli.outcome import report_finished
    from trainwright.pipeline.branch import branch
    from trainwright.pipeline.journal import Journal
    from trainwright.pipeline.run import Options
    from trainwright.store.workspace import open_workspace
    from trainwright.watch.background import open_screen

    options = Options(output_dir, overwrite, retrain=retrain, allow_drift=tuple(allow_drift or ()))
    with open_screen() as progress:
        opened = open_workspace(workspace_root(workspace))
        finished = branch(source, overrides or [], opened, Journal(progress), [progress], options)
    report_finished(finished, as_json=as_json)
