"""A model behind an OpenAI-compatible endpoint: one prompt, one request for a chat completion, one output.

A request that finds nobody, times out, or is answered with 408, 409, 429 or 5xx is made again after 1, 2 and 4 seconds (or
after what `Retry-After` says, a minute at most); what does not come then is the item's error, never its answer. 401, 403 and
404 say that the key, the model's name or the address is wrong, which the next item will not mend: they end the evaluation.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from trainwright.core.errors import EndpointRefused, InvalidValue
from trainwright.evaluate.generation import Decoding
from trainwright.evaluate.outputs import Output

if TYPE_CHECKING:
    import httpx

WAITS_S = (1.0, 2.0, 4.0)
MAX_WAIT_S = 60.0
TIMEOUT_S = 120.0
MAX_ANSWER_BYTES = 16 * 2**20
_RETRIED = {408, 409, 429}
_HOPELESS = {401, 403, 404}
_SAID_CHARACTERS = 300


class NoAnswerError(Exception):
    """There is no answer to an item. `is_away`: nobody could be reached at all, so the next item may fare no better."""

    def __init__(self, why: str, *, is_away: bool = False) -> None:
        super().__init__(why)
        self.is_away = is_away


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers. `key` is sent along, and is kept nowhere; `wait` is called with seconds between tries."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout_s: float = TIMEOUT_S
    wait: Callable[[float], None] = time.sleep

    @property
    def address(self) -> str:
        """Where chat completions are asked for."""
        base = self.url.rstrip("/")
        return base if base.endswith("/chat/completions") else f"{base}/chat/completions"

    def ask(self, item_id: str, prompt: str, decoding: Decoding) -> Output:
        """The output to one prompt. Raises NoAnswerError, EndpointRefused."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": decoding.max_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
        }
        if decoding.temperature > 0:
            body["seed"] = decoding.seed
        return _read_output(item_id, self._request(body))

    def _request(self, body: dict[str, Any]) -> Any:
        for wait_s in (*WAITS_S, None):
            try:
                response = self._post(body)
            except NoAnswerError:
                if wait_s is None:
                    raise
                self.wait(wait_s)
                continue
            if response.status_code in _HOPELESS:
                raise self._refused(response)
            if response.status_code < 400:
                return _parse(response)
            is_passing = response.status_code in _RETRIED or response.status_code >= 500
            if wait_s is None or not is_passing:
                raise NoAnswerError(f"the endpoint said {self._describe(response)}")
            self.wait(_read_retry_after(response, wait_s))
        raise AssertionError("the last try ends in an answer or an error")

    def _post(self, body: dict[str, Any]) -> "httpx.Response":
        import httpx

        headers = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        try:
            return httpx.post(self.address, json=body, headers=headers, timeout=self.timeout_s)
        except httpx.TimeoutException:
            raise NoAnswerError(f"no answer within {self.timeout_s:g} s", is_away=True) from None
        except httpx.HTTPError as error:
            raise NoAnswerError(f"the endpoint could not be reached: {error}", is_away=True) from None

    def _refused(self, response: "httpx.Response") -> EndpointRefused:
        nexts = {
            401: "Name the environment variable that holds its key: --api-key-env NAME",
            403: "Use a key that may ask this model: --api-key-env NAME",
            404: "Check --endpoint (it usually ends in /v1) and --model.",
        }
        return EndpointRefused(
            f"{self.address} does not answer for the model {self.model}.",
            why=f"It said {self._describe(response)}.",
            next_step=nexts[response.status_code],
        )

    def _describe(self, response: "httpx.Response") -> str:
        """What was said in place of an answer, without the key, which some repeat."""
        said = " ".join(response.text.replace(self.key or "\0", "…").split())[:_SAID_CHARACTERS]
        return f"{response.status_code}{f': {said}' if said else ''}"


def require_endpoint_url(url: str) -> str:
    """The URL. Raises InvalidValue for one that is no http(s) address, or that carries a password."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_address = False
    if not is_address:
        raise InvalidValue(
            f"{url!r} is no endpoint.",
            why="An endpoint is an http or https address.",
            next_step="For example: --endpoint http://localhost:8000/v1",
        )
    if parts.username is not None or parts.password is not None or parts.query:
        raise InvalidValue(
            "The endpoint's address carries more than an address.",
            why="It goes on record, and a name, a password or a query does not belong there.",
            next_step="Put the key into an environment variable, and name it: --api-key-env NAME",
        )
    return url


def read_key(variable: str | None) -> str | None:
    """What an environment variable holds. Raises InvalidValue where it is not set, or empty."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InvalidValue(
            f"The environment variable {variable} holds no key.",
            why="It is not set, or empty.",
            next_step=f"Set {variable}, or leave out --api-key-env where the endpoint asks for none.",
        )
    return key


# ── what comes back ───────────────────────────────────────────────────────────────────────────────────────────────────
def _parse(response: "httpx.Response") -> Any:
    if len(response.content) > MAX_ANSWER_BYTES:
        raise NoAnswerError(f"the answer is larger than {MAX_ANSWER_BYTES:,} bytes")
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        raise NoAnswerError("the endpoint's answer is no JSON") from None


def _read_output(item_id: str, document: Any) -> Output:
    """The first choice's message. A refusal of its own, or an answer that was filtered, is a refusal."""
    try:
        choice = document["choices"][0]
        message = choice["message"]
        text, refusal, finish = message.get("content"), message.get("refusal"), choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise NoAnswerError("the endpoint's answer has no message") from None
    is_refused = isinstance(refusal, str) or finish == "content_filter"
    said = text if isinstance(text, str) else refusal if isinstance(refusal, str) else "" if is_refused else None
    if said is None:
        raise NoAnswerError("the endpoint's message has no text")
    ends: dict[object, Literal["end", "length"]] = {"stop": "end", "length": "length"}
    return Output(id=item_id, text=_whole(said), finish=ends.get(finish), refused=is_refused)


def _whole(text: str) -> str:
    """The text without halves of characters (lone surrogates), which no file could hold."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _read_retry_after(response: "httpx.Response", otherwise_s: float) -> float:
    try:
        asked_s = float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return otherwise_s
    return min(max(asked_s, 0.0), MAX_WAIT_S)
