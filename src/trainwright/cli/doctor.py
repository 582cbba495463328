"""`trainwright doctor`: whether this machine has what training needs."""

import sys

import typer

from trainwright.cli.options import Json, WorkspacePath, print_json, workspace_root

app = typer.Typer(add_completion=False)


@app.command()
def doctor(workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Check Python, packages, folder, disk, memory, containers, and run a real kernel on every framework that is installed."""
    from trainwright.core.manifest import parse_manifest
    from trainwright.core.plan import resolve_shape, resolve_training
    from trainwright.prerequisites import check_machine, estimate_footprint, require_all
    from trainwright.work.engine import check_engine

    settings = parse_manifest(None)
    footprint = estimate_footprint(resolve_shape(settings, 4096), resolve_training(settings.train, 1, 1))
    findings = [*check_machine(workspace_root(workspace), footprint), check_engine()]
    if as_json:
        require_all(findings)
        print_json({"items": [finding.model_dump() for finding in findings], "next": None})
        return
    for finding in findings:
        mark = {True: "ok     ", False: "MISSING", None: "absent "}[finding.ok]
        sys.stdout.write(f"{mark}  {finding.name}: {finding.found}\n")
        if finding.ok is not True and finding.remedy:
            sys.stdout.write(f"         → {finding.remedy}\n")
    require_all(findings)
