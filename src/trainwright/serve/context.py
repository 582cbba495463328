"""What a route is given beside the request: the workspace, and the settings of the service."""

from typing import Annotated

from fastapi import Depends, Request

from trainwright.serve.settings import Settings
from trainwright.store.workspace import Workspace


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
