"""A run's folder: what was planned, where it ran, what it said, its checkpoints. One process writes it at a time.

<name>-<first 12 of the run id>/
  run.json plan.json environment.json   written once, whole, before the first step
  manifest.json                         what a person asked for, and what comes after this run
  attempts.jsonl                        one line for each process that worked on the run
  events.jsonl                          what the run said (watch/ writes and reads it)
  checkpoints/                          see checkpoints.py
  training_metrics.json report.html loss.png
  lock                                  held by the process that writes
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainwright.core.durable import write_file, write_folder
from trainwright.core.errors import (
    InvalidValue,
    OutputExists,
    PlanMismatch,
    RecordDamaged,
    RunBusy,
    RunDamaged,
    translate_write_errors,
)
from trainwright.core.hashing import canonical_json, digest_json
from trainwright.core.locking import is_lock_held, take_lock
from trainwright.core.manifest import Manifest
from trainwright.core.records import Plan, Record, Run, parse_record

NUM_ID_DIGITS = 12
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class RunFolder:
    """The paths of a run folder, and what is read and written there with care."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_path = path / "run.json"
        self.plan_path = path / "plan.json"
        self.environment_path = path / "environment.json"
        self.manifest_path = path / "manifest.json"
        self.events_path = path / "events.jsonl"
        self.attempts_path = path / "attempts.jsonl"
        self.checkpoints_path = path / "checkpoints"
        self.metrics_path = path / "training_metrics.json"
        self.report_path = path / "report.html"
        self.loss_path = path / "loss.png"
        self.lock_path = path / "lock"

    def read_run(self) -> Run:
        """The run's record, verified against the id in the folder's name. Raises RunDamaged."""
        record = self._read_record(self.run_path)
        if not isinstance(record, Run) or not self.path.name.endswith(f"-{record.id[:NUM_ID_DIGITS]}"):
            raise self._damaged(self.run_path, "It is not the run that the folder is named after.")
        return record

    def read_plan(self) -> Plan:
        """The run's plan, verified against the run's record. Raises RunDamaged, PlanMismatch."""
        run = self.read_run()
        record = self._read_record(self.plan_path)
        if not isinstance(record, Plan):
            raise self._damaged(self.plan_path, "It does not hold a plan.")
        if record.id != run.plan:
            raise PlanMismatch(
                f"{self.plan_path} is not the plan of this run.",
                why=f"The run was made from plan {run.plan[:12]}; the file holds {record.id[:12]}.",
                next_step="Put the original plan.json back, or start a new run.",
            )
        return record

    def read_environment(self) -> dict[str, Any]:
        """Where the run was started, verified against the run's record. Raises RunDamaged."""
        run = self.read_run()
        document = self._read_json(self.environment_path)
        if digest_json(document) != run.environment:
            raise self._damaged(self.environment_path, f"Its digest is not {run.environment[:12]}.")
        return document

    def read_manifest(self) -> Manifest | None:
        """The manifest that the run was asked for with, and what is to come after it; None where nobody kept it.

        Raises RunDamaged.
        """
        if not self.manifest_path.exists():
            return None
        try:
            return Manifest.model_validate(self._read_json(self.manifest_path))
        except ValidationError as error:
            raise self._damaged(self.manifest_path, " ".join(str(error).split())[:300]) from error

    def write_manifest(self, manifest: Manifest) -> None:
        """Keep the manifest that last asked for this run. Raises DiskFull, NotWritable."""
        write_file(self.manifest_path, _render_json(manifest.model_dump(mode="json", exclude_unset=True)))

    def append_attempt(self, document: dict[str, Any]) -> None:
        """Add one line, durably. Raises DiskFull, NotWritable, and ValueError for what JSON cannot hold."""
        line = canonical_json(document) + b"\n"
        with translate_write_errors(self.attempts_path):
            descriptor = os.open(self.attempts_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            with os.fdopen(descriptor, "r+b") as file:
                # A line that was never finished was never recorded: it goes, so that the new one is readable.
                file.seek(file.read().rfind(b"\n") + 1)
                file.truncate()
                file.write(line)
                file.flush()
                os.fsync(file.fileno())

    def read_attempts(self) -> list[dict[str, Any]]:
        """All finished lines, the oldest first. Raises RunDamaged naming the line."""
        if not self.attempts_path.exists():
            return []
        attempts = []
        for number, line in enumerate(self.attempts_path.read_bytes().split(b"\n")[:-1], start=1):
            try:
                attempts.append(json.loads(line))
            except (json.JSONDecodeError, UnicodeDecodeError):
                raise self._damaged(self.attempts_path, f"Line {number} is not JSON.") from None
        return attempts

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only process that writes this run while the block lasts; a killed process lets go by itself.

        Raises RunBusy, DiskFull, NotWritable.
        """
        with translate_write_errors(self.lock_path):
            descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._take(descriptor)
            with translate_write_errors(self.lock_path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Whether some process is writing this run now."""
        return is_lock_held(self.lock_path)

    def _take(self, descriptor: int) -> None:
        if take_lock(descriptor):
            return
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        raise RunBusy(
            f"The run in {self.path} is being written by another process.",
            why=f"Process {holder} holds {self.lock_path}." if holder else f"{self.lock_path} is held.",
            next_step="Wait until it ends, or end it; its lock goes with it.",
        )

    def _read_record(self, path: Path) -> Record:
        try:
            return parse_record(self._read_json(path))
        except (ValidationError, RecordDamaged) as error:
            raise self._damaged(path, " ".join(str(error).split())[:300]) from error

    def _read_json(self, path: Path) -> dict[str, Any]:
        try:
            document = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
        except FileNotFoundError:
            raise self._damaged(path, "The file is missing.") from None
        except ValueError:
            raise self._damaged(path, "It is not JSON.") from None
        if not isinstance(document, dict):
            raise self._damaged(path, "It does not hold a JSON object.")
        return document

    def _damaged(self, path: Path, why: str) -> RunDamaged:
        return RunDamaged(
            f"The run folder {self.path} is damaged: {path.name}.",
            why=why,
            next_step="Restore the file from a copy, or start a new run.",
        )


def _refuse_constant(name: str) -> None:
    """JSON has no NaN and no Infinity, though Python's parser would take them."""
    raise ValueError(name)


def _render_json(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def name_run_folder(run: Run) -> str:
    """`<name>-<first 12 of the id>`. Raises InvalidValue for a name that is not safe in a path."""
    if _NAME.fullmatch(run.name) is None:
        raise InvalidValue(
            f"A run cannot be named {run.name!r}.",
            why="Its folder is named after it: letters, digits and . _ -, at most 64, a letter or digit first.",
            next_step="Set `name` in the manifest.",
        )
    return f"{run.name}-{run.id[:NUM_ID_DIGITS]}"


def create_run_folder(
    runs: Path, run: Run, plan: Plan, environment: dict[str, Any], manifest: Manifest | None = None
) -> RunFolder:
    """Make the folder of a new run below `runs`, whole: either all its first files are there, or no folder.

    `plan` and `environment` must be those that `run` names: anything else is a fault of the caller's (ValueError).
    Raises InvalidValue (name), OutputExists, DiskFull, NotWritable.
    """
    if run.plan != plan.id or run.environment != digest_json(environment):
        raise ValueError("the run names another plan or another environment")
    folder = RunFolder(runs / name_run_folder(run))
    if folder.path.exists():
        raise OutputExists(
            f"The run folder {folder.path} is there already.",
            why="Every run has a folder of its own.",
            next_step="Resume the run, or start a new one.",
        )
    documents = {
        folder.run_path: run.model_dump(mode="json"),
        folder.plan_path: plan.model_dump(mode="json"),
        folder.environment_path: environment,
    }
    if manifest is not None:
        documents[folder.manifest_path] = manifest.model_dump(mode="json", exclude_unset=True)
    with write_folder(folder.path) as temporary:
        for path, document in documents.items():
            (temporary / path.name).write_bytes(_render_json(document))
        (temporary / folder.checkpoints_path.name).mkdir()
    return folder
