"""Chat templates that a tokenizer carries, rendered as `apply_chat_template` would, and which characters are whose.

**The assistant's part.** Where the template has `{% generation %}` blocks, they say it. Otherwise the conversation is
rendered up to each assistant turn, asking the assistant to go on, and once more with the turn: what was added is the
turn. That is only so if the longer rendering begins with the shorter one, which is checked every time.

**Control tokens.** The names of the tokenizer's control tokens are markers where the template writes them, and plain text
where a message holds them. To tell them apart, a name in a message is rendered as one unused character in its place, and
put back afterwards; the result must be what the template renders without that.
"""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from trainwright.core.errors import (
    InternalError,
    TemplateFailed,
    TemplateUnmaskable,
    TemplateUnreadable,
    TemplateUnsafe,
)
from trainwright.core.hashing import digest_json
from trainwright.core.pieces import Piece
from trainwright.core.traces import AnyTrace, require_trainable
from trainwright.data.chat import build_exchange, build_messages, take_prompt

MAX_CPU_S = 10.0
"""Processor time of one rendering."""
MAX_MEMORY_BYTES = 1 << 30
"""Address space of the process that renders."""
MAX_CHARACTERS = 1 << 24
"""Of one rendering."""

_WORKER = Path(__file__).with_name("template_worker.py")
_FIRST_UNUSED = 0xF0000  # private use: no tokenizer's marker and hardly a text has these characters

_Messages = list[dict[str, str]]


class Span(NamedTuple):
    """Characters [start, stop) of a rendered text."""

    start: int
    stop: int


class JinjaTemplate:
    """A tokenizer's chat template. Use it in a `with` block, or call `close`: a process of its own renders it."""

    name = "tokenizer"

    def __init__(
        self,
        source: str,
        *,
        owner: str,
        control_names: Collection[str],
        names: Mapping[str, str],
        max_cpu_s: float = MAX_CPU_S,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
        max_characters: int = MAX_CHARACTERS,
    ) -> None:
        """`names` is what the template knows as `bos_token`, `eos_token`, …; `owner` is what errors call the template.

        Raises TemplateUnreadable, naming the line, and TemplateUnsafe.
        """
        self.owner = owner
        self.digest = digest_json({"template": source, "names": dict(names)})
        self._names = dict(names)
        self._control = _Names(control_names)
        self._worker = _Worker(
            owner,
            {
                "template": source,
                "max_cpu_s": max_cpu_s,
                "max_memory_bytes": max_memory_bytes,
                "max_characters": max_characters,
            },
        )
        self._source_characters = set(source) | set("".join(names.values()))
        try:
            self._has_generation = bool(self._worker.start()["has_generation"])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._worker.stop()

    def render(self, trace: AnyTrace, system: str | None = None) -> tuple[Piece, ...]:
        """The pieces of one sample; see `ChatTemplate.render`. Also raises TemplateUnmaskable and TemplateUnsafe."""
        require_trainable(trace)
        messages = build_messages(trace, system)
        unused = self._iter_unused(messages)
        marks = (next(unused), next(unused))
        hiding = _Hiding(self._control, unused)
        hidden = [message | {"content": hiding.hide(message["content"])} for message in messages]
        if self._has_generation:
            text, spans = self._find_blocks(hidden, marks, trace)
        else:
            text, spans = self._find_turns(hidden, marks, trace)
        if hiding.restored:
            self._require_same(hiding.restore(text), messages, marks, trace)
        return tuple(self._cut(text, spans, hiding, trace))

    def render_prompt(self, prompt: str, system: str | None = None) -> tuple[Piece, ...]:
        """The pieces before the assistant's; see `ChatTemplate.render_prompt`."""
        return take_prompt(self.render(build_exchange(prompt), system))

    # ── which characters are the assistant's ──────────────────────────────────────────────────────────────────────────
    def _find_blocks(self, messages: _Messages, marks: tuple[str, str], trace: AnyTrace) -> tuple[str, list[Span]]:
        """By the template's generation blocks."""
        (marked,) = self._render(messages, [(len(messages), False)], marks, trace)
        spans: list[Span] = []
        texts: list[str] = []
        position = 0
        for part in re.split(f"({marks[0]}.*?{marks[1]})", marked, flags=re.DOTALL):
            inside = part[:1] == marks[0]
            text = part.strip("".join(marks)) if inside else part
            if marks[0] in text or marks[1] in text:
                raise self._unmaskable(trace, "Its generation blocks lie inside each other.")
            if inside and text:
                spans.append(Span(position, position + len(text)))
            texts.append(text)
            position += len(text)
        whole = "".join(texts)
        return whole, [_finish(span, whole, self._control.find_markers(whole)) for span in spans]

    def _find_turns(self, messages: _Messages, marks: tuple[str, str], trace: AnyTrace) -> tuple[str, list[Span]]:
        """By rendering up to each assistant turn, and with it."""
        turns = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
        asked = [ask for turn in turns for ask in ((turn, True), (turn + 1, False))]
        texts = self._render(messages, asked, marks, trace)
        whole = texts[-1]
        spans = []
        for turn, before, after in zip(turns, texts[::2], texts[1::2], strict=True):
            if not (after.startswith(before) and whole.startswith(after)):
                raise self._unmaskable(
                    trace,
                    f"What it renders up to message {turn} is not how the whole conversation begins: "
                    "it writes earlier turns differently once others follow.",
                )
            spans.append(Span(len(before), len(before) + _len_of_turn(after[len(before) :], messages[turn]["content"])))
        return whole, spans

    def _require_same(self, restored: str, messages: _Messages, marks: tuple[str, str], trace: AnyTrace) -> None:
        (plain,) = self._render(messages, [(len(messages), False)], marks, trace)
        if plain.translate(str.maketrans("", "", "".join(marks))) != restored:
            raise self._unmaskable(
                trace, "A message holds the name of a control token, and the template treats that as more than text."
            )

    # ── pieces ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _cut(self, text: str, spans: list[Span], hiding: "_Hiding", trace: AnyTrace) -> Iterator[Piece]:
        """The text cut at every marker's and span's edges."""
        markers = self._control.find_markers(text)
        edges = sorted({0, len(text), *(edge for span in (*spans, *markers) for edge in span)})
        marker_starts = {marker.start: marker.stop for marker in markers}
        for start, stop in pairwise(edges):
            is_control = start in marker_starts
            if is_control and marker_starts[start] != stop:
                raise self._unmaskable(trace, "The assistant's part begins or ends inside a control token's name.")
            is_target = any(span.start <= start < span.stop for span in spans)
            part = text[start:stop]
            yield Piece(part if is_control else hiding.restore(part), is_target, is_control)

    def _render(
        self, messages: _Messages, renders: list[tuple[int, bool]], marks: tuple[str, str], trace: AnyTrace
    ) -> list[str]:
        request = {"messages": messages, "renders": renders, "marks": marks, "names": self._names}
        answer = self._worker.ask(request, trace.id)
        return [str(text) for text in answer["texts"]]

    def _iter_unused(self, messages: _Messages) -> Iterator[str]:
        """Characters that stand neither in the template nor in the messages."""
        used = self._source_characters.union(*(message["content"] for message in messages))
        return (chr(code) for code in range(_FIRST_UNUSED, sys.maxunicode) if chr(code) not in used)

    def _unmaskable(self, trace: AnyTrace, why: str) -> TemplateUnmaskable:
        return TemplateUnmaskable(
            f"In what {self.owner} renders of {trace.id[:12]}, the assistant's part cannot be told.",
            why=why,
            next_step="Put {% generation %} blocks around the assistant's turns in the template, or name another template.",
        )


def _len_of_turn(added: str, content: str) -> int:
    """How much of what a turn added is the assistant's: white space after its end-of-turn is the template's."""
    body = added.rstrip()
    return len(added) if body.endswith(content.rstrip()) else len(body)


def _finish(span: Span, text: str, markers: list[Span]) -> Span:
    """A generation block's span, up to its end-of-turn: one that follows it at once, or the last thing in it."""
    stripped = span.start + len(text[span.start : span.stop].rstrip())
    if any(span.start <= marker.start and marker.stop == stripped for marker in markers):
        return Span(span.start, stripped)
    return Span(span.start, next((marker.stop for marker in markers if marker.start == span.stop), span.stop))


class _Names:
    """The names of control tokens, to be found in text."""

    def __init__(self, names: Collection[str]) -> None:
        longest_first = sorted(names, key=lambda name: (-len(name), name))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._heads = {name[:length] for name in names for length in range(1, len(name))}
        self._tails = {name[-length:] for name in names for length in range(1, len(name))}
        self._longest = max(map(len, names), default=0)

    def find_markers(self, text: str) -> list[Span]:
        """Every name in `text`, from left to right, the longest where several begin."""
        return [Span(*match.span()) for match in self._pattern.finditer(text)] if self._pattern else []

    def find_dangers(self, text: str) -> list[Span]:
        """Every name, and at the edges of the text the halves of names that a template could make whole."""
        whole = self.find_markers(text)
        body = text.rstrip()
        first = len(text) - len(text.lstrip())
        lengths = range(self._longest, 0, -1)
        tail = next((length for length in lengths if body[-length:] in self._heads and length <= len(body)), 0)
        head = next((length for length in lengths if text[first : first + length] in self._tails), 0)
        halves = [Span(first, first + head), Span(len(body) - tail, len(body))]
        free = [half for half in halves if half.stop > half.start and not any(_overlaps(half, name) for name in whole)]
        if len(free) == 2 and _overlaps(*free):
            free = free[:1]
        return sorted([*whole, *free])


class _Hiding:
    """Puts one unused character in the place of each control token's name, and the names back."""

    def __init__(self, names: _Names, unused: Iterator[str]) -> None:
        self._names = names
        self._unused = unused
        self._character_of: dict[str, str] = {}
        self.restored: dict[int, str] = {}
        """{code point: the name in whose place it stands}."""

    def hide(self, text: str) -> str:
        """The text without names."""
        parts = []
        position = 0
        for span in self._names.find_dangers(text):
            name = text[span.start : span.stop]
            if name not in self._character_of:
                character = self._character_of[name] = next(self._unused)
                self.restored[ord(character)] = name
            parts += [text[position : span.start], self._character_of[name]]
            position = span.stop
        return "".join([*parts, text[position:]])

    def restore(self, text: str) -> str:
        """The text with the names again."""
        return text.translate(self.restored) if self.restored else text


def _overlaps(one: Span, other: Span) -> bool:
    return one.start < other.stop and other.start < one.stop


# ── the process ───────────────────────────────────────────────────────────────────────────────────────────────────────
class _Worker:
    """`template_worker.py`, asked line by line. One that died is started again with the next question."""

    def __init__(self, owner: str, setup: dict[str, Any]) -> None:
        self._owner = owner
        self._setup = setup
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> dict[str, Any]:
        """Start the process; what it says about the template."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        return self._exchange(self._setup, "the template itself")

    def ask(self, request: dict[str, Any], trace_id: str) -> dict[str, Any]:
        """The answer to one conversation. Raises TemplateFailed, TemplateUnsafe."""
        if self._process is None:
            self.start()
        return self._exchange(request, trace_id[:12])

    def stop(self) -> None:
        """End the process and wait until it has gone."""
        process, self._process = self._process, None
        if process is None or process.stdin is None or process.stdout is None:
            return
        process.kill()
        process.wait()
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()

    def _exchange(self, question: dict[str, Any], subject: str) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise InternalError("The process that renders templates is not there.")
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):
            raise self._died(process, subject)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise self._translate(answer["error"], answer["why"], subject)
        return answer

    def _died(self, process: "subprocess.Popen[str]", subject: str) -> TemplateUnsafe | InternalError:
        code = process.wait()
        self.stop()
        if code > 0:
            return InternalError(
                f"The process that renders {self._owner} ended with the code {code}.",
                why=f"It was rendering {subject}.",
                next_step=f"Start it by hand to see what it says: {sys.executable} {_WORKER}",
            )
        timed_out = f"it took more than {self._setup['max_cpu_s']:g} s of processor time"
        why = timed_out if code == -signal.SIGPROF else f"the process that rendered it was ended by signal {-code}"
        return self._unsafe(why, subject)

    def _translate(self, kind: str, why: str, subject: str) -> TemplateUnsafe | TemplateUnreadable | TemplateFailed:
        if kind == "unsafe":
            return self._unsafe(why, subject)
        if kind == "unreadable":
            return TemplateUnreadable(
                f"{self._owner} is not a chat template.",
                why=f"As a Jinja template it cannot be read: {why}.",
                next_step="Mend it, or name another template: gemma, chatml or trace.",
            )
        return TemplateFailed(
            f"{self._owner} does not render {subject}.",
            why=f"It says: {why.removesuffix('.')}.",
            next_step="Leave that record out of the dataset, or name another template: gemma, chatml or trace.",
        )

    def _unsafe(self, why: str, subject: str) -> TemplateUnsafe:
        return TemplateUnsafe(
            f"{self._owner} was stopped while it rendered {subject}.",
            why=f"{why[:1].upper()}{why[1:].rstrip('.')}.",
            next_step="Do not trust this template. Name another: gemma, chatml or trace.",
        )
