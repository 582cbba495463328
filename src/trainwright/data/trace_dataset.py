"""A dataset version of traces: written to files first, kept in the object store when it is known to be wanted.

    with TraceDraft(scratch) as draft:
        for trace in …:
            draft.add(trace.canonical, split)
        dataset = draft.build_dataset(…)     # the record; nothing is stored yet
        draft.keep(objects)                  # now its objects are

Documents are the canonical JSON of one trace a line. Manifest order: the splits by name, each in the order of adding.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from trainwright.core.errors import InvalidValue, ObjectDamaged, translate_write_errors
from trainwright.core.hashing import digest_bytes, digest_file
from trainwright.core.records import DatasetVersion, SplitContent
from trainwright.core.traces import AnyTrace, read_canonical
from trainwright.data.dataset import TRAIN, VALIDATION
from trainwright.data.selection import Chosen, divide_splits
from trainwright.data.trace_statistics import TraceStatistics
from trainwright.store.objects import ObjectStore

CountTokens = Callable[[AnyTrace], int]


class TraceDraft:
    """A version in the making, in a temporary folder that goes with the `with` block."""

    def __init__(self, scratch: Path | None = None, count_tokens: CountTokens | None = None) -> None:
        self._scratch = scratch
        self._count_tokens = count_tokens
        self._splits: dict[str, _SplitFiles] = {}
        self._statistics = TraceStatistics()
        self._records: Path | None = None

    def __enter__(self) -> Self:
        with translate_write_errors(self._scratch or Path(tempfile.gettempdir())):
            self._temporary = tempfile.TemporaryDirectory(prefix="trainwright-traces-", dir=self._scratch)
        self._folder = Path(self._temporary.name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for split in self._splits.values():
            split.close()
        self._temporary.cleanup()

    def add(self, trace: AnyTrace, split: str) -> None:
        """Write one trace at the end of a split."""
        with translate_write_errors(self._folder):
            if split not in self._splits:
                self._splits[split] = _SplitFiles(self._folder, split)
            self._splits[split].add(trace)
        self._statistics.add(trace, self._count_tokens(trace) if self._count_tokens else None)

    def add_chosen(self, chosen: Iterator[Chosen], share: float, seed: int) -> None:
        """Write traces whose split is a share of all of them, which is known only when the last one is there."""
        path = self._folder / "chosen.jsonl"
        ids: list[str] = []
        strata: list[str] = []
        with translate_write_errors(path):
            with path.open("wb") as file:
                for one in chosen:
                    file.write(one.stored.canonical + b"\n")
                    ids.append(one.stored.id)
                    strata.append(one.stratum)
            held_out = divide_splits(ids, strata, share, seed)
            with path.open("rb") as file:
                for line, is_held_out in zip(file, held_out, strict=True):
                    self.add(read_canonical(line.rstrip(b"\n")), VALIDATION if is_held_out else TRAIN)
            path.unlink()

    def build_dataset(
        self,
        name: str,
        version: str,
        *,
        source: str,
        recipe: dict[str, Any],
        counts: dict[str, int],
        derived_from: tuple[str, ...] = (),
        tokenizer: str | None = None,
    ) -> DatasetVersion:
        """The record. `counts` (what the selection saw and dropped) go into its statistics."""
        self._records = self._folder / "records.txt"
        with translate_write_errors(self._records), self._records.open("wb") as records:
            for split in sorted(self._splits):
                self._splits[split].close()
                records.write(self._splits[split].ids_path.read_bytes())
        statistics = self._statistics.as_document() | {"selection": counts}
        if tokenizer is not None:
            statistics["tokenizer"] = tokenizer
        return DatasetVersion(
            source=source,
            files=(),
            recipe=recipe,
            splits={split: self._splits[split].describe() for split in sorted(self._splits)},
            num_dropped_duplicates=counts.get("num_duplicates", 0) + counts.get("num_near_duplicates", 0),
            name=name,
            version=version,
            derived_from=derived_from,
            records=digest_file(self._records),
            statistics=statistics,
        )

    def keep(self, objects: ObjectStore) -> None:
        """Put the records, then the documents into the object store. Raises DiskFull, NotWritable, TraceForgotten."""
        assert self._records is not None
        for path in (self._records, *(split.documents_path for split in self._splits.values())):
            objects.put_file(path)


class _SplitFiles:
    """The documents and the ids of one split, on disk."""

    def __init__(self, folder: Path, split: str) -> None:
        self.documents_path, self.ids_path = folder / f"{split}.jsonl", folder / f"{split}.ids"
        self._documents: BinaryIO = self.documents_path.open("wb")
        self._ids: BinaryIO = self.ids_path.open("wb")
        self._hash = hashlib.sha256()
        self._num_documents = self._num_characters = self._num_bytes = 0

    def add(self, trace: AnyTrace) -> None:
        line = trace.canonical + b"\n"
        self._documents.write(line)
        self._hash.update(line)
        self._ids.write(trace.id.encode("ascii") + b"\n")
        self._num_documents += 1
        self._num_characters += len(trace.text)
        self._num_bytes += len(trace.text.encode("utf-8"))

    def close(self) -> None:
        self._documents.close()
        self._ids.close()

    def describe(self) -> SplitContent:
        return SplitContent(
            documents=self._hash.hexdigest(),
            num_documents=self._num_documents,
            num_characters=self._num_characters,
            num_bytes=self._num_bytes,
        )


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def require_traces(dataset: DatasetVersion) -> None:
    """Raises InvalidValue for a dataset of plain text."""
    if not dataset.holds_traces:
        raise InvalidValue(
            f"The dataset {dataset.id[:12]} holds text, not traces.",
            why=f"It was made from {dataset.source}.",
            next_step="`trainwright data list` shows the versions of traces; `trainwright data build` makes one.",
        )


def iter_traces(dataset: DatasetVersion, split: str | None, objects: ObjectStore) -> Iterator[AnyTrace]:
    """The traces of a split (None: of all, in manifest order), from stored bytes whose digest was verified.

    Raises InvalidValue (no such split, or no traces), TraceForgotten, ObjectMissing, ObjectDamaged; all of them before
    the first trace.
    """
    lines = iter_documents(dataset, split, objects)
    return (read_canonical(line[:-1]) for line in lines)


def iter_documents(dataset: DatasetVersion, split: str | None, objects: ObjectStore) -> Iterator[bytes]:
    """The same as lines of canonical JSON, each with its newline."""
    require_traces(dataset)
    if split is not None and split not in dataset.splits:
        raise InvalidValue(
            f"The dataset {dataset.name}@{dataset.version} has no split {split!r}.",
            why=f"Its splits are {', '.join(sorted(dataset.splits))}.",
            next_step="Name one of these.",
        )
    wanted = sorted(dataset.splits) if split is None else [split]
    paths = [objects.open_local(dataset.splits[name].documents) for name in wanted]
    return (line for path in paths for line in _iter_lines(path))


def iter_ids(dataset: DatasetVersion, objects: ObjectStore) -> Iterator[tuple[str, str]]:
    """(trace id, split) in manifest order. The ids of forgotten traces are still among them."""
    require_traces(dataset)
    assert dataset.records is not None
    splits = [name for name in sorted(dataset.splits) for _ in range(dataset.splits[name].num_documents)]
    lines = _iter_lines(objects.open_local(dataset.records))
    return ((line.decode("ascii").rstrip("\n"), split) for line, split in zip(lines, splits, strict=True))


def verify_dataset(dataset: DatasetVersion, objects: ObjectStore) -> int:
    """Read and hash everything of a version again: objects, and each trace against its id. How many traces it has.

    Raises ObjectDamaged, which says what differs, ObjectMissing, TraceForgotten.
    """
    require_traces(dataset)
    assert dataset.records is not None
    for digest in (dataset.records, *(content.documents for content in dataset.splits.values())):
        objects.require_intact(digest)
    count = 0
    for (trace_id, split), line in zip(iter_ids(dataset, objects), iter_documents(dataset, None, objects), strict=True):
        if digest_bytes(line[:-1]) != trace_id:
            raise ObjectDamaged(
                f"The trace at line {count + 1:,} of {dataset.name}@{dataset.version} is not what its id says.",
                why=f"The manifest says {trace_id[:12]} (in {split}); its content has another digest.",
                next_step="Build the version anew under another name, and report this.",
            )
        count += 1
    return count


def _iter_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file
