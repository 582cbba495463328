"""Forgetting a trace: its content goes from everywhere, what it was used for is listed, and how to go on is said.

In this order, each step complete before the next and none harmful when repeated, so that a command that was killed is
simply given again:

1. the trace store destroys the content and keeps a tombstone; from here on no version with it is built, exported or used
2. every stored object that holds it is erased: documents of versions, tokens made from them
3. the receipt is put into the ledger

What was trained on the trace is named, not changed: weights do not hold it in a form that could be taken out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trainwright.core.records import DatasetVersion, Forgotten, Record, Run, TokenSet
from trainwright.pipeline.datasets import find_holding, holds, iter_versions, suggest_key
from trainwright.store.lineage import TRACE, label_record, trace_use
from trainwright.store.traces import Tombstone
from trainwright.store.workspace import Workspace


@dataclass(frozen=True)
class ForgetResult:
    """The receipt, and the records that it names."""

    receipt: Forgotten
    datasets: tuple[DatasetVersion, ...]
    affected: tuple[Record, ...]
    rebuild: tuple[str, ...]

    def as_document(self) -> dict[str, Any]:
        """What `data forget --json` prints."""
        return {
            "trace_id": self.receipt.trace,
            "receipt_id": self.receipt.id,
            "at": self.receipt.at,
            "why": self.receipt.why,
            "datasets": [{"id": one.id, "key": f"{one.name}@{one.version}"} for one in self.datasets],
            "affected": [{"id": one.id, "kind": one.kind, "label": label_record(one)} for one in self.affected],
            "num_erased_objects": len(self.receipt.erased),
            "rebuild": list(self.rebuild),
            "retrain": [one.name for one in self.affected if isinstance(one, Run)],
        }


def forget_trace(text: str, workspace: Workspace, *, who: str, why: str) -> ForgetResult:
    """Forget the trace whose id begins with `text`. Given again, it finishes what was begun, and says the same.

    Raises UnknownRef, AmbiguousRef, LedgerUnavailable (bytes of it may be left; the message says what to do), DiskFull,
    NotWritable.
    """
    store, ledger = workspace.traces, workspace.ledger
    tombstone = store.forget(store.resolve(text), who, why)
    datasets = tuple(one for one in iter_versions(workspace) if holds(one, tombstone.id, workspace))
    affected = tuple(_iter_affected(tombstone.id, datasets, workspace))
    erased = sorted(set(_iter_objects(tombstone.id, datasets, affected, workspace)))
    for digest in erased:
        workspace.objects.erase(digest, _explain(tombstone))
    receipt = Forgotten(
        trace=tombstone.id,
        at=tombstone.at,
        who=tombstone.who,
        why=tombstone.why,
        datasets=tuple(one.id for one in datasets),
        affected=tuple(one.id for one in affected),
        erased=tuple(erased),
    )
    ledger.put(receipt)
    return ForgetResult(receipt, datasets, affected, tuple(_plan_rebuild(datasets, workspace)))


def _iter_affected(trace_id: str, datasets: tuple[DatasetVersion, ...], workspace: Workspace) -> Iterator[Record]:
    """Everything that came of the versions: token sets, plans, runs, checkpoints, reports and what else there is."""
    use = trace_use(workspace.ledger, trace_id, [dataset.id for dataset in datasets])
    for node in use.nodes.values():
        # Versions that hold it are named by themselves; receipts are about it, not of it.
        if node.kind not in (TRACE, "dataset", "receipt"):
            yield workspace.ledger.get(node.id)


def _iter_objects(
    trace_id: str, datasets: tuple[DatasetVersion, ...], affected: tuple[Record, ...], workspace: Workspace
) -> Iterator[str]:
    """The digests of every object that holds the content: documents of its split, and the tokens made from them."""
    for dataset in datasets:
        holding = set(find_holding(dataset, trace_id, workspace))
        yield from holding
        splits = {split for split, content in dataset.splits.items() if content.documents in holding}
        for record in affected:
            if isinstance(record, TokenSet) and record.dataset == dataset.id:
                names = splits & record.splits.keys() or record.splits.keys()
                yield from (shard.digest for name in names for shard in record.splits[name].shards)


def _plan_rebuild(datasets: tuple[DatasetVersion, ...], workspace: Workspace) -> Iterator[str]:
    for dataset in datasets:
        key = f"{dataset.name}@{dataset.version}"
        yield f"trainwright data build {suggest_key(key, workspace)} --from {key}"


def _explain(tombstone: Tombstone) -> str:
    said = f": {tombstone.why}" if tombstone.why else ""
    return f"It held the trace {tombstone.id[:12]}, which was forgotten on {tombstone.at[:10]}{said}".rstrip(".") + "."
