"""`trainwright resume`: go on with an interrupted run."""

from pathlib import Path
from typing import Annotated

import typer

from trainwright.cli.options import AllowDrift, Json, Overwrite, WorkspacePath, workspace_root

app = typer.Typer(add_completion=False)


@app.command()
def resume(
    run: Annotated[str | None, typer.Argument(help="A run's id; without one, the newest unfinished run.")] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Copy the plain artefacts here.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
    allow_drift: AllowDrift = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Go on with an interrupted run, exactly where it stood."""
    from trainwright.cli.outcome import report_completed
    from trainwright.pipeline.finetune import resume_manifest
    from trainwright.pipeline.journal import Journal
    from trainwright.pipeline.run import Options
    from trainwright.store.workspace import open_workspace
    from trainwright.watch.background import open_screen

    with open_screen() as progress:
        opened = open_workspace(workspace_root(workspace))
        run_id = None if run is None else opened.ledger.resolve(run)
        options = Options(output_dir, overwrite, allow_drift=tuple(allow_drift or ()))
        completed = resume_manifest(run_id, opened, Journal(progress), [progress], options)
    report_completed(completed, as_json=as_json)
