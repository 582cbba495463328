"""Building a dataset version: read, clean, split, drop what would leak, store.

The pipeline calls, in this order:

    located = locate_source(section, downloads=…, on_progress=…)     # find and hash; cheap when nothing changed
    key     = compute_dataset_key(located, section)                  # equal key: an earlier version can be reused
    dataset = build_dataset(located, section, objects, …)            # read and split; the same version every time

The source is read three times (to measure it, for the held-out part, for the rest), so that memory holds one document
or block at a time and the digests of the held-out ones, never the corpus.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainwright.core.errors import (
    ChecksumMismatch,
    InvalidValue,
    SourceEmpty,
    SourceTooShort,
    translate_write_errors,
)
from trainwright.core.hashing import canonical_json, digest_bytes, digest_file, digest_json
from trainwright.core.manifest import DataSection, SplitSection
from trainwright.core.records import DatasetVersion, SplitContent
from trainwright.data.download import Progress
from trainwright.data.reading import READER_VERSION, Cleaning, Line, identify_format, iter_lines
from trainwright.data.sources import LocatedFile, LocatedSource
from trainwright.data.splits import SplitRule, Survey, choose_rule, iter_blocks, iter_documents, shrink_to_fit
from trainwright.store.objects import ObjectStore

TRAIN, VALIDATION = "train", "validation"

_PROGRESS_EVERY = 1000


def compute_dataset_key(located: LocatedSource, section: DataSection) -> str:
    """A digest that is equal for two builds exactly where they would give the same dataset version.

    Everything that decides the result: names and digests of the files, the settings, the version of the reader. Not:
    where the files lie, how they came here, when.
    """
    return digest_json(
        {
            "source": located.source,
            "settings": located.settings,
            "left_out": located.left_out,
            "files": [file.model_dump(mode="json") for file in located.records],
            "validation": _describe_validation(located.validation),
            "text_field": section.text_field,
            "split": section.split.model_dump(mode="json"),
            "reader": READER_VERSION,
        }
    )


def build_dataset(
    located: LocatedSource,
    section: DataSection,
    objects: ObjectStore,
    *,
    on_progress: Progress,
    scratch: Path | None = None,
) -> DatasetVersion:
    """Read and split a located source; its documents are in `objects` when this returns.

    Temporary files lie in `scratch` (default: the system's folder for them). Raises NotText, InvalidEncoding,
    InvalidRow, SourceUnreadable, SourceEmpty, SourceTooShort, ChecksumMismatch (a file changed while it was read),
    DiskFull, NotWritable.
    """
    with translate_write_errors(scratch or Path(tempfile.gettempdir())):
        temporary = tempfile.TemporaryDirectory(prefix="trainwright-data-", dir=scratch)
    with temporary as folder:
        build = _Build(section, objects, on_progress, Path(folder))
        held_out = located.validation
        dataset = build.divide(located) if held_out is None else build.hold_out(located, held_out)
    for file in (*located.files, *(located.validation.files if located.validation else ())):
        _require_unchanged(file)
    return dataset


def read_documents(dataset: DatasetVersion, split: str, objects: ObjectStore) -> Iterator[str]:
    """The texts of a split, in order, from stored bytes whose digest was verified.

    Raises InvalidValue where there is no such split, ObjectMissing, ObjectDamaged.
    """
    content = dataset.splits.get(split)
    if content is None:
        raise InvalidValue(
            f"The dataset has no split {split!r}.",
            why=f"Its splits are {', '.join(dataset.splits)}.",
            next_step="Name one of these.",
        )
    return _iter_stored(objects.open_local(content.documents))


def _iter_stored(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for row in file:
            yield json.loads(row)["text"]


# ── building ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass
class _Build:
    section: DataSection
    objects: ObjectStore
    on_progress: Progress
    folder: Path
    held_out_digests: set[str] = field(default_factory=set)
    num_dropped: int = 0

    def divide(self, located: LocatedSource) -> DatasetVersion:
        """One source, both splits."""
        survey, cleaning = self._survey(located)
        rule = choose_rule(survey, self.section.split)
        if rule.by == "characters":
            rule = shrink_to_fit(rule, iter_documents(self._lines(located)))
        train, validation = self._write_splits(
            lambda: _keep(self._blocks(located, rule, "read for validation"), rule.is_held_out),
            lambda: _keep(self._blocks(located, rule, "read for training"), lambda index: not rule.is_held_out(index)),
        )
        return self._record(
            located, {"cleaning": cleaning.as_document(), "split": rule.as_document()}, train, validation
        )

    def hold_out(self, located: LocatedSource, held_out: LocatedSource) -> DatasetVersion:
        """Two sources, one split each."""
        rule = self._choose_named_rule()
        recipe: dict[str, Any] = {}
        _, cleaning = self._survey(located)
        _, validation_cleaning = self._survey(held_out)
        recipe["split"] = {"by": "named", "unit": rule.by, **({"block_lines": rule.size} if rule.size else {})}
        recipe["cleaning"] = cleaning.as_document()
        recipe["validation"] = {"cleaning": validation_cleaning.as_document(), **(_describe_validation(held_out) or {})}
        train, validation = self._write_splits(
            lambda: self._blocks(held_out, rule, "read for validation"),
            lambda: self._blocks(located, rule, "read for training"),
        )
        return self._record(located, recipe, train, validation)

    def _choose_named_rule(self) -> SplitRule:
        """What counts as one document where nothing has to be divided: whole documents unless blocks are asked for."""
        split: SplitSection = self.section.split
        if split.by == "block":
            return SplitRule(by="lines", every=1, size=split.block_lines)
        return SplitRule(by="document", every=1)

    def _survey(self, located: LocatedSource) -> tuple[Survey, Cleaning]:
        survey, cleaning = Survey(), Cleaning()
        for line in self._lines(located, cleaning):
            survey.add(line)
            if survey.num_lines % (_PROGRESS_EVERY * 10) == 0:
                self.on_progress(f"measure {located.source}", survey.num_lines, None)
        if not survey.num_documents:
            raise SourceEmpty(
                f"There is no text in {located.source}.",
                why="It is empty, or holds nothing but white space.",
                next_step="Give a file that holds text.",
            )
        return survey, cleaning

    def _lines(self, located: LocatedSource, cleaning: Cleaning | None = None) -> Iterator[Line]:
        """Every line of every file; documents are numbered through all files."""
        counts = cleaning or Cleaning()
        first = 0
        for file in located.files:
            last = first
            for number, text in iter_lines(file.path, file.name, _text_field(located, self.section), counts):
                last = first + number
                yield last, text
            first = last + 1

    def _blocks(self, located: LocatedSource, rule: SplitRule, what: str) -> Iterator[str]:
        for index, block in enumerate(iter_blocks(self._lines(located), rule), start=1):
            if index % _PROGRESS_EVERY == 0:
                self.on_progress(what, index, None)
            yield block

    def _write_splits(
        self, held_out: Callable[[], Iterator[str]], rest: Callable[[], Iterator[str]]
    ) -> tuple[SplitContent, SplitContent]:
        """Validation first: what is in it may not be trained on."""
        validation = self._write(VALIDATION, self._noting(held_out()))
        train = self._write(TRAIN, self._without_duplicates(rest()))
        if not train.num_documents:
            raise SourceTooShort(
                "Nothing is left to train on.",
                why=f"All {self.num_dropped} document(s) for training are also in the validation split, word for word.",
                next_step="Give another validation source (data.validation), or more text.",
            )
        return train, validation

    def _noting(self, texts: Iterable[str]) -> Iterator[str]:
        for text in texts:
            self.held_out_digests.add(_digest_text(text))
            yield text

    def _without_duplicates(self, texts: Iterable[str]) -> Iterator[str]:
        for text in texts:
            if _digest_text(text) in self.held_out_digests:
                self.num_dropped += 1
            else:
                yield text

    def _write(self, split: str, texts: Iterable[str]) -> SplitContent:
        path = self.folder / f"{split}.jsonl"
        num_documents = num_characters = num_bytes = 0
        with translate_write_errors(path), path.open("wb") as file:
            for text in texts:
                file.write(canonical_json({"text": text}) + b"\n")
                num_documents += 1
                num_characters += len(text)
                num_bytes += len(text.encode("utf-8"))
        digest = self.objects.put_file(path)
        return SplitContent(
            documents=digest, num_documents=num_documents, num_characters=num_characters, num_bytes=num_bytes
        )

    def _record(
        self, located: LocatedSource, recipe: dict[str, Any], train: SplitContent, validation: SplitContent
    ) -> DatasetVersion:
        details = {"reader": READER_VERSION, "settings": located.settings, "left_out": list(located.left_out)}
        if any(identify_format(file.name).has_rows for file in located.records):
            details["text_field"] = _text_field(located, self.section)
        return DatasetVersion(
            source=located.source,
            files=located.records,
            recipe={**details, **recipe},
            splits={TRAIN: train, VALIDATION: validation},
            num_dropped_duplicates=self.num_dropped,
        )


def _keep(texts: Iterable[str], wanted: Callable[[int], bool]) -> Iterator[str]:
    return (text for index, text in enumerate(texts) if wanted(index))


def _digest_text(text: str) -> str:
    return digest_bytes(text.encode("utf-8"))


def _text_field(located: LocatedSource, section: DataSection) -> str:
    """Our own corpora have one field; the person's setting is about theirs."""
    return "text" if located.source.startswith("builtin:") else section.text_field


def _describe_validation(held_out: LocatedSource | None) -> dict[str, Any] | None:
    if held_out is None:
        return None
    return {"source": held_out.source, "settings": held_out.settings, "left_out": list(held_out.left_out)}


def _require_unchanged(file: LocatedFile) -> None:
    if not file.path.is_file() or digest_file(file.path) != file.digest:
        raise ChecksumMismatch(
            f"{file.name} changed while it was being read.",
            why="Its bytes are no longer the ones that were hashed at the start.",
            next_step="Wait until nothing writes to the file any more, then run it again.",
        )
