"""Lineage: what a record came from, what came from it, and whether the bytes behind it are still what they were.

A decision and a release also name models that they were only held against: the baseline, the release that was replaced.
Such a record is shown, but nothing is followed through it: a model did not come of the one that it replaced.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainwright.core.errors import (
    CheckpointDamaged,
    ObjectDamaged,
    ObjectMissing,
    RecordDamaged,
    TraceForgotten,
    TrainwrightError,
    UnknownRef,
)
from trainwright.core.records import (
    Attestation,
    Checkpoint,
    DatasetVersion,
    Decision,
    Drift,
    Evaluation,
    Forgotten,
    ImportedModel,
    JudgeCalibration,
    Outcome,
    Plan,
    Policy,
    Record,
    Release,
    Report,
    Run,
    Tokenizer,
    TokenSet,
    TrainedScorer,
    Verdict,
)
from trainwright.store.checkpoints import locate_checkpoint, require_intact
from trainwright.store.ledger import Ledger
from trainwright.store.objects import ObjectStore
from trainwright.store.run_folder import name_run_folder

MISSING = "missing"
"""The kind of a node whose record is named by another one but is not in the ledger."""

TRACE = "trace"
"""The kind of a node that stands for a trace: it is no record, but records hold it."""

COMPARED_ROLES = frozenset({"baseline", "replaces", "previous"})
"""Roles of a parent that something was held against, and did not come from."""

NUM_ID_DIGITS = 12


@dataclass(frozen=True)
class Node:
    """A record in a lineage. `label` is what a person knows it by."""

    id: str
    kind: str
    label: str


@dataclass(frozen=True)
class Edge:
    """`child` names `parent` in `role`."""

    child: str
    role: str
    parent: str


@dataclass(frozen=True)
class Lineage:
    """What one record came from, what came from it, and every edge among them. `record_id` may be that of a trace."""

    record_id: str
    nodes: dict[str, Node]
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class Finding:
    """Something behind a record that is not there, or not what it was."""

    record_id: str
    kind: str
    name: str
    problem: Literal["missing", "damaged", "forgotten"]
    why: str


def trace_lineage(ledger: Ledger, record_id: str) -> Lineage:
    """Walk from a record to everything it came from and everything that came from it.

    A parent that is not in the ledger becomes a node of the kind `missing`. Raises UnknownRef, RecordDamaged.
    """
    ledger.get(record_id)
    up = _walk(record_id, ledger.parents)
    down = _walk(record_id, ledger.children)
    nodes = {found: _read_node(ledger, found) for found in [*up, *down]}
    return Lineage(record_id, nodes, tuple(_iter_edges(ledger, nodes)))


def trace_use(ledger: Ledger, trace_id: str, holding: Collection[str], label: str = "") -> Lineage:
    """What came of a trace: the dataset versions that hold it (`holding`, by id), and everything that came of these.

    A version that was taken from one of them without the trace, and receipts for other traces, are not among them.
    """
    down: dict[str, None] = {}
    for dataset in holding:
        down |= dict.fromkeys(_walk(dataset, lambda found: _iter_users(ledger, found, trace_id, holding)))
    nodes = {trace_id: Node(trace_id, TRACE, label)} | {found: _read_node(ledger, found) for found in down}
    held = [Edge(dataset, TRACE, trace_id) for dataset in holding]
    return Lineage(trace_id, nodes, (*held, *_iter_edges(ledger, down)))


def render_tree(lineage: Lineage) -> str:
    """The lineage as text: ancestors above, the record marked, descendants below it.

    A record with several parents stands under the one that is furthest from the beginning; the others are named.
    """
    depths = _measure_depths(lineage)
    parents: dict[str, set[str]] = {node_id: set() for node_id in lineage.nodes}
    for edge in lineage.edges:
        parents[edge.child].add(edge.parent)
    ranked = {child: sorted(found, key=lambda parent: (-depths[parent], parent)) for child, found in parents.items()}
    below: dict[str, list[str]] = {node_id: [] for node_id in lineage.nodes}
    for child, found in ranked.items():
        if found:
            below[found[0]].append(child)

    def render(node_id: str, lead: str, connector: str, indent: str) -> Iterator[str]:
        node = lineage.nodes[node_id]
        also = ", ".join(f"{lineage.nodes[other].kind} {other[:NUM_ID_DIGITS]}" for other in ranked[node_id][1:])
        line = f"{lead}{connector}{node.kind} {node_id[:NUM_ID_DIGITS]}  {node.label}".rstrip()
        yield line + (f"  (also from {also})" if also else "") + ("  ◀" if node_id == lineage.record_id else "")
        # Records that nothing came from first, so that the way on is the last branch and stays in sight.
        children = sorted(below[node_id], key=lambda child: (bool(below[child]), depths[child]))
        for child in children:
            is_last = child == children[-1]
            yield from render(child, lead + indent, "└─ " if is_last else "├─ ", "   " if is_last else "│  ")

    roots = [node_id for node_id in lineage.nodes if not ranked[node_id]]
    return "\n".join(line for root in roots for line in render(root, "", "", ""))


def check_lineage(ledger: Ledger, objects: ObjectStore, runs: Path, record_id: str) -> list[Finding]:
    """Read and hash everything behind a record and its ancestors: records, objects, checkpoint files.

    Damaged objects are set aside by the store, as always. An empty list means that the record can be derived again from
    what is here. Raises UnknownRef where the record itself is not in the ledger.
    """
    findings: list[Finding] = []
    for found in _walk(record_id, ledger.parents):
        try:
            record = ledger.get(found)
        except UnknownRef as error:
            if found == record_id:
                raise
            findings.append(Finding(found, MISSING, "record", "missing", error.why))
        except RecordDamaged as error:
            findings.append(Finding(found, "record", "record", "damaged", error.why))
        else:
            findings.extend(check_objects(objects, record))
            match record:
                case Checkpoint():
                    findings.extend(_check_checkpoint(ledger, runs, record))
                case Decision():
                    findings.extend(_check_decision(ledger, record))
                case Release():
                    findings.extend(_check_release(ledger, record))
    return findings


def _walk(start: str, neighbours: Callable[[str], list[tuple[str, str]]]) -> list[str]:
    """Every id that can be reached, `start` first, then breadth first: deep histories do not exhaust the stack.

    What is reached in a role of COMPARED_ROLES alone is there, but is not gone on from.
    """
    seen = {start: None}
    followed = {start}
    for found in (queue := [start]):
        for role, neighbour in neighbours(found):
            seen[neighbour] = None
            if role not in COMPARED_ROLES and neighbour not in followed:
                followed.add(neighbour)
                queue.append(neighbour)
    return list(seen)


def _iter_edges(ledger: Ledger, nodes: Collection[str]) -> Iterator[Edge]:
    for child in nodes:
        yield from (Edge(child, role, parent) for role, parent in ledger.parents(child) if parent in nodes)


def _iter_users(ledger: Ledger, record_id: str, trace_id: str, holding: Collection[str]) -> list[tuple[str, str]]:
    """The children of a record that came of it together with the trace."""
    return [
        (role, child)
        for role, child in ledger.children(record_id)
        if role not in COMPARED_ROLES and _uses(ledger.get(child), role, trace_id, holding)
    ]


def _uses(record: Record, role: str, trace_id: str, holding: Collection[str]) -> bool:
    match record:
        case DatasetVersion():
            return record.id in holding
        case Forgotten():
            return record.trace == trace_id
        case Decision():  # it may have judged the evaluations of another model too
            return role == "checkpoint"
        case _:
            return True


def _read_node(ledger: Ledger, record_id: str) -> Node:
    try:
        record = ledger.get(record_id)
    except UnknownRef:
        return Node(record_id, MISSING, "not in this ledger")
    return Node(record_id, record.kind, label_record(record))


def label_record(record: Record) -> str:
    """A few words that tell a person which record this is."""
    match record:
        case DatasetVersion():
            what = f"{record.name}@{record.version}" if record.holds_traces else record.source
            return f"{what}, {sum(split.num_documents for split in record.splits.values()):,} documents"
        case Forgotten():
            return f"trace {record.trace[:NUM_ID_DIGITS]} forgotten, {record.at[:10]}"
        case Tokenizer():
            return f"{record.algorithm}, {record.vocab_size:,} pieces"
        case TokenSet():
            return f"{sum(split.num_tokens for split in record.splits.values()):,} tokens"
        case Plan():
            where = f"{record.compute.framework} on {record.compute.device}"
            begun = f", from checkpoint {record.start.source[:NUM_ID_DIGITS]}" if record.start else ""
            return f"{record.model.num_parameters:,} parameters, {record.training.num_steps:,} steps, {where}{begun}"
        case Run():
            return f"{record.name}, started {record.started_at}"
        case Checkpoint():
            return f"step {record.step:,}"
        case Report():
            bits = record.metrics.get("bits_per_byte")
            measured = f", {bits.value:.4f} bits per byte" if bits is not None and bits.value is not None else ""
            return f"on {record.split}{measured}"
        case Evaluation():
            return f"of {record.evalset} by {record.settings.by}, {record.num_items:,} items"
        case ImportedModel():
            return f"{record.name}, {record.architecture}"
        case Policy():
            gates = f"{len(record.gates):,} gate" + ("" if len(record.gates) == 1 else "s")
            return f"{record.name} for {record.stage}, {gates}"
        case Decision():
            return f"{record.name}@{record.stage}: {record.outcome}, {record.at[:10]}"
        case Release():
            return f"{record.name}@{record.stage}" + (", overridden" if record.override is not None else "")
        case TrainedScorer():
            return f"{record.name}, trained on {record.num_rows:,} labelled texts"
        case JudgeCalibration():
            return f"{record.model}, held against {record.num_rows:,} labels"
        case Outcome():
            return record.status
        case Verdict():
            where = f", step {record.difference.step:,}" if record.difference else ""
            return f"{record.status}{where}, {record.share:.0%} of the steps computed again"
        case Drift():
            changed = ", ".join(f"{change.name} {change.before} → {change.now}" for change in record.changes)
            return f"from step {record.step:,}: {changed}"
        case Attestation():
            return f"signed by {record.signer[:NUM_ID_DIGITS]}, {record.at[:10]}"
        case _:
            return ""


def _measure_depths(lineage: Lineage) -> dict[str, int]:
    """The longest way from a record without parents. Ids are digests of content, so there are no cycles."""
    depths = dict.fromkeys(lineage.nodes, 0)
    changed = True
    while changed:
        changed = False
        for edge in lineage.edges:
            if depths[edge.child] <= depths[edge.parent]:
                depths[edge.child] = depths[edge.parent] + 1
                changed = True
    return depths


def check_objects(objects: ObjectStore, record: Record) -> Iterator[Finding]:
    """Hash every object that a record names."""
    for name, digest in iter_objects(record):
        try:
            objects.require_intact(digest)
        except TraceForgotten as error:
            yield Finding(record.id, record.kind, name, "forgotten", f"{error.message} {error.why}")
        except (ObjectMissing, ObjectDamaged) as error:
            problem: Literal["missing", "damaged"] = "missing" if isinstance(error, ObjectMissing) else "damaged"
            yield Finding(record.id, record.kind, name, problem, f"{error.message} {error.why}")


def iter_objects(record: Record) -> Iterator[tuple[str, str]]:
    """(what it is, digest) of every object that a record names. Source files are named for the record only."""
    match record:
        case DatasetVersion():
            for split, content in record.splits.items():
                yield f"documents of {split}", content.documents
            if record.records is not None:
                yield "records", record.records
        case Tokenizer():
            yield from record.files.items()
        case TokenSet():
            for split, tokens in record.splits.items():
                for number, shard in enumerate(tokens.shards, start=1):
                    yield f"shard {number} of {split}", shard.digest
                yield f"boundaries of {split}", tokens.boundaries
                if tokens.targets is not None:
                    yield f"targets of {split}", tokens.targets
            if record.rendering is not None and record.rendering.system is not None:
                yield "system text", record.rendering.system
        case ImportedModel():
            yield from record.files.items()
        case TrainedScorer():
            yield "model", record.model
        case JudgeCalibration():
            yield "rubric", record.rubric
        case Run() | Verdict():
            yield "environment", record.environment
        case Evaluation():
            yield from (("items", record.items), ("prompts", record.prompts), ("item table", record.table))
            if record.predictions is not None:
                yield "predictions", record.predictions
            if record.suite is not None:
                yield "suite", record.suite
        case Attestation():
            yield from (("signer's keys", record.signer), ("envelope", record.envelope))
            yield from (("model signature", record.model_signature), ("bill of materials", record.bill_of_materials))
        case _:
            return


def _check_checkpoint(ledger: Ledger, runs: Path, record: Checkpoint) -> Iterator[Finding]:
    try:
        run = ledger.get(record.run)
    except TrainwrightError:
        return  # the run is an ancestor, and is reported as one
    if not isinstance(run, Run):
        return
    path = locate_checkpoint(runs / name_run_folder(run) / "checkpoints", record)
    if not path.is_dir():
        yield Finding(record.id, record.kind, path.name, "missing", f"There is no folder {path}.")
        return
    try:
        require_intact(path, expected=record)
    except CheckpointDamaged as error:
        yield Finding(record.id, record.kind, path.name, "damaged", f"{error.message} {error.why}")


def _check_decision(ledger: Ledger, record: Decision) -> Iterator[Finding]:
    """The evaluations that it knew of and did not judge; those that it judged are ancestors."""
    for number, evaluation in enumerate(record.all_evaluations, start=1):
        if evaluation not in record.evaluations:
            yield from _check_named(ledger, record, f"evaluation {number} of all", evaluation)


def _check_release(ledger: Ledger, record: Release) -> Iterator[Finding]:
    """The weights that it names against those of its checkpoint, whose files are hashed as an ancestor's."""
    try:
        checkpoint = ledger.get(record.checkpoint)
    except TrainwrightError:
        return  # the checkpoint is an ancestor, and is reported as one
    if isinstance(checkpoint, Checkpoint) and checkpoint.weights != record.weights:
        why = f"The release names {record.weights[:12]}, its checkpoint {checkpoint.weights[:12]}."
        yield Finding(record.id, record.kind, "weights", "damaged", why)


def _check_named(ledger: Ledger, record: Record, name: str, named: str) -> Iterator[Finding]:
    try:
        ledger.get(named)
    except UnknownRef as error:
        yield Finding(record.id, record.kind, name, "missing", error.why)
    except RecordDamaged as error:
        yield Finding(record.id, record.kind, name, "damaged", error.why)
