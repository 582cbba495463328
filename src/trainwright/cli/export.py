"""`trainwright export`: write a model as a folder that other tools open."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from trainwright.cli.options import Json, Overwrite, WorkspacePath, print_json, workspace_root

app = typer.Typer(add_completion=False)


@app.command()
def export(
    ref: Annotated[str, typer.Argument(help="name@latest, a run's id, RUN@STEP, or a checkpoint's id.")],
    output_dir: Annotated[Path, typer.Argument(help="The folder to make.")],
    to: Annotated[
        Literal["hf"], typer.Option("--to", help="hf: a Hugging Face folder, as `transformers` opens it.")
    ] = "hf",
    adapter: Annotated[
        bool, typer.Option("--adapter", help="The adapter alone, as `peft` opens it, instead of the model with it.")
    ] = False,
    overwrite: Overwrite = False,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Write weights, configuration and tokenizer, whole or not at all."""
    from trainwright.pipeline.use import export as export_model
    from trainwright.pipeline.use import find_model
    from trainwright.store.workspace import open_workspace

    opened = open_workspace(workspace_root(workspace))
    model = find_model(ref, opened)
    paths = export_model(model, output_dir, opened, overwrite=overwrite, adapter_alone=adapter)
    if as_json:
        print_json(
            {
                "run_id": model.run.id,
                "step": model.step,
                "format": to,
                "artefacts": {path.name: str(path.resolve()) for path in paths},
            }
        )
        return
    sys.stdout.write("".join(f"{path}\n" for path in paths))
