"""Where anything came from and what came of it: a record, or a trace that dataset versions hold; checked, drawn.

find_lineage      a record, both ways; a trace, the versions that hold it and every model that came of these
check_everything  hash what a lineage stands on
write_picture     .svg or .html
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainwright.core.durable import write_file
from trainwright.core.errors import ObjectDamaged, RecordDamaged, TraceForgotten, UnknownRef
from trainwright.core.records import DatasetVersion
from trainwright.pipeline.datasets import iter_versions
from trainwright.pipeline.evaluate import require_new
from trainwright.store.ledger import is_id_prefix
from trainwright.store.lineage import (
    TRACE,
    Finding,
    Lineage,
    check_lineage,
    check_objects,
    render_tree,
    trace_lineage,
    trace_use,
)
from trainwright.store.lineage_picture import render_html, render_svg
from trainwright.store.members import take_in_versions
from trainwright.store.traces import NUM_CANDIDATES, choose_id
from trainwright.store.workspace import Workspace

PICTURES = {".svg": render_svg, ".html": render_html}

_USERS = ("dataset", "run", "checkpoint", "release")
"""Kinds that are counted where it is said what came of a trace."""


def find_lineage(ref: str, workspace: Workspace) -> Lineage:
    """The lineage of what `ref` names: a record (by id, its beginning, or a ref), else a trace (by id or its beginning).

    Raises UnknownRef, AmbiguousRef, RecordDamaged, ObjectDamaged (a version's list of traces).
    """
    try:
        return trace_lineage(workspace.ledger, workspace.ledger.resolve(ref))
    except UnknownRef:
        trace_id = _find_trace(ref, workspace)
        if trace_id is None:
            raise
    holding = find_versions_holding(trace_id, workspace)
    return trace_use(workspace.ledger, trace_id, holding, _label_trace(trace_id, len(holding), workspace))


def find_versions_holding(trace_id: str, workspace: Workspace) -> list[str]:
    """The ids of the dataset versions that hold a trace, or held it before it was forgotten. Raises ObjectDamaged."""
    take_in_versions(workspace.members, iter_versions(workspace), workspace.objects)
    return workspace.members.find(trace_id)


def describe_lineage(lineage: Lineage, findings: list[Finding] | None) -> dict[str, Any]:
    """What `lineage --json` prints: nodes, edges, a text tree, and what does not hash as it should (None: not looked)."""
    return {
        "record_id": lineage.record_id,
        "nodes": [asdict(node) for node in lineage.nodes.values()],
        "edges": [asdict(edge) for edge in lineage.edges],
        "tree": render_tree(lineage),
        "findings": None if findings is None else [asdict(finding) for finding in findings],
    }


def summarise_use(lineage: Lineage) -> str | None:
    """One line on what came of a trace; None for the lineage of a record."""
    if lineage.nodes[lineage.record_id].kind != TRACE:
        return None
    counts = Counter(node.kind for node in lineage.nodes.values())
    said = (f"{counts[kind]:,} {kind}{'' if counts[kind] == 1 else 's'}" for kind in _USERS)
    return f"it is in, or came into: {', '.join(said)}"


def check_everything(lineage: Lineage, workspace: Workspace) -> list[Finding]:
    """Hash what a record came from; of a trace, the trace itself and the versions that hold it."""
    if lineage.nodes[lineage.record_id].kind == TRACE:
        return list(_check_trace(lineage, workspace))
    return check_lineage(workspace.ledger, workspace.objects, workspace.runs, lineage.record_id)


def require_sound(findings: list[Finding] | None) -> None:
    """Raises ObjectDamaged where a checked lineage has findings."""
    if findings:
        raise ObjectDamaged(
            f"{len(findings)} of the things that these records name are not what they were.",
            why="; ".join(f"{found.name} is {found.problem}: {found.why}" for found in findings),
            next_step="Restore them from a copy, or make them again from their plan.",
        )


def write_picture(lineage: Lineage, path: Path, *, overwrite: bool) -> None:
    """Draw a lineage into a file whose name ends in one of PICTURES. Raises OutputExists, DiskFull, NotWritable."""
    require_new(path, overwrite=overwrite)
    write_file(path, PICTURES[path.suffix.lower()](lineage).encode("utf-8"))


def _find_trace(text: str, workspace: Workspace) -> str | None:
    """The full id of the trace whose id begins so, in a version or in the trace store; None where there is none."""
    if not is_id_prefix(text) or len(text) > 64:
        return None
    take_in_versions(workspace.members, iter_versions(workspace), workspace.objects)
    found = workspace.members.ids_beginning(text, NUM_CANDIDATES)
    if found:
        return choose_id(text, found)
    try:
        return workspace.traces.resolve(text)
    except UnknownRef:
        return None


def _label_trace(trace_id: str, num_versions: int, workspace: Workspace) -> str:
    where = f"in {num_versions:,} dataset version{'' if num_versions == 1 else 's'}"
    try:
        stored = workspace.traces.get(trace_id)
    except TraceForgotten:
        return f"forgotten, was {where}"
    except UnknownRef:
        return f"{where}, not in the trace store"
    return f"{stored.trace.kind}, {where}"


def _check_trace(lineage: Lineage, workspace: Workspace) -> Iterator[Finding]:
    trace_id = lineage.record_id
    try:
        workspace.traces.get(trace_id)
    except UnknownRef:
        pass  # versions hold their own traces
    except TraceForgotten as error:
        yield Finding(trace_id, TRACE, "content", "forgotten", f"{error.message} {error.why}")
    except RecordDamaged as error:
        yield Finding(trace_id, TRACE, "content", "damaged", f"{error.message} {error.why}")
    for edge in lineage.edges:
        if edge.parent == trace_id:
            dataset = workspace.ledger.get(edge.child)
            assert isinstance(dataset, DatasetVersion)
            yield from check_objects(workspace.objects, dataset)
