"""Dataset versions of traces: build, list, show, compare, export."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from trainwright.core.errors import InvalidValue
from trainwright.core.records import Frozen
from trainwright.data.selection import Selection, parse_filter
from trainwright.pipeline.datasets import (
    build_version,
    describe_version,
    diff_versions,
    find_dataset,
    list_versions,
    merge_versions,
    open_export,
    rebuild_version,
    summarise_version,
)
from trainwright.pipeline.journal import SilentScreen
from trainwright.serve.access import Operator
from trainwright.serve.context import After, Limit, Opened
from trainwright.serve.streaming import Stream

router = APIRouter(prefix="/api/datasets", tags=["datasets"])

Form = Literal["trace", "messages", "tunix_sft", "chatml", "training_example"]


class BuildRequest(Frozen):
    """A version to be built: selected from all traces, taken over from a version, or merged from several."""

    key: str = Field(min_length=3, max_length=200, description="NAME@VERSION")
    select: Literal["latest", "random", "stratified", "top"] = "latest"
    by: str | None = None
    seed: int = Field(default=0, ge=0, lt=2**63)
    limit: int | None = Field(default=None, ge=1, lt=2**63)
    filters: list[str] = Field(default=[], max_length=100)
    dedup: Literal["none", "exact", "near"] = "exact"
    split: float = Field(default=0.1, ge=0, le=0.9)
    sources: list[str] = Field(default=[], max_length=100)
    tokenizer: str | None = None


@router.post("", status_code=201, responses={200: {"description": "That version was there already."}})
def build(body: BuildRequest, response: Response, caller: Operator, workspace: Opened) -> dict[str, Any]:  # noqa: ARG001
    """Build a version. With one of `sources`, it is taken over without what was forgotten; with several, they are merged.

    The same key with the same content is the version that is there (200); with other content it is refused (409).
    """
    screen = SilentScreen()
    if body.sources:
        if body.model_copy(update={"key": "a@b", "sources": [], "tokenizer": None}) != BuildRequest(key="a@b"):
            raise InvalidValue("Versions are taken over as they are.", why="The body also says what to select.")
        if len(body.sources) == 1:
            built = rebuild_version(body.key, body.sources[0], workspace, tokenizer=body.tokenizer, screen=screen)
        else:
            built = merge_versions(body.key, body.sources, workspace, tokenizer=body.tokenizer, screen=screen)
    else:
        filters = tuple(parse_filter(text) for text in body.filters)
        selection = Selection(body.select, body.by, body.seed, body.limit, filters, body.dedup)
        built = build_version(body.key, selection, workspace, share=body.split, tokenizer=body.tokenizer, screen=screen)
    response.status_code = 201 if built.is_new else 200
    return describe_version(built.dataset, workspace)


@router.get("")
def read_versions(workspace: Opened, limit: Limit = 20, after: After = None) -> dict[str, Any]:
    """A page of versions, the last built first."""
    found, following = list_versions(workspace, limit, after)
    return {"items": [summarise_version(dataset, workspace) for dataset in found], "next": following}


@router.get("/diff")
def diff(before: str, after: str, workspace: Opened) -> dict[str, Any]:
    """What changed between two versions."""
    return diff_versions(find_dataset(before, workspace), find_dataset(after, workspace), workspace)


@router.get("/{dataset}")
def read_version(dataset: str, workspace: Opened) -> dict[str, Any]:
    """All about a version."""
    return describe_version(find_dataset(dataset, workspace), workspace)


@router.get("/{dataset}/export.jsonl", response_class=Stream)
def export(
    dataset: str,
    workspace: Opened,
    form: Annotated[Form, Query(alias="format")] = "trace",
    split: Annotated[str | None, Query(max_length=100)] = None,
) -> Stream:
    """A version as JSONL: the same version gives the same bytes."""
    found = find_dataset(dataset, workspace)
    chunks = open_export(found, form, workspace, split=split)
    return Stream(chunks, media_type="application/x-ndjson")
