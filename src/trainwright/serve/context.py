"""What a route is given beside the request: the workspace, the settings of the service, and what many routes are asked with."""

from typing import Annotated

from fastapi import Depends, Header, Query, Request

from trainwright.serve.settings import Settings
from trainwright.store.workspace import Workspace

MAX_PAGE = 1000


def get_workspace(request: Request) -> Workspace:
    """The open workspace, one for the whole service."""
    workspace: Workspace = request.app.state.workspace
    return workspace


def get_settings(request: Request) -> Settings:
    """What the service was told when it started."""
    settings: Settings = request.app.state.settings
    return settings


Opened = Annotated[Workspace, Depends(get_workspace)]
Told = Annotated[Settings, Depends(get_settings)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Rows at most.")]
After = Annotated[str | None, Query(max_length=200, description="`next` of the page before.")]
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=128, description="The same key, the same thing made."),
]
