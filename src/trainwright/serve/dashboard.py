"""The areas of the dashboard, all in one place: an area is one file `pages_*.py` with a router."""

from fastapi import APIRouter

from trainwright.serve import (
    pages,
    pages_alerts,
    pages_costs,
    pages_data,
    pages_evaluations,
    pages_jobs,
    pages_lineage,
    pages_login,
    pages_models,
    pages_runs,
    pages_sweeps,
)

PAGES: tuple[APIRouter, ...] = (
    pages.router,
    pages_login.router,
    pages_runs.router,
    pages_sweeps.router,
    pages_data.router,
    pages_evaluations.router,
    pages_models.router,
    pages_lineage.router,
    pages_jobs.router,
    pages_costs.router,
    pages_alerts.router,
)
