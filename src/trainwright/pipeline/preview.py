"""One sample as a model will be shown it: its tokens, and which of them it is to learn."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright.core.errors import AmbiguousRef, InvalidTrace, UnknownRef
from trainwright.core.pieces import join_pieces
from trainwright.core.records import (
    Checkpoint,
    Outcome,
    Plan,
    Record,
    Report,
    Run,
    Tokenizer,
    TokenSet,
)
from trainwright.core.traces import AnyTrace, parse_trace
from trainwright.data.adapters import detect_adapter, find_adapter
from trainwright.data.trace_dataset import iter_traces
from trainwright.data.trace_files import Row, iter_rows
from trainwright.pipeline.datasets import find_dataset, require_usable
from trainwright.pipeline.rendering import open_template
from trainwright.store.objects import MemoryObjects, ObjectStore
from trainwright.store.workspace import Workspace, open_workspace
from trainwright.tokens.chat_tokens import EncodedSample, encode_pieces
from trainwright.tokens.huggingface import import_tokenizer
from trainwright.tokens.protocol import TextTokenizer
from trainwright.tokens.tokenizer import open_tokenizer


@dataclass(frozen=True)
class Preview:
    """A sample, rendered and tokenized. `names` are what the tokenizer calls the tokens."""

    trace: AnyTrace
    index: int
    tokenizer: Tokenizer
    template: str
    template_digest: str
    text: str
    encoded: EncodedSample
    names: list[str]
    controls: list[bool]

    def as_document(self) -> dict[str, Any]:
        """What `tokens preview --json` prints."""
        return {
            "id": self.trace.id,
            "index": self.index,
            "tokenizer_id": self.tokenizer.id,
            "template": self.template,
            "template_digest": self.template_digest,
            "num_tokens": len(self.encoded.ids),
            "num_targets": self.encoded.num_targets,
            "text": self.text,
            "ids": self.encoded.ids.tolist(),
            "tokens": self.names,
            "mask": self.encoded.targets.tolist(),
        }


def preview_sample(
    source: str,
    tokenizer_ref: str,
    workspace_root: Path,
    *,
    index: int = 0,
    trace_id: str | None = None,
    template_name: str | None = None,
    system: str | None = None,
) -> Preview:
    """Render and tokenize one trace of a file or dataset version: by its place, from 0, or by the beginning of its id.

    A file is read as `traces import` would; a folder with a tokenizer.json is read in place. Nothing is stored, and a
    workspace is opened only where a ref has to be looked up. Raises UnknownRef, AmbiguousRef, InvalidTrace (file and
    line are named), TraceForgotten, TokenizerUnreadable, and what rendering and tokenizing raise.
    """
    index, trace = _find_trace(_iter_source(source, workspace_root), source, index, trace_id)
    tokenizer, opened, objects = _open_tokenizer(tokenizer_ref, workspace_root)
    return _render(trace, index, tokenizer, opened, objects, template_name, system)


def preview_trace(
    trace: AnyTrace,
    tokenizer_ref: str,
    workspace: Workspace,
    template_name: str | None = None,
    system: str | None = None,
) -> Preview:
    """Render and tokenize a trace with a tokenizer of the workspace, named by a ref that leads to one.

    Raises UnknownRef, AmbiguousRef, InvalidValue (no such template), and what rendering and tokenizing raise.
    """
    tokenizer = find_tokenizer(tokenizer_ref, workspace)
    opened = open_tokenizer(tokenizer, workspace.objects)
    return _render(trace, 0, tokenizer, opened, workspace.objects, template_name, system)


def _render(
    trace: AnyTrace,
    index: int,
    tokenizer: Tokenizer,
    opened: TextTokenizer,
    objects: ObjectStore,
    template_name: str | None,
    system: str | None,
) -> Preview:
    with open_template(template_name, tokenizer, opened, objects) as template:
        pieces = template.render(trace, system)
        encoded = encode_pieces(opened, pieces)
        ids_of_controls = set(opened.control_tokens.values())
        return Preview(
            trace=trace,
            index=index,
            tokenizer=tokenizer,
            template=template.name,
            template_digest=template.digest,
            text=join_pieces(pieces),
            encoded=encoded,
            names=[opened.read_name(token_id) for token_id in encoded.ids.tolist()],
            controls=[token_id in ids_of_controls for token_id in encoded.ids.tolist()],
        )


# ── the trace ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _find_trace(traces: Iterator[AnyTrace], source: str, index: int, trace_id: str | None) -> tuple[int, AnyTrace]:
    num_traces = 0
    found: dict[str, tuple[int, AnyTrace]] = {}
    for number, trace in enumerate(traces):
        num_traces = number + 1
        if trace_id is None and number == index:
            return number, trace
        if trace_id is not None and trace.id.startswith(trace_id.lower()):
            found.setdefault(trace.id, (number, trace))
    if len(found) > 1:
        raise AmbiguousRef(
            f"{trace_id} could be any of {len(found)} traces.",
            why=f"They begin with it: {', '.join(one[:16] for one in list(found)[:5])}.",
            next_step="Give more digits of the id.",
        )
    if not found:
        asked = f"number {index}" if trace_id is None else f"whose id begins with {trace_id}"
        raise UnknownRef(
            f"{source} has no trace {asked}.",
            why=f"It has {num_traces}, numbered from 0."
            if trace_id is None
            else f"None of its {num_traces} has such an id.",
            next_step="Name another with --index or --id.",
        )
    return next(iter(found.values()))


def _iter_source(source: str, workspace_root: Path) -> Iterator[AnyTrace]:
    """The traces of a file, or of a dataset version in manifest order."""
    if Path(source).is_file():
        return _iter_file(source)
    with open_workspace(workspace_root) as workspace:
        dataset = find_dataset(source, workspace)
        require_usable(dataset, workspace)
        return iter_traces(dataset, None, workspace.objects)


def _iter_file(name: str) -> Iterator[AnyTrace]:
    adapt = None
    for row in iter_rows(name):
        try:
            if row.error is not None:
                raise row.error
            if adapt is None or not isinstance(row.document, dict):
                adapt = find_adapter(detect_adapter(_require_object(row)))
            for document in adapt(row.document):
                yield parse_trace(document)
        except InvalidTrace as error:
            raise InvalidTrace(
                f"{name}, {row.unit} {row.number}: {error.message}", why=error.why, next_step=error.next_step
            ) from error


def _require_object(row: Row) -> dict[str, Any]:
    if not isinstance(row.document, dict):
        parse_trace(row.document)  # says what it is instead
    document: dict[str, Any] = row.document
    return document


# ── the tokenizer ─────────────────────────────────────────────────────────────────────────────────────────────────────
def _open_tokenizer(ref: str, workspace_root: Path) -> tuple[Tokenizer, TextTokenizer, ObjectStore]:
    if Path(ref).is_dir():
        objects = MemoryObjects()
        tokenizer = import_tokenizer(Path(ref), objects)
        return tokenizer, open_tokenizer(tokenizer, objects), objects
    with open_workspace(workspace_root) as workspace:
        tokenizer = find_tokenizer(ref, workspace)
        return tokenizer, open_tokenizer(tokenizer, workspace.objects), workspace.objects


def find_tokenizer(ref: str, workspace: Workspace) -> Tokenizer:
    """The tokenizer that a ref names, or that what it names was made with. Raises UnknownRef, AmbiguousRef."""
    record: Record = workspace.ledger.get(workspace.ledger.resolve(ref))
    while not isinstance(record, Tokenizer):
        match record:
            case TokenSet():
                parent = record.tokenizer
            case Plan() | Report():
                parent = record.token_set
            case Run():
                parent = record.plan
            case Checkpoint() | Outcome():
                parent = record.run
            case _:
                raise UnknownRef(
                    f"{ref} does not lead to a tokenizer.",
                    why=f"It names a {record.kind}.",
                    next_step="Name a tokenizer, a token set, a run, a ref such as stories@latest, or a folder.",
                )
        record = workspace.ledger.get(parent)
    return record
