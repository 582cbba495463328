"""The service as one application. Every area is a router, and all of them are listed here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI

from trainwright import __version__
from trainwright.serve import (
    pages,
    pages_data,
    pages_evaluations,
    pages_jobs,
    pages_lineage,
    pages_login,
    pages_models,
    pages_runs,
    routes_completions,
    routes_health,
)
from trainwright.serve.failures import add_error_handlers
from trainwright.serve.readers import Readers
from trainwright.serve.settings import Settings
from trainwright.serve.writers import Writers
from trainwright.store.workspace import open_workspace

PAGES: tuple[APIRouter, ...] = (
    pages.router,
    pages_login.router,
    pages_runs.router,
    pages_data.router,
    pages_evaluations.router,
    pages_models.router,
    pages_lineage.router,
    pages_jobs.router,
)
ROUTERS: tuple[APIRouter, ...] = (routes_health.router, routes_completions.router, *PAGES)


def create_app(workspace_root: Path, settings: Settings) -> FastAPI:
    """The application that serves the workspace at `workspace_root`. Raises as `open_workspace`."""
    workspace = open_workspace(workspace_root)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.writers.close()
        workspace.close()

    app = FastAPI(title="Trainwright", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.workspace = workspace
    app.state.settings = settings
    app.state.tokens = None
    app.state.readers = Readers()
    app.state.writers = Writers(workspace)
    add_error_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    return app
