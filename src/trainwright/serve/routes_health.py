"""Whether the service lives, and whether it can do its work."""

from typing import Any

from fastapi import APIRouter

from trainwright import __version__
from trainwright.serve.context import Opened

router = APIRouter(tags=["health"])


@router.get("/health")
def read_health() -> dict[str, Any]:
    """The process answers."""
    return {"status": "ok", "version": __version__}


@router.get("/ready")
def read_readiness(workspace: Opened) -> dict[str, Any]:
    """The ledger answers too; 503 with the reason where it does not."""
    workspace.ledger.find("run", 1)
    return {"status": "ready"}
