"""From the shapes in which other people write traces and conversations to the document of ours.

| name | a record has | becomes |
| --- | --- | --- |
| `trace` | `trace_version`, `prompt`, `final_answer`, `steps`, `meta` | a trace, as it is |
| `messages` | `messages` of `role` and `content` (Hugging Face) | a conversation |
| `openai` | `messages` whose content may be parts, or the `mapping` tree of a ChatGPT export | a conversation |
| `alpaca` | `instruction`, `input`, `output` (or `instances` of the last two) | a conversation for each output |
| `sharegpt` | `conversations` of `from` and `value` | a conversation |
| `gsm8k` | `question`, `answer` with `<<3*4=12>>` marks and a last line `#### N` | a trace |

What a record has beyond these goes to `meta`; nothing is dropped unsaid. What has no place here (pictures, tool calls
without text) makes the record invalid.
"""

import re
from collections.abc import Callable
from typing import Any

from trainwright.core.errors import InvalidTrace, InvalidValue

Document = dict[str, Any]
Adapter = Callable[[Document], list[Document]]

TRACE_VERSION = "1.0"
"""What an adapter writes into `trace_version` where the source has none."""

_CALCULATION = re.compile(r"<<([^<>]*)>>")
_SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}


def detect_adapter(record: Document) -> str:
    """The name of the adapter for records that look like this one. Raises InvalidTrace where none fits."""
    keys = record.keys()
    if "mapping" in keys:
        return "openai"
    if "messages" in keys:
        messages = record["messages"] if isinstance(record["messages"], list) else []
        has_parts = any(
            isinstance(message, dict) and not isinstance(message.get("content"), str) for message in messages
        )
        return "openai" if has_parts else "messages"
    if "conversations" in keys:
        return "sharegpt"
    if "instruction" in keys:
        return "alpaca"
    if {"question", "answer"} <= keys:
        return "gsm8k"
    if keys & {"trace_version", "steps", "final_answer"}:
        return "trace"
    raise InvalidTrace(
        f"No adapter knows records with the keys {', '.join(sorted(map(str, keys))) or '(none)'}.",
        why=f"The adapters are {', '.join(ADAPTERS)}; see `trainwright traces import --help`.",
        next_step="Bring the records into one of these shapes, or name the adapter with --adapter.",
    )


def find_adapter(name: str) -> Adapter:
    """The adapter of that name. Raises InvalidValue."""
    if name not in ADAPTERS:
        raise InvalidValue(
            f"There is no adapter {name!r}.",
            why=f"The adapters are {', '.join(ADAPTERS)}.",
            next_step="Name one of them, or leave --adapter out to have it found.",
        )
    return ADAPTERS[name]


def _adapt_trace(record: Document) -> list[Document]:
    return [record]


def _adapt_messages(record: Document) -> list[Document]:
    messages = _require_list(record, "messages")
    return [{"messages": messages, "meta": _gather_meta(record, {"messages"})}]


def _adapt_openai(record: Document) -> list[Document]:
    if "mapping" not in record:
        messages = [_adapt_openai_message(message) for message in _require_list(record, "messages")]
        return [{"messages": messages, "meta": _gather_meta(record, {"messages"})}]
    messages = [message for message in _walk_mapping(record) if message["content"]]
    return [{"messages": messages, "meta": _gather_meta(record, {"mapping", "current_node", "messages"})}]


def _walk_mapping(record: Document) -> list[Document]:
    """The branch of a ChatGPT export that was last looked at, from its root to `current_node`."""
    mapping, node = record["mapping"], record.get("current_node")
    if not isinstance(mapping, dict) or not isinstance(node, str):
        raise _unfit("mapping is not a tree with a current_node")
    branch: list[Document] = []
    seen: set[str] = set()
    while isinstance(node, str):
        entry = mapping.get(node)
        if not isinstance(entry, dict) or node in seen:
            raise _unfit(f"the branch from current_node breaks at {node!r}")
        seen.add(node)
        message, node = entry.get("message"), entry.get("parent")
        if isinstance(message, dict):
            author = message.get("author")
            role = author.get("role") if isinstance(author, dict) else None
            branch.append({"role": role, "content": _join_parts(message.get("content"))})
    return branch[::-1]


def _adapt_openai_message(message: Any) -> Document:
    if not isinstance(message, dict):
        raise _unfit("a message is not an object")
    if message.get("tool_calls") or message.get("function_call"):
        raise _unfit("a message calls a tool, and a call has no text to learn")
    role = {"developer": "system", "function": "tool"}.get(message.get("role", ""), message.get("role"))
    return {"role": role, "content": _join_parts(message.get("content"))}


def _join_parts(content: Any) -> str:
    """Text, or parts that are all text, as one text."""
    if isinstance(content, dict):  # {"content_type": "text", "parts": […]}
        content = content.get("parts", [])
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _unfit("a message has no content")
    texts: list[str] = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            raise _unfit("a message has a part that is not text")
        texts.append(text)
    return "".join(texts)


def _adapt_alpaca(record: Document) -> list[Document]:
    instances = record.get("instances", [record])
    if not isinstance(instances, list) or not all(isinstance(instance, dict) for instance in instances):
        raise _unfit("instances is not a list of objects")
    meta = _gather_meta(record, {"instruction", "input", "output", "instances", "system"})
    conversations = []
    for instance in instances:
        asked: list[str] = []
        for part in (record.get("instruction"), instance.get("input")):
            if not isinstance(part, str | None):
                raise _unfit("instruction and input must be text")
            asked += [part] if part else []
        messages = [{"role": "user", "content": "\n\n".join(asked)}]
        messages.append({"role": "assistant", "content": instance.get("output")})
        if record.get("system"):
            messages.insert(0, {"role": "system", "content": record["system"]})
        conversations.append({"messages": messages, "meta": meta})
    return conversations


def _adapt_sharegpt(record: Document) -> list[Document]:
    messages = []
    if record.get("system"):
        messages.append({"role": "system", "content": record["system"]})
    for turn in _require_list(record, "conversations"):
        if not isinstance(turn, dict):
            raise _unfit("a turn is not an object")
        speaker = turn.get("from", turn.get("role"))
        if speaker not in _SHAREGPT_ROLES:
            raise _unfit(f"a turn is from {speaker!r}, who is none of {', '.join(_SHAREGPT_ROLES)}")
        messages.append({"role": _SHAREGPT_ROLES[speaker], "content": turn.get("value", turn.get("content"))})
    return [{"messages": messages, "meta": _gather_meta(record, {"conversations", "system"})}]


def _adapt_gsm8k(record: Document) -> list[Document]:
    """One step a line; the marked calculations are taken out of the text and kept in `meta.calculations`."""
    answer = record.get("answer")
    if not isinstance(answer, str):
        raise _unfit("answer is not text")
    worked, mark, final = answer.rpartition("#### ")
    if not mark:
        raise _unfit("answer has no last line `#### N`")
    lines = [line for line in worked.splitlines() if line.strip()]
    steps = [
        {
            "i": number,
            "type": "calculation" if _CALCULATION.search(line) else "reasoning",
            "content": _CALCULATION.sub("", line).strip(),
        }
        for number, line in enumerate(lines)
    ]
    meta = _gather_meta(record, {"question", "answer", "trace_version"}) or {}
    return [
        {
            "trace_version": record.get("trace_version", TRACE_VERSION),
            "prompt": record.get("question"),
            "final_answer": final.strip(),
            "steps": steps,
            "meta": {"source": "gsm8k", "calculations": _CALCULATION.findall(worked), **meta},
        }
    ]


ADAPTERS: dict[str, Adapter] = {
    "trace": _adapt_trace,
    "messages": _adapt_messages,
    "openai": _adapt_openai,
    "alpaca": _adapt_alpaca,
    "sharegpt": _adapt_sharegpt,
    "gsm8k": _adapt_gsm8k,
}


def _require_list(record: Document, field: str) -> list[Any]:
    value = record.get(field)
    if not isinstance(value, list):
        raise _unfit(f"{field} is not a list")
    return value


def _gather_meta(record: Document, used: set[str]) -> Document | None:
    """The record's own meta, and every field that is not used otherwise; None where there is nothing."""
    own = record.get("meta")
    if own is not None and not isinstance(own, dict):
        raise _unfit("meta is neither an object nor null")
    rest = {key: value for key, value in record.items() if key not in used and key != "meta"}
    return {**rest, **(own or {})} or own


def _unfit(what: str) -> InvalidTrace:
    return InvalidTrace(
        f"This record does not fit its adapter: {what}.",
        why="An adapter takes what it knows, and guesses nothing.",
        next_step="Correct the record, or name another adapter with --adapter.",
    )
