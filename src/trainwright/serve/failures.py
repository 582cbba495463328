"""The door of the service: whatever goes wrong leaves as `{"error": {name, message, why, next, exit_code}}`."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from trainwright.core.errors import (
    InternalError,
    InvalidValue,
    MalformedRequest,
    TrainwrightError,
    UnknownKey,
    UnknownRoute,
)
from trainwright.core.records import Frozen
from trainwright.serve.pages import redirect, render_refusal

_STATUSES = {
    400: "The body is no JSON.",
    401: "No token, or none that is known.",
    403: "The role does not allow it, or the place does not.",
    404: "There is nothing of that name.",
    409: "What stands now does not allow it.",
    410: "It was forgotten on request.",
    413: "The body is too large.",
    422: "It cannot be meant as written.",
    429: "Asked too often.",
    500: "A fault of ours, or damage on disk.",
    502: "Something that had to be asked elsewhere did not answer.",
    503: "The machine lacks something, or the database is gone for a while.",
    507: "The disk is full.",
}


class ErrorDocument(Frozen):
    """What happened, why, and what to do next."""

    name: str
    message: str
    why: str
    next: str
    exit_code: int


class ErrorAnswer(Frozen):
    """The one shape of every answer that is none."""

    error: ErrorDocument


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text} for status, text in _STATUSES.items()
}


class RefusedMidway(HTTPException):
    """An error of ours that is found while the framework reads a body: it lets only its own kind through."""

    def __init__(self, error: TrainwrightError) -> None:
        super().__init__(error.http_status, error.message)
        self.error = error


def render_error(error: TrainwrightError, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error of ours as an answer, with its status."""
    return JSONResponse({"error": error.as_document()}, status_code=error.http_status, headers=headers)


def answer_refusal(request: Request, error: TrainwrightError, headers: dict[str, str] | None = None) -> Response:
    """An error of ours in the form that was asked for: JSON, or, for a browser, a page; who is to say who they are signs in."""
    if "text/html" not in request.headers.get("accept", ""):
        return render_error(error, headers)
    if error.http_status == 401 and request.method == "GET":
        return redirect("/login?" + urlencode({"to": str(request.url.replace(scheme="", netloc=""))}))
    return render_refusal(request, error)


def add_error_handlers(app: FastAPI) -> None:
    """Make every failure of `app` an answer in the one shape."""
    app.add_exception_handler(TrainwrightError, _answer_ours)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_fault)


def _answer_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, TrainwrightError)
    return answer_refusal(request, error)


def _answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return render_error(_name_findings(error.errors()))


def _answer_http(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: an address or a method that is not there."""
    assert isinstance(error, HTTPException)
    if isinstance(error, RefusedMidway):
        return render_error(error.error)
    if error.status_code == 400:
        return render_error(MalformedRequest("The body of the request cannot be read.", why=str(error.detail)))
    refusal = UnknownRoute(
        f"There is no {request.method} {request.url.path}.",
        why=str(error.detail),
        next_step="/openapi.json lists every route.",
    )
    if error.status_code == 404:
        return answer_refusal(request, refusal)
    document = {"error": refusal.as_document()}
    return JSONResponse(document, status_code=error.status_code, headers=getattr(error, "headers", None))


def _answer_fault(request: Request, error: Exception) -> Response:
    # The framework raises it again after the answer, so that the traceback is in the log of the server.
    fault = InternalError(
        f"{request.method} {request.url.path} failed.",
        why=f"This is a fault of ours: {type(error).__name__}.",
        next_step="The log of the service has the traceback; please report it.",
    )
    return answer_refusal(request, fault)


def _name_findings(findings: Sequence[Any]) -> TrainwrightError:
    """One error that names every field that is wrong, and what is wrong with it."""
    if any(finding["type"] == "json_invalid" for finding in findings):
        return MalformedRequest(
            "The body of the request is no JSON.",
            why=str(findings[0].get("ctx", {}).get("error", "")),
            next_step="Send one JSON object, with `Content-Type: application/json`.",
        )
    said = "; ".join(f"{_place(finding['loc'])}: {finding['msg']}" for finding in findings)
    unknown = [_place(finding["loc"]) for finding in findings if finding["type"] == "extra_forbidden"]
    if unknown and len(unknown) == len(findings):
        return UnknownKey(f"Unknown: {', '.join(unknown)}.", why=said, next_step="/openapi.json has every field.")
    return InvalidValue("The request cannot be meant as written.", why=said, next_step="/openapi.json has every field.")


def _place(location: Sequence[Any]) -> str:
    return ".".join(str(part) for part in location)
