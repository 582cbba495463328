"""From a trace or a conversation to chat text, piece by piece, so that what the assistant wrote is never guessed at.

    template = find_template("gemma")
    pieces = template.render(trace, system="Answer briefly.")       # join_pieces(pieces) is the text

A trace becomes two messages, its prompt and its response; a template lays messages out as turns. Templates that a
tokenizer carries are rendered by `jinja_chat.py`.
"""

import uuid
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any, Literal, Protocol

from trainwright.core.errors import InvalidValue, TemplateFailed
from trainwright.core.hashing import digest_json
from trainwright.core.pieces import Piece
from trainwright.core.traces import AnyTrace, Conversation, Message, Trace, require_trainable

ASK_FOR_STEPS = "Please show your reasoning steps."
"""What a training example's prompt ends with."""

EXAMPLE_NAMESPACE = uuid.UUID("5a0f4a0e-6f5c-5d1b-9d57-0f2a8f3f5c11")
"""Training examples are named by uuid5 of the trace's id in this namespace. It never changes."""

BUILTIN_TEMPLATES = ("gemma", "chatml", "trace")


class ChatTemplate(Protocol):
    """Lays a trace or conversation out as chat text."""

    @property
    def name(self) -> str:
        """What a person calls it."""

    @property
    def digest(self) -> str:
        """Of everything that decides what it renders."""

    def render(self, trace: AnyTrace, system: str | None = None) -> tuple[Piece, ...]:
        """The pieces of one sample. `system` stands where the conversation has no system message of its own.

        Raises NotTrainable for a conversation that ends without the assistant, TemplateFailed for one that the template
        has no form for; both name its id.
        """

    def render_prompt(self, prompt: str, system: str | None = None) -> tuple[Piece, ...]:
        """A question as it stands in a sample, up to where the assistant begins: what a model is given to go on from."""


def find_template(name: str, end: str | None = None) -> ChatTemplate:
    """A builtin template by name; `end` is the name of the tokenizer's end token, for the one that needs it.

    Raises InvalidValue, naming those there are.
    """
    formats = {"gemma": GEMMA, "chatml": CHATML}
    if name in formats:
        return formats[name]
    if name == "trace":
        return PlainTrace(end)
    raise InvalidValue(
        f"There is no template {name!r}.",
        why=f"Templates are {', '.join(BUILTIN_TEMPLATES)}, and `tokenizer`: the one that the tokenizer carries.",
        next_step="Name one of these.",
    )


# ── plain forms ───────────────────────────────────────────────────────────────────────────────────────────────────────
def render_response(trace: Trace) -> str:
    """What the assistant says: the steps in their order, numbered from 1, and the answer."""
    steps = [f"{number}. {step.content}" for number, step in enumerate(trace.steps, start=1)]
    return "\n".join(["Reasoning:", *steps, f"Answer: {trace.final_answer}"])


def build_messages(trace: AnyTrace, system: str | None = None) -> list[dict[str, str]]:
    """[{role, content}]: the form that Hugging Face calls `messages`.

    `system` becomes the first message, unless the conversation has a system message already.
    """
    if isinstance(trace, Conversation):
        messages = [{"role": message.role, "content": message.content} for message in trace.messages]
    else:
        messages = [
            {"role": "user", "content": trace.prompt},
            {"role": "assistant", "content": render_response(trace)},
        ]
    if system and messages[0]["role"] != "system":
        return [{"role": "system", "content": system}, *messages]
    return messages


def build_exchange(prompt: str) -> Conversation:
    """A prompt, and a stand-in for the answer that it has not got yet."""
    return Conversation(messages=(Message(role="user", content=prompt), Message(role="assistant", content="…")))


def take_prompt(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """The pieces before the first one that is to be learnt."""
    return tuple(takewhile(lambda piece: not piece.is_target, pieces))


def build_training_example(trace: Trace) -> dict[str, Any]:
    """{id, prompt, response, metadata}: prompt and response as plain text. `id` follows from the trace's content."""
    return {
        "id": str(uuid.uuid5(EXAMPLE_NAMESPACE, trace.id)),
        "prompt": f"{trace.prompt}\n\n{ASK_FOR_STEPS}",
        "response": render_response(trace),
        "metadata": {"trace_id": trace.id, "trace_version": trace.trace_version, "meta": trace.meta},
    }


# ── turns ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
_NEWLINE = Piece("\n")


@dataclass(frozen=True)
class TurnFormat:
    """`{start}{role}\\n{content}{end}`, a newline between turns and none after the last.

    `roles` says what each role is called; `system_place` whether system text has a turn of its own or leads the first
    user turn. Targets are the assistant's content and the `end` after it.
    """

    name: str
    start: str
    end: str
    roles: tuple[tuple[str, str], ...]
    system_place: Literal["own turn", "first user turn"]

    @property
    def digest(self) -> str:
        """Of the format."""
        return digest_json(asdict(self))

    @cached_property
    def _markers(self) -> tuple[Piece, dict[str, Piece], dict[bool, Piece]]:
        """Pieces that every turn has: its start, {role: its name}, {whether it is to be learnt: its end}."""
        names = {role: Piece(f"{name}\n") for role, name in self.roles}
        ends = {is_target: Piece(self.end, is_target, is_control=True) for is_target in (False, True)}
        return Piece(self.start, is_control=True), names, ends

    def render(self, trace: AnyTrace, system: str | None = None) -> tuple[Piece, ...]:
        """The pieces of one sample; see `ChatTemplate.render`."""
        require_trainable(trace)
        messages = build_messages(trace, system)
        if self.system_place == "first user turn":
            messages = self._put_system_into_user(messages, trace)
        pieces: list[Piece] = []
        start, names, ends = self._markers
        for number, message in enumerate(messages):
            role, is_target = message["role"], message["role"] == "assistant"
            if role not in names:
                raise self._no_form(trace, f"It has no turn for the role {role}.")
            if number:
                pieces.append(_NEWLINE)
            pieces += [start, names[role], Piece(message["content"], is_target), ends[is_target]]
        return tuple(pieces)

    def render_prompt(self, prompt: str, system: str | None = None) -> tuple[Piece, ...]:
        """The pieces before the assistant's; see `ChatTemplate.render_prompt`."""
        return take_prompt(self.render(build_exchange(prompt), system))

    def _put_system_into_user(self, messages: list[dict[str, str]], trace: AnyTrace) -> list[dict[str, str]]:
        if messages[0]["role"] != "system":
            return messages
        system, *rest = messages
        if rest[0]["role"] != "user":
            raise self._no_form(trace, "System text stands in the first user turn, and no user turn follows it.")
        return [rest[0] | {"content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:]]

    def _no_form(self, trace: AnyTrace, why: str) -> TemplateFailed:
        return TemplateFailed(
            f"The template {self.name} has no form for {trace.id[:12]}.",
            why=why,
            next_step="Leave it out of the dataset, or take another template (chatml has a turn for every role).",
        )


GEMMA = TurnFormat(
    name="gemma",
    start="<start_of_turn>",
    end="<end_of_turn>",
    roles=(("user", "user"), ("assistant", "model")),
    system_place="first user turn",
)

CHATML = TurnFormat(
    name="chatml",
    start="<|im_start|>",
    end="<|im_end|>",
    roles=tuple((role, role) for role in ("system", "user", "assistant", "tool")),
    system_place="own turn",
)


@dataclass(frozen=True)
class PlainTrace:
    """No turns: system text, the training example's prompt and its response, blank lines between, the end token after it.

    `end` is the end token's name (None: nothing follows the response). Conversations have no such form.
    """

    end: str | None
    name: str = "trace"

    @property
    def digest(self) -> str:
        """Of the format."""
        return digest_json(asdict(self) | {"ask": ASK_FOR_STEPS})

    def render(self, trace: AnyTrace, system: str | None = None) -> tuple[Piece, ...]:
        """The pieces of one sample; see `ChatTemplate.render`."""
        require_trainable(trace)
        if isinstance(trace, Conversation):
            raise TemplateFailed(
                f"The template trace has no form for {trace.id[:12]}.",
                why="It is a conversation, and conversations have turns.",
                next_step="Take a template that has turns: gemma or chatml.",
            )
        response = Piece(render_response(trace), is_target=True)
        end = () if self.end is None else (Piece(self.end, is_target=True, is_control=True),)
        return (*self.render_prompt(trace.prompt, system), response, *end)

    def render_prompt(self, prompt: str, system: str | None = None) -> tuple[Piece, ...]:
        """The text before the response; see `ChatTemplate.render_prompt`."""
        parts = [*([system] if system else []), prompt, ASK_FOR_STEPS, ""]
        return (Piece("\n\n".join(parts)),)
