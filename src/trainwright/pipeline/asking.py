"""How a model is asked: a prompt as it stood in training, and what ends its answer.

A model of text goes on from the end of the document before. A model that learnt from samples is asked in the chat template
it was taught with: everything up to where the assistant's part begins, divided exactly there, as the samples were.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from trainwright.backends.protocol import Batch, Decoder, Model, Scores
from trainwright.core.errors import TemplateFailed
from trainwright.core.pieces import Piece, join_pieces
from trainwright.core.records import Rendering, Tokenizer
from trainwright.core.traces import Step, Trace
from trainwright.data.chat import ChatTemplate
from trainwright.evaluate.generation import Decoding, iter_generated
from trainwright.pipeline.prepare import Prepared
from trainwright.pipeline.rendering import open_template
from trainwright.store.workspace import Workspace
from trainwright.tokens.chat_tokens import encode_pieces
from trainwright.tokens.protocol import TextTokenizer
from trainwright.tokens.tokenizer import open_tokenizer

STAND_IN = "\ue000"
"""Stands for the prompt in a rendered form; no text of a template has it."""


@dataclass(frozen=True)
class Asking:
    """What stands before a prompt and after it, and what ends the answer.

    `form` is None for a model of text. Otherwise `form` are the pieces up to the assistant's part, with STAND_IN in the
    prompt's place. The answer ends at the token `end` (never shown), or, where the tokenizer spells the template's end of
    turn in several tokens, at the text `end_text`.
    """

    tokenizer: TextTokenizer
    end: int | None
    form: tuple[Piece, ...] | None = None
    end_text: str = ""

    @property
    def as_text(self) -> str:
        """The form with `{prompt}` in the prompt's place."""
        return "{prompt}" if self.form is None else join_pieces(self.form).replace(STAND_IN, "{prompt}")

    def encode(self, prompt: str) -> list[int]:
        """A prompt as the model read it in training."""
        if self.form is None:
            end = self.tokenizer.special_tokens.end
            return [*([] if end is None else [end]), *self.tokenizer.encode(prompt)] or [0]
        pieces = [piece._replace(text=piece.text.replace(STAND_IN, prompt)) for piece in self.form]
        return [int(token) for token in encode_pieces(self.tokenizer, pieces).ids]

    def iter_answer(self, model: Model, prompt: Sequence[int], decoding: Decoding) -> Iterator[int]:
        """Token ids of the answer to an encoded prompt."""
        written: list[int] = []
        for token in iter_generated(_Within(model, self.tokenizer.vocab_size), prompt, decoding, self.end):
            yield token
            if self.end_text:
                written.append(token)
                if self.end_text in self.tokenizer.decode(written):
                    return

    def finish(self, text: str) -> str:
        """An answer's text without what ended it."""
        return text.partition(self.end_text)[0] if self.end_text else text


class _Within:
    """A model that writes nothing beyond the tokenizer's vocabulary: others' models often have more ids, which mean nothing."""

    def __init__(self, model: Model, vocab_size: int) -> None:
        self._model, self._vocab_size = model, vocab_size

    def score(self, batch: Batch) -> Scores:
        return self._model.score(batch)

    def open_decoder(self) -> "_DecoderWithin":
        return _DecoderWithin(self._model.open_decoder(), self._vocab_size)


class _DecoderWithin:
    def __init__(self, decoder: Decoder, vocab_size: int) -> None:
        self._decoder, self._vocab_size = decoder, vocab_size

    def feed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        return self._decoder.feed(tokens)[: self._vocab_size]


def open_asking(prepared: Prepared, workspace: Workspace) -> Asking:
    """How the model of a plan is asked. Raises TemplateFailed where its template is not the one it was taught with."""
    return open_asking_as(prepared.token_set.rendering, prepared.tokenizer, workspace)


def open_asking_as(rendering: Rendering | None, record: Tokenizer, workspace: Workspace) -> Asking:
    """How any model with this tokenizer is asked in the form of `rendering` (None: as a model of text)."""
    tokenizer = open_tokenizer(record, workspace.objects)
    plain = Asking(tokenizer, record.special_tokens.end)
    if rendering is None:
        return plain
    system = None if rendering.system is None else workspace.objects.get(rendering.system).decode("utf-8")
    with open_template(rendering.template, record, tokenizer, workspace.objects) as template:
        if template.digest != rendering.template_digest:
            raise TemplateFailed(
                f"The template {rendering.template} is not the one that the model was taught with.",
                why=f"It has the digest {template.digest[:12]}; the samples were made with {rendering.template_digest[:12]}.",
                next_step="Use the version of Trainwright that the model was trained with, or train again.",
            )
        before, after = _divide(template, system)
    control = [tokenizer.control_tokens[piece.text] for piece in after if piece.text in tokenizer.control_tokens]
    if control:
        return replace(plain, form=before, end=control[0])
    return replace(plain, form=before, end_text=join_pieces(after).strip())


def _divide(template: ChatTemplate, system: str | None) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """The pieces before the assistant's part, and those of its part that follow what it says."""
    sample = Trace(
        trace_version="1", prompt=STAND_IN, steps=(Step(i=0, type="step", content=STAND_IN),), final_answer=STAND_IN
    )
    pieces = template.render(sample, system)
    before = tuple(takewhile(lambda piece: not piece.is_target, pieces))
    last = max(number for number, piece in enumerate(pieces) if STAND_IN in piece.text)
    tail = pieces[last].text.rpartition(STAND_IN)[2]
    after = [piece for piece in pieces[last + 1 :] if piece.is_target]
    return before, tuple([Piece(tail, is_target=True)] * bool(tail) + after)
