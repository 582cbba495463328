"""JSON as JSON is: Python's parser takes NaN and half characters too, and nothing behind it could store them."""

import json

from fastapi import Request

from trainwright.core.errors import MalformedRequest

_MAYBE = (b"NaN", b"Infinity", b"\\u")


async def require_plain_json(request: Request) -> None:
    """Raises MalformedRequest for a body of JSON that holds NaN, Infinity, or half a character."""
    if "json" not in request.headers.get("content-type", "json") or request.method in ("GET", "HEAD"):
        return
    body = await request.body()
    if not any(sign in body for sign in _MAYBE):
        return
    try:
        document = json.loads(body, parse_constant=_refuse)
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _malformed("It holds half a character (a lone surrogate).") from None
    except (ValueError, RecursionError) as error:
        raise _malformed(f"{error}.") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _malformed(why: str) -> MalformedRequest:
    return MalformedRequest("The body of the request is no JSON.", why=why, next_step="Send plain JSON in UTF-8.")
