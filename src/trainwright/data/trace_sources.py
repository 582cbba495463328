"""Traces from elsewhere than the trace store: made by the project itself, or in a file, read as an import reads it."""

from collections.abc import Iterator
from pathlib import Path

from trainwright.core.errors import InvalidTrace, InvalidValue, SourceEmpty
from trainwright.core.hashing import digest_file, digest_json
from trainwright.core.records import DatasetVersion
from trainwright.core.traces import AnyTrace, Step, Trace, parse_trace
from trainwright.data.adapters import Adapter, detect_adapter, find_adapter
from trainwright.data.builtin import BUILTIN_CORPORA, arithmetic
from trainwright.data.dataset import TRAIN, VALIDATION
from trainwright.data.selection import divide_splits
from trainwright.data.trace_dataset import TraceDraft
from trainwright.data.trace_files import Row, iter_rows
from trainwright.store.objects import ObjectStore

BUILTIN = "builtin:"
BUILTIN_TRACES = ("arithmetic",)
READER_VERSION = 1
"""Grows when the same file would give other traces."""


def compute_source_key(source: str, share: float, seed: int) -> str:
    """Equal for two builds exactly where they would give the same dataset version. Raises SourceNotFound, InvalidValue."""
    if source.startswith(BUILTIN):
        origin = BUILTIN_CORPORA[_require_builtin(source)].key()
    else:
        for _ in iter_rows(source):  # says what is wrong with the path
            break
        origin = digest_file(Path(source))
    return digest_json({"stage": "traces", "reader": READER_VERSION, "source": origin, "split": share, "seed": seed})


def build_source_dataset(source: str, share: float, seed: int, objects: ObjectStore) -> DatasetVersion:
    """The traces of a source, each once, the share with the smallest hashes held out.

    Raises SourceNotFound, SourceUnreadable, SourceEmpty; InvalidTrace, with file and line, at the first bad record.
    """
    builtin = source.startswith(BUILTIN)
    traces = iter_builtin_traces(source) if builtin else iter_file_traces(source)
    recipe: dict[str, object] = {"from": source, "split": share, "seed": seed}
    if not builtin:
        recipe |= {"from": Path(source).name, "digest": digest_file(Path(source))}
    known: dict[str, AnyTrace] = {}
    num_seen = 0
    for trace in traces:
        num_seen += 1
        known.setdefault(trace.id, trace)
    if len(known) < 2:
        raise SourceEmpty(
            f"{source} has {len(known)} different traces.",
            why="One is learnt from and one is held out, at least.",
            next_step="Give more traces.",
        )
    held_out = divide_splits(known, [""] * len(known), share, seed)
    with TraceDraft() as draft:
        for trace, is_held_out in zip(known.values(), held_out, strict=True):
            draft.add(trace, VALIDATION if is_held_out else TRAIN)
        dataset = draft.build_dataset(
            Path(source.removeprefix(BUILTIN)).name.split(".", 1)[0],
            digest_json(recipe)[:12],
            source=source if builtin else Path(source).name,
            recipe=recipe,
            counts={"num_seen": num_seen, "num_duplicates": num_seen - len(known)},
        )
        draft.keep(objects)
    return dataset


def iter_builtin_traces(source: str) -> Iterator[Trace]:
    """The traces of `builtin:NAME`; no question of the corpus of that name is among them.

    Raises InvalidValue for a name that is not there.
    """
    _require_builtin(source)
    return map(_as_trace, arithmetic.iter_unread_traces())


def iter_file_traces(file: str) -> Iterator[AnyTrace]:
    """The traces and conversations of a file, in any shape that an adapter knows; which, its first record says."""
    adapt: Adapter | None = None
    for row in iter_rows(file):
        try:
            document = _require_object(row)
            adapt = adapt or find_adapter(detect_adapter(document))
            traces = [parse_trace(one) for one in adapt(document)]
        except InvalidTrace as error:
            raise InvalidTrace(
                f"{file}, {row.unit} {row.number}: {error.message}",
                why=error.why,
                next_step="Correct the record; `trainwright traces import` can leave bad ones out.",
            ) from error
        yield from traces


def _as_trace(made: arithmetic.ArithmeticTrace) -> Trace:
    steps = [Step(i=number, type="calculation", content=text) for number, text in enumerate(made.steps)]
    return Trace(
        trace_version="1",
        prompt=made.prompt,
        steps=tuple(steps),
        final_answer=made.final_answer,
        meta={"category": made.kind, "source": "builtin:arithmetic"},
    )


def _require_object(row: Row) -> dict[str, object]:
    if row.error is not None:
        raise row.error
    if not isinstance(row.document, dict):
        parse_trace(row.document)  # says what it is instead
    document: dict[str, object] = row.document
    return document


def _require_builtin(source: str) -> str:
    name = source.removeprefix(BUILTIN)
    if name not in BUILTIN_TRACES:
        raise InvalidValue(
            f"There are no traces called {source}.",
            why=f"There are: {', '.join(BUILTIN + known for known in BUILTIN_TRACES)}.",
            next_step="Name one of these, a file, or a dataset version such as dev@v1.",
        )
    return name
