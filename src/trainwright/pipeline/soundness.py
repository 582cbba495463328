"""Whether everything in a workspace is what it was: objects, records, run folders and checkpoints, all of them hashed."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trainwright.core.errors import (
    CheckpointDamaged,
    EventsDamaged,
    ObjectDamaged,
    ObjectMissing,
    PlanMismatch,
    RecordDamaged,
    RunDamaged,
    TraceForgotten,
)
from trainwright.core.records import Checkpoint, Outcome, Record, Release, Report, Run
from trainwright.store.checkpoints import list_checkpoints, list_held, locate_checkpoint, require_intact
from trainwright.store.ledger import RefMove
from trainwright.store.ledger_file import Damage, LedgerFile
from trainwright.store.lineage import Finding, iter_objects
from trainwright.store.run_folder import RunFolder, name_run_folder
from trainwright.store.workspace import Workspace
from trainwright.watch.events import iter_events


@dataclass(frozen=True)
class Checked:
    """How much was looked at, and what was found. A finding that belongs to no record has an empty `record_id`."""

    num_records: int
    num_objects: int
    num_checkpoints: int
    num_runs: int
    findings: tuple[Finding, ...]

    def as_document(self) -> dict[str, Any]:
        """What `store check --json` prints."""
        return {**asdict(self), "findings": [asdict(finding) for finding in self.findings]}


def check_workspace(workspace: Workspace) -> Checked:
    """Read and hash all there is. Damaged objects are set aside by the store, as always; nothing else is changed.

    A checkpoint that retention deleted is not missing; one that a report, an outcome, a release or a ref names is.
    """
    findings = [*_check_lines(workspace), *check_moves(workspace)]
    records = dict(_iter_records(workspace, findings))
    digests = list(workspace.objects.iterate())
    findings += _check_objects(workspace, records, digests)
    folders = list(workspace.iter_run_folders())
    num_checkpoints = 0
    for folder in folders:
        findings += _check_run_folder(folder)
        num_checkpoints += len(list_checkpoints(folder.checkpoints_path))
    findings += _check_checkpoints(workspace, records, folders)
    return Checked(len(records), len(digests), num_checkpoints, len(folders), tuple(findings))


def check_moves(workspace: Workspace, name: str | None = None) -> list[Finding]:
    """Whether every ref (or the one of that name) was moved as `ledger.jsonl` says, of which the database is the index."""
    if not _compare_moves(workspace, name):
        return []
    with LedgerFile(workspace.root / "ledger.jsonl").held():  # a move that was just being written is none that is lost
        return _compare_moves(workspace, name)


def _compare_moves(workspace: Workspace, name: str | None) -> list[Finding]:
    file, ledger = LedgerFile(workspace.root / "ledger.jsonl"), workspace.ledger
    if not file.exists():
        return []
    filed: dict[str, list[RefMove]] = {ref.name: [] for ref in ledger.refs()}
    for line in file.iter_lines():
        if isinstance(line, RefMove):
            filed.setdefault(line.name, []).append(replace(line, seq=0))
    why = "what the database says of its moves is not what ledger.jsonl says: trainwright store reindex"
    return [
        Finding("", "ref", ref, "damaged", why)
        for ref, moves in sorted(filed.items())
        if name in (None, ref)
        and (
            [replace(move, seq=0) for move in ledger.ref_history(ref)] != moves
            or ledger.read_ref(ref) != (moves[-1].to_id if moves else None)
        )
    ]


def require_all_sound(checked: Checked) -> None:
    """Raises ObjectDamaged, naming them, where something is damaged or missing."""
    if checked.findings:
        listed = "; ".join(f"{found.kind} {found.name} is {found.problem}: {found.why}" for found in checked.findings)
        raise ObjectDamaged(
            f"{len(checked.findings)} things in the workspace are damaged or missing.",
            why=listed,
            next_step="Restore them from a copy, or make them again from their plan; `trainwright store reindex` mends the "
            "ledger. Check the disk.",
        )


def _check_lines(workspace: Workspace) -> Iterator[Finding]:
    file = LedgerFile(workspace.root / "ledger.jsonl")
    for line in file.iter_lines():
        if isinstance(line, Damage):
            yield Finding("", "record", f"{file.path.name}, line {line.line}", "damaged", line.why)


def _iter_records(workspace: Workspace, findings: list[Finding]) -> Iterator[tuple[str, Record]]:
    for record_id in workspace.ledger.ids():
        try:
            yield record_id, workspace.ledger.get(record_id)
        except RecordDamaged as error:
            findings.append(Finding(record_id, "record", record_id[:12], "damaged", f"{error.message} {error.why}"))


def _check_objects(workspace: Workspace, records: dict[str, Record], digests: list[str]) -> Iterator[Finding]:
    """Every object that is damaged, under the records that name it; and those that are named but not there."""
    damaged: dict[str, str] = {}
    for digest in digests:
        try:
            workspace.objects.require_intact(digest)
        except ObjectDamaged as error:
            damaged[digest] = f"{error.message} {error.why}"
        except TraceForgotten as error:
            damaged[digest] = f"{error.why} Its bytes are still there: give `trainwright data forget` again."
    unnamed = dict(damaged)
    for record in records.values():
        for name, digest in iter_objects(record):
            unnamed.pop(digest, None)
            if digest in damaged:
                yield Finding(record.id, record.kind, name, "damaged", damaged[digest])
            elif not workspace.objects.has(digest) and not _was_erased(workspace, digest):
                yield Finding(record.id, record.kind, name, "missing", f"There is no object {digest}.")
    for digest, why in unnamed.items():
        yield Finding("", "object", digest[:12], "damaged", why)


def _was_erased(workspace: Workspace, digest: str) -> bool:
    """Whether an object is gone because a trace in it was forgotten: then nothing is missing."""
    try:
        workspace.objects.require_intact(digest)
    except TraceForgotten:
        return True
    except ObjectMissing:
        return False
    return False


def _check_run_folder(folder: RunFolder) -> Iterator[Finding]:
    """The run's own files. An event stream that was never begun is none that is missing."""
    try:
        folder.read_plan()  # and with it the run's record
        folder.read_environment()
        folder.read_attempts()
        if folder.events_path.exists():
            for _ in iter_events(folder.events_path):
                pass
    except (RunDamaged, PlanMismatch, EventsDamaged) as error:
        yield Finding("", "run", folder.path.name, "damaged", f"{error.message} {error.why}")


def _check_checkpoints(workspace: Workspace, records: dict[str, Record], folders: list[RunFolder]) -> Iterator[Finding]:
    """Every checkpoint that is there against its record, and the ones that something stands on, whether they are there."""
    recorded: dict[Path, list[Checkpoint]] = {}
    for record in records.values():
        if isinstance(record, Checkpoint) and isinstance(run := records.get(record.run), Run):
            path = locate_checkpoint(workspace.runs / name_run_folder(run) / "checkpoints", record)
            recorded.setdefault(path, []).append(record)
    present = [path for folder in folders for _, path in list_checkpoints(folder.checkpoints_path)]
    present += [path for folder in folders for path in list_held(folder.checkpoints_path)]
    for path in present:
        # A step that was computed again after a rollback has several records; the folder holds the last.
        expected = recorded.get(path, [None])[-1]
        try:
            require_intact(path, expected=expected)
        except CheckpointDamaged as error:
            name = f"{path.parent.parent.name}/{path.name}"
            yield Finding(
                expected.id if expected else "", "checkpoint", name, "damaged", f"{error.message} {error.why}"
            )
    wanted = {ref.record_id for ref in workspace.ledger.refs()}
    wanted |= {
        record.checkpoint
        for record in records.values()
        if isinstance(record, Report | Outcome | Release) and record.checkpoint
    }
    for path, checkpoints in recorded.items():
        for checkpoint in checkpoints:
            if checkpoint.id in wanted and path not in present:
                yield Finding(checkpoint.id, "checkpoint", path.name, "missing", f"There is no folder {path}.")
    for record_id in sorted(wanted - records.keys()):
        yield Finding(record_id, "missing", "record", "missing", f"Nothing with the id {record_id} is in the ledger.")
