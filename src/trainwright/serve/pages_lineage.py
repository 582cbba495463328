"""Pages of lineage: where a record or a trace came from, and what came of it, as a picture, a tree and a table."""

from typing import Annotated

from fastapi import Query, Request, Response

from trainwright.pipeline.lineage import check_everything, find_lineage, summarise_use
from trainwright.serve.context import Opened
from trainwright.serve.pages import HEADERS, build_router, render_page
from trainwright.store.lineage import TRACE, Node, render_tree
from trainwright.store.lineage_picture import render_svg

router = build_router()

PAGES_BY_KIND = {
    "run": "/runs/{}",
    "sweep": "/sweeps/{}",
    "evaluation": "/evaluations/{}",
    "decision": "/decisions/{}",
    TRACE: "/traces/{}",
}
"""Kinds that have a page of their own; everything else leads to its lineage."""


@router.get("/lineage")
def show_lineage(
    request: Request,
    workspace: Opened,
    ref: Annotated[str, Query(max_length=300)] = "",
    check: Annotated[str, Query(max_length=10)] = "",
) -> Response:
    """What `ref` came from and what came of it; with `check`, everything behind it is hashed again."""
    values: dict[str, object] = {"ref": ref, "refs": workspace.ledger.refs(), "lineage": None}
    if ref.strip():
        lineage = find_lineage(ref.strip(), workspace)
        asked = lineage.nodes[lineage.record_id]
        values |= {
            "lineage": lineage,
            "asked": asked,
            "summary": summarise_use(lineage),
            "tree": render_tree(lineage),
            "nodes": [(node, _address(node)) for node in lineage.nodes.values()],
            "findings": check_everything(lineage, workspace) if check else None,
        }
        return render_page(request, "lineage.html.j2", values, title=f"Lineage of {asked.kind} {asked.id[:12]}")
    return render_page(request, "lineage.html.j2", values, title="Lineage")


@router.get("/lineage/{ref}.svg")
def draw_lineage(workspace: Opened, ref: str) -> Response:
    """The picture alone."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    headers = {**HEADERS, "Content-Security-Policy": policy}
    return Response(render_svg(find_lineage(ref, workspace)), media_type="image/svg+xml", headers=headers)


def _address(node: Node) -> str:
    return PAGES_BY_KIND.get(node.kind, "/lineage?ref={}").format(node.id)
