"""Asking a model in the form that OpenAI's clients speak: `/v1/models`, `/v1/completions`, `/v1/chat/completions`.

`model` is a ref (`stories@production`), a run or a checkpoint, looked up anew for every request: what is promoted now
answers the next one, and an answer under way ends on the model it began with. What cannot be done is refused, never passed
over: a field that asks for it is an error unless it holds its neutral value.
"""

import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from trainwright.core.errors import OutOfRange, TrainwrightError
from trainwright.core.records import STAGES, Checkpoint, Release
from trainwright.core.traces import MAX_MESSAGE_CHARACTERS, MAX_MESSAGES, Message, Role
from trainwright.evaluate.generation import Decoding
from trainwright.pipeline.models import LATEST
from trainwright.pipeline.writing import Answer, Writer
from trainwright.serve.context import Opened
from trainwright.serve.failures import RESPONSES, ErrorAnswer
from trainwright.serve.streaming import Stream
from trainwright.serve.writers import Writers

MAX_TOKENS = 4096
MAX_CONTEXT_TOKENS = 16_384
"""Prompt and answer together; a model's memory of what it read grows with every token."""
MAX_STOPS = 4
DONE = "data: [DONE]\n\n"


# ── what may be asked ─────────────────────────────────────────────────────────────────────────────────────────────────
class _Body(BaseModel):
    """Strict: what is not known is refused. Below are the fields that are known and can hold nothing but "no"."""

    model_config = ConfigDict(extra="forbid", strict=True)


class StreamOptions(_Body):
    """What a stream holds beside the answer."""

    include_usage: bool = False


class Asked(_Body):
    """What both forms of asking have in common."""

    model: Annotated[str, Field(min_length=1, max_length=300)]
    max_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0, description="An extension: 0 cuts nothing off.")] = 0
    seed: Annotated[int | None, Field(ge=0, lt=1 << 63)] = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: Annotated[str | None, Field(max_length=300, description="Taken, and not used.")] = None
    n: Literal[1] = 1
    presence_penalty: Literal[0] = 0
    frequency_penalty: Literal[0] = 0
    logit_bias: None = None

    @property
    def stops(self) -> list[str]:
        """The texts that end an answer. Raises OutOfRange for more than four, or an empty one."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stops) > MAX_STOPS or not all(stops):
            raise OutOfRange(
                "stop is up to four texts, none of them empty.",
                why=f"There are {len(stops)}{'' if all(stops) else ', and one is empty'}.",
                next_step="Leave some out.",
            )
        return stops


class CompletionAsked(Asked):
    """A prompt, asked as the model was taught: a model of text goes on from it."""

    prompt: Annotated[str, Field(min_length=1, max_length=200_000)]
    suffix: None = None
    echo: Literal[False] = False
    best_of: Literal[1] = 1
    logprobs: None = None


class ChatMessage(_Body):
    """One turn."""

    role: Role
    content: Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE_CHARACTERS)]
    name: None = None


class ChatAsked(Asked):
    """Turns of a conversation, which the model goes on with."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES - 1)]
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
    logprobs: Literal[False] | None = None
    top_logprobs: None = None
    tools: None = None
    tool_choice: None = None
    response_format: None = None


# ── refusals, in the form that OpenAI's clients read ──────────────────────────────────────────────────────────────────
class OpenAIRoute(APIRoute):
    """A route whose refusals are {"error": {message, type, param, code}}."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with refusals translated."""
        handle = super().get_route_handler()

        async def handle_and_translate(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"][1:]) or None
                said = f"{place}: {first['msg']}" if place else str(first["msg"])
                return refuse(400, said, "invalid_request_error", place, str(first["type"]))
            except TrainwrightError as error:
                return translate(error)

        return handle_and_translate


class OpenAIError(BaseModel):
    """What was wrong, and with which field."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIRefusal(BaseModel):
    """The shape of every refusal here, but for those of the door: who may not come in is told as everywhere else."""

    error: OpenAIError


def translate(error: TrainwrightError) -> JSONResponse:
    """An error of ours in OpenAI's shape; the name it has with us is its code, where OpenAI has none for it."""
    said = " ".join(part for part in (error.message, error.why, error.next_step) if part)
    status = {422: 400}.get(error.http_status, error.http_status)
    if error.name == "unknown-ref":
        return refuse(404, said, "invalid_request_error", "model", "model_not_found")
    if status == 429:
        return refuse(429, said, "rate_limit_error", None, "rate_limit_exceeded", {"Retry-After": "1"})
    kind = "invalid_request_error" if status < 500 else "server_error"
    return refuse(status, said, kind, None, error.name.replace("-", "_"))


def refuse(
    status: int, message: str, kind: str, param: str | None, code: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The error shape of OpenAI."""
    document = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return JSONResponse(document, status_code=status, headers=headers)


def get_writers(request: Request) -> Writers:
    """The models that are open."""
    writers: Writers = request.app.state.writers
    return writers


Open = Annotated[Writers, Depends(get_writers)]
router = APIRouter(prefix="/v1", tags=["completions"], route_class=OpenAIRoute)
_SAID = {
    400: "Something in the request cannot be meant or done; `param` names it.",
    404: "`model` names nothing that can answer.",
    409: "`model` is the beginning of several ids.",
    429: "Too many answers are being written.",
    503: "What the model needs is not installed, or the disk does not give it.",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {
        **documented,
        "model": OpenAIRefusal | ErrorAnswer,
        "description": _SAID.get(status, documented["description"]),
    }
    for status, documented in RESPONSES.items()
    if isinstance(status, int)
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer; with `stream`, in pieces.", "content": {"text/event-stream": {}}},
    **REFUSALS,
}


# ── routes ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@router.get("/models", responses=REFUSALS)
def list_served(workspace: Opened) -> dict[str, Any]:
    """Every name that a model goes by: `name@latest`, `name@staging`, `name@production`."""
    rows = []
    for ref in workspace.ledger.refs():
        if ref.name.rpartition("@")[2] not in (LATEST, *STAGES):
            continue
        if isinstance(workspace.ledger.get(ref.record_id), Checkpoint | Release):
            rows.append({"id": ref.name, "object": "model", "owned_by": "trainwright"})
    return {"object": "list", "data": rows}


@router.post("/completions", responses=ANSWERS, response_model=None)
async def complete(asked: CompletionAsked, writers: Open) -> Response:
    """Go on from a prompt."""

    def encode(writer: Writer) -> list[int]:
        return writer.encode_prompt(asked.prompt)

    form = _Form("cmpl", "text_completion", "text_completion", _as_text, _as_text)
    return await _answer(asked, asked.max_tokens or 16, encode, writers, form)


@router.post("/chat/completions", responses=ANSWERS, response_model=None)
async def complete_chat(asked: ChatAsked, writers: Open, workspace: Opened) -> Response:
    """Go on with a conversation, in the template that the model was taught with."""
    messages = [Message(role=message.role, content=message.content) for message in asked.messages]

    def encode(writer: Writer) -> list[int]:
        return writer.encode_chat(messages, workspace)

    form = _Form("chatcmpl", "chat.completion", "chat.completion.chunk", _as_message, _as_delta)
    wanted = asked.max_completion_tokens or asked.max_tokens or 256
    return await _answer(asked, wanted, encode, writers, form)


class _Form:
    """How an answer is written down: whole, and in chunks."""

    def __init__(
        self,
        prefix: str,
        kind: str,
        chunk_kind: str,
        whole: Callable[[str], dict[str, Any]],
        part: Callable[[str], dict[str, Any]],
    ) -> None:
        self.id = f"{prefix}-{secrets.token_hex(12)}"
        self.kind, self.chunk_kind, self.whole, self.part = kind, chunk_kind, whole, part


def _as_text(text: str) -> dict[str, Any]:
    return {"text": text}


def _as_message(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}}


def _as_delta(text: str) -> dict[str, Any]:
    return {"delta": {"content": text}}


async def _answer(
    asked: Asked, max_tokens: int, encode: Callable[[Writer], list[int]], writers: Writers, form: _Form
) -> Response:
    stops = asked.stops
    place = writers.place()
    await place.__aenter__()
    is_handed_on = False

    async def leave() -> None:
        await place.__aexit__(None, None, None)

    try:
        writer = await run_in_threadpool(writers.open, asked.model)
        prompt = await run_in_threadpool(encode, writer)
        _require_fits(len(prompt), max_tokens)
        decoding = Decoding(
            max_tokens=max_tokens,
            temperature=asked.temperature,
            top_k=asked.top_k,
            top_p=asked.top_p,
            seed=secrets.randbits(63) if asked.seed is None else asked.seed,
        )
        answer = Answer(writer, prompt, decoding, stops)
        head = _describe(form, asked.model, writer)
        if asked.stream:
            wants_usage = asked.stream_options is not None and asked.stream_options.include_usage
            chunks = _iter_chunks(answer, writers, head, form, leave, wants_usage=wants_usage)
            is_handed_on = True
            return Stream(chunks, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        text = "".join([piece async for piece in writers.iter_pieces(answer)])
    finally:
        if not is_handed_on:
            await leave()
    choice = {"index": 0, **form.whole(text), "logprobs": None, "finish_reason": answer.finish}
    return JSONResponse({**head, "object": form.kind, "choices": [choice], "usage": _count(answer)})


async def _iter_chunks(
    answer: Answer,
    writers: Writers,
    head: Mapping[str, Any],
    form: _Form,
    leave: Callable[[], Awaitable[None]],
    *,
    wants_usage: bool,
) -> AsyncIterator[str]:
    def render(choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> str:
        document = {**head, "object": form.chunk_kind, "choices": choices, **({"usage": usage} if wants_usage else {})}
        return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"

    def choice(content: dict[str, Any], finish: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, **content, "logprobs": None, "finish_reason": finish}]

    try:
        if form.part is _as_delta:
            yield render(choice({"delta": {"role": "assistant", "content": ""}}))
        async for piece in writers.iter_pieces(answer):
            if piece:
                yield render(choice(form.part(piece)))
        yield render(choice({"delta": {}} if form.part is _as_delta else form.part(""), answer.finish))
        if wants_usage:
            yield render([], _count(answer))
        yield DONE
    finally:
        await leave()


def _describe(form: _Form, ref: str, writer: Writer) -> dict[str, Any]:
    """What stands in every answer and chunk. The fingerprint is that of the weights which answered."""
    return {
        "id": form.id,
        "created": int(time.time()),
        "model": ref,
        "system_fingerprint": writer.checkpoint.weights[:16],
        "trainwright": {"checkpoint": writer.checkpoint.id, "step": writer.checkpoint.step},
    }


def _count(answer: Answer) -> dict[str, int]:
    return {
        "prompt_tokens": len(answer.prompt),
        "completion_tokens": answer.num_tokens,
        "total_tokens": len(answer.prompt) + answer.num_tokens,
    }


def _require_fits(num_prompt: int, max_tokens: int) -> None:
    if num_prompt + max_tokens > MAX_CONTEXT_TOKENS:
        raise OutOfRange(
            f"The prompt has {num_prompt:,} tokens, and {max_tokens:,} are asked for.",
            why=f"Together they may be {MAX_CONTEXT_TOKENS:,}.",
            next_step="Shorten the prompt, or ask for fewer tokens.",
        )
