"""`trainwright store check` and `trainwright store reindex`."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from trainwright.cli.options import Json, WorkspacePath, print_json, workspace_root

if TYPE_CHECKING:
    from trainwright.store.reindex import Reindexed

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command("check")
def check_store(workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Hash every object, record and checkpoint, and list what is damaged or missing."""
    from trainwright.pipeline.soundness import check_workspace, require_all_sound
    from trainwright.store.workspace import open_workspace

    checked = check_workspace(open_workspace(workspace_root(workspace)))
    if as_json:
        require_all_sound(checked)
        print_json(checked.as_document())
        return
    sys.stdout.write(
        f"{checked.num_records:,} records, {checked.num_objects:,} objects, {checked.num_runs:,} runs, "
        f"{checked.num_checkpoints:,} checkpoints\n"
    )
    require_all_sound(checked)
    sys.stdout.write("every byte is what its record says\n")


@app.command("reindex")
def reindex_store(workspace: WorkspacePath = None, as_json: Json = False) -> None:
    """Make the ledger again from its lines (ledger.jsonl) and the run folders, and the index of traces from both."""
    from trainwright.store.reindex import reindex

    done = reindex(workspace_root(workspace).absolute())
    if as_json:
        print_json(_describe(done))
        return
    records = ", ".join(f"{count:,} {kind}" for kind, count in done.num_records.items()) or "none"
    sys.stdout.write(f"records: {records}\nmoves of refs: {done.num_moves:,}\nmemos: {done.num_memos:,}\n")
    sys.stdout.write(f"traces in dataset versions: {done.num_members:,}\n")
    sys.stdout.write(f"the database that was there: {done.before}\n")
    for record in done.found_in_runs:
        sys.stdout.write(f"found in a run folder alone: {record.kind} {record.id[:12]}\n")
    for part in done.unreadable:
        line = "" if part.line is None else f", line {part.line}"
        said = "what it said was found elsewhere" if part.recovered else "what it said is lost"
        sys.stdout.write(f"damaged: {part.file}{line}: {part.why} ({said})\n")


def _describe(done: "Reindexed") -> dict[str, Any]:
    return {
        "num_records": done.num_records,
        "num_moves": done.num_moves,
        "num_memos": done.num_memos,
        "num_members": done.num_members,
        "before": done.before,
        "found_in_runs": [{"kind": record.kind, "id": record.id} for record in done.found_in_runs],
        "unreadable": [asdict(part) for part in done.unreadable],
    }
