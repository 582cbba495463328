"""A model that is open to be asked again and again, and its answers, a token at a time: alone, or several together.

What is open stays what it is, whatever its ref is moved to meanwhile: an answer ends on the model it began with.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainwright.backends.batching import open_batch_decoder
from trainwright.backends.catalogue import open_backend
from trainwright.backends.protocol import Model
from trainwright.core.errors import InvalidValue
from trainwright.core.pieces import Piece
from trainwright.core.records import Checkpoint
from trainwright.core.traces import Conversation, Message
from trainwright.evaluate.generation import Decoding, Drawing
from trainwright.pipeline.asking import STAND_IN, Asking, open_asking
from trainwright.pipeline.imported import read_model_weights
from trainwright.pipeline.rendering import open_template
from trainwright.pipeline.use import TrainedModel
from trainwright.store.checkpoints import read_record
from trainwright.store.workspace import Workspace
from trainwright.tokens.chat_tokens import encode_pieces


@dataclass(frozen=True, eq=False)
class Writer:
    """Weights that are loaded, and how they are asked. `checkpoint` says which they are."""

    trained: TrainedModel
    checkpoint: Checkpoint
    model: Model
    asking: Asking

    def encode_prompt(self, prompt: str) -> list[int]:
        """A prompt as the model read it in training. Raises InvalidEncoding."""
        return self.asking.encode(prompt)

    def encode_chat(self, messages: Sequence[Message], workspace: Workspace) -> list[int]:
        """Turns as they stood in training, up to where the assistant begins.

        A model of text has no turns: one message of the user is what it goes on from. Raises InvalidValue for more, and
        TemplateFailed for what the template has no form for.
        """
        if len(messages) == 1 and messages[0].role == "user":
            return self.asking.encode(messages[0].content)
        rendering = self.trained.prepared.token_set.rendering
        if rendering is None:
            raise InvalidValue(
                "This model learnt from text, and knows no turns.",
                why=f"It was given {len(messages)} messages; one, of the user, is what it can go on from.",
                next_step="Give one message with the role user, or ask /v1/completions.",
            )
        conversation = Conversation(messages=(*messages, Message(role="assistant", content=STAND_IN)))
        record = self.trained.prepared.tokenizer
        system = None if rendering.system is None else workspace.objects.get(rendering.system).decode("utf-8")
        with open_template(rendering.template, record, self.asking.tokenizer, workspace.objects) as template:
            pieces = _take_question(template.render(conversation, system))
        return [int(token) for token in encode_pieces(self.asking.tokenizer, pieces).ids]


def open_writer(trained: TrainedModel, workspace: Workspace) -> Writer:
    """Load a model's weights, verified, where its plan computes. Raises CheckpointDamaged, PackageMissing, TemplateFailed."""
    compute = trained.prepared.plan.compute.for_writing()
    shape = trained.prepared.plan.model
    weights = read_model_weights(shape, trained.path, workspace)
    return Writer(
        trained=trained,
        checkpoint=read_record(trained.path),
        model=open_backend(compute.framework).open_model(shape, weights, compute),
        asking=open_asking(trained.prepared, workspace),
    )


class Answer:
    """What a model writes after an encoded prompt, piece by piece. `stops` are texts that end it and are not shown.

    Iterated over, it is written by a decoder of its own. Otherwise somebody lets a model read `unread`, again and again,
    and hands the logits to `take`. When it is at its end, `finish` says why: the model (or a stop) ended it, or it was as
    long as it may be.
    """

    def __init__(self, writer: Writer, prompt: Sequence[int], decoding: Decoding, stops: Sequence[str] = ()) -> None:
        asking = writer.asking
        self.writer, self.prompt = writer, prompt
        self.unread: Sequence[int] = prompt
        self.num_tokens = 0
        self.finish: Literal["stop", "length"] | None = None
        self._stops = [*stops, *([asking.end_text] if asking.end_text else [])]
        self._drawing = Drawing(decoding, asking.end)
        self._stream = asking.tokenizer.stream_decoder()
        self._held = ""

    def __iter__(self) -> Iterator[str]:
        decoder = self.writer.model.open_decoder()
        while self.finish is None:
            yield self.take(decoder.feed(self.unread))

    def take(self, logits_V: NDArray[np.float32]) -> str:
        """Draw a token from what the model says after `unread`; the text that may be shown now."""
        token = self._drawing.draw(logits_V[: self.writer.asking.tokenizer.vocab_size])
        if token is None:
            return self._end("", "stop")
        self.num_tokens += 1
        self.unread = [token]
        shown, is_stopped = self._pass_on(self._stream.feed(token))
        if is_stopped:
            self.finish = "stop"
        return self._end(shown, "length") if self._drawing.is_full and not is_stopped else shown

    def _end(self, shown: str, finish: Literal["stop", "length"]) -> str:
        """The end of the text: what was held back, for it might have been a stop's beginning, is shown now."""
        rest, is_stopped = self._pass_on(self._stream.finish())
        self.finish = "stop" if is_stopped else finish
        return shown + rest + ("" if is_stopped else self._held)

    def _pass_on(self, piece: str) -> tuple[str, bool]:
        """What may be shown now, and whether a stop was reached. What may be the beginning of one is held back."""
        text = self._held + piece
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self._held = ""
            return text[: min(places)], True
        num_held = max((_count_begun(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - num_held :]
        return text[: len(text) - num_held], False


class AnswerBatch:
    """Answers of one model that are written together: a step is a token more of each, in one pass through the model."""

    def __init__(self, writer: Writer) -> None:
        self._decoder = open_batch_decoder(writer.model)
        self._numbers: dict[Answer, int] = {}

    def step(self, answers: Sequence[Answer]) -> list[str]:
        """A token more of each of these, none of which is at its end; the pieces of text that may be shown now."""
        pieces: dict[Answer, str] = {}
        known = [answer for answer in answers if answer in self._numbers]
        for answer in answers:
            if answer not in self._numbers:
                self._numbers[answer], logits_V = self._decoder.join(answer.unread)
                pieces[answer] = answer.take(logits_V)
        if known:
            numbers = [self._numbers[answer] for answer in known]
            logits_NV = self._decoder.feed(numbers, [answer.unread[-1] for answer in known])
            pieces |= {answer: answer.take(logits_V) for answer, logits_V in zip(known, logits_NV, strict=True)}
        return [pieces[answer] for answer in answers]

    def keep(self, answers: Collection[Answer]) -> None:
        """Forget all but these."""
        for answer in [one for one in self._numbers if one not in answers]:
            self._decoder.leave(self._numbers.pop(answer))


def _count_begun(text: str, stop: str) -> int:
    """How many of the last characters of `text` are the first ones of `stop`."""
    most = min(len(text), len(stop) - 1)
    return next((length for length in range(most, 0, -1) if text.endswith(stop[:length])), 0)


def _take_question(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """The pieces before the last part of the assistant, which holds the stand-in."""
    end = max(number for number, piece in enumerate(pieces) if STAND_IN in piece.text)
    while end and pieces[end - 1].is_target:
        end -= 1
    return pieces[:end]
