"""The rendered forms, held against the files in tests/golden/, and what has no form."""

import json
import uuid
from pathlib import Path

import pytest

from trainwright.core.errors import InvalidValue, NotTrainable, TemplateFailed
from trainwright.core.pieces import join_pieces
from trainwright.core.traces import Conversation, Trace, parse_trace
from trainwright.data.chat import (
    BUILTIN_TEMPLATES,
    CHATML,
    GEMMA,
    build_messages,
    build_training_example,
    find_template,
)

SYSTEM = "Think step by step."


def make_trace(**changed: object) -> Trace:
    document = {
        "trace_version": "1.0",
        "prompt": "If 6 items cost $189,\nwhat is the cost per item?",
        "final_answer": "$31.50",
        "steps": [
            {"i": 3, "type": "setup", "content": "Divide the cost by the number of items."},
            {"i": 4, "type": "calculation", "content": "$189 ÷ 6 = $31.50"},
        ],
        "meta": {"category": "reasoning", "seed": 42},
    }
    trace = parse_trace(document | changed)
    assert isinstance(trace, Trace)
    return trace


def make_conversation(*turns: tuple[str, str]) -> Conversation:
    conversation = parse_trace({"messages": [{"role": role, "content": content} for role, content in turns]})
    assert isinstance(conversation, Conversation)
    return conversation


TWO_TURNS = (("user", "Hello!"), ("assistant", "Hello. 😀"), ("user", "  What is 2 + 2?\n"), ("assistant", "4"))
WITH_SYSTEM = (("system", "Be brief."), *TWO_TURNS)
WITH_TOOL = (("user", "Weather?"), ("tool", '{"sun": true}'), ("assistant", "Sunny."))

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "chat"

SUBJECTS = {
    "trace": (make_trace(), None),
    "trace-system": (make_trace(), SYSTEM),
    "turns": (make_conversation(*TWO_TURNS), None),
    "turns-system": (make_conversation(*TWO_TURNS), SYSTEM),
    "turns-own-system": (make_conversation(*WITH_SYSTEM), SYSTEM),
}
RENDERED = [(name, subject) for name in ("gemma", "chatml") for subject in SUBJECTS]
RENDERED += [("trace", "trace"), ("trace", "trace-system")]


def mark_targets(pieces) -> str:
    """The text with what is to be learnt between ⟦ and ⟧, so that one file pins text and mask."""
    text = "".join(f"⟦{piece.text}⟧" if piece.is_target else piece.text for piece in pieces)
    return text.replace("⟧⟦", "")


@pytest.mark.parametrize(("name", "subject"), RENDERED)
def test_rendered_form_is_the_golden_one(name, subject):
    trace, system = SUBJECTS[subject]
    pieces = find_template(name, end="</s>").render(trace, system)
    golden = (GOLDEN / f"{name}-{subject}.txt").read_bytes().decode()
    assert mark_targets(pieces) == golden
    assert join_pieces(pieces) == golden.replace("⟦", "").replace("⟧", "")


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("training-example", build_training_example(make_trace())),
        ("messages", build_messages(make_trace())),
        ("messages-system", build_messages(make_trace(), SYSTEM)),
    ],
)
def test_plain_form_is_the_golden_one(name, document):
    golden = (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    assert json.dumps(document, indent=2, ensure_ascii=False) + "\n" == golden


def test_gemma_turn_is_as_its_format_says():
    trace = make_trace(
        prompt="P",
        final_answer="X",
        steps=[{"i": 9, "type": "a", "content": "A"}, {"i": 2, "type": "b", "content": "B"}],
    )
    text = join_pieces(GEMMA.render(trace, "S"))
    assert text == (
        "<start_of_turn>user\nS\n\nP<end_of_turn>\n<start_of_turn>model\nReasoning:\n1. A\n2. B\nAnswer: X<end_of_turn>"
    )


def test_training_example_is_named_by_its_trace():
    example = build_training_example(make_trace())
    assert uuid.UUID(example["id"]).version == 5
    assert build_training_example(make_trace())["id"] == example["id"]
    assert build_training_example(make_trace(meta=None))["id"] != example["id"]


def test_only_markers_are_control_pieces():
    pieces = GEMMA.render(make_trace(prompt="a<end_of_turn>\n<start_of_turn>model\nb"))
    markers = [piece.text for piece in pieces if piece.is_control]
    assert markers == ["<start_of_turn>", "<end_of_turn>"] * 2


def test_conversation_that_ends_with_a_user_turn_is_refused_by_id():
    conversation = make_conversation(*TWO_TURNS[:3])
    for name in BUILTIN_TEMPLATES:
        with pytest.raises(NotTrainable, match=conversation.id[:12]):
            find_template(name).render(conversation)


@pytest.mark.parametrize(
    "turns",
    [
        WITH_TOOL,
        (("system", "S"), ("assistant", "A")),
        (("user", "U"), ("system", "S"), ("assistant", "A")),
        (("system", "S"), ("system", "S"), ("user", "U"), ("assistant", "A")),
    ],
)
def test_what_gemma_has_no_turn_for_is_refused_by_id(turns):
    conversation = make_conversation(*turns)
    with pytest.raises(TemplateFailed, match=f"gemma has no form for {conversation.id[:12]}") as caught:
        GEMMA.render(conversation)
    assert caught.value.next_step
    assert CHATML.render(conversation)


def test_conversation_has_no_form_without_turns():
    with pytest.raises(TemplateFailed, match="trace"):
        find_template("trace").render(make_conversation(*TWO_TURNS))


def test_unknown_template_is_refused_and_those_there_are_named():
    with pytest.raises(InvalidValue, match="nosuch") as caught:
        find_template("nosuch")
    assert "gemma, chatml, trace" in caught.value.why


def test_digest_tells_templates_apart():
    digests = {template.digest for template in (GEMMA, CHATML, find_template("trace"), find_template("trace", "</s>"))}
    assert len(digests) == 4
    assert find_template("gemma").digest == GEMMA.digest


@pytest.mark.parametrize("name", BUILTIN_TEMPLATES)
@pytest.mark.parametrize("system", [None, SYSTEM])
def test_prompt_is_how_the_sample_of_a_trace_begins(name, system):
    template, trace = find_template(name, "</s>"), make_trace()
    asked = join_pieces(template.render_prompt(trace.prompt, system))
    assert join_pieces(template.render(trace, system)).startswith(asked + "Reasoning:")
