"""Models by name: where each stands, and the card that says what is on record about it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainwright.core.durable import write_file
from trainwright.core.errors import InvalidValue, UnknownRef
from trainwright.core.records import STAGES, Checkpoint, Decision, Plan, Release, Run
from trainwright.pipeline.attest import (
    find_attestation,
    list_ancestors,
    read_decision,
    read_evaluations,
    read_report,
)
from trainwright.pipeline.evaluate import require_new
from trainwright.pipeline.inspect import find_verdict
from trainwright.pipeline.keys import list_trusted
from trainwright.pipeline.recall import typed
from trainwright.pipeline.use import find_model
from trainwright.release.document import Document, render_html, render_markdown
from trainwright.release.model_card import CardFacts, build_card
from trainwright.release.registry import describe_move
from trainwright.store.checkpoints import read_record
from trainwright.store.ledger import RefMove
from trainwright.store.workspace import Workspace

LATEST = "latest"


def list_models(workspace: Workspace) -> list[dict[str, Any]]:
    """A row for each place where a model stands: NAME@latest (not released), NAME@staging, NAME@production."""
    return [
        row
        for ref in workspace.ledger.refs()
        if ref.name.rpartition("@")[2] in (LATEST, *STAGES)
        and (row := _describe_place(ref.name, ref.record_id, workspace)) is not None
    ]


def show_model(name: str, workspace: Workspace) -> dict[str, Any]:
    """All about a name: its places, its gates and every move of its refs. Raises UnknownRef."""
    bare, _, stage = name.partition("@")
    places = [row for row in list_models(workspace) if row["name"] == bare and stage in ("", row["stage"])]
    if not places:
        raise UnknownRef(
            f"No model is called {name!r} in this workspace.",
            why=f"There is no ref {bare}@{stage or '…'} to a checkpoint or a release.",
            next_step="`trainwright models list` shows what there is.",
        )
    moves = [
        {"ref": f"{bare}@{row['stage']}", "number": number, **describe_move(move)}
        for row in places
        for number, move in enumerate(workspace.ledger.ref_history(f"{bare}@{row['stage']}"), start=1)
    ]
    return {"name": bare, "places": [_add_gates(row, workspace) for row in places], "history": moves}


def build_model_card(ref: str, workspace: Workspace) -> Document:
    """The card of a release (NAME@STAGE, or its id) or of any other model that `find_model` finds. Raises as that does."""
    return build_card(gather_facts(ref, workspace))


def write_card(document: Document, path: Path, *, overwrite: bool) -> None:
    """The card as a file, by its suffix: .md or .html. Raises InvalidValue, OutputExists, DiskFull, NotWritable."""
    renderers = {".md": render_markdown, ".html": render_html}
    renderer = renderers.get(path.suffix.lower())
    if renderer is None:
        raise InvalidValue(
            f"A card cannot be written to {path}.",
            why=f"The end of its name says what it is to be: {' or '.join(renderers)}.",
            next_step=f"For example: --output {path.stem or 'card'}.md",
        )
    require_new(path, overwrite=overwrite)
    write_file(path, renderer(document).encode())


# ── what a card is made from ──────────────────────────────────────────────────────────────────────────────────────────
def gather_facts(ref: str, workspace: Workspace) -> CardFacts:
    """Everything on record about a model. Raises UnknownRef, AmbiguousRef, and what reading the records raises."""
    ledger = workspace.ledger
    record = None if ref.rpartition("@")[2].isdigit() else ledger.get(ledger.resolve(ref))
    release = record if isinstance(record, Release) else None
    checkpoint = _find_checkpoint(ref, release, workspace)
    run = typed(ledger.get(checkpoint.run), Run)
    own = {checkpoint.id, run.id, run.plan}
    attestation = find_attestation(release, workspace) if release is not None else None
    move = _find_move(release, workspace) if release is not None else None
    return CardFacts(
        name=release.name if release is not None else run.name,
        release=release,
        released_at=move.at if move is not None else None,
        released_by=move.who if move is not None else None,
        decision=read_decision(release, workspace) if release is not None else None,
        checkpoint=checkpoint,
        run=run,
        plan=typed(ledger.get(run.plan), Plan),
        materials=[ledger.get(found) for found in list_ancestors(checkpoint.id, ledger) if found not in own],
        environment=_read_json(workspace.objects.get(run.environment)),
        metrics=_read_metrics(run, workspace),
        report=read_report(checkpoint, workspace),
        evaluations=[(each.record, each.estimates) for each in read_evaluations(checkpoint, workspace)],
        verdict=find_verdict(run, workspace),
        attestation=attestation,
        signer=_name_signer(attestation.signer, workspace) if attestation is not None else None,
    )


def _find_checkpoint(ref: str, release: Release | None, workspace: Workspace) -> Checkpoint:
    if release is not None:
        return typed(workspace.ledger.get(release.checkpoint), Checkpoint)
    found = read_record(find_model(ref, workspace).path)
    return typed(workspace.ledger.get(found.id), Checkpoint)


def _find_move(release: Release, workspace: Workspace) -> RefMove | None:
    """When the release last came to stand at its stage."""
    moves = workspace.ledger.ref_history(f"{release.name}@{release.stage}")
    return next((move for move in reversed(moves) if move.to_id == release.id), None)


def _read_metrics(run: Run, workspace: Workspace) -> Mapping[str, Any]:
    try:
        path = workspace.find_run_folder(run.id).metrics_path
    except UnknownRef:
        return {}
    return _read_json(path.read_bytes()) if path.is_file() else {}


def _read_json(data: bytes) -> dict[str, Any]:
    document = json.loads(data)
    return document if isinstance(document, dict) else {}


def _name_signer(signer_id: str, workspace: Workspace) -> str:
    name = next((signer.name for signer in list_trusted(workspace) if signer.id == signer_id), None)
    return f"{name or 'somebody who is not trusted here'} ({signer_id[:12]})"


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _describe_place(ref: str, record_id: str, workspace: Workspace) -> dict[str, Any] | None:
    """A row of `models list`; None where the ref names something that is no model (a dataset version, say)."""
    name, _, stage = ref.rpartition("@")
    record = workspace.ledger.get(record_id)
    if not isinstance(record, Checkpoint | Release):
        return None
    release = record if isinstance(record, Release) else None
    decision = read_decision(release, workspace) if release is not None else None
    moves = workspace.ledger.ref_history(ref)
    return {
        "name": name,
        "stage": stage,
        "release": release.id if release is not None else None,
        "checkpoint": release.checkpoint if release is not None else record.id,
        "outcome": _name_outcome(release, decision),
        "signed": None if release is None else find_attestation(release, workspace) is not None,
        "at": moves[-1].at if moves else None,
        "who": moves[-1].who if moves else None,
    }


def _name_outcome(release: Release | None, decision: Decision | None) -> str:
    if release is None:
        return "not released"
    if release.override is not None:
        return "override"
    return decision.outcome if decision is not None else "not decided"


def _add_gates(row: dict[str, Any], workspace: Workspace) -> dict[str, Any]:
    release = None if row["release"] is None else typed(workspace.ledger.get(row["release"]), Release)
    decision = read_decision(release, workspace) if release is not None else None
    attestation = find_attestation(release, workspace) if release is not None else None
    return {
        **row,
        "weights": typed(workspace.ledger.get(row["checkpoint"]), Checkpoint).weights,
        "decision": None if decision is None else {"decision_id": decision.id, **decision.model_dump(mode="json")},
        "override": None if release is None or release.override is None else release.override.model_dump(mode="json"),
        "attestation": None
        if attestation is None
        else {"attestation_id": attestation.id, **attestation.model_dump(mode="json", exclude={"kind"})},
    }
