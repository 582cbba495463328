"""Text and traces: what a version of a dataset is, and what was forgotten."""

from typing import Any, Literal

from trainwright.core.hashing import Digest
from trainwright.core.records.base import Frozen, Record, added


class SourceFile(Frozen):
    """One file that went into a dataset: the name the person knows it by, its digest and its size as read."""

    name: str
    digest: Digest
    num_bytes: int


class SplitContent(Frozen):
    """The documents of one split. `documents` is the digest of a JSONL object, one {"text": …} a line, in order.

    In a dataset of traces a line is the canonical JSON of one trace or conversation. `num_bytes` counts the UTF-8 bytes of
    the texts alone (of a trace: prompt, steps, answer), without keys: the denominator of bits per byte.
    """

    documents: Digest
    num_documents: int
    num_characters: int
    num_bytes: int


class DatasetVersion(Record):
    """Text, read, cleaned, split. The same text and recipe give the same version, whenever and wherever it is built.

    A version of traces has a `name` and a `version`, and `records`: the digest of an object with one trace id a line, in
    manifest order (the splits in alphabetical order, each in the order of its documents). `derived_from` are the versions
    that its traces were taken from, where they came from versions and not from the trace store.
    """

    kind: Literal["dataset"] = "dataset"
    source: str
    files: tuple[SourceFile, ...]
    recipe: dict[str, Any]
    splits: dict[str, SplitContent]
    num_dropped_duplicates: int = 0
    name: str | None = added(None)
    version: str | None = added(None)
    derived_from: tuple[Digest, ...] = added(())
    records: Digest | None = added(None)
    statistics: dict[str, Any] | None = added(None)

    @property
    def holds_traces(self) -> bool:
        """Whether its documents are traces and conversations; otherwise they are plain text."""
        return self.records is not None

    def parents(self) -> dict[str, str]:
        """The versions it was taken from, numbered in their order."""
        return {f"dataset {number}": parent for number, parent in enumerate(self.derived_from, start=1)}


class Forgotten(Record):
    """The receipt for a trace that was forgotten on request: its content is gone, its id is kept.

    `datasets` are the versions that held it, `affected` everything that came of them; `erased` are the digests of the
    objects that held its content, which are gone with it. Weights that were trained on it are named, not changed.
    """

    kind: Literal["receipt"] = "receipt"
    trace: Digest
    at: str
    who: str
    why: str
    datasets: tuple[Digest, ...]
    affected: tuple[Digest, ...]
    erased: tuple[Digest, ...]

    def parents(self) -> dict[str, str]:
        """The dataset versions that held the trace, numbered in their order."""
        return {f"dataset {number}": dataset for number, dataset in enumerate(self.datasets, start=1)}
