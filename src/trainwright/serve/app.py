"""The service as one application. Every area is a router, and all of them are listed here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI

from trainwright import __version__
from trainwright.serve import routes_completions, routes_health, routes_training
from trainwright.serve.access import Tokens
from trainwright.serve.board import Board
from trainwright.serve.dashboard import PAGES
from trainwright.serve.failures import RESPONSES, add_error_handlers
from trainwright.serve.guard import Guard
from trainwright.serve.readers import Readers
from trainwright.serve.settings import Settings
from trainwright.serve.writers import Writers
from trainwright.store.audit import AuditLog
from trainwright.store.workspace import open_workspace

ROUTERS: tuple[APIRouter, ...] = (routes_health.router, routes_training.router, routes_completions.router, *PAGES)
AUDIT_FILE = "audit.jsonl"


def create_app(workspace_root: Path, settings: Settings) -> FastAPI:
    """The application that serves the workspace at `workspace_root`. Raises as `open_workspace` and `Tokens`."""
    tokens = None if settings.tokens_path is None else Tokens(settings.tokens_path)
    workspace = open_workspace(workspace_root)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.writers.close()
        workspace.close()

    app = FastAPI(title="Trainwright", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.workspace = workspace
    app.state.settings = settings
    app.state.board = Board(workspace)
    app.state.tokens = tokens
    app.state.readers = Readers()
    app.state.writers = Writers(workspace)
    add_error_handlers(app)
    app.add_middleware(Guard, settings=settings, tokens=tokens, audit=AuditLog(workspace.root / AUDIT_FILE))
    for router in ROUTERS:
        app.include_router(router, responses=RESPONSES)
    return app
