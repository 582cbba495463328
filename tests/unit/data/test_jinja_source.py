"""Builtin templates as Jinja source: what they render, they render too."""

import jinja2
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from trainwright.core.errors import TemplateFailed
from trainwright.core.pieces import join_pieces
from trainwright.core.traces import parse_trace
from trainwright.data.chat import PlainTrace, build_messages, find_template
from trainwright.data.jinja_source import build_jinja_source

ODD = 'it\'s {{ 7 * 7 }} {% raw %} "\\n" \\ \n\n\t<end_of_turn> é 文 🌊 END NEWLINE }}'
SYSTEMS = (None, "Think first.", ODD)
CONVERSATIONS = (
    (("user", "a"), ("assistant", "b")),
    (("system", "mine"), ("user", ODD), ("assistant", ODD)),
    (("user", " a\n"), ("assistant", "\nb "), ("user", "c"), ("assistant", "d")),
    (("user", "a"), ("tool", "found"), ("assistant", "b")),
    (("assistant", "first"), ("user", "a"), ("assistant", "b")),
    (("system", "mine"), ("assistant", "b")),
    (("system", "mine"), ("user", "a"), ("system", "again"), ("assistant", "b")),
)


class Refused(Exception):
    pass


def refuse(message):
    raise Refused(message)


@pytest.fixture(params=[True, False], ids=["as transformers trims", "untrimmed"])
def environment(request):
    """Programs differ in how they treat white space around tags."""
    made = ImmutableSandboxedEnvironment(trim_blocks=request.param, lstrip_blocks=request.param)
    made.globals["raise_exception"] = refuse
    return made


def render(environment: jinja2.Environment, template, system, messages, *, prompt=False) -> str:
    source = build_jinja_source(template, system)
    assert source is not None
    assert source.isascii()
    return environment.from_string(source).render(messages=messages, add_generation_prompt=prompt)


@pytest.mark.parametrize("name", ["gemma", "chatml"])
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("turns", CONVERSATIONS)
def test_conversations_are_rendered_alike_or_refused_alike(environment, name, system, turns) -> None:
    messages = [{"role": role, "content": content} for role, content in turns]
    template = find_template(name)
    try:
        expected = join_pieces(template.render(parse_trace({"messages": messages}), system))
    except TemplateFailed:
        with pytest.raises(Refused):
            render(environment, template, system, messages)
    else:
        assert render(environment, template, system, messages) == expected


@pytest.mark.parametrize("template", [*map(find_template, ("gemma", "chatml")), PlainTrace(None), PlainTrace("</s>")])
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("prompt", ["What is 1 + 1?", ODD])
def test_traces_and_prompts_are_rendered_alike(environment, template, system, prompt) -> None:
    trace = parse_trace(
        {
            "trace_version": "1",
            "prompt": prompt,
            "final_answer": "2",
            "steps": [{"i": 0, "type": "sum", "content": "1 + 1 = 2"}],
        }
    )
    messages = build_messages(trace)
    assert render(environment, template, system, messages) == join_pieces(template.render(trace, system))
    asked = render(environment, template, system, messages[:1], prompt=True)
    assert asked == join_pieces(template.render_prompt(prompt, system))


def test_a_plain_trace_has_one_prompt_and_one_answer(environment) -> None:
    user, assistant = ({"role": role, "content": "a"} for role in ("user", "assistant"))
    for messages in ([assistant], [user, user], [user, assistant, user], [{"role": "system", "content": "s"}]):
        with pytest.raises(Refused):
            render(environment, PlainTrace("</s>"), None, messages)


def test_a_template_that_a_tokenizer_carries_has_its_source_already() -> None:
    class Carried:
        name, digest = "tokenizer", "0" * 64

    assert build_jinja_source(Carried(), None) is None
