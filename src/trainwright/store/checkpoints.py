"""Checkpoints: a folder of safetensors and JSON per step, whole or not there, verified before it is parsed.

    step-00000100/model.safetensors      weights, float32, standard names
    step-00000100/optimizer.safetensors  what the optimizer remembers
    step-00000100/state.json             position, update count, run, tokenizer fingerprint
    step-00000100/manifest.json          {"format": 2, "files": {name: sha256}}, written last
    latest                               the name of the newest folder, moved after the folder is durable
    held-00000100-0123456789ab/          what was step-00000100 until the step was computed again after a rollback, and
                                         something stands on it; the digits are the beginning of its id

One process writes the checkpoints of a run (it holds the run's lock); any number may read them meanwhile. Every format that
was ever released is read: format 1 is format 2 without `scheduled_step` and `steadiness` in the position, whose absence
means their defaults.
"""

import json
import re
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import ValidationError

from trainwright.core.durable import sync_folder, write_file, write_folder
from trainwright.core.errors import (
    CheckpointDamaged,
    ImmutableRecord,
    NoGoodCheckpoint,
    TrainwrightTooOld,
    translate_write_errors,
)
from trainwright.core.hashing import Digest, canonical_json, digest_bytes
from trainwright.core.records import Checkpoint, Frozen
from trainwright.core.state import Position, TrainingState, Weights

FORMAT = 2
READABLE_FORMATS = (1, 2)
MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
MANIFEST_FILE = "manifest.json"
LATEST_FILE = "latest"
CONTENT_FILES = (MODEL_FILE, OPTIMIZER_FILE, STATE_FILE)

_STEP_FOLDER = re.compile(r"step-(\d{8,})")
_HIDDEN = re.compile(r"\.(step-\d+)\.hidden\.tmp")
_LEFTOVER = re.compile(r"\.(step-\d+|latest)\..*\.tmp")
# One key only: safetensors does not promise an order for several, and equal weights must give equal bytes.
_METADATA = {"format": "pt"}


class SavedState(Frozen):
    """What `state.json` holds."""

    run: Digest
    tokenizer_fingerprint: Digest
    num_updates: int
    position: Position


@dataclass(frozen=True)
class CheckpointContent:
    """A checkpoint read back and verified. `fingerprint` is that of the tokenizer its tokens came from."""

    state: TrainingState
    position: Position
    record: Checkpoint
    fingerprint: str


@dataclass(frozen=True)
class Problem:
    """A checkpoint that could not be used: its step, what was wrong, and where it was set aside."""

    step: int
    error: CheckpointDamaged
    set_aside: Path


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies below a run's checkpoint folder."""
    return folder / f"step-{step:08d}"


def held_path(folder: Path, record: Checkpoint) -> Path:
    """Where a checkpoint lies once its step was computed again, and something stands on what it was before."""
    return folder / f"held-{record.step:08d}-{record.id[:12]}"


def locate_checkpoint(folder: Path, record: Checkpoint) -> Path:
    """Where the checkpoint of that record lies, if it is kept; its content is not looked at."""
    held = held_path(folder, record)
    return held if held.is_dir() else checkpoint_path(folder, record.step)


def has_manifest_of(path: Path, record: Checkpoint) -> bool:
    """Whether the checkpoint in folder `path` says that it is that of the record; its files are not hashed."""
    manifest = path / MANIFEST_FILE
    return manifest.is_file() and digest_bytes(manifest.read_bytes()) == record.files.get(MANIFEST_FILE)


def list_held(folder: Path) -> list[Path]:
    """The checkpoints of steps that were computed again, which something stands on; their content is not looked at."""
    return sorted(path for path in folder.glob("held-*") if path.is_dir())


def _nobody(step: int) -> bool:  # noqa: ARG001 - the answer where nobody is asked
    return False


def write_checkpoint(
    folder: Path,
    *,
    run_id: str,
    fingerprint: str,
    state: TrainingState,
    position: Position,
    is_held: Callable[[int], bool] = _nobody,
) -> Checkpoint:
    """Write the checkpoint of `position.step` below `folder`, whole and durable, then move `latest` to it.

    Equal states give equal bytes. Writing a step again with equal content is fine; a damaged one of that step is set
    aside and replaced. One from before a rollback that went behind it is replaced too, and kept beside the new one where
    somebody holds it (`is_held(step)`, as in `retain`). What killed writers left behind is removed. Raises
    ImmutableRecord where the step is there with other content, TrainwrightTooOld where a newer version wrote it, DiskFull,
    NotWritable.
    """
    path = checkpoint_path(folder, position.step)
    with translate_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    files = _render_files(
        state,
        SavedState(run=run_id, tokenizer_fingerprint=fingerprint, num_updates=state.num_updates, position=position),
    )
    record = _build_record(run_id, position, {name: digest_bytes(data) for name, data in files.items()})
    written = _find_written(path, record, position, is_held)
    if written is None:
        with write_folder(path) as temporary:
            for name, data in files.items():
                (temporary / name).write_bytes(data)
    write_file(folder / LATEST_FILE, f"{path.name}\n".encode())
    return written or record


def read_checkpoint(path: Path, *, expected: Checkpoint | None = None) -> CheckpointContent:
    """The checkpoint in folder `path`; every file's digest is verified before it is parsed.

    `expected` is the record it must be. Raises CheckpointDamaged naming the file, and TrainwrightTooOld.
    """
    files = _read_verified(path, CONTENT_FILES, expected)
    saved = _parse_state(files[STATE_FILE], path)
    state = TrainingState(
        weights=_parse_tensors(files[MODEL_FILE], path / MODEL_FILE),
        optimizer=_parse_tensors(files[OPTIMIZER_FILE], path / OPTIMIZER_FILE),
        num_updates=saved.num_updates,
    )
    record = _build_record(saved.run, saved.position, {name: digest_bytes(data) for name, data in files.items()})
    if expected is not None and record.id != expected.id:
        raise _damaged(path / STATE_FILE, "It does not belong to the checkpoint that was asked for.")
    return CheckpointContent(state, saved.position, record, saved.tokenizer_fingerprint)


def render_checkpoint(
    *, run_id: str, fingerprint: str, state: TrainingState, position: Position
) -> tuple[Checkpoint, dict[str, bytes]]:
    """What writing this state would give, record and files; nothing is written."""
    saved = SavedState(run=run_id, tokenizer_fingerprint=fingerprint, num_updates=state.num_updates, position=position)
    files = _render_files(state, saved)
    return _build_record(run_id, position, {name: digest_bytes(data) for name, data in files.items()}), files


def read_record(path: Path) -> Checkpoint:
    """The record of the checkpoint in folder `path`: every file is hashed, no tensor is parsed.

    Raises CheckpointDamaged, TrainwrightTooOld.
    """
    files = _read_verified(path, CONTENT_FILES, None)
    saved = _parse_state(files[STATE_FILE], path)
    return _build_record(saved.run, saved.position, {name: digest_bytes(data) for name, data in files.items()})


def read_weights(path: Path, *, expected: Checkpoint | None = None) -> dict[str, NDArray[np.float32]]:
    """The weights alone of the checkpoint in folder `path`, verified. Raises CheckpointDamaged, TrainwrightTooOld."""
    files = _read_verified(path, (MODEL_FILE,), expected)
    return _parse_tensors(files[MODEL_FILE], path / MODEL_FILE)


def require_intact(path: Path, *, expected: Checkpoint | None = None) -> None:
    """Hash every file of the checkpoint in folder `path`. Raises CheckpointDamaged, TrainwrightTooOld."""
    _read_verified(path, CONTENT_FILES, expected)


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of the checkpoints below `folder`, the oldest first; their content is not looked at."""
    if not folder.is_dir():
        return []
    matches = [(_STEP_FOLDER.fullmatch(path.name), path) for path in folder.iterdir()]
    return sorted((int(match.group(1)), path) for match, path in matches if match is not None)


def read_newest_good(folder: Path) -> tuple[CheckpointContent | None, list[Problem]]:
    """The newest checkpoint that can be read, and what was wrong with those that are newer.

    A damaged one is renamed to `damaged-step-…`, so that it is kept but never tried again. (None, []) where the run has
    no checkpoint yet. Raises NoGoodCheckpoint where there were some but none is good, and TrainwrightTooOld.
    """
    problems: list[Problem] = []
    for step, path in reversed(list_checkpoints(folder)):
        try:
            return read_checkpoint(path), problems
        except CheckpointDamaged as error:
            if path.exists():  # otherwise the writer retired it while it was being read
                problems.append(Problem(step, error, _set_aside(path)))
    set_aside = sorted(path.name for path in folder.glob("damaged-step-*")) if folder.is_dir() else []
    if set_aside:
        raise NoGoodCheckpoint(
            f"No checkpoint in {folder} can be read.",
            why=f"All were damaged and set aside: {', '.join(set_aside)}."
            + (f" The newest: {problems[0].error.why}" if problems else ""),
            next_step="Check the disk; restore a checkpoint folder from a copy and resume, or start a new run.",
        )
    return None, []


def retain(
    folder: Path, keep_last: int, keep_steps: Collection[int] = (), is_held: Callable[[int], bool] = _nobody
) -> list[Path]:
    """Delete all checkpoints but the last `keep_last`, those of `keep_steps` and those that somebody holds; return what was
    deleted.

    `is_held(step)` is asked again once a checkpoint is out of sight, before it is gone for good: whoever first says that he
    holds a checkpoint, and then finds it there, keeps it. Nothing is deleted before the newest one was read back and
    verified. Raises CheckpointDamaged, ValueError.
    """
    if keep_last < 1:
        raise ValueError(f"keep_last is {keep_last}; the newest checkpoint is never deleted")
    checkpoints = list_checkpoints(folder)
    retired = [step for step, _ in checkpoints[:-keep_last] if step not in keep_steps and not is_held(step)]
    if retired:
        require_intact(checkpoints[-1][1])
        sync_folder(folder)
    return [checkpoint_path(folder, step) for step in retired if _retire(folder, step, is_held)]


def _retire(folder: Path, step: int, is_held: Callable[[int], bool] = _nobody) -> bool:
    """Delete a checkpoint, unless it turns out to be held. Renamed first, so that a reader, or a kill in the middle, never
    meets half a checkpoint."""
    path = checkpoint_path(folder, step)
    hidden, doomed = (path.with_name(f".{path.name}.{stage}.tmp") for stage in ("hidden", "retired"))
    with translate_write_errors(path):
        path.replace(hidden)
        if is_held(step):
            hidden.replace(path)
            return False
        hidden.replace(doomed)
        shutil.rmtree(doomed)
    return True


def void_after(folder: Path, step: int, is_held: Callable[[int], bool] = _nobody) -> list[Path]:
    """Delete the checkpoints of steps after `step`: the run was rolled back there, and will not come to them again.

    `latest` first goes back to the newest one that is left, or away where there is none. One that `is_held` stays: going on
    from it would come to the same rollback. Returns what was deleted.
    """
    checkpoints = list_checkpoints(folder)
    kept = [path for number, path in checkpoints if number <= step]
    void = [number for number, _ in checkpoints if number > step and not is_held(number)]
    if void and kept:
        write_file(folder / LATEST_FILE, f"{kept[-1].name}\n".encode())
    elif void:
        (folder / LATEST_FILE).unlink(missing_ok=True)
    # The newest first: what a kill leaves is a run that was interrupted earlier.
    return [checkpoint_path(folder, number) for number in reversed(void) if _retire(folder, number, is_held)]


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def render_tensors(tensors: Weights) -> bytes:
    """Arrays as safetensors bytes: the same arrays give the same bytes, whatever order they come in."""
    ordered = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    return safetensors.numpy.save(ordered, metadata=_METADATA)


def _render_files(state: TrainingState, saved: SavedState) -> dict[str, bytes]:
    wrong = sorted(name for name, array in state.weights.items() if array.dtype != np.float32)
    if wrong:
        raise ValueError(f"weights are written in float32, but {wrong[0]} is {state.weights[wrong[0]].dtype}")
    files = {
        MODEL_FILE: render_tensors(state.weights),
        OPTIMIZER_FILE: render_tensors(state.optimizer),
        STATE_FILE: canonical_json(saved.model_dump(mode="json")),
    }
    files[MANIFEST_FILE] = _render_manifest({name: digest_bytes(data) for name, data in files.items()})
    return files


def _render_manifest(digests: dict[str, str], number: int = FORMAT) -> bytes:
    return canonical_json({"format": number, "files": digests})


def _build_record(run_id: str, position: Position, digests: dict[str, str]) -> Checkpoint:
    return Checkpoint(
        run=run_id,
        step=position.step,
        num_tokens=position.num_tokens,
        weights=digests[MODEL_FILE],
        files=dict(sorted(digests.items())),
    )


def _find_written(
    path: Path, record: Checkpoint, position: Position, is_held: Callable[[int], bool]
) -> Checkpoint | None:
    """The record of this very checkpoint, where it is there, whole (perhaps in an older format). One that is damaged, or
    that a rollback went behind, makes room; a different one raises."""
    if not path.exists():
        return None
    try:
        written = read_checkpoint(path)
    except CheckpointDamaged:
        _set_aside(path)
        return None
    if all(written.record.files[name] == record.files[name] for name in CONTENT_FILES):
        return written.record
    if written.position.steadiness.num_rollbacks < position.steadiness.num_rollbacks:
        if not _retire(path.parent, position.step, is_held):
            path.replace(held_path(path.parent, written.record))
            sync_folder(path.parent)
        return None
    raise ImmutableRecord(
        f"The checkpoint {path} is there already with other content.",
        why="The step was computed a second time with a different result, so the run is not reproducible here.",
        next_step="Start a new run instead of continuing this one; see whether the machine or a package changed.",
    )


def _remove_leftovers(folder: Path) -> None:
    """Remove what a killed writer left half made or half deleted; what it had only hidden comes back."""
    for path in list(folder.iterdir()):
        if hidden := _HIDDEN.fullmatch(path.name):
            path.replace(folder / hidden.group(1))
            continue
        if _LEFTOVER.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _set_aside(path: Path) -> Path:
    number = 1
    while True:
        aside = path.with_name(f"damaged-{path.name}" + (f"-{number}" if number > 1 else ""))
        if not aside.exists():
            break
        number += 1
    with translate_write_errors(aside):
        path.replace(aside)
        sync_folder(path.parent)
    return aside


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _read_verified(path: Path, names: tuple[str, ...], expected: Checkpoint | None) -> dict[str, bytes]:
    """The files of those names and the manifest, after all their digests were found right."""
    manifest = _read_file(path / MANIFEST_FILE)
    if expected is not None:
        _require_digest(path / MANIFEST_FILE, manifest, expected.files.get(MANIFEST_FILE))
    digests = _parse_manifest(manifest, path / MANIFEST_FILE)
    files = {MANIFEST_FILE: manifest}
    for name in names:
        files[name] = _read_file(path / name)
        _require_digest(path / name, files[name], digests[name])
    return files


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise _damaged(path, "The file is missing.") from None
    except IsADirectoryError:
        raise _damaged(path, "There is a folder in its place.") from None


def _require_digest(path: Path, data: bytes, expected: str | None) -> None:
    found = digest_bytes(data)
    if found != expected:
        raise _damaged(path, f"Its digest is {found[:12]} and not {str(expected)[:12]}: its bytes have changed.")


def _parse_manifest(data: bytes, path: Path) -> dict[str, str]:
    try:
        document = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise _damaged(path, "It is not JSON.") from None
    number = document.get("format") if isinstance(document, dict) else None
    if isinstance(number, int) and number > FORMAT:
        raise TrainwrightTooOld(
            f"The checkpoint {path.parent} was written by a newer Trainwright.",
            why=f"It has format {number}; this Trainwright reads formats up to {FORMAT}.",
            next_step="Upgrade: pip install --upgrade trainwright",
        )
    files = document.get("files") if isinstance(document, dict) else None
    digests = {name: str(files.get(name)) for name in CONTENT_FILES} if isinstance(files, dict) else {}
    # The manifest has no digest of its own, so its bytes must be exactly what would be written for these digests.
    if number is True or number not in READABLE_FORMATS or data != _render_manifest(digests, number):
        raise _damaged(path, "It is not a checkpoint manifest.")
    return digests


def _parse_state(data: bytes, path: Path) -> SavedState:
    try:
        return SavedState.model_validate_json(data)
    except ValidationError as error:
        raise _damaged(path / STATE_FILE, " ".join(str(error).split())[:300]) from error


def _parse_tensors(data: bytes, path: Path) -> dict[str, NDArray[Any]]:
    try:
        tensors = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise _damaged(path, f"{error}.") from error
    return {name: np.array(array) for name, array in tensors.items()}  # copies: what was loaded may be read-only


def _damaged(path: Path, why: str) -> CheckpointDamaged:
    return CheckpointDamaged(
        f"The checkpoint {path.parent} is damaged: {path.name}.",
        why=why,
        next_step="Use another checkpoint (`trainwright resume` takes the newest good one), or restore it from a copy.",
    )
