"""What all pages of the dashboard share: templates, headers, errors as pages, and forms that only our own pages can send."""

import hmac
import secrets
from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from trainwright import __version__
from trainwright.core.errors import InvalidValue, NotPermitted, TrainwrightError, UnknownRoute
from trainwright.serve.access import COOKIE
from trainwright.serve.charting import list_style_ids, name_library, send_library
from trainwright.watch.progress import render_duration
from trainwright.watch.report import (
    render_bytes,
    render_label,
    render_measure,
    render_moment,
    render_number,
    render_quantity,
)

NAVIGATION = (
    ("/runs", "Runs"),
    ("/sweeps", "Sweeps"),
    ("/data", "Data"),
    ("/evaluations", "Evaluations"),
    ("/models", "Models"),
    ("/lineage", "Lineage"),
    ("/jobs", "Jobs"),
    ("/costs", "Costs"),
    ("/alerts", "Alerts"),
)
"""Address and name of every area, in the order in which the work is done."""

AREAS = {"traces": "data", "decisions": "models"}
"""Pages that belong to an area whose address they do not begin with."""

CSRF_COOKIE = "trainwright_form"
CSRF_FIELD = "form_key"
MAX_FORM_BYTES = 64 * 1024
MAX_REASON_CHARACTERS = 1000

HEADERS = {
    # No script but ours, nothing from elsewhere, no frame around us: text that got past escaping would still do nothing.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STATIC_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


class PageRoute(APIRoute):
    """A route whose refusals are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with refusals as pages."""
        handle = super().get_route_handler()

        async def handle_and_render(request: Request) -> Response:
            try:
                return await handle(request)
            except TrainwrightError as error:
                return render_refusal(request, error)
            except RequestValidationError as error:
                said = "; ".join(f"{finding['loc'][-1]}: {finding['msg']}" for finding in error.errors())
                return render_refusal(request, InvalidValue("The address cannot be meant as written.", why=said))

        return handle_and_render


def build_router() -> APIRouter:
    """A router for pages: they are no part of the API's description."""
    return APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse)


router = build_router()


# ── rendering ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@cache
def open_templates() -> Environment:
    """The templates; every text put into them is escaped, and a name that is not given is an error."""
    environment = Environment(
        loader=PackageLoader("trainwright.serve"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=render_number,
        duration=render_duration,
        moment=render_moment,
        bytes=render_bytes,
        label=render_label,
        measure=render_measure,
        short=lambda digest: "none" if digest is None else str(digest)[:12],
        path=lambda text: quote(str(text), safe="@"),
        as_text=render_value,
        day=render_day,
        code=mark_code,
        limit=lambda check: "–" if check.limit is None else render_quantity(check.limit, check.measured.unit),
    )
    return environment


def render_page(
    request: Request, name: str, values: Mapping[str, Any] | None = None, *, title: str, status: int = 200
) -> HTMLResponse:
    """A page of the dashboard."""
    first = request.url.path.split("/")[1]
    key = request.cookies.get(CSRF_COOKIE) or secrets.token_urlsafe(24)
    text = (
        open_templates()
        .get_template(name)
        .render(
            **(values or {}),
            title=title,
            navigation=NAVIGATION,
            here=f"/{AREAS.get(first, first)}",
            can_leave=COOKIE in request.cookies,
            our_version=__version__,
            form_key=key,
            csrf_field=CSRF_FIELD,
            library=name_library(),
            style_ids=" ".join(list_style_ids()),
        )
    )
    response = HTMLResponse(text, status_code=status, headers=HEADERS)
    if CSRF_COOKIE not in request.cookies:
        response.set_cookie(CSRF_COOKIE, key, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return response


def render_fragment(name: str, values: Mapping[str, Any]) -> HTMLResponse:
    """A part of a page, which a script puts in the place of the older one."""
    return HTMLResponse(open_templates().get_template(name).render(**values), headers=HEADERS)


def render_refusal(request: Request, error: TrainwrightError) -> HTMLResponse:
    """An error of ours as a page, with its status."""
    return render_page(request, "error.html.j2", {"error": error}, title="Not possible", status=error.http_status)


def render_day(moment: str) -> str:
    """An ISO 8601 time as "2025-01-31 11:59", UTC: short enough for a column."""
    return moment[:16].replace("T", " ")


def render_value(value: object) -> str:
    """Anything out of a record as text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(render_value(one) for one in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {render_value(one)}" for key, one in value.items()) or "none"
    return str(value)


def mark_code(text: str) -> Markup:
    """A docstring's text, with what it has between backquotes as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


# ── forms ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def read_form(request: Request) -> dict[str, str]:
    """What a form of ours was sent with.

    Raises NotPermitted where the page that sent it was not one of ours: its key is not that of the cookie, which other
    sites can neither read nor send; InvalidValue where it is no form.
    """
    from urllib.parse import parse_qsl

    body = await request.body()
    if len(body) > MAX_FORM_BYTES:
        raise InvalidValue("A form is not that large.", why=f"It has {len(body):,} bytes; {MAX_FORM_BYTES:,} may be.")
    try:
        form = dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=50))
    except ValueError:
        raise InvalidValue("The form cannot be read.", why="It is not what a browser sends.") from None
    cookie = request.cookies.get(CSRF_COOKIE, "")
    if not cookie or not hmac.compare_digest(cookie.encode(), form.pop(CSRF_FIELD, "").encode()):
        raise _sent_from_elsewhere("Its key is not the one that this browser was given.")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise _sent_from_elsewhere(f"It was sent from {origin}.")
    return form


def require_field(form: Mapping[str, str], key: str, what: str) -> str:
    """A field of a form that may not be empty. Raises InvalidValue."""
    value = form.get(key, "").strip()
    if not value:
        raise InvalidValue(f"The form lacks {what}.", why="The history keeps it.", next_step="Go back, and fill it in.")
    return value


def read_reason(form: Mapping[str, str]) -> str:
    """Why something is to be done, in one line. Raises InvalidValue where it is missing or too long."""
    reason = " ".join(require_field(form, "reason", "a reason").split())
    if len(reason) > MAX_REASON_CHARACTERS:
        raise InvalidValue("The reason is too long.", why=f"It may have {MAX_REASON_CHARACTERS:,} characters.")
    return reason


def redirect(address: str) -> RedirectResponse:
    """Where a form that was taken leads to."""
    return RedirectResponse(address, status_code=303)


def _sent_from_elsewhere(why: str) -> NotPermitted:
    return NotPermitted(
        "The form was not sent from a page of this dashboard.",
        why=why,
        next_step="Open the page again, and send the form from there; cookies must be allowed.",
    )


# ── what is served as it is ───────────────────────────────────────────────────────────────────────────────────────────
@router.get("/")
def open_home() -> RedirectResponse:
    """The dashboard begins with the runs."""
    return RedirectResponse("/runs", status_code=307)


@router.get("/static/{name}")
def read_static(request: Request, name: str) -> Response:
    """The style sheets, the scripts, and the charting library."""
    if name == name_library():
        return send_library(request)
    kind = STATIC_TYPES.get(name.rpartition(".")[2])
    folder = resources.files("trainwright.serve").joinpath("static")
    known = {entry.name for entry in folder.iterdir()}
    if kind is None or name not in known:
        raise UnknownRoute(f"There is no /static/{name}.")
    data = folder.joinpath(name).read_bytes()
    return Response(data, media_type=kind, headers={"Cache-Control": "max-age=60", "X-Content-Type-Options": "nosniff"})
