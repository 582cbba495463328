"""The process in which a tokenizer's chat template is rendered: a program of its own, told everything on standard input.

A template is code that came with somebody's files. Jinja's sandbox keeps it from Python's insides; this process keeps it
from the machine: it may use so much processor time for one rendering, so much memory, and write so much text, and where it
takes more, this process dies and the one that asked does not.

The first line in is the set-up, and every other line one conversation; each is answered by one line of JSON, either what
was asked for or {"error": unreadable | failed | unsafe, "why": …}. Only the standard library and Jinja are imported.
"""

import json
import resource
import signal
import sys
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment


class _TooMuchTextError(Exception):
    """The template wrote more than it may."""


class GenerationBlocks(Extension):
    """`{% generation %} … {% endgeneration %}`: what is inside is the assistant's. It is rendered between two marks."""

    tags = {"generation"}  # noqa: RUF012 - Jinja declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        """Read a block."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        self.environment.extend(has_generation=True)
        return nodes.CallBlock(self.call_method("mark"), [], [], body).set_lineno(line)

    def mark(self, caller: Macro) -> str:
        """What the block renders, between the marks."""
        before, after = self.environment.marks  # type: ignore[attr-defined]
        return f"{before}{caller()}{after}"


def main() -> None:
    """Answer line by line until there is nothing left to read."""
    setup = json.loads(sys.stdin.readline())
    _limit_memory(setup["max_memory_bytes"])
    environment = build_environment()
    template = None
    answer = _attempt(lambda: environment.from_string(setup["template"]), setup["max_cpu_s"])
    if "error" not in answer:
        template = answer["value"]
        answer = {"has_generation": getattr(environment, "has_generation", False)}
    _say(answer)
    for line in sys.stdin:
        request = json.loads(line)
        environment.extend(marks=request["marks"])
        _say(_render_all(template, request, setup))


class ClosedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, which says no at once: its own would make an empty text of what may not be touched."""

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        """Refuse."""
        raise SecurityError(f"access to attribute {attribute!r} of {type(obj).__name__!r} object is unsafe")


def build_environment() -> ClosedEnvironment:
    """Jinja as `apply_chat_template` sets it up, without the clock: the same sample has to be the same tomorrow."""
    environment = ClosedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlocks, loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it stands: Jinja's own filter would escape it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _render_all(template: Any, request: dict[str, Any], setup: dict[str, Any]) -> dict[str, Any]:
    """{"texts": […]}, one for each (number of messages, whether the assistant is asked to go on), or the error."""
    texts = []
    for num_messages, asks in request["renders"]:
        context = {
            **request["names"],
            "messages": request["messages"][:num_messages],
            "tools": None,
            "documents": None,
            "add_generation_prompt": asks,
        }
        answer = _attempt(lambda: _render(template, context, setup["max_characters"]), setup["max_cpu_s"])  # noqa: B023
        if "error" in answer:
            return answer
        texts.append(answer["value"])
    return {"texts": texts}


def _render(template: Any, context: dict[str, Any], max_characters: int) -> str:
    chunks = []
    num_characters = 0
    for chunk in template.generate(context):
        num_characters += len(chunk)
        if num_characters > max_characters:
            raise _TooMuchTextError
        chunks.append(chunk)
    return "".join(chunks)


def _attempt(work: Any, max_cpu_s: float) -> dict[str, Any]:
    """{"value": …}, or {"error", "why"}. The timer ends the whole process, since a single long operation heeds no one."""
    signal.setitimer(signal.ITIMER_PROF, max_cpu_s)
    try:
        return {"value": work()}
    except SecurityError as error:
        return {"error": "unsafe", "why": f"the sandbox said: {error}"}
    except OverflowError as error:  # how the sandbox refuses a range that is too long
        return {"error": "unsafe", "why": str(error)}
    except _TooMuchTextError:
        return {"error": "unsafe", "why": "it writes more text than a template may"}
    except MemoryError:
        return {"error": "unsafe", "why": "it takes more memory than a template may"}
    except TemplateSyntaxError as error:
        return {"error": "unreadable", "why": f"line {error.lineno}: {error.message}"}
    except (
        TemplateError,
        RecursionError,
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        return {"error": "failed", "why": str(error) or type(error).__name__}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _limit_memory(max_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    allowed = max_bytes if hard == resource.RLIM_INFINITY else min(max_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
