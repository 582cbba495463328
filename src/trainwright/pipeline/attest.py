"""Signing a release: statement, model signature and bill of materials, each an object, named together by an Attestation."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trainwright.core.errors import CheckpointDamaged, ReleaseUnsigned, UnknownRef
from trainwright.core.hashing import digest_file
from trainwright.core.records import (
    STAGES,
    Attestation,
    Checkpoint,
    Decision,
    Estimate,
    Evaluation,
    Plan,
    Record,
    Release,
    Report,
    Run,
)
from trainwright.evaluate.figures import measure_all
from trainwright.evaluate.table import parse_table
from trainwright.pipeline.keys import list_trusted, trust
from trainwright.pipeline.recall import typed
from trainwright.release.bill_of_materials import build_bill
from trainwright.release.limits import list_limits
from trainwright.release.provenance import History, build_statement
from trainwright.release.signing import SigningKeys, read_model_signature, sign_model, sign_statement
from trainwright.release.verification import (
    BILL_FILE,
    MODEL_SIGNATURE_FILE,
    Subject,
    TrustCheck,
    check_decision,
    check_release,
)
from trainwright.store.checkpoints import checkpoint_path, require_intact
from trainwright.store.ledger import Ledger, read_clock
from trainwright.store.lineage import Finding, check_lineage
from trainwright.store.workspace import Workspace

R = TypeVar("R", bound=Record)

ENVIRONMENT_FILE = "environment.json"
METRICS_FILE = "training_metrics.json"
REPORT_FILE = "report.html"
EVENTS_FILE = "events.jsonl"


@dataclass(frozen=True)
class Evaluated:
    """An evaluation of the released checkpoint, with the interval of every metric."""

    record: Evaluation
    estimates: dict[str, Estimate]


@dataclass(frozen=True)
class Verified:
    """A signed release, and what was found when it was checked."""

    release: Release
    attestation: Attestation
    checks: tuple[TrustCheck, ...]


def find_release(ref: str, workspace: Workspace) -> Release:
    """The release that `ref` names: NAME@STAGE, or an id. Raises UnknownRef, AmbiguousRef."""
    record = workspace.ledger.get(workspace.ledger.resolve(ref))
    if not isinstance(record, Release):
        raise UnknownRef(
            f"{ref} does not name a release.",
            why=f"It names a {record.kind}.",
            next_step=f"Name one as NAME@{STAGES[0]}, or by its id; `trainwright models list` shows what there is.",
        )
    return record


def attest(release: Release, workspace: Workspace, keys: SigningKeys) -> Attestation:
    """Sign a release, after every file of its checkpoint was hashed again, and put the attestation on record.

    The signer is trusted in the workspace from then on. Raises PackageMissing, UnknownRef, CheckpointDamaged, ObjectDamaged.
    """
    history = gather_history(release, workspace.ledger)
    folder = locate_checkpoint(history, workspace)
    require_intact(folder, expected=history.checkpoint)
    signature = sign_model(folder, keys)
    _require_same_files(history.checkpoint, read_model_signature(signature, keys.public), folder)
    at = read_clock()
    byproducts, finished_at = _keep_byproducts(history, workspace)
    bill = _build_bill(history, workspace, at)
    model_signature, bill_of_materials = workspace.objects.put(signature), workspace.objects.put(bill)
    statement = build_statement(
        history,
        environment=_read_environment(history, workspace),
        finished_at=finished_at,
        byproducts=byproducts | {BILL_FILE: bill_of_materials, MODEL_SIGNATURE_FILE: model_signature},
    )
    attestation = Attestation(
        release=release.id,
        signer=workspace.objects.put(keys.public.render()),
        envelope=workspace.objects.put(sign_statement(statement, keys)),
        model_signature=model_signature,
        bill_of_materials=bill_of_materials,
        at=at,
    )
    trust(keys.public, workspace)
    workspace.ledger.put(attestation)
    return attestation


def verify_release(release: Release, workspace: Workspace) -> Verified:
    """Check a release against what was signed, without a network. Raises ReleaseUnsigned, PackageMissing."""
    attestation = require_attestation(release, workspace)
    trusted = {signer.id for signer in list_trusted(workspace)}
    history = gather_history(release, workspace.ledger)
    checks = [check_decision(release, read_decision(release, workspace))]
    folder = None
    try:
        folder = locate_checkpoint(history, workspace)
    except UnknownRef as error:
        checks.append(TrustCheck(name="model files", passed=False, why=f"{error.message} {error.why}"))
    checks += check_release(Subject(history, attestation, workspace.objects.get, folder, trusted))
    checks.append(_check_behind(release, workspace))
    return Verified(release, attestation, tuple(checks))


def find_damage(release: Release, workspace: Workspace) -> list[Finding]:
    """What is missing or changed of all that a release came from and that its decision rests on: every byte is hashed."""
    sources = [release.checkpoint] + ([release.decision] if release.decision else [])
    found = {
        (finding.record_id, finding.name): finding
        for source in sources
        for finding in check_lineage(workspace.ledger, workspace.objects, workspace.runs, source)
        if finding.problem != "forgotten"  # what was forgotten on request is gone rightly, and has a receipt
    }
    return list(found.values())


def _check_behind(release: Release, workspace: Workspace) -> TrustCheck:
    """The row for all that is behind a release but the model's files, which have rows of their own."""
    problems = [
        f"{one.kind} {one.record_id[:12]}, {one.name}: {one.problem}"
        for one in find_damage(release, workspace)
        if one.record_id != release.checkpoint
    ]
    why = "; ".join(problems) or "data, run, evaluations and decision are what their records say"
    return TrustCheck(name="what it came from", passed=not problems, why=why)


def find_attestation(release: Release, workspace: Workspace) -> Attestation | None:
    """The newest attestation of a release; None: nobody signed it."""
    signed = list_children(release.id, Attestation, workspace.ledger)
    return signed[-1] if signed else None


def require_attestation(release: Release, workspace: Workspace) -> Attestation:
    """The newest attestation of a release. Raises ReleaseUnsigned."""
    attestation = find_attestation(release, workspace)
    if attestation is None:
        raise ReleaseUnsigned(
            f"The release {release.id[:12]} ({release.name}@{release.stage}) is not signed.",
            why="There is no attestation of it in this workspace.",
            next_step=f"Sign it, if you answer for it: trainwright release attest {release.id[:12]}",
        )
    return attestation


# ── what a release came from ──────────────────────────────────────────────────────────────────────────────────────────
def gather_history(release: Release, ledger: Ledger) -> History:
    """The release with all records between the source text and its checkpoint. Raises UnknownRef where one is missing."""
    checkpoint = typed(ledger.get(release.checkpoint), Checkpoint)
    run = typed(ledger.get(checkpoint.run), Run)
    plan = typed(ledger.get(run.plan), Plan)
    own = {checkpoint.id, run.id, plan.id}
    materials = [ledger.get(found) for found in list_ancestors(checkpoint.id, ledger) if found not in own]
    return History(release, checkpoint, run, plan, materials)


def list_ancestors(record_id: str, ledger: Ledger) -> list[str]:
    """The ids of everything a record came from, the nearest first, itself left out."""
    seen: dict[str, None] = {record_id: None}
    for found in (queue := [record_id]):
        for _, parent in ledger.parents(found):
            if parent not in seen:
                seen[parent] = None
                queue.append(parent)
    return queue[1:]


def list_children(record_id: str, record_type: type[R], ledger: Ledger) -> list[R]:
    """The records of one type that name this one as a parent, each once, the first put first."""
    ids = dict.fromkeys(child for _, child in ledger.children(record_id))
    return [record for child in ids if isinstance(record := ledger.get(child), record_type)]


def locate_checkpoint(history: History, workspace: Workspace) -> Path:
    """The folder of the release's checkpoint. Raises UnknownRef where the run's folder is gone."""
    folder = workspace.find_run_folder(history.run.id)
    return checkpoint_path(folder.checkpoints_path, history.checkpoint.step)


def read_decision(release: Release, workspace: Workspace) -> Decision | None:
    """The decision that let a release pass; None where a person did."""
    return None if release.decision is None else typed(workspace.ledger.get(release.decision), Decision)


def read_report(checkpoint: Checkpoint, workspace: Workspace) -> Report | None:
    """The newest report on a checkpoint, or None."""
    reports = list_children(checkpoint.id, Report, workspace.ledger)
    return reports[-1] if reports else None


def read_evaluations(checkpoint: Checkpoint, workspace: Workspace) -> list[Evaluated]:
    """Every evaluation of a checkpoint, the first made first. Raises ObjectMissing, ObjectDamaged."""
    records = list_children(checkpoint.id, Evaluation, workspace.ledger)
    return [Evaluated(record, measure_all(parse_table(workspace.objects.get(record.table)))) for record in records]


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _keep_byproducts(history: History, workspace: Workspace) -> tuple[dict[str, str], str | None]:
    """{name: digest} of what the run left, kept as objects (the events are only named), and when the run ended."""
    folder = workspace.find_run_folder(history.run.id)
    found = {ENVIRONMENT_FILE: history.run.environment}
    finished_at = None
    if folder.metrics_path.is_file():
        data = folder.metrics_path.read_bytes()
        found[METRICS_FILE] = workspace.objects.put(data)
        finished_at = json.loads(data).get("end_timestamp")
    if folder.report_path.is_file():
        found[REPORT_FILE] = workspace.objects.put_file(folder.report_path)
    if folder.events_path.is_file():
        found[EVENTS_FILE] = digest_file(folder.events_path)
    return found, finished_at


def _read_environment(history: History, workspace: Workspace) -> dict[str, object]:
    document = json.loads(workspace.objects.get(history.run.environment))
    return document if isinstance(document, dict) else {}


def _build_bill(history: History, workspace: Workspace, at: str) -> bytes:
    environment = _read_environment(history, workspace)
    packages = environment.get("packages")
    report = read_report(history.checkpoint, workspace)
    evaluations = read_evaluations(history.checkpoint, workspace)
    decision = read_decision(history.release, workspace)
    return build_bill(
        history,
        packages=packages if isinstance(packages, dict) else {},
        trainwright=str(environment.get("trainwright", "not recorded")),
        report=report,
        estimates=_name_estimates(evaluations),
        limits=list_limits(history.release, decision, report, [each.record for each in evaluations]),
        at=at,
    )


def _name_estimates(evaluations: Sequence[Evaluated]) -> dict[str, dict[str, Estimate]]:
    """{evalset, by its evaluation where there are several: {metric: estimate}}."""
    names = [each.record.evalset for each in evaluations]
    return {
        each.record.evalset if names.count(each.record.evalset) == 1 else f"{each.record.evalset} {each.record.id[:12]}":
        each.estimates
        for each in evaluations
    }  # fmt: skip


def _require_same_files(checkpoint: Checkpoint, signed: dict[str, str], folder: Path) -> None:
    if signed != checkpoint.files:
        strange = ", ".join(sorted(signed.keys() ^ checkpoint.files.keys())) or "the digests differ"
        raise CheckpointDamaged(
            f"The checkpoint {folder} holds other files than its record names.",
            why=f"Not in both: {strange}.",
            next_step="Move what does not belong there out of the folder, then sign again.",
        )
