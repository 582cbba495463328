"""The service as one application. Every area is a router, and all of them are listed here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI

from trainwright import __version__
from trainwright.serve import (
    routes_alerts,
    routes_completions,
    routes_costs,
    routes_datasets,
    routes_evaluations,
    routes_health,
    routes_lineage,
    routes_metrics,
    routes_models,
    routes_runs,
    routes_sweeps,
    routes_traces,
    routes_training,
)
from trainwright.serve.board import Board, BoardFirst
from trainwright.serve.bodies import require_plain_json
from trainwright.serve.dashboard import PAGES
from trainwright.serve.failures import RESPONSES, add_error_handlers
from trainwright.serve.guard import Guard
from trainwright.serve.idempotency import Idempotency
from trainwright.serve.metrics import CountRequests, Metrics
from trainwright.serve.readers import Readers
from trainwright.serve.settings import Settings
from trainwright.serve.tokens import Tokens
from trainwright.serve.writers import Writers
from trainwright.store.audit import AUDIT_FILE, AuditLog
from trainwright.store.workspace import open_workspace

ROUTERS: tuple[APIRouter, ...] = (
    routes_health.router,
    routes_training.router,
    routes_runs.router,
    routes_sweeps.router,
    routes_traces.router,
    routes_datasets.router,
    routes_evaluations.router,
    routes_models.router,
    routes_lineage.router,
    routes_costs.router,
    routes_alerts.router,
    routes_metrics.router,
    routes_completions.router,
    *PAGES,
)


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
    app.add_middleware(BoardFirst, board=app.state.board)  # what is added last is met first
    app.add_middleware(Idempotency, answers=workspace.answers)
    app.add_middleware(Guard, settings=settings, tokens=tokens, audit=AuditLog(workspace.root / AUDIT_FILE))
    app.state.metrics = Metrics(workspace)
    app.add_middleware(CountRequests, metrics=app.state.metrics)
    for router in ROUTERS:
        app.include_router(router, responses=RESPONSES, dependencies=[Depends(require_plain_json)])
    return app
