"""`trainwright smoke`: try a framework for real, in a few minutes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainwright.cli.options import Json, Overwrite, print_json

if TYPE_CHECKING:
    from trainwright.pipeline.smoke import Smoke

app = typer.Typer(add_completion=False)


@app.command()
def smoke(
    framework: Annotated[
        str | None,
        typer.Option(
            "--framework", help="Which one. Default: the first that auto would try.", metavar="NAME", show_default=False
        ),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Write what was found here.", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
    skip_unavailable: Annotated[
        bool,
        typer.Option("--skip-unavailable", help="Where the framework cannot run here, say skipped and end with 0."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a tiny model on a framework, kill it, resume it, compute it again and let it write."""
    from trainwright.pipeline.journal import Journal
    from trainwright.pipeline.smoke import smoke as try_framework
    from trainwright.watch.background import open_screen

    with open_screen() as progress:
        result = try_framework(
            framework,
            Journal(progress),
            output_dir=output_dir,
            skip_unavailable=skip_unavailable,
            overwrite=overwrite,
        )
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        _render(result)


def _render(result: "Smoke") -> None:
    probe = result.probe
    lines = [f"{result.framework}: {result.status}{f': {result.why}' if result.why else ''}"]
    if probe.works:
        lines.append(f"  probe     {probe.framework} {probe.version} on {probe.device_name}")
    lines += [f"  {step.name:9} {step.found}  ({step.elapsed_s:.0f} s)" for step in result.steps]
    if result.evidence is not None:
        lines.append(f"  evidence  {result.evidence}")
    sys.stdout.write("\n".join(lines) + "\n")
