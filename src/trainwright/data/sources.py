"""From what a person calls the corpus to files on this machine, each with its digest.

    builtin:NAME                 made here by our own code, kept, and made anew where the kept file was damaged
    PATH                         a file, or a folder: every text-like file under it, sorted, hidden ones left out
    PATTERN                      a glob (`**` goes into folders), sorted
    http://…  https://…          downloaded, see `download.py`
    hf://datasets/OWNER/NAME/FILE, hf://OWNER/NAME/FILE   a file of a Hugging Face repository; NAME@REVISION

Environment: HF_ENDPOINT (default https://huggingface.co), HF_TOKEN (sent to that endpoint only).
"""

import difflib
import glob
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainwright.core.durable import write_chunks, write_file
from trainwright.core.errors import ChecksumMismatch, InvalidValue, SourceEmpty, SourceNotFound, SourceUnreadable
from trainwright.core.hashing import canonical_json, digest_file
from trainwright.core.manifest import DataSection
from trainwright.core.records import SourceFile
from trainwright.data.builtin import BUILTIN_CORPORA, BuiltinCorpus
from trainwright.data.download import Progress, download_file, redact_url
from trainwright.data.reading import describe_binary, identify_format

_REMOTE_SCHEMES = ("http", "https", "hf")
_WILDCARDS = "*?["
_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class LocatedFile:
    """A file of a source: the name it has within the source, and where its bytes lie now."""

    name: str
    path: Path
    digest: str
    num_bytes: int

    @property
    def record(self) -> SourceFile:
        """What a dataset version remembers of it: everything but the place."""
        return SourceFile(name=self.name, digest=self.digest, num_bytes=self.num_bytes)


@dataclass(frozen=True)
class LocatedSource:
    """A source whose bytes are on this machine and hashed.

    `source` is the name without anything of this machine or secret in it. `settings` is what a builtin corpus was made
    from. `left_out` names the files of a folder that were passed over and why. `notes` is what a person should be told
    (a damaged file that was fetched again); it goes into no record. `validation` is the held-out source, where one is
    named.
    """

    source: str
    files: tuple[LocatedFile, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    validation: "LocatedSource | None" = None

    @property
    def records(self) -> tuple[SourceFile, ...]:
        """Every file, those of the validation source last and named `validation:NAME`."""
        held_out = self.validation.records if self.validation else ()
        renamed = (file.model_copy(update={"name": f"validation:{file.name}"}) for file in held_out)
        return (*(file.record for file in self.files), *renamed)


def locate_source(
    section: DataSection,
    *,
    downloads: Path,
    on_progress: Progress,
    sleep: Callable[[float], None] = time.sleep,
) -> LocatedSource:
    """Find the corpus (and the validation source), fetching or making what is not here yet; hash every file.

    `downloads` keeps what was fetched or made. `sleep` is what a retry waits with. Raises SourceNotFound,
    SourceUnreadable, SourceEmpty, InvalidValue, ChecksumMismatch, DownloadFailed, NotTextResponse, DiskFull,
    NotWritable.
    """
    corpus = _locate_one(section.corpus, section.sha256, section.refresh, downloads, on_progress, sleep)
    if section.validation is None:
        return corpus
    held_out = _locate_one(section.validation, None, section.refresh, downloads, on_progress, sleep)
    return replace(corpus, validation=held_out, notes=corpus.notes + held_out.notes)


def _locate_one(
    corpus: str,
    sha256: str | None,
    refresh: bool,
    downloads: Path,
    on_progress: Progress,
    sleep: Callable[[float], None],
) -> LocatedSource:
    scheme, separator, rest = corpus.partition("://")
    if separator and scheme in _REMOTE_SCHEMES:
        url, headers = _resolve_hub(corpus, rest) if scheme == "hf" else (corpus, {})
        fetched = download_file(
            url, folder=downloads, on_progress=on_progress, sha256=sha256, refresh=refresh, headers=headers, sleep=sleep
        )
        file = LocatedFile(fetched.path.name, fetched.path, fetched.digest, fetched.num_bytes)
        source = corpus if scheme == "hf" else redact_url(corpus)
        return LocatedSource(source=source, files=(file,), notes=fetched.notes)
    if separator:
        raise InvalidValue(
            f"Trainwright cannot read {scheme}:// addresses.",
            why="A corpus is builtin:NAME, a path, a glob, or an http://, https:// or hf:// address.",
            next_step="Copy the files to this machine first and give their folder.",
        )
    if corpus.startswith("builtin:"):
        located = _locate_builtin(corpus.removeprefix("builtin:"), downloads, on_progress)
    else:
        located = _locate_paths(corpus)
    if sha256 is not None:
        _require_digest(located, sha256)
    return located


def _require_digest(located: LocatedSource, sha256: str) -> None:
    if len(located.files) != 1:
        raise InvalidValue(
            f"data.sha256 names one file, but {located.source} has {len(located.files)}.",
            next_step="Leave data.sha256 out, or give one file as the corpus.",
        )
    if located.files[0].digest != sha256:
        raise ChecksumMismatch(
            f"{located.files[0].name} is not the file that was named.",
            why=f"Its SHA-256 is {located.files[0].digest}; data.sha256 says {sha256}.",
            next_step="Check the path and the checksum.",
        )


# ── Hugging Face ──────────────────────────────────────────────────────────────────────────────────────────────────────
def _resolve_hub(corpus: str, rest: str) -> tuple[str, dict[str, str]]:
    """(URL, headers) of `hf://[datasets/]OWNER/NAME[@REVISION]/FILE`."""
    kind, parts = "", rest.split("/")
    if parts[0] == "datasets":
        kind, parts = "datasets/", parts[1:]
    if len(parts) < 3 or not all(parts):
        raise InvalidValue(
            f"{corpus} does not name a file.",
            why="The form is hf://datasets/OWNER/NAME/FILE, or hf://OWNER/NAME/FILE for a model repository.",
            next_step="Name one file of the repository, for example hf://datasets/roneneldan/TinyStories/TinyStories-valid.txt",
        )
    owner, (name, _, revision), path = parts[0], parts[1].partition("@"), "/".join(parts[2:])
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    token = os.environ.get("HF_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return f"{endpoint}/{kind}{owner}/{name}/resolve/{revision or 'main'}/{path}", headers


# ── builtin ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _locate_builtin(name: str, downloads: Path, on_progress: Progress) -> LocatedSource:
    corpus = BUILTIN_CORPORA.get(name)
    if corpus is None:
        near = difflib.get_close_matches(name, BUILTIN_CORPORA, n=1, cutoff=0.5)
        raise SourceNotFound(
            f"There is no builtin corpus {name!r}.",
            why=f"The builtin corpora are {', '.join(f'builtin:{known}' for known in BUILTIN_CORPORA)}.",
            next_step=f"Did you mean builtin:{near[0]}?" if near else "Give one of these, a path or an address.",
        )
    folder = downloads / f"builtin-{name}-{corpus.key()[:16]}"
    path, meta, notes = folder / f"{name}.jsonl", folder / "meta.json", []
    digest = _digest_kept(path, meta)
    if digest is None:
        if path.exists() and meta.exists():
            notes.append(f"The kept copy of builtin:{name} was damaged; it was made again.")
        digest = _make_builtin(corpus, path, meta, on_progress)
    file = LocatedFile(path.name, path, digest, path.stat().st_size)
    return LocatedSource(source=f"builtin:{name}", files=(file,), settings=corpus.settings(), notes=tuple(notes))


def _digest_kept(path: Path, meta: Path) -> str | None:
    """The digest of a file that is still what it was when it was made, else None."""
    try:
        expected = json.loads(meta.read_bytes())["sha256"]
        digest = digest_file(path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if digest == expected else None


def _make_builtin(corpus: BuiltinCorpus, path: Path, meta: Path, on_progress: Progress) -> str:
    def iter_rows() -> Iterator[bytes]:
        for number, text in enumerate(corpus.iter_documents(), start=1):
            yield canonical_json({"text": text}) + b"\n"
            if number % 500 == 0:
                on_progress(f"make builtin:{corpus.name}", number, None)

    write_chunks(path, iter_rows())
    digest = digest_file(path)
    write_file(meta, canonical_json({"sha256": digest}))
    return digest


# ── paths ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _locate_paths(corpus: str) -> LocatedSource:
    path = Path(corpus).expanduser()
    if path.is_file():
        return LocatedSource(source=path.name, files=(_hash_file(path, path.name),))
    if path.is_dir():
        return _locate_folder(path)
    if any(wildcard in corpus for wildcard in _WILDCARDS):
        return _locate_glob(str(path))
    raise _not_found(corpus, path)


def _hash_file(path: Path, name: str) -> LocatedFile:
    try:
        return LocatedFile(name, path, digest_file(path), path.stat().st_size)
    except OSError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: OSError) -> SourceUnreadable:
    return SourceUnreadable(
        f"{name} cannot be read.",
        why=f"The operating system said: {error.strerror or error}.",
        next_step="Check that the file is there and that you may read it.",
    )


def _locate_folder(folder: Path) -> LocatedSource:
    files: list[LocatedFile] = []
    left_out: list[str] = []
    for path in sorted(_iter_visible_files(folder), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix()
        if reason := _reason_to_leave_out(path, name):
            left_out.append(f"{name}: {reason}")
        else:
            files.append(_hash_file(path, name))
    if not files:
        raise SourceEmpty(
            f"There is no text file in {folder.name or folder}.",
            why="; ".join(left_out[:5]) + (f"; and {len(left_out) - 5} more" if len(left_out) > 5 else "")
            if left_out
            else "It is empty.",
            next_step="Give a folder with text files (plain, .gz, .zst, .jsonl, .parquet), or a file.",
        )
    return LocatedSource(source=folder.resolve().name, files=tuple(files), left_out=tuple(left_out))


def _iter_visible_files(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise _unreadable(str(error.filename), error) from error

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(root, name) for name in names if not name.startswith(".") and Path(root, name).is_file())


def _reason_to_leave_out(path: Path, name: str) -> str:
    """Why a file of a folder is not read, or "". A folder holds what it holds; a file that is named must be text."""
    form = identify_format(name)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise _unreadable(name, error) from error
    if not head:
        return "empty"
    if form.kind == "parquet" or form.compression:
        return ""
    binary = describe_binary(head, name)
    return f"not text ({binary[0]})" if binary else ""


def _locate_glob(pattern: str) -> LocatedSource:
    matches = glob.glob(pattern, recursive=True)  # noqa: PTH207 - unlike Path.glob, it leaves hidden files out
    paths = sorted(Path(match) for match in matches if Path(match).is_file())
    base, wild = _split_pattern(pattern)
    if not paths:
        raise SourceNotFound(
            f"No file matches {wild}.",
            why=f"It was looked for in {base}, which {_describe_folder(base)}.",
            next_step="Check the pattern; put it in quotes so that the shell does not expand it.",
        )
    named = sorted((path.relative_to(base).as_posix(), path) for path in paths)
    return LocatedSource(source=wild, files=tuple(_hash_file(path, name) for name, path in named))


def _split_pattern(pattern: str) -> tuple[Path, str]:
    """(the folder before the first wildcard, the rest)."""
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if any(wildcard in part for wildcard in _WILDCARDS))
    return Path(*parts[:first]), "/".join(parts[first:])


def _describe_folder(folder: Path) -> str:
    if not folder.is_dir():
        return "does not exist"
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return f"holds {_list_names(names)}"


def _list_names(names: Iterable[str], limit: int = 5) -> str:
    known = list(names)
    if not known:
        return "nothing"
    return ", ".join(known[:limit]) + (f" and {len(known) - limit} more" if len(known) > limit else "")


def _not_found(corpus: str, path: Path) -> SourceNotFound:
    near_builtin = difflib.get_close_matches(corpus, BUILTIN_CORPORA, n=1, cutoff=0.6)
    if near_builtin:
        why, advice = "There is no file or folder of that name.", f"Did you mean builtin:{near_builtin[0]}?"
    else:
        parent = next(folder for folder in (path.absolute()).parents if folder.is_dir())
        names = sorted(entry.name for entry in parent.iterdir())
        missing = path.absolute().relative_to(parent).parts[0]
        near = difflib.get_close_matches(missing, names, n=3, cutoff=0.5)
        why = f"{parent} has no {missing}" + (f"; the nearest names there are {', '.join(near)}." if near else ".")
        advice = (
            f"Did you mean {parent / near[0]}?" if near else "Check the path, or use a builtin corpus: builtin:stories"
        )
    return SourceNotFound(f"The corpus {corpus} does not exist.", why=why, next_step=advice)
