"""Traces and conversations: exact limits, errors that name the field, ids that follow from the content."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainwright.core.errors import InvalidTrace, NotTrainable, TraceTooLarge
from trainwright.core.hashing import canonical_json, digest_bytes
from trainwright.core.traces import Conversation, Trace, parse_trace, read_canonical, require_trainable

GOOD = {
    "trace_version": "1.0",
    "prompt": "What is 1 + 1?",
    "final_answer": "2",
    "steps": [{"i": 0, "type": "sum", "content": "1 + 1 = 2"}],
    "meta": {"category": "arithmetic", "tags": ["a", None, 1.5]},
}
TALK = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}], "meta": None}


def step(**changes):
    return [{"i": 0, "type": "a", "content": "b"} | changes]


def test_a_trace_is_named_by_its_content():
    trace = parse_trace(GOOD)
    assert isinstance(trace, Trace)
    assert trace.id == digest_bytes(trace.canonical) == parse_trace(json.loads(json.dumps(GOOD))).id
    assert trace.id == "11d42f0ab7c7563c89854f0e7cebf3ed61c1a44b9db0cd4623e3d128cec0ab0c"
    assert parse_trace(TALK).id == "946097866c07a079ac70ea6dbf19251c6dd542f90f9d635070873b2193f247a9"
    assert parse_trace(GOOD | {"meta": {}}).id != trace.id


def test_no_meta_and_a_meta_of_null_are_the_same():
    without = {key: value for key, value in GOOD.items() if key != "meta"}
    assert parse_trace(without) == parse_trace(GOOD | {"meta": None})
    assert parse_trace(without).id == parse_trace(GOOD | {"meta": None}).id


@pytest.mark.parametrize("document", [GOOD, TALK])
def test_canonical_form_reads_back(document):
    trace = parse_trace(document)
    assert trace.canonical == canonical_json(trace.as_document())
    assert read_canonical(trace.canonical) == trace
    assert parse_trace(json.loads(trace.canonical)) == trace


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [("trace_version", 1, 64), ("prompt", 1, 50_000), ("final_answer", 1, 50_000)],
)
def test_lengths_of_fields_are_exact(field, least, most):
    parse_trace(GOOD | {field: "é" * least})
    parse_trace(GOOD | {field: "é" * most})
    with pytest.raises(InvalidTrace, match=f"{field} has 0 characters; at least 1"):
        parse_trace(GOOD | {field: ""})
    with pytest.raises(InvalidTrace, match=f"{field} has {most + 1:,} characters; at most {most:,}"):
        parse_trace(GOOD | {field: "x" * (most + 1)})


def test_limits_of_steps_are_exact():
    parse_trace(GOOD | {"steps": [{"i": n, "type": "a", "content": "b"} for n in range(1000)]})
    parse_trace(GOOD | {"steps": step(type="t" * 64, content="c" * 20_000, i=(1 << 63) - 1)})


BAD = {
    "no steps": ({"steps": []}, "steps has 0 entries; at least 1 allowed"),
    "1001 steps": (
        {"steps": [{"i": n, "type": "a", "content": "b"} for n in range(1001)]},
        "1,001 entries; at most 1,000",
    ),
    "a step number twice": ({"steps": step() + step()}, "step number 0 stands there more than once"),
    "a negative step number": ({"steps": step(i=-1)}, r"steps.0.i is -1; it must be at least 0"),
    "a huge step number": ({"steps": step(i=1 << 63)}, r"steps.0.i is \d+; it must be less than"),
    "a step number that is text": ({"steps": step(i="0")}, r"steps.0.i is text"),
    "a step number that is true": ({"steps": step(i=True)}, r"steps.0.i is true or false"),
    "an empty step": ({"steps": step(content="")}, r"steps.0.content has 0 characters"),
    "a long step": ({"steps": step(content="x" * 20_001)}, r"steps.0.content has 20,001 characters; at most 20,000"),
    "a long type": ({"steps": step(type="x" * 65)}, r"steps.0.type has 65 characters; at most 64"),
    "steps that are text": ({"steps": "abc"}, "steps is text; it must be a list"),
    "an unknown field": ({"answer": "2"}, "answer is no field of it"),
    "meta that is a list": ({"meta": []}, "meta is a list"),
    "NaN in meta": ({"meta": {"a": float("nan")}}, "meta holds what JSON cannot"),
    "half a character in meta": ({"meta": {"a": "\ud800"}}, "meta holds half of a surrogate pair"),
    "half a character": ({"prompt": "\ud800"}, "prompt holds half of a surrogate pair"),
    "a prompt of null": ({"prompt": None}, "prompt is null"),
}


@pytest.mark.parametrize(("changes", "said"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_named_with_its_limit(changes, said):
    with pytest.raises(InvalidTrace, match=said):
        parse_trace(GOOD | changes)


@pytest.mark.parametrize("field", ["prompt", "steps", "final_answer", "trace_version"])
def test_a_missing_field_is_named(field):
    with pytest.raises(InvalidTrace, match=f"{field} is missing"):
        parse_trace({key: value for key, value in GOOD.items() if key != field})


@pytest.mark.parametrize("document", [None, 3, "text", [GOOD]])
def test_what_is_no_object_is_no_trace(document):
    with pytest.raises(InvalidTrace, match="a trace is a JSON object"):
        parse_trace(document)


def test_one_payload_is_at_most_a_mebibyte():
    room = (1 << 20) - len(parse_trace(GOOD | {"meta": {"a": ""}}).canonical)
    assert len(parse_trace(GOOD | {"meta": {"a": "x" * room}}).canonical) == 1 << 20
    with pytest.raises(TraceTooLarge, match="1,048,577 bytes") as caught:
        parse_trace(GOOD | {"meta": {"a": "x" * (room + 1)}})
    assert caught.value.http_status == 413


def test_meta_that_is_nested_too_deeply_is_refused():
    meta: dict = {}
    for _ in range(100_000):
        meta = {"a": meta}
    with pytest.raises(InvalidTrace):
        parse_trace(GOOD | {"meta": meta})
    while meta:
        meta = meta.pop("a", {})  # taken apart by hand: the interpreter would do it recursively


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "messages has 0 entries"),
        (
            [{"role": "bot", "content": "x"}],
            "messages.0.role is 'bot'; it must be 'system', 'user', 'assistant' or 'tool'",
        ),
        ([{"role": "user", "content": ""}], r"messages.0.content has 0 characters"),
        ([{"role": "user"}], "messages.0.content is missing"),
        ("hello", "messages is text; it must be a list"),
    ],
)
def test_a_bad_conversation_is_refused_by_field(messages, said):
    with pytest.raises(InvalidTrace, match=said):
        parse_trace({"messages": messages})


def test_a_conversation_that_ends_with_the_user_is_kept_but_not_trained_on():
    require_trainable(parse_trace(TALK))
    require_trainable(parse_trace(GOOD))
    asked = parse_trace({"messages": TALK["messages"][:1]})
    assert isinstance(asked, Conversation)
    with pytest.raises(NotTrainable, match=asked.id[:12]):
        require_trainable(asked)


def test_a_trace_does_not_change():
    trace = parse_trace(GOOD)
    with pytest.raises(ValidationError):
        trace.prompt = "other"


@given(
    st.text(min_size=1, max_size=50).filter(lambda text: text.isprintable()), st.dictionaries(st.text(), st.integers())
)
def test_any_text_survives(prompt, meta):
    trace = parse_trace(GOOD | {"prompt": prompt, "meta": meta})
    assert read_canonical(trace.canonical) == trace
    assert trace.text.startswith(prompt)
