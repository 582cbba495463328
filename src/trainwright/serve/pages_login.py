"""The page where a person gives a token, which the browser then keeps: programs send it with every request instead."""

from typing import Annotated

from fastapi import Depends, Query, Request, Response

from trainwright.core.errors import NotAuthenticated
from trainwright.serve.access import COOKIE
from trainwright.serve.pages import build_router, read_form, redirect, render_page
from trainwright.serve.tokens import Tokens

KEPT_S = 12 * 3600

router = build_router()


@router.get("/login")
def ask_for_token(request: Request, to: Annotated[str, Query(max_length=2000)] = "/runs") -> Response:
    """The form."""
    values = {"to": _own_address(to), "refusal": None, "needs_token": _get_tokens(request) is not None}
    return render_page(request, "login.html.j2", values, title="Sign in")


@router.post("/login")
def take_token(request: Request, form: Annotated[dict[str, str], Depends(read_form)]) -> Response:
    """Keep the token in a cookie that scripts cannot read and other sites cannot send; or forget it."""
    if form.get("out") == "yes":
        response: Response = redirect("/login")
        response.delete_cookie(COOKIE)
        return response
    tokens, token, to = _get_tokens(request), form.get("token", "").strip(), _own_address(form.get("to", ""))
    if tokens is None:
        return redirect(to)
    try:
        tokens.find(token)
    except NotAuthenticated as error:
        values = {"to": to, "refusal": error, "needs_token": True}
        return render_page(request, "login.html.j2", values, title="Sign in", status=401)
    response = redirect(to)
    is_secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, token, max_age=KEPT_S, httponly=True, samesite="strict", secure=is_secure)
    return response


def _get_tokens(request: Request) -> Tokens | None:
    tokens: Tokens | None = request.app.state.tokens
    return tokens


def _own_address(address: str) -> str:
    """An address of ours to go to afterwards, and never somebody else's."""
    is_ours = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_ours else "/runs"
