"""A dataset version as a file: the same version gives the same bytes, in manifest order, with memory for one batch.

| format | one row is |
| --- | --- |
| `trace` | the canonical JSON of the trace or conversation |
| `messages` | {id, messages}: the form that Hugging Face calls `messages` |
| `tunix_sft` | {id, text}: Gemma chat text |
| `chatml` | {id, text}: ChatML text |
| `training_example` | {id, prompt, response, metadata}; `id` is a uuid5 of the trace's id |
| `parquet` | the columns of `COLUMNS`; steps and messages are lists of structures, meta is JSON text |
| `csv` | the same columns; steps and messages are JSON text |

All but the last two are JSON lines with sorted keys. The text forms are rendered by `chat.py`.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from trainwright.core.durable import write_chunks
from trainwright.core.errors import InvalidValue
from trainwright.core.hashing import canonical_json
from trainwright.core.traces import AnyTrace, Conversation, Trace, read_canonical, read_document

COLUMNS = ("id", "split", "kind", "trace_version", "prompt", "final_answer", "steps", "messages", "meta")
"""Of Parquet and CSV. `kind` is trace or conversation; what the one does not have is empty for it."""

_NO_CELLS = dict.fromkeys(COLUMNS)
_ROWS_AT_ONCE = 1000
_CHUNK_BYTES = 1 << 18

Placed = tuple[bytes, str, str]
"""(canonical JSON of a trace, its id, the split it is in)."""
Render = Callable[[AnyTrace], bytes]
"""A trace as the canonical JSON of its row."""


def _open_messages() -> Render:
    from trainwright.data.chat import build_messages

    def render(trace: AnyTrace) -> bytes:
        messages = [{"content": one["content"], "role": one["role"]} for one in build_messages(trace)]
        return _encode_texts({"id": trace.id, "messages": messages})

    return render


def _open_chat(template: str) -> Render:
    from trainwright.core.pieces import join_pieces
    from trainwright.data.chat import find_template

    form = find_template(template)
    return lambda trace: _encode_texts({"id": trace.id, "text": join_pieces(form.render(trace))})


def _open_training_example() -> Render:
    from trainwright.data.chat import build_training_example

    def render(trace: AnyTrace) -> bytes:
        if isinstance(trace, Trace):
            return canonical_json(build_training_example(trace))
        raise _no_example(trace)

    return render


def _no_example(conversation: Conversation) -> Exception:
    from trainwright.core.errors import TemplateFailed

    return TemplateFailed(
        f"{conversation.id[:12]} cannot be exported as a training_example.",
        why="It is a conversation, and a training example has one prompt and one response with steps.",
        next_step="Export as messages, or build a version of traces alone with --filter kind=trace.",
    )


_JSON_FORMS: dict[str, Callable[[], Render]] = {
    "messages": _open_messages,
    "tunix_sft": partial(_open_chat, "gemma"),
    "chatml": partial(_open_chat, "chatml"),
    "training_example": _open_training_example,
}
FORMATS = ("trace", *_JSON_FORMS, "parquet", "csv")


def require_format(name: str) -> None:
    """Raises InvalidValue for a format that there is not."""
    if name not in FORMATS:
        raise InvalidValue(
            f"There is no export format {name!r}.",
            why=f"Formats are {', '.join(FORMATS)}.",
            next_step="Name one of them.",
        )


def iter_chunks(documents: Iterable[bytes], placed: Iterable[Placed], form: str) -> Iterator[bytes]:
    """The bytes of an export in any format but Parquet. `documents` are used for `trace`, `placed` for the others.

    Raises NotTrainable, TemplateFailed, by the trace's id.
    """
    if form == "trace":
        return _gather(documents)
    if form == "csv":
        return _gather(_iter_csv(placed))
    render = _JSON_FORMS[form]()
    return _gather(render(_read(line, trace_id)) + b"\n" for line, trace_id, _ in placed)


def _encode_texts(value: Any) -> bytes:
    """`canonical_json` of what holds texts and whole numbers alone, its keys in their order already: three times as quick."""
    return to_json(value)


def write_parquet(path: Path, placed: Iterable[Placed]) -> None:
    """Write a Parquet file, whole or not at all. Raises DiskFull, NotWritable."""
    write_chunks(path, _iter_parquet(placed))


def _gather(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines in pieces large enough to be written one by one."""
    held: list[bytes] = []
    num_bytes = 0
    for line in lines:
        held.append(line)
        num_bytes += len(line)
        if num_bytes >= _CHUNK_BYTES:
            yield b"".join(held)
            held, num_bytes = [], 0
    yield b"".join(held)


def _iter_csv(placed: Iterable[Placed]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in placed:
        if buffer.tell() >= _CHUNK_BYTES:
            yield _drain(buffer)
        row = _build_row(one)
        writer.writerow([_render_cell(column, row[column]) for column in COLUMNS])
    yield _drain(buffer)


def _drain(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode("utf-8")


def _render_cell(column: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    encode = canonical_json if column == "meta" else _encode_texts
    return encode(value).decode("utf-8")


def _read(line: bytes, trace_id: str) -> AnyTrace:
    trace = read_canonical(line)
    trace.__dict__["id"] = trace_id  # what the cached property would hash again
    return trace


def _build_row(placed: Placed) -> dict[str, Any]:
    line, trace_id, split = placed
    document = read_document(line)
    kind = Conversation.kind if "messages" in document else Trace.kind
    return _NO_CELLS | document | {"id": trace_id, "split": split, "kind": kind}


def _iter_parquet(placed: Iterable[Placed]) -> Iterator[bytes]:
    """The bytes of a Parquet file, a row group at a time. Nothing in it depends on the clock or the machine."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    step = pa.struct([("i", pa.int64()), ("type", text), ("content", text)])
    message = pa.struct([("role", text), ("content", text)])
    types = {"steps": pa.list_(step), "messages": pa.list_(message)}
    schema = pa.schema([(column, types.get(column, text)) for column in COLUMNS])
    sink = _Sink()
    remaining = iter(placed)
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        while rows := [_build_row(one) for one in islice(remaining, _ROWS_AT_ONCE)]:
            for row in rows:
                row["meta"] = None if row["meta"] is None else canonical_json(row["meta"]).decode("utf-8")
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            yield sink.take()
    yield sink.take()


class _Sink(io.RawIOBase):
    """A file that is taken away piece by piece while it is written."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Hold the bytes until they are taken."""
        self._held.append(bytes(data))
        self._length += len(self._held[-1])
        return len(self._held[-1])

    def tell(self) -> int:
        """How much was written in all."""
        return self._length

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = b"".join(self._held)
        self._held = []
        return taken
