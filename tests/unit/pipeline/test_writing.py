"""Answers, a token at a time: what may be shown, what ends them, and what a conversation becomes before it is answered."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainwright.core.pieces import join_pieces
from trainwright.core.traces import Conversation, Message
from trainwright.data.chat import CHATML, GEMMA
from trainwright.evaluate.generation import Decoding
from trainwright.pipeline.asking import STAND_IN
from trainwright.pipeline.writing import Answer, AnswerBatch, _take_question

VOCABULARY, END = 128, "\0"


class Stream:
    def feed(self, token):
        return chr(token)

    def finish(self):
        return ""


class Script:
    """A model that says given texts, a character a token, each begun by a prompt of its number; then the end."""

    def __init__(self, *texts):
        self._texts = texts

    def open_decoder(self):
        left = None

        def feed(tokens):
            nonlocal left
            left = iter(self._texts[tokens[0]]) if left is None else left
            return np.where(np.arange(VOCABULARY) == ord(next(left, END)), 9.0, 0.0).astype(np.float32)

        return SimpleNamespace(feed=feed)


def ask(model, number, stops=(), end_text="", max_tokens=100):
    tokenizer = SimpleNamespace(stream_decoder=Stream, vocab_size=VOCABULARY)
    writer = SimpleNamespace(asking=SimpleNamespace(tokenizer=tokenizer, end_text=end_text, end=ord(END)), model=model)
    return Answer(writer, [number], Decoding(max_tokens=max_tokens, temperature=0), stops)


def write(text, stops=(), end_text="", max_tokens=100):
    """What is shown of a model that writes `text`: (pieces, the answer)."""
    answer = ask(Script(text), 0, stops, end_text, max_tokens)
    return list(answer), answer


def test_an_answer_comes_a_token_at_a_time():
    pieces, answer = write("a cat")
    assert pieces == ["a", " ", "c", "a", "t", ""]
    assert (answer.num_tokens, answer.finish) == (5, "stop")


def test_an_answer_that_is_cut_off_says_so():
    pieces, answer = write("a cat", max_tokens=3)
    assert ("".join(pieces), answer.finish) == ("a c", "length")


def test_the_beginning_of_a_stop_is_held_back_until_it_is_known_to_be_none():
    pieces, answer = write("a<b</s>more", stops=["</s>"])
    assert "".join(pieces) == "a<b"
    assert "<" not in pieces
    assert answer.finish == "stop"
    assert answer.num_tokens == 7
    assert "".join(write("ends with </", stops=["</s>"])[0]) == "ends with </"


def test_what_ends_a_turn_is_not_shown():
    assert "".join(write("four<end>", end_text="<end>")[0]) == "four"


@given(st.text("ab<", max_size=30), st.lists(st.text("ab<", min_size=1, max_size=4), max_size=3))
def test_what_is_shown_is_the_text_before_the_first_stop(text, stops):
    shown = "".join(write(text, stops)[0])
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    # The stop that is complete first ends the answer; of those that are complete at once, the one that begins first.
    first = min(ends, default=None)
    begins = [text.find(stop) for stop in stops if stop in text and text.find(stop) + len(stop) == first]
    assert shown == (text if first is None else text[: min(begins)])


def test_answers_that_are_written_together_are_what_each_is_alone():
    texts, stops = ("a cat", "<b> is </b>", "", "dogs and dogs"), ("</b>", "and")
    model = Script(*texts)
    batch = AnswerBatch(SimpleNamespace(model=model))
    answers = [ask(model, number, stops, max_tokens=9) for number in range(len(texts))]
    shown = dict.fromkeys(answers, "")
    for _ in range(20):
        if going := [answer for answer in answers if answer.finish is None]:
            batch.keep(going)
            for answer, piece in zip(going, batch.step(going), strict=True):
                shown[answer] += piece
    for text, answer in zip(texts, answers, strict=True):
        pieces, alone = write(text, stops, max_tokens=9)
        assert (shown[answer], answer.finish, answer.num_tokens) == ("".join(pieces), alone.finish, alone.num_tokens)


@pytest.mark.parametrize("template", [GEMMA, CHATML])
def test_a_conversation_is_read_up_to_where_the_assistant_begins(template):
    turns = [("user", "One?"), ("assistant", "1"), ("user", "Two?"), ("assistant", STAND_IN)]
    conversation = Conversation(messages=tuple(Message(role=role, content=content) for role, content in turns))
    question = join_pieces(_take_question(template.render(conversation)))
    assert STAND_IN not in question
    whole = join_pieces(template.render(conversation))
    assert whole.startswith(question + STAND_IN)
    assert question.count("1") == 1
