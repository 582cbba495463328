"""The door of the service: whatever goes wrong leaves as `{"error": {name, message, why, next, exit_code}}`."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from trainwright.core.errors import InternalError, InvalidValue, TrainwrightError, UnknownKey, UnknownRoute

LOG = logging.getLogger("trainwright.serve")


def render_error(error: TrainwrightError, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error of ours as an answer, with its status."""
    return JSONResponse({"error": error.as_document()}, status_code=error.http_status, headers=headers)


def add_error_handlers(app: FastAPI) -> None:
    """Make every failure of `app` an answer in the one shape."""
    app.add_exception_handler(TrainwrightError, _answer_ours)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_fault)


def _answer_ours(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TrainwrightError)
    return render_error(error)


def _answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return render_error(_name_findings(error.errors()))


def _answer_http(request: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses: an address or a method that is not there."""
    assert isinstance(error, HTTPException)
    refusal = UnknownRoute(
        f"There is no {request.method} {request.url.path}.",
        why=str(error.detail),
        next_step="/openapi.json lists every route.",
    )
    document = {"error": refusal.as_document()}
    return JSONResponse(document, status_code=error.status_code, headers=getattr(error, "headers", None))


def _answer_fault(request: Request, error: Exception) -> JSONResponse:
    # The framework raises it again after the answer, so that the traceback is in the log of the server.
    fault = InternalError(
        f"{request.method} {request.url.path} failed.",
        why=f"This is a fault of ours: {type(error).__name__}.",
        next_step="The log of the service has the traceback; please report it.",
    )
    return render_error(fault)


def _name_findings(findings: Sequence[Any]) -> TrainwrightError:
    """One error that names every field that is wrong, and what is wrong with it."""
    said = "; ".join(f"{_place(finding['loc'])}: {finding['msg']}" for finding in findings)
    unknown = [_place(finding["loc"]) for finding in findings if finding["type"] == "extra_forbidden"]
    if unknown and len(unknown) == len(findings):
        return UnknownKey(f"Unknown: {', '.join(unknown)}.", why=said, next_step="/openapi.json has every field.")
    return InvalidValue("The request cannot be meant as written.", why=said, next_step="/openapi.json has every field.")


def _place(location: Sequence[Any]) -> str:
    return ".".join(str(part) for part in location)
