"""Traces to samples through a chat template: the builtin ones, or the one that a tokenizer carries."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from trainwright.core.errors import TemplateUnreadable
from trainwright.core.hashing import digest_bytes
from trainwright.core.pieces import Sample
from trainwright.core.records import Rendering, Tokenizer, TooLong
from trainwright.core.traces import AnyTrace
from trainwright.data.chat import ChatTemplate, find_template
from trainwright.data.jinja_chat import JinjaTemplate
from trainwright.store.objects import ObjectStore
from trainwright.tokens.huggingface import read_chat_template
from trainwright.tokens.protocol import TextTokenizer

TOKENIZERS_OWN = "tokenizer"
"""The name that asks for the template which the tokenizer carries."""


@contextmanager
def open_template(
    name: str | None, tokenizer: Tokenizer, opened: TextTokenizer, objects: ObjectStore
) -> Iterator[ChatTemplate]:
    """The template of that name; None: the one that the tokenizer carries, or `gemma` where it carries none.

    Raises InvalidValue (no such template), TemplateUnreadable (the tokenizer carries none, or one that is no template).
    """
    names = _role_names(opened)
    carried = read_chat_template(tokenizer, objects) if name in (None, TOKENIZERS_OWN) else None
    if carried is not None:
        owner = f"the chat template of the tokenizer {tokenizer.id[:12]}"
        with JinjaTemplate(carried, owner=owner, control_names=list(opened.control_tokens), names=names) as template:
            yield template
    elif name == TOKENIZERS_OWN:
        raise TemplateUnreadable(
            f"The tokenizer {tokenizer.id[:12]} carries no chat template.",
            why="Neither chat_template.jinja nor tokenizer_config.json has one."
            if tokenizer.algorithm == "huggingface"
            else "Tokenizers that are trained here carry none.",
            next_step="Name another template: gemma, chatml or trace.",
        )
    else:
        yield find_template(name or "gemma", names.get("eos_token"))


def iter_samples(traces: Iterable[AnyTrace], template: ChatTemplate, system: str | None = None) -> Iterator[Sample]:
    """Each trace as a sample, under its id. Raises as `ChatTemplate.render` does."""
    for trace in traces:
        yield Sample(trace.id, template.render(trace, system))


def describe_rendering(template: ChatTemplate, system: str | None, max_tokens: int, too_long: TooLong) -> Rendering:
    """What a token set remembers of how its samples were made."""
    return Rendering(
        template=template.name,
        template_digest=template.digest,
        system=digest_bytes(system.encode()) if system else None,
        max_tokens=max_tokens,
        too_long=too_long,
    )


def _role_names(opened: TextTokenizer) -> dict[str, str]:
    """What templates know as `bos_token` and so on."""
    special = opened.special_tokens
    roles = {
        "bos_token": special.begin,
        "eos_token": special.end,
        "pad_token": special.pad,
        "unk_token": special.unknown,
    }
    return {role: opened.read_name(token_id) for role, token_id in roles.items() if token_id is not None}
