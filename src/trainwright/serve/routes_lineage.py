"""Where anything came from, and what came of it."""

from typing import Any

from fastapi import APIRouter

from trainwright.pipeline.lineage import check_everything, describe_lineage, find_lineage
from trainwright.serve.context import Opened

router = APIRouter(prefix="/api/lineage", tags=["lineage"])


@router.get("/{ref:path}")
def read_lineage(ref: str, workspace: Opened, check: bool = False) -> dict[str, Any]:
    """The lineage of a record (an id, its beginning, a ref) or of a trace. `check`: everything is hashed again."""
    found = find_lineage(ref, workspace)
    return describe_lineage(found, check_everything(found, workspace) if check else None)
