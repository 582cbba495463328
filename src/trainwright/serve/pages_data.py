"""Pages of data: dataset versions, and the traces, searched, filtered, rendered, as tokens with what is to be learnt."""

from itertools import islice
from typing import Annotated, Any

from fastapi import Query, Request, Response
from starlette.datastructures import URL

from trainwright.core.errors import TrainwrightError
from trainwright.core.records import DatasetVersion, Tokenizer
from trainwright.core.traces import AnyTrace, Trace
from trainwright.data.chat import BUILTIN_TEMPLATES
from trainwright.data.trace_dataset import iter_ids, iter_traces
from trainwright.pipeline.datasets import describe_version, diff_versions, find_dataset, list_versions
from trainwright.pipeline.lineage import find_versions_holding
from trainwright.pipeline.preview import Preview, preview_trace
from trainwright.pipeline.traces import describe_stored, list_traces
from trainwright.serve.context import Opened
from trainwright.serve.pages import build_router, render_page, render_value
from trainwright.store.traces import StoredTrace
from trainwright.store.workspace import Workspace

PAGE_SIZE = 50
MAX_LOOKED_AT = 5000
"""How many traces one page looks through for those that fit its filters; the next page goes on from there."""
MAX_TOKENIZERS = 50
KINDS = ("trace", "conversation")

router = build_router()


@router.get("/data")
def list_data(request: Request, workspace: Opened, after: str | None = None) -> Response:
    """Dataset versions of traces, texts, and how many traces there are."""
    versions, following = list_versions(workspace, PAGE_SIZE, after)
    texts = [
        stored.record
        for stored in workspace.ledger.find("dataset", PAGE_SIZE)
        if isinstance(stored.record, DatasetVersion) and not stored.record.holds_traces
    ]
    values = {
        "versions": versions,
        "older": URL("/data").include_query_params(after=following) if following else None,
        "texts": texts,
        "counts": workspace.traces.count(),
    }
    return render_page(request, "data.html.j2", values, title="Data")


@router.get("/data/compare")
def show_difference(request: Request, workspace: Opened, a: str, b: str) -> Response:
    """What two versions have and have not in common."""
    difference = diff_versions(find_dataset(a, workspace), find_dataset(b, workspace), workspace)
    values = {
        "difference": difference,
        "settings": [
            (name, [(key, render_value(two["from"]), render_value(two["to"])) for key, two in difference[name].items()])
            for name in ("recipe", "statistics")
        ],
    }
    return render_page(request, "compare_data.html.j2", values, title="Dataset versions side by side")


@router.get("/data/{ref}")
def show_version(
    request: Request,
    workspace: Opened,
    ref: str,
    split: Annotated[str, Query(max_length=40)] = "",
    start: Annotated[int, Query(ge=0, le=100_000_000)] = 0,
) -> Response:
    """One version: what it was made from, its statistics, its traces."""
    dataset = find_dataset(ref, workspace)
    document = describe_version(dataset, workspace)
    wanted = split if split in dataset.splits else None
    rows = list(_list_documents(dataset, wanted, start, workspace)) if not document["forgotten"] else []
    total = document["splits"][wanted]["num_documents"] if wanted else document["num_records"]
    older = URL(f"/data/{dataset.id}").include_query_params(split=split, start=start + PAGE_SIZE)
    values = {
        "version": document,
        "rows": rows,
        "split": wanted or "",
        "start": start,
        "total": total,
        "older": older if start + PAGE_SIZE < total else None,
        "recipe": [(key, render_value(value)) for key, value in document["recipe"].items()],
        "statistics": _list_statistics(document["statistics"] or {}),
    }
    return render_page(request, "dataset.html.j2", values, title=document["key"])


@router.get("/traces")
def browse_traces(
    request: Request,
    workspace: Opened,
    after: str | None = None,
    words: Annotated[str, Query(max_length=300)] = "",
    kind: Annotated[str, Query(max_length=20)] = "",
    meta: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Traces, the last imported first: by words, kind, and what their meta says."""
    found, following, num_looked_at = _find_traces(workspace, after, words.strip(), kind, meta.strip())
    older = URL("/traces").include_query_params(words=words, kind=kind, meta=meta, after=following)
    values = {
        "rows": [describe_stored(one) for one in found],
        "older": older if following else None,
        "words": words,
        "kind": kind,
        "kinds": KINDS,
        "meta": meta,
        "is_filtered": bool(words or kind or meta),
        "num_looked_at": num_looked_at,
        "counts": workspace.traces.count(),
    }
    return render_page(request, "traces.html.j2", values, title="Traces")


@router.get("/traces/{ref}")
def show_trace(
    request: Request,
    workspace: Opened,
    ref: str,
    tokenizer: Annotated[str, Query(max_length=200)] = "",
    template: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """One trace: as it is, as a template renders it, and as tokens with those that are to be learnt."""
    stored = workspace.traces.get(workspace.traces.resolve(ref))
    tokenizers = _list_tokenizers(workspace)
    chosen = tokenizer or (tokenizers[0][0] if tokenizers else "")
    preview, refusal = _preview(stored.trace, chosen, template, workspace)
    values = {
        "stored": stored,
        "trace": stored.trace,
        "is_trace": isinstance(stored.trace, Trace),
        "meta": [(key, render_value(value)) for key, value in (stored.trace.meta or {}).items()],
        "versions": _name_versions(stored.id, workspace),
        "tokenizers": tokenizers,
        "tokenizer": chosen,
        "templates": BUILTIN_TEMPLATES,
        "template": template,
        "preview": preview,
        "tokens": _list_tokens(preview),
        "refusal": refusal,
    }
    return render_page(request, "trace.html.j2", values, title=f"Trace {stored.id[:12]}")


# ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _find_traces(
    workspace: Workspace, after: str | None, words: str, kind: str, meta: str
) -> tuple[list[StoredTrace], str | None, int]:
    """A page of what fits, the id to go on after (None: there is no more), and how many were looked at."""
    found: list[StoredTrace] = []
    num_looked_at = 0
    while True:
        page, following = list_traces(workspace.traces, PAGE_SIZE, after, words or None)
        for number, stored in enumerate(page):
            num_looked_at += 1
            if _fits(stored.trace, kind, meta):
                found.append(stored)
            if len(found) == PAGE_SIZE:
                is_last = number == len(page) - 1 and following is None
                return found, None if is_last else stored.id, num_looked_at
        if following is None or num_looked_at >= MAX_LOOKED_AT:
            return found, following, num_looked_at
        after = following


def _fits(trace: AnyTrace, kind: str, meta: str) -> bool:
    if kind and trace.kind != kind:
        return False
    key, is_pair, value = (part.strip() for part in meta.partition("="))
    known = trace.meta or {}
    if not key:
        return True
    return render_value(known.get(key)) == value if is_pair else key in known


def _list_documents(dataset: DatasetVersion, split: str | None, start: int, workspace: Workspace) -> Any:
    """A page of a version's traces, with their splits."""
    ids = ((one, name) for one, name in iter_ids(dataset, workspace.objects) if split in (None, name))
    pairs = zip(ids, iter_traces(dataset, split, workspace.objects), strict=True)
    for (trace_id, name), trace in islice(pairs, start, start + PAGE_SIZE):
        begins = trace.prompt if isinstance(trace, Trace) else trace.messages[0].content
        yield {"id": trace_id, "split": name, "kind": trace.kind, "begins": begins[:200], "meta": trace.meta}


def _list_statistics(statistics: dict[str, Any]) -> list[tuple[str, str]]:
    return [(key.replace("_", " "), render_value(value)) for key, value in statistics.items()]


def _list_tokenizers(workspace: Workspace) -> list[tuple[str, str]]:
    """(id, what it is called) of the newest tokenizers."""
    records = [stored.record for stored in workspace.ledger.find("tokenizer", MAX_TOKENIZERS)]
    return [
        (one.id, f"{one.id[:12]}, {one.algorithm}, {one.vocab_size:,} tokens")
        for one in records
        if isinstance(one, Tokenizer)
    ]


def _name_versions(trace_id: str, workspace: Workspace) -> list[tuple[str, str]]:
    records = [workspace.ledger.get(one) for one in find_versions_holding(trace_id, workspace)]
    return [(one.id, f"{one.name}@{one.version}") for one in records if isinstance(one, DatasetVersion)]


def _preview(
    trace: AnyTrace, tokenizer: str, template: str, workspace: Workspace
) -> tuple[Preview | None, TrainwrightError | None]:
    """The trace rendered, or why it cannot be: that is said in its place, and the rest of the page stands."""
    if not tokenizer:
        return None, None
    try:
        return preview_trace(trace, tokenizer, workspace, template or None), None
    except TrainwrightError as error:
        return None, error


def _list_tokens(preview: Preview | None) -> list[dict[str, Any]]:
    if preview is None:
        return []
    encoded = preview.encoded
    rows = zip(
        preview.names, encoded.texts, encoded.targets.tolist(), preview.controls, encoded.ids.tolist(), strict=True
    )
    return [
        {
            "name": name,
            "text": name if is_control else text or name,
            "learnt": bool(target),
            "control": is_control,
            "id": one,
        }
        for name, text, target, is_control, one in rows
    ]
