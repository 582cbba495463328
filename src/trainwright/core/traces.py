"""What a model can be shown how to do: a reasoning trace, or a conversation. Frozen, and named by its own content.

A trace is a prompt, the steps of the reasoning and the final answer. A conversation is messages with roles. Both carry
free `meta`. The id is the SHA-256 of the canonical JSON of everything in it, `meta` included: the same trace, imported
twice, is one trace. A missing `meta` and a `meta` of null are the same.
"""

from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails, from_json

from trainwright.core.errors import InvalidTrace, NotTrainable, TraceTooLarge
from trainwright.core.hashing import canonical_json, digest_bytes

MAX_PAYLOAD_BYTES = 1 << 20
"""One trace or conversation, as JSON."""
MAX_VERSION_CHARACTERS = 64
MAX_TYPE_CHARACTERS = 64
MAX_PROMPT_CHARACTERS = 50_000
MAX_ANSWER_CHARACTERS = 50_000
MAX_STEP_CHARACTERS = 20_000
MAX_MESSAGE_CHARACTERS = 50_000
MAX_STEPS = 1000
MAX_MESSAGES = 1000

Role = Literal["system", "user", "assistant", "tool"]


class _Content(BaseModel):
    """Immutable and strict: no key is passed over, and no value is taken for another type than it has."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Step(_Content):
    """One step of the reasoning. `i` is its number, from 0 to 2⁶³ - 1, unique in its trace; gaps are allowed."""

    i: Annotated[int, Field(ge=0, lt=1 << 63)]
    type: Annotated[str, Field(min_length=1, max_length=MAX_TYPE_CHARACTERS)]
    content: Annotated[str, Field(min_length=1, max_length=MAX_STEP_CHARACTERS)]


class Trace(_Content):
    """A prompt, 1 to 1000 steps of reasoning in the order in which they are read, and the final answer."""

    trace_version: Annotated[str, Field(min_length=1, max_length=MAX_VERSION_CHARACTERS)]
    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]
    final_answer: Annotated[str, Field(min_length=1, max_length=MAX_ANSWER_CHARACTERS)]
    # Lists in JSON are lists in Python; only the field itself is lenient, its steps are not.
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=MAX_STEPS, strict=False)]
    meta: dict[str, Any] | None = None
    kind: ClassVar[Literal["trace"]] = "trace"

    @field_validator("steps")
    @classmethod
    def _numbers_are_unique(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        numbers = [step.i for step in steps]
        if len(set(numbers)) < len(numbers):
            repeated = next(number for at, number in enumerate(numbers) if number in numbers[:at])
            raise ValueError(f"the step number {repeated} stands there more than once")
        return steps

    @cached_property
    def canonical(self) -> bytes:
        """Canonical JSON, without a newline: the stored form, and what the id is the digest of."""
        return canonical_json(self.as_document())

    @cached_property
    def id(self) -> str:
        """SHA-256 of the canonical JSON, as hex."""
        return digest_bytes(self.canonical)

    def as_document(self) -> dict[str, Any]:
        """The JSON document, all five fields."""
        return {
            "trace_version": self.trace_version,
            "prompt": self.prompt,
            "final_answer": self.final_answer,
            "steps": [{"i": step.i, "type": step.type, "content": step.content} for step in self.steps],
            "meta": self.meta,
        }

    @property
    def text(self) -> str:
        """Prompt, steps and answer, a line break between them: what is counted and searched, nothing rendered."""
        return "\n".join((self.prompt, *(step.content for step in self.steps), self.final_answer))


class Message(_Content):
    """One turn of a conversation."""

    role: Role
    content: Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE_CHARACTERS)]


class Conversation(_Content):
    """1 to 1000 messages, in order. One that does not end with an assistant's turn can be kept, not trained on."""

    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=MAX_MESSAGES, strict=False)]
    meta: dict[str, Any] | None = None
    kind: ClassVar[Literal["conversation"]] = "conversation"

    @cached_property
    def canonical(self) -> bytes:
        """Canonical JSON, without a newline: the stored form, and what the id is the digest of."""
        return canonical_json(self.as_document())

    @cached_property
    def id(self) -> str:
        """SHA-256 of the canonical JSON, as hex."""
        return digest_bytes(self.canonical)

    def as_document(self) -> dict[str, Any]:
        """The JSON document, both fields."""
        return {
            "messages": [{"role": message.role, "content": message.content} for message in self.messages],
            "meta": self.meta,
        }

    @property
    def text(self) -> str:
        """The contents of the messages, a line break between them: what is counted and searched, nothing rendered."""
        return "\n".join(message.content for message in self.messages)


AnyTrace = Trace | Conversation
"""What the store, a dataset version and the renderers hold."""


def parse_trace(document: Any) -> AnyTrace:
    """A trace, or a conversation where the document has `messages`.

    Raises InvalidTrace, which names the field and its limit, and TraceTooLarge over 1 MiB of canonical JSON.
    """
    if not isinstance(document, dict):
        raise _invalid(f"a trace is a JSON object, and this is {_name_type(document)}")
    kind = Conversation if "messages" in document else Trace
    try:
        trace: AnyTrace = kind.model_validate(document)
    except ValidationError as error:
        raise _invalid(_describe(error.errors(include_url=False)[0])) from None
    try:
        # Nothing was converted and nothing left out, so this is the trace's own document, and half the work of building it.
        canonical = canonical_json(document | {"meta": trace.meta})
    except UnicodeEncodeError:
        raise _invalid("meta holds half of a surrogate pair, which is not text") from None
    except RecursionError:
        raise _invalid("meta is nested too deeply") from None
    except (ValueError, TypeError) as error:
        raise _invalid(f"meta holds what JSON cannot: {error}") from None
    require_payload(len(canonical))
    trace.__dict__["canonical"] = canonical  # what the cached property would work out again
    return trace


def read_canonical(line: bytes) -> AnyTrace:
    """A trace from its canonical JSON, as `canonical` made it: the quick way back, for bytes whose digest was verified."""
    kind = Conversation if line.startswith(b'{"messages":') else Trace
    trace: AnyTrace = kind.model_validate_json(line)
    trace.__dict__["canonical"] = line  # what the cached property would work out again
    return trace


def read_document(line: bytes) -> dict[str, Any]:
    """The document of `read_canonical`, where no trace is wanted of it: several times as quick."""
    document: dict[str, Any] = from_json(line)
    return document


def require_payload(num_bytes: int) -> None:
    """Raises TraceTooLarge for a payload of more than 1 MiB."""
    if num_bytes > MAX_PAYLOAD_BYTES:
        raise TraceTooLarge(
            f"A trace of {num_bytes:,} bytes is too large.",
            why=f"The limit is {MAX_PAYLOAD_BYTES:,} bytes (1 MiB) of JSON for one trace.",
            next_step="Shorten it, or divide it into several traces.",
        )


def require_trainable(trace: AnyTrace) -> None:
    """Raises NotTrainable, by id, for a conversation that does not end with an assistant's turn."""
    if isinstance(trace, Conversation) and trace.messages[-1].role != "assistant":
        raise NotTrainable(
            f"The conversation {trace.id[:12]} cannot be trained on.",
            why=f"It ends with a {trace.messages[-1].role} turn: there is nothing after it to learn.",
            next_step="Leave it out of the dataset, or import it with the assistant's last turn.",
        )


def _invalid(what: str) -> InvalidTrace:
    return InvalidTrace(
        f"This is not a trace: {what}.",
        why=(
            "A trace has trace_version, prompt, final_answer, steps (each i, type, content) and meta; "
            "a conversation has messages (each role, content) and meta."
        ),
        next_step="Correct the record.",
    )


_LIMITED = {
    "string_too_short": ("characters", "at least"),
    "string_too_long": ("characters", "at most"),
    "too_short": ("entries", "at least"),
    "too_long": ("entries", "at most"),
}


def _describe(error: ErrorDetails) -> str:
    """The first thing pydantic found, in our words: the field and, where it has one, its limit."""
    field = ".".join(str(part) for part in error["loc"]) or "the record"
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind in _LIMITED:
        unit, bound = _LIMITED[kind]
        limit = context.get("min_length", context.get("max_length"))
        length = f"{len(given):,}" if isinstance(given, str | list | tuple) else "too many"
        return f"{field} has {length} {unit}; {bound} {limit:,} allowed"
    match kind:
        case "missing":
            return f"{field} is missing"
        case "extra_forbidden":
            return f"{field} is no field of it"
        case "value_error":
            return f"in {field}, {context['error']}"
        case "literal_error":
            return f"{field} is {given!r}; it must be {context['expected']}"
        case "greater_than_equal":
            return f"{field} is {given}; it must be at least {context['ge']}"
        case "less_than":
            return f"{field} is {given}; it must be less than {context['lt']}"
        case "string_unicode":
            return f"{field} holds half of a surrogate pair, which is not text"
        case "tuple_type":
            return f"{field} is {_name_type(given)}; it must be a list"
        case _:
            return f"{field} is {_name_type(given)}: {error['msg'][:1].lower()}{error['msg'][1:]}"


def _name_type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
