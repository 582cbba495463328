"""What every request passes before its route: where it comes from, who asks, how often, how much, and the audit log.

Written against the bare protocol rather than the framework, so that it sees a body before anything reads it and puts a change
on record before anything is changed.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainwright.core.errors import BodyTooLarge, NotPermitted, TooManyRequests, TrainwrightError
from trainwright.serve.access import identify, require_may
from trainwright.serve.failures import RefusedMidway, answer_refusal
from trainwright.serve.settings import Settings
from trainwright.serve.tokens import Caller, Role, Tokens
from trainwright.store.audit import AuditLog

OPEN_PATHS = ("/health", "/ready", "/login", "/static/")
"""What may be had without a token: whether the service lives, and how to come in."""
ASKING_PATHS = ("/v1/",)
"""Routes whose POST changes nothing: a model is asked."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
NUM_CALLERS = 10_000


class Guard:
    """The application behind its guard."""

    def __init__(self, app: ASGIApp, *, settings: Settings, tokens: Tokens | None, audit: AuditLog) -> None:
        self._app = app
        self._settings = settings
        self._tokens = tokens
        self._audit = audit
        self._pace = Pace(settings.requests_per_s, settings.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._require_same_place(scope)
            caller = self._identify(scope)
            scope.setdefault("state", {})["caller"] = caller
            limited = self._limit(scope, receive)
            if not is_change(scope):
                await self._app(scope, limited, send)
                return
            seq = await run_in_threadpool(self._audit.append, _describe(scope, caller))
        except TrainwrightError as error:
            headers = {"WWW-Authenticate": "Bearer"} if error.http_status == 401 else None
            if error.http_status == 429:
                headers = {"Retry-After": "1"}
            await answer_refusal(Request(scope), error, headers)(scope, receive, send)
            return
        await self._app(scope, limited, self._recording(send, caller, seq))

    def _recording(self, send: Send, caller: Caller, seq: int) -> Send:
        """Put on record how a change ended, before the caller hears of it."""

        async def forward(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry = {"who": caller.name, "what": "answered", "of": seq, "status": message["status"]}
                await run_in_threadpool(self._audit.append, entry)
            await send(message)

        return forward

    # ── who, and from where ───────────────────────────────────────────────────────────────────────────────────────────
    def _identify(self, scope: Scope) -> Caller:
        path: str = scope["path"]
        if any(path == one or (one.endswith("/") and path.startswith(one)) for one in OPEN_PATHS):
            return Caller("anybody", "viewer")
        caller = identify(scope, self._tokens)
        if not caller.is_local:
            self._pace.require(caller.name)
        role: Role = "viewer" if scope["method"] in SAFE_METHODS or path.startswith(ASKING_PATHS) else "operator"
        require_may(caller, role, f"{scope['method']} {path}")
        return caller

    def _require_same_place(self, scope: Scope) -> None:
        """A page of somebody else's, open in a browser on this machine, must not be able to do anything here.

        Such a page says where it is from (`Origin`) where it can change something; and where it pretends to be this service
        by a name of its own that leads here, the request says that name (`Host`).
        """
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._tokens is None and not _is_near(host):
            raise NotPermitted(
                f"This service does not answer to the name {host[:100]!r}.",
                why="Without tokens, it answers on this machine alone.",
                next_step="Ask it by the address that it printed, or start it with --tokens.",
            )
        if origin is not None and scope["method"] not in SAFE_METHODS and urlsplit(origin).netloc != host:
            raise NotPermitted(
                "A page of another place asked for a change.",
                why=f"The request comes from {origin[:100]}, and this is {host[:100]}.",
                next_step="Ask from a page of this service, or from a program.",
            )

    # ── how much ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _limit(self, scope: Scope, receive: Receive) -> Receive:
        most = self._settings.max_body_bytes
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > most:
                raise _too_large(most)
        num_bytes = 0

        async def limited() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > most:  # a body that did not say how long it is
                raise RefusedMidway(_too_large(most))
            return message

        return limited


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class Pace:
    """How often each caller may ask: `burst` at once, and `per_s` in the long run. None: as often as it likes."""

    def __init__(self, per_s: float | None, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def require(self, caller: str, now: float | None = None) -> None:
        """Raises TooManyRequests."""
        if self._per_s is None:
            return
        now = time.monotonic() if now is None else now
        with self._lock:
            bucket = self._buckets.setdefault(caller, _Bucket(self._burst, now))
            self._buckets.move_to_end(caller)
            if len(self._buckets) > NUM_CALLERS:
                self._buckets.popitem(last=False)
            bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at) * self._per_s)
            bucket.filled_at = now
            if bucket.tokens < 1:
                raise TooManyRequests(
                    f"{caller} asks too often.",
                    why=f"{self._per_s:g} requests a second are allowed, {self._burst} at once.",
                    next_step="Wait a second; for progress, read the events instead of asking again and again.",
                )
            bucket.tokens -= 1


def is_change(scope: Scope) -> bool:
    """Whether a request may change something."""
    return scope["method"] not in SAFE_METHODS and not scope["path"].startswith(ASKING_PATHS)


def _describe(scope: Scope, caller: Caller) -> dict[str, Any]:
    query = scope.get("query_string", b"").decode("latin-1")
    return {
        "who": caller.name,
        "role": caller.role,
        "what": "asked",
        "method": scope["method"],
        "path": scope["path"],
        **({"query": query} if query else {}),
        "from": (scope.get("client") or ["unknown"])[0],
    }


@lru_cache(maxsize=256)
def _is_near(host: str) -> bool:
    """Whether a `Host` is this machine by its address, or a name without a dot: such a name nobody outside can own."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return "." not in name


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(
        "The body of the request is too large.",
        why=f"The service takes {most:,} bytes at most.",
        next_step="Send it in parts, or import the file with the command line.",
    )
