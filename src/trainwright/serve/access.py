"""Who asks, and whether that one may."""

import getpass
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from fastapi import Depends, Request

from trainwright.core.errors import NotPermitted
from trainwright.serve.tokens import Caller, Role, Tokens, add_token, not_authenticated

__all__ = [
    "COOKIE",
    "Approver",
    "Asking",
    "Caller",
    "Operator",
    "Role",
    "Tokens",
    "add_token",
    "get_caller",
    "identify",
    "require_may",
    "require_role",
]

COOKIE = "trainwright_token"


@cache
def find_local_caller() -> Caller:
    """Who asks where no tokens are: whoever is at this machine."""
    try:
        return Caller(getpass.getuser(), "admin", is_local=True)
    except (KeyError, OSError):
        return Caller("local", "admin", is_local=True)


def identify(scope: Any, tokens: Tokens | None) -> Caller:
    """Who sent a request, by its token. Raises NotAuthenticated."""
    if tokens is None:
        return find_local_caller()
    request = Request(scope)
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        token = request.cookies.get(COOKIE, "")
    if not token.strip():
        raise not_authenticated("The request has no token.")
    return tokens.find(token.strip())


def require_role(role: Role) -> Callable[[Request], Caller]:
    """A dependency of routes that are for `role` and those above it."""

    def check(request: Request) -> Caller:
        caller = get_caller(request)
        require_may(caller, role, f"{request.method} {request.url.path}")
        return caller

    return check


def require_may(caller: Caller, role: Role, what: str) -> None:
    """Raises NotPermitted where `what` is for others."""
    if not caller.may(role):
        raise NotPermitted(
            f"{what} is for the role {role}.",
            why=f"{caller.name} has the role {caller.role}.",
            next_step="Ask somebody who may, or for a token of that role.",
        )


def get_caller(request: Request) -> Caller:
    """Who asks, as the guard found out."""
    caller: Caller = request.state.caller
    return caller


Asking = Annotated[Caller, Depends(get_caller)]
Operator = Annotated[Caller, Depends(require_role("operator"))]
Approver = Annotated[Caller, Depends(require_role("approver"))]
