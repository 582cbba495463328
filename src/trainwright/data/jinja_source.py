"""A builtin chat template as Jinja source, for programs that know only that: `apply_chat_template` of transformers, vLLM.

What it renders from messages is, to the character, what the template renders from a conversation (of `trace`: from the
prompt and the response of a trace). What the template has no form for, it raises as these programs expect.
"""

import re

from trainwright.data.chat import ASK_FOR_STEPS, ChatTemplate, PlainTrace, TurnFormat

# One line, every tag stripping what is around it: it does not depend on how the program treats white space.
_SYSTEM_IN_USER = """\
{%- if messages[0]['role'] == 'system' -%}{%- set system = messages[0]['content'] -%}{%- set turns = messages[1:] -%}
{%- endif -%}
{%- if system and (not turns or turns[0]['role'] != 'user') -%}
{{- raise_exception('System text stands in the first user turn, and no user turn follows it.') -}}
{%- endif -%}"""

_SYSTEM_AS_TURN = """\
{%- if system and messages[0]['role'] != 'system' -%}
{%- set turns = [{'role': 'system', 'content': system}] + messages -%}
{%- endif -%}
{%- set system = '' -%}"""

_TURNS = """\
{%- set names = NAMES -%}{%- set system = SYSTEM -%}{%- set turns = messages -%}
PLACE
{%- for message in turns -%}
{%- if message['role'] not in names -%}{{- raise_exception('There is no turn for the role ' + message['role'] + '.') -}}
{%- endif -%}
{{- ('' if loop.first else NEWLINE) + START + names[message['role']] + NEWLINE -}}
{{- (system + NEWLINE + NEWLINE if system and loop.first else '') + message['content'] + END -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- NEWLINE + START + names['assistant'] + NEWLINE -}}{%- endif -%}"""

_PLAIN = """\
{%- set system = SYSTEM -%}{%- set turns = messages -%}
{%- if messages[0]['role'] == 'system' -%}{%- set system = messages[0]['content'] -%}{%- set turns = messages[1:] -%}
{%- endif -%}
{%- if not turns or turns[0]['role'] != 'user' or turns | length > 2
  or (turns | length == 2 and turns[1]['role'] != 'assistant') -%}
{{- raise_exception('This template has one prompt and one answer to it.') -}}
{%- endif -%}
{{- (system + NEWLINE + NEWLINE if system else '') + turns[0]['content'] + NEWLINE + NEWLINE + ASK + NEWLINE + NEWLINE -}}
{%- if turns | length == 2 -%}{{- turns[1]['content'] + END -}}{%- endif -%}"""


def build_jinja_source(template: ChatTemplate, system: str | None) -> str | None:
    """The source; `system` stands where the messages have no system message. None for a template that is no builtin one."""
    words = {"SYSTEM": _quote(system or ""), "NEWLINE": _quote("\n"), "ASK": _quote(ASK_FOR_STEPS)}
    if isinstance(template, TurnFormat):
        names = ", ".join(f"{_quote(role)}: {_quote(name)}" for role, name in template.roles)
        place = _SYSTEM_AS_TURN if template.system_place == "own turn" else _SYSTEM_IN_USER
        words |= {"NAMES": f"{{{names}}}", "START": _quote(template.start), "END": _quote(template.end)}
        return _fill(_TURNS.replace("PLACE", place), words)
    if isinstance(template, PlainTrace):
        return _fill(_PLAIN, words | {"END": _quote(template.end or "")})
    return None


def _fill(source: str, words: dict[str, str]) -> str:
    """Put the words in, in one pass: none of them is looked for within another."""
    return re.sub("|".join(words), lambda match: words[match.group()], source).replace("\n", "") + "\n"


def _quote(text: str) -> str:
    """A Jinja string: it knows the escapes of Python's, and nothing but ASCII is in it."""
    escaped = text.encode("unicode_escape").decode("ascii").replace("'", r"\'")
    return f"'{escaped}'"
