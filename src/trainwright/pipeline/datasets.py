"""Dataset versions of traces: build, merge, find, compare, export, verify.

A version is a record, its bytes are objects, and `NAME@VERSION` is a ref that is set once. The record is put first, so
that forgetting a trace finds whatever may hold it; the ref is set last and makes the version exist. Killed in between,
the same command goes through again.
"""

import mmap
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from trainwright.core.durable import write_chunks
from trainwright.core.errors import (
    ImmutableRecord,
    InvalidValue,
    NothingSelected,
    ObjectDamaged,
    OutputExists,
    RefMoved,
    TraceForgotten,
    UnknownRef,
)
from trainwright.core.hashing import digest_file
from trainwright.core.records import DatasetVersion, Forgotten, Tokenizer
from trainwright.data.dataset import VALIDATION
from trainwright.data.selection import Selection, Tally, iter_chosen
from trainwright.data.trace_card import render_card
from trainwright.data.trace_dataset import (
    CountTokens,
    TraceDraft,
    iter_documents,
    iter_ids,
    iter_traces,
    require_traces,
    verify_dataset,
)
from trainwright.pipeline.journal import Screen
from trainwright.store.members import take_in_version
from trainwright.store.workspace import Workspace
from trainwright.tokens.tokenizer import open_tokenizer

T = TypeVar("T")

PAGE = 1000
MAX_LISTED = 1000
"""How many ids a diff lists of each kind."""

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_MOVING = ("latest", "staging", "production")
_NUMBERED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True)
class Built:
    """A version, and whether it was there already with the same content."""

    dataset: DatasetVersion
    is_new: bool


# ── building ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def build_version(
    key: str,
    selection: Selection,
    workspace: Workspace,
    *,
    share: float = 0.1,
    tokenizer: str | None = None,
    screen: Screen,
) -> Built:
    """Select from everything in the trace store; hold out `share` for validation (0: nothing).

    Raises NothingSelected, ImmutableRecord (the key has other content), InvalidValue, TraceForgotten (meanwhile).
    """
    name, version = parse_key(key)
    tally = Tally()
    count_tokens, tokenizer_id = _open_counter(tokenizer, workspace)
    with TraceDraft(count_tokens=count_tokens) as draft:
        chosen = _say_progress(iter_chosen(workspace.traces, selection, tally), "traces chosen", screen)
        draft.add_chosen(chosen, share, selection.seed)
        dataset = draft.build_dataset(
            name,
            version,
            source="traces",
            recipe={**selection.as_document(), "split": share},
            counts=tally.as_document(),
            tokenizer=tokenizer_id,
        )
        return _publish(draft, dataset, workspace)


def rebuild_version(
    key: str, source: str, workspace: Workspace, *, tokenizer: str | None = None, screen: Screen
) -> Built:
    """A version again, in its order and splits, without what was forgotten since: how one goes on after `data forget`.

    Raises NothingSelected (nothing is left), ImmutableRecord, UnknownRef.
    """
    name, version = parse_key(key)
    parent = find_dataset(source, workspace)
    gone = {tombstone.id for tombstone in workspace.traces.tombstones()}
    kept = [(trace_id, split) for trace_id, split in iter_ids(parent, workspace.objects) if trace_id not in gone]
    num_gone = sum(split.num_documents for split in parent.splits.values()) - len(kept)
    if not kept:
        raise NothingSelected(
            f"Nothing is left of {parent.name}@{parent.version}.",
            why="Every trace in it was forgotten.",
            next_step="Build a version of other traces.",
        )
    count_tokens, tokenizer_id = _open_counter(tokenizer, workspace)
    with TraceDraft(count_tokens=count_tokens) as draft:
        rows = workspace.traces.iter_ids(trace_id for trace_id, _ in kept)
        for stored, (_, split) in zip(_say_progress(rows, "traces kept", screen), kept, strict=True):
            draft.add(stored.trace, split)
        dataset = draft.build_dataset(
            name,
            version,
            source=f"{parent.name}@{parent.version}",
            recipe={"from": [parent.id]},
            counts={"num_seen": len(kept) + num_gone, "num_forgotten": num_gone},
            derived_from=(parent.id,),
            tokenizer=tokenizer_id,
        )
        return _publish(draft, dataset, workspace)


def merge_versions(
    key: str, sources: list[str], workspace: Workspace, *, tokenizer: str | None = None, screen: Screen
) -> Built:
    """All traces of several versions, each once, in the order of the versions.

    A trace that is held out in one of them is held out in the merged version, whatever the others say. Raises
    TraceForgotten, ImmutableRecord, InvalidValue (fewer than two), UnknownRef.
    """
    name, version = parse_key(key)
    if len(sources) < 2:
        raise InvalidValue(
            "A merge needs at least two versions.",
            why=f"Only {', '.join(sources) or 'none'} was named.",
            next_step="trainwright data merge NAME@VERSION A@V B@V",
        )
    parents = [find_dataset(source, workspace) for source in sources]
    for parent in parents:
        require_usable(parent, workspace)
    held_out = {
        trace_id for parent in parents for trace_id, split in iter_ids(parent, workspace.objects) if split == VALIDATION
    }
    count_tokens, tokenizer_id = _open_counter(tokenizer, workspace)
    counts = {"num_seen": 0, "num_duplicates": 0, "num_moved_to_validation": 0}
    with TraceDraft(count_tokens=count_tokens) as draft:
        seen: set[str] = set()
        for parent in parents:
            pairs = zip(iter_ids(parent, workspace.objects), iter_traces(parent, None, workspace.objects), strict=True)
            for (trace_id, split), trace in _say_progress(pairs, "traces merged", screen):
                counts["num_seen"] += 1
                if trace_id in seen:
                    counts["num_duplicates"] += 1
                    continue
                seen.add(trace_id)
                target = VALIDATION if trace_id in held_out else split
                counts["num_moved_to_validation"] += target != split
                draft.add(trace, target)
        dataset = draft.build_dataset(
            name,
            version,
            source=" + ".join(f"{parent.name}@{parent.version}" for parent in parents),
            recipe={"merge": [parent.id for parent in parents]},
            counts=counts,
            derived_from=tuple(parent.id for parent in parents),
            tokenizer=tokenizer_id,
        )
        return _publish(draft, dataset, workspace)


def parse_key(key: str) -> tuple[str, str]:
    """NAME and VERSION of `NAME@VERSION`. Raises InvalidValue."""
    name, at, version = key.partition("@")
    if not at or _PART.fullmatch(name) is None or _PART.fullmatch(version) is None:
        raise InvalidValue(
            f"{key!r} cannot be the name of a dataset version.",
            why="It is NAME@VERSION, each of letters, digits and . _ -, beginning with a letter or digit.",
            next_step="Choose one like dev@v1.",
        )
    if version in _MOVING:
        raise InvalidValue(
            f"{key!r} cannot be the name of a dataset version.",
            why=f"{version} is for refs that move; a version never changes.",
            next_step=f"Choose one like {name}@v1.",
        )
    return name, version


def _publish(draft: TraceDraft, dataset: DatasetVersion, workspace: Workspace) -> Built:
    """Record, objects, index, ref, in this order; or the version that is there, if it has the same content."""
    key = f"{dataset.name}@{dataset.version}"
    known = _find_known(key, workspace)
    if known is None:
        workspace.ledger.put(dataset)
        draft.keep(workspace.objects)
        _require_nothing_forgotten_meanwhile(dataset, workspace)
        take_in_version(workspace.members, dataset, workspace.objects)
        try:
            workspace.ledger.move_ref(key, dataset.id, None, who="trainwright data", why="built")
        except RefMoved:  # another process was first
            known = _find_known(key, workspace)
        else:
            return Built(dataset, is_new=True)
    if isinstance(known, DatasetVersion) and (known.records, known.splits) == (dataset.records, dataset.splits):
        return Built(known, is_new=False)
    found = "a record that is gone" if known is None else f"the {known.kind} {known.id[:12]}"
    raise ImmutableRecord(
        f"{key} exists with other content; nothing was changed.",
        why=f"A version never changes, and {key} is {found}.",
        next_step=f"Build it under another name, for example {suggest_key(key, workspace)}; `trainwright data diff` compares.",
    )


def _require_nothing_forgotten_meanwhile(dataset: DatasetVersion, workspace: Workspace) -> None:
    """Raises TraceForgotten where a trace was forgotten after it was chosen; its content is then erased here too."""
    for trace_id in list_forgotten(dataset, workspace):
        for digest in find_holding(dataset, trace_id, workspace):
            workspace.objects.erase(digest, f"It held the trace {trace_id[:12]}, which was forgotten.")
    require_usable(dataset, workspace)


def _find_known(key: str, workspace: Workspace) -> Any:
    record_id = workspace.ledger.read_ref(key)
    return None if record_id is None else workspace.ledger.get(record_id)


def suggest_key(key: str, workspace: Workspace) -> str:
    """The next version of that name that is free: v1 becomes v2, and what has no number gets one."""
    name, _, version = key.partition("@")
    match = _NUMBERED.fullmatch(version)
    stem, number = (match.group(1), int(match.group(2))) if match else (f"{version}-", 1)
    while workspace.ledger.read_ref(f"{name}@{stem}{number + 1}") is not None:
        number += 1
    return f"{name}@{stem}{number + 1}"


def _open_counter(ref: str | None, workspace: Workspace) -> tuple[CountTokens | None, str | None]:
    """How many tokens the text of a trace has for a tokenizer (keys and template not counted)."""
    if ref is None:
        return None, None
    record = workspace.ledger.get(workspace.ledger.resolve(ref))
    if not isinstance(record, Tokenizer):
        raise UnknownRef(
            f"{ref} does not name a tokenizer.",
            why=f"It names a {record.kind}.",
            next_step="`trainwright lineage REF` of a run shows its tokenizer.",
        )
    opened = open_tokenizer(record, workspace.objects)
    return (lambda trace: len(opened.encode(trace.text))), record.id


def _say_progress(items: Iterator[T], what: str, screen: Screen) -> Iterator[T]:
    for number, item in enumerate(items, start=1):
        if number % 1000 == 0:
            screen.show_progress(what, number, None)
        yield item


# ── finding ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def find_dataset(ref: str, workspace: Workspace) -> DatasetVersion:
    """The version of traces that `ref` names. Raises UnknownRef, AmbiguousRef, InvalidValue (it holds text)."""
    record = workspace.ledger.get(workspace.ledger.resolve(ref))
    if not isinstance(record, DatasetVersion):
        raise UnknownRef(
            f"{ref} does not name a dataset.",
            why=f"It names a {record.kind}.",
            next_step="`trainwright data list` shows the dataset versions.",
        )
    require_traces(record)
    return record


def iter_versions(workspace: Workspace) -> Iterator[DatasetVersion]:
    """Every version of traces in the ledger, the newest first, those whose building was cut short among them."""
    after: str | None = None
    while page := workspace.ledger.find("dataset", PAGE, after=after):
        after = page[-1].record.id
        for stored in page:
            if isinstance(stored.record, DatasetVersion) and stored.record.holds_traces:
                yield stored.record


def _is_published(dataset: DatasetVersion, workspace: Workspace) -> bool:
    """Whether its building was finished."""
    return workspace.ledger.read_ref(f"{dataset.name}@{dataset.version}") == dataset.id


def list_versions(
    workspace: Workspace, limit: int, after: str | None = None
) -> tuple[list[DatasetVersion], str | None]:
    """A page of versions, newest first, and the id to ask for the next page with (None on the last one)."""
    found: list[DatasetVersion] = []
    last = None if after is None else workspace.ledger.resolve(after)
    is_past = last is None
    for dataset in iter_versions(workspace):
        if is_past and _is_published(dataset, workspace):
            found.append(dataset)
        is_past = is_past or dataset.id == last
        if len(found) > limit:
            return found[:limit], found[limit - 1].id
    return found, None


def list_forgotten(dataset: DatasetVersion, workspace: Workspace) -> list[str]:
    """The ids of its traces that were forgotten, by receipts and by what the trace store knows without one yet."""
    receipts = (workspace.ledger.get(child) for _, child in workspace.ledger.children(dataset.id))
    known = {receipt.trace for receipt in receipts if isinstance(receipt, Forgotten)}
    known |= {tombstone.id for tombstone in workspace.traces.tombstones() if holds(dataset, tombstone.id, workspace)}
    return sorted(known)


def holds(dataset: DatasetVersion, trace_id: str, workspace: Workspace) -> bool:
    """Whether a trace is, or was, among those of a version."""
    assert dataset.records is not None
    if not workspace.objects.has(dataset.records):  # its building was cut short before anything was kept
        return False
    with (
        workspace.objects.open_local(dataset.records).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as lines,
    ):
        return lines.find(trace_id.encode("ascii")) >= 0


def find_holding(dataset: DatasetVersion, trace_id: str, workspace: Workspace) -> list[str]:
    """The digests of the documents that hold a trace."""
    splits = {split for one, split in iter_ids(dataset, workspace.objects) if one == trace_id}
    return [dataset.splits[split].documents for split in sorted(splits)]


def require_usable(dataset: DatasetVersion, workspace: Workspace) -> None:
    """Raises TraceForgotten where a trace of the version was forgotten: it is no longer exported or trained on."""
    forgotten = list_forgotten(dataset, workspace)
    if forgotten:
        key = f"{dataset.name}@{dataset.version}"
        count = f"{len(forgotten)} of its traces were" if len(forgotten) > 1 else "one of its traces was"
        raise TraceForgotten(
            f"{key} can no longer be used: {count} forgotten.",
            why=f"Forgotten: {', '.join(trace_id[:12] for trace_id in forgotten[:10])}.",
            next_step=f"Build it without: trainwright data build {suggest_key(key, workspace)} --from {key}",
        )


def describe_version(dataset: DatasetVersion, workspace: Workspace) -> dict[str, Any]:
    """What `data show --json` prints."""
    return {
        **summarise_version(dataset, workspace),
        "recipe": dataset.recipe,
        "records": dataset.records,
        "splits": {name: split.model_dump(mode="json") for name, split in sorted(dataset.splits.items())},
        "statistics": dataset.statistics,
        "derived_from": list(dataset.derived_from),
        "forgotten": list_forgotten(dataset, workspace),
    }


def summarise_version(dataset: DatasetVersion, workspace: Workspace) -> dict[str, Any]:
    """A row of `data list`."""
    return {
        "dataset_id": dataset.id,
        "key": f"{dataset.name}@{dataset.version}",
        "source": dataset.source,
        "num_records": sum(split.num_documents for split in dataset.splits.values()),
        "num_by_split": {name: split.num_documents for name, split in sorted(dataset.splits.items())},
        "usable": not list_forgotten(dataset, workspace),
    }


# ── comparing, showing, checking ──────────────────────────────────────────────────────────────────────────────────────
def diff_versions(before: DatasetVersion, after: DatasetVersion, workspace: Workspace) -> dict[str, Any]:
    """What `data diff --json` prints: traces that came, went and changed split; settings and counts that differ."""
    old, new = (dict(iter_ids(dataset, workspace.objects)) for dataset in (before, after))
    added = [trace_id for trace_id in new if trace_id not in old]
    removed = [trace_id for trace_id in old if trace_id not in new]
    moved = [trace_id for trace_id, split in new.items() if old.get(trace_id, split) != split]
    same_order = [one for one in old if one in new] == [one for one in new if one in old]
    return {
        "from": f"{before.name}@{before.version}",
        "to": f"{after.name}@{after.version}",
        "num_common": len(new) - len(added),
        "num_added": len(added),
        "num_removed": len(removed),
        "num_moved": len(moved),
        "same_order": same_order,
        "added": added[:MAX_LISTED],
        "removed": removed[:MAX_LISTED],
        "moved": [{"id": one, "from": old[one], "to": new[one]} for one in moved[:MAX_LISTED]],
        "recipe": _diff_settings(before.recipe, after.recipe),
        "statistics": _diff_settings(before.statistics or {}, after.statistics or {}),
    }


def _diff_settings(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    return {key: {"from": before.get(key), "to": after.get(key)} for key in keys}


def render_version_card(dataset: DatasetVersion, workspace: Workspace) -> str:
    """The data card, as Markdown."""
    parents = [workspace.ledger.get(parent) for parent in dataset.derived_from]
    names = [f"{parent.name}@{parent.version}" for parent in parents if isinstance(parent, DatasetVersion)]
    return render_card(dataset, list_forgotten(dataset, workspace), names)


def verify_version(dataset: DatasetVersion, workspace: Workspace) -> dict[str, Any]:
    """Hash everything again. Raises ObjectDamaged, ObjectMissing, TraceForgotten."""
    require_usable(dataset, workspace)
    count = verify_dataset(dataset, workspace.objects)
    if count != sum(split.num_documents for split in dataset.splits.values()):
        raise ObjectDamaged(f"{dataset.name}@{dataset.version} has {count:,} traces, and its record says otherwise.")
    return {"dataset_id": dataset.id, "num_records": count, "verified": True}


# ── export ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def export_version(
    dataset: DatasetVersion,
    form: str,
    path: Path | None,
    workspace: Workspace,
    *,
    split: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a version (or one split) as one file, whole or not at all; None: to standard output.

    Raises TraceForgotten, InvalidValue, OutputExists, NotTrainable and TemplateFailed (by id), DiskFull, NotWritable.
    """
    from trainwright.data.trace_export import write_parquet

    if path is None and form == "parquet":
        raise InvalidValue(
            "Parquet cannot be written to standard output.",
            why="It is a binary file.",
            next_step="Name a file.",
        )
    if path is not None and path.exists() and not overwrite:
        raise OutputExists(
            f"{path} is there already.",
            why="An export does not replace a file unasked.",
            next_step="Name another file, or add --overwrite.",
        )
    if form == "parquet":
        assert path is not None
        require_usable(dataset, workspace)
        write_parquet(path, _iter_placed(dataset, split, workspace))
    else:
        chunks = open_export(dataset, form, workspace, split=split)
        if path is None:
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return {}
        write_chunks(path, chunks)
    wanted = dataset.splits.values() if split is None else [dataset.splits[split]]
    return {
        "dataset_id": dataset.id,
        "format": form,
        "split": split,
        "path": str(path.resolve()),
        "num_records": sum(one.num_documents for one in wanted),
        "num_bytes": path.stat().st_size,
        "digest": digest_file(path),
    }


def open_export(
    dataset: DatasetVersion, form: str, workspace: Workspace, *, split: str | None = None
) -> Iterator[bytes]:
    """The bytes of an export in a form that is text, in pieces.

    Raises TraceForgotten and InvalidValue at once, NotTrainable and TemplateFailed while it is read.
    """
    from trainwright.data.trace_export import iter_chunks, require_format

    require_format(form)
    require_usable(dataset, workspace)
    if form == "trace":
        return iter_chunks(iter_documents(dataset, split, workspace.objects), (), form)
    return iter_chunks((), _iter_placed(dataset, split, workspace), form)


def _iter_placed(dataset: DatasetVersion, split: str | None, workspace: Workspace) -> Iterator[tuple[bytes, str, str]]:
    """(document, the trace's id, its split) in manifest order."""
    documents = iter_documents(dataset, split, workspace.objects)
    ids = (one for one in iter_ids(dataset, workspace.objects) if split in (None, one[1]))
    return ((line[:-1], trace_id, name) for line, (trace_id, name) in zip(documents, ids, strict=True))
