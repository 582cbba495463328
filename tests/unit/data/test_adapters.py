"""Adapters: each shape becomes the same trace or conversation, nothing is guessed, nothing is dropped unsaid."""

import pytest

from trainwright.core.errors import InvalidTrace, InvalidValue
from trainwright.core.traces import Conversation, Trace, parse_trace
from trainwright.data.adapters import ADAPTERS, detect_adapter, find_adapter

TURNS = [("user", "hi"), ("assistant", "hello")]
GSM8K = {
    "question": "How many?",
    "answer": "There are 3*4 = <<3*4=12>>12 eggs.\nHe ate none.\nSo $<<12-0=12>>12 #### left.\n#### 1,012",
}
MAPPING = {
    "title": "Greeting",
    "current_node": "c",
    "mapping": {
        "a": {"message": None, "parent": None},
        "s": {
            "message": {"author": {"role": "system"}, "content": {"content_type": "text", "parts": [""]}},
            "parent": "a",
        },
        "b": {
            "message": {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["hi"]}},
            "parent": "s",
        },
        "x": {"message": {"author": {"role": "assistant"}, "content": {"parts": ["another branch"]}}, "parent": "b"},
        "c": {"message": {"author": {"role": "assistant"}, "content": {"parts": ["hel", "lo"]}}, "parent": "b"},
    },
}
SHAPES = {
    "messages": {"messages": [{"role": role, "content": text} for role, text in TURNS]},
    "openai": {"messages": [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in TURNS]},
    "openai export": MAPPING,
    "alpaca": {"instruction": "hi", "input": "", "output": "hello"},
    "sharegpt": {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
}


def adapt(record, name=None):
    return [parse_trace(document) for document in find_adapter(name or detect_adapter(record))(record)]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_conversation_is_found_and_read(shape):
    assert detect_adapter(SHAPES[shape]) == shape.split()[0]
    (conversation,) = adapt(SHAPES[shape])
    assert isinstance(conversation, Conversation)
    assert [(message.role, message.content) for message in conversation.messages] == TURNS


def test_what_a_record_has_beyond_goes_to_meta():
    (conversation,) = adapt(SHAPES["messages"] | {"source": "web", "meta": {"own": 1}})
    assert conversation.meta == {"source": "web", "own": 1}
    assert adapt(SHAPES["messages"])[0].meta is None
    assert adapt(SHAPES["messages"] | {"meta": None})[0] == adapt(SHAPES["messages"])[0]
    assert adapt(MAPPING)[0].meta == {"title": "Greeting"}


def test_alpaca_with_input_and_system():
    record = {"instruction": "Sort.", "input": "b a", "output": "a b", "system": "Be brief."}
    (conversation,) = adapt(record)
    assert [message.content for message in conversation.messages] == ["Be brief.", "Sort.\n\nb a", "a b"]
    instances = {"instruction": "Sort.", "id": "t", "instances": [{"input": "", "output": "x"}, {"output": "y"}]}
    assert [one.messages[-1].content for one in adapt(instances)] == ["x", "y"]
    assert [one.meta for one in adapt(instances)] == [{"id": "t"}] * 2


def test_sharegpt_knows_who_speaks():
    record = {"system": "s", "conversations": [{"from": "user", "value": "u"}, {"from": "observation", "value": "o"}]}
    assert [message.role for message in adapt(record)[0].messages] == ["system", "user", "tool"]
    with pytest.raises(InvalidTrace, match="from 'narrator'"):
        adapt({"conversations": [{"from": "narrator", "value": "x"}]})


def test_gsm8k_becomes_steps_and_an_answer_and_keeps_its_calculations():
    (trace,) = adapt(GSM8K)
    assert isinstance(trace, Trace)
    assert trace.prompt == "How many?"
    assert trace.final_answer == "1,012"
    assert [(step.type, step.content) for step in trace.steps] == [
        ("calculation", "There are 3*4 = 12 eggs."),
        ("reasoning", "He ate none."),
        ("calculation", "So $12 #### left."),
    ]
    assert trace.meta == {"source": "gsm8k", "calculations": ["3*4=12", "12-0=12"]}


def test_a_trace_is_taken_as_it_is():
    record = {
        "trace_version": "1",
        "prompt": "a",
        "final_answer": "b",
        "steps": [{"i": 3, "type": "t", "content": "c"}],
    }
    assert detect_adapter(record) == "trace"
    assert adapt(record)[0].as_document() == record | {"meta": None}


BAD = {
    "an answer without its mark": (GSM8K | {"answer": "12"}, "gsm8k", "no last line"),
    "an answer without steps": (GSM8K | {"answer": "#### 12"}, "gsm8k", "steps has 0 entries"),
    "a picture": (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "openai",
        "a part that is not text",
    ),
    "a call": ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, "openai", "calls a tool"),
    "a broken branch": (MAPPING | {"current_node": "nowhere"}, "openai", "breaks at 'nowhere'"),
    "messages that are text": ({"messages": "hi"}, "messages", "messages is not a list"),
    "turns that are text": ({"conversations": ["hi"]}, "sharegpt", "a turn is not an object"),
    "no output": ({"instruction": "hi"}, "alpaca", "messages.1.content is null"),
    "an empty output": ({"instruction": "hi", "output": ""}, "alpaca", "messages.1.content has 0 characters"),
    "meta that is text": (SHAPES["messages"] | {"meta": "x"}, "messages", "meta is neither an object nor null"),
    "a number as instruction": ({"instruction": 3, "output": "x"}, "alpaca", "must be text"),
}


@pytest.mark.parametrize(("record", "name", "said"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused_by_name(record, name, said):
    with pytest.raises(InvalidTrace, match=said):
        adapt(record, name)


def test_a_branch_that_runs_in_a_circle_is_refused():
    circle = {"current_node": "a", "mapping": {"a": {"parent": "b"}, "b": {"parent": "a"}}}
    with pytest.raises(InvalidTrace, match="breaks"):
        adapt(circle)


def test_unknown_shapes_and_adapters_are_named():
    with pytest.raises(InvalidTrace, match="keys a, b"):
        detect_adapter({"b": 1, "a": 2})
    with pytest.raises(InvalidValue, match="no adapter 'hf'") as caught:
        find_adapter("hf")
    assert all(name in caught.value.why for name in ADAPTERS)
