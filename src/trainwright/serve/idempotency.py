"""`Idempotency-Key`: a POST that a client sends again, because it never heard the answer, is answered and not done again."""

import hashlib

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainwright.core.errors import InvalidValue, TrainwrightError
from trainwright.serve.failures import RefusedMidway, render_error
from trainwright.serve.tokens import Caller
from trainwright.store.answers import Answers

MAX_KEY_LENGTH = 128
MAX_KEPT_BYTES = 1 << 20


class Idempotency:
    """An application whose answers to POST are kept under the key that a caller sent. It stands behind the guard."""

    def __init__(self, app: ASGIApp, *, answers: Answers) -> None:
        self._app = app
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what was answered before; pass on everything else."""
        given = dict(scope.get("headers", ())).get(b"idempotency-key")
        if scope["type"] != "http" or scope["method"] != "POST" or given is None:
            await self._app(scope, receive, send)
            return
        try:
            key = _read_key(scope, given)
            body = await _read_body(receive)
            digest = hashlib.sha256(b"\0".join((scope["path"].encode(), scope["query_string"], body))).hexdigest()
            known = await run_in_threadpool(self._answers.begin, key, digest)
        except (TrainwrightError, RefusedMidway) as error:
            ours = error.error if isinstance(error, RefusedMidway) else error
            await render_error(ours)(scope, receive, send)
            return
        if known is not None:
            await _send_kept(send, *known)
            return
        await self._do(key, body, scope, receive, send)

    async def _do(self, key: str, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        kept = _Kept()

        async def forward(message: Message) -> None:
            kept.take(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                await self._keep(key, kept)  # before the caller hears the end of it
            await send(message)

        try:
            await self._app(scope, _replay(body, receive), forward)
        except BaseException:
            await run_in_threadpool(self._answers.forget, key)
            raise

    async def _keep(self, key: str, kept: "_Kept") -> None:
        if kept.status >= 500 or kept.status == 429 or kept.is_too_large:
            await run_in_threadpool(self._answers.forget, key)
        else:
            await run_in_threadpool(self._answers.finish, key, kept.status, kept.body.decode("utf-8", "replace"))


class _Kept:
    """An answer while it passes by."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.is_too_large = False

    def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
            self.is_too_large = len(self.body) > MAX_KEPT_BYTES


def _read_key(scope: Scope, given: bytes) -> str:
    text = given.decode("latin-1")
    if not 1 <= len(text) <= MAX_KEY_LENGTH or not text.isprintable():
        raise InvalidValue(f"An idempotency key has 1 to {MAX_KEY_LENGTH} printable characters.")
    caller: Caller = scope["state"]["caller"]
    return f"{caller.name}:{text}"


async def _read_body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, and after it whatever else comes (that the client went away)."""
    pending = [body]

    async def again() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return again


async def _send_kept(send: Send, status: int, body: str) -> None:
    data = body.encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(data)).encode()),
        (b"idempotency-replayed", b"true"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
