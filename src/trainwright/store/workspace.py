"""A workspace: one folder that holds everything a person's runs read and write.

objects/       content-addressed bytes        runs/          one folder per run
ledger.jsonl   records, refs, stage memo      ledger.sqlite  the same, to be searched; made again from the lines
downloads/     fetched sources, kept          measurements/  what was measured on this machine, a file per question
traces.sqlite  traces and conversations    members.sqlite  which dataset versions hold a trace
jobs/          what each job said             jobs.sqlite   which jobs there are, in line and working

The last four are made when they are first asked for.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from trainwright.core.durable import write_file
from trainwright.core.errors import (
    AmbiguousRef,
    NotWritable,
    ObjectDamaged,
    RunDamaged,
    TrainwrightTooOld,
    UnknownRef,
    translate_write_errors,
)
from trainwright.core.hashing import canonical_json, digest_json
from trainwright.core.records import Run
from trainwright.store.ledger import Ledger
from trainwright.store.objects import FolderObjects, ObjectStore
from trainwright.store.run_folder import NUM_ID_DIGITS, RunFolder, name_run_folder
from trainwright.store.traces import TraceStore

if TYPE_CHECKING:
    from trainwright.store.answers import Answers
    from trainwright.store.jobs import JobStore
    from trainwright.store.members import Members

MEMBERS_FILE = "members.sqlite"

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Workspace:
    """An open workspace. Use it in a `with` block, or call `close`."""

    root: Path
    objects: ObjectStore
    ledger: Ledger
    runs: Path
    downloads: Path
    measurements: Path
    traces_url: str | None = None
    """Where the trace store is, as a SQLAlchemy URL; None: `traces.sqlite` in the workspace."""
    jobs_url: str | None = None
    """Where the queue of jobs is, as a SQLAlchemy URL; None: `jobs.sqlite` in the workspace."""

    @cached_property
    def traces(self) -> TraceStore:
        """The trace store, opened (and made) when it is first asked for. Raises as `open_workspace`, and PackageMissing."""
        from trainwright.store.sql_traces import SqlTraces

        if self.traces_url is not None:
            return SqlTraces(self.traces_url)
        return SqlTraces.open_file(self.root / "traces.sqlite")

    @cached_property
    def jobs(self) -> "JobStore":
        """The queue of jobs, opened (and made) when it is first asked for. Raises as `open_workspace`, and PackageMissing."""
        from trainwright.store.sql_jobs import SqlJobs

        if self.jobs_url is not None:
            return SqlJobs(self.jobs_url)
        return SqlJobs.open_file(self.root / "jobs.sqlite")

    @cached_property
    def answers(self) -> "Answers":
        """What the service answered under idempotency keys, beside the jobs. Raises as `jobs`."""
        from trainwright.store.answers import Answers

        return Answers.open_file(self.root / "jobs.sqlite") if self.jobs_url is None else Answers(self.jobs_url)

    @property
    def job_folders(self) -> Path:
        """Where a folder of each job is: its manifest, and what its processes said."""
        return self.root / "jobs"

    @cached_property
    def members(self) -> "Members":
        """Which dataset versions hold a trace, opened (and made) when it is first asked for. Raises as `open_workspace`."""
        from trainwright.store.members import Members

        return Members(self.root / MEMBERS_FILE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections of the ledger, the trace store, the queue of jobs and the index of traces."""
        self.ledger.close()
        if "traces" in self.__dict__:
            self.traces.close()
        if "jobs" in self.__dict__:
            self.jobs.close()
        if "answers" in self.__dict__:
            self.answers.close()
        if "members" in self.__dict__:
            self.members.close()

    def find_run_folder(self, run_id: str) -> RunFolder:
        """The folder of the run with that full id; of several (one was copied by hand), the one that is named after the run.

        Raises UnknownRef; RunDamaged where none is, and one that may be it is damaged; AmbiguousRef where several
        hold the run and none is named after it.
        """
        folders, damages = self._read_run_folders(run_id)
        named = [folder for folder, run in folders if folder.path.name == name_run_folder(run)]
        if named:
            return named[0]
        if damages:
            raise damages[0]
        if len(folders) == 1:
            return folders[0][0]
        if folders:
            raise AmbiguousRef(
                f"The run {run_id[:NUM_ID_DIGITS]} lies in {len(folders)} folders, and none is named after it.",
                why=f"They are {', '.join(folder.path.name for folder, _ in folders)}, all in {self.runs}.",
                next_step=f"Rename the one that counts to {name_run_folder(folders[0][1])}, or move the others elsewhere.",
            )
        raise UnknownRef(
            f"The run {run_id[:NUM_ID_DIGITS]} has no folder in {self.runs}.",
            why="It was deleted or moved, or the run was made in another workspace.",
            next_step="List what there is with `trainwright runs list`, or name the right workspace with --workspace.",
        )

    def _read_run_folders(
        self, run_id: str
    ) -> tuple[list[tuple[RunFolder, Run]], list[RunDamaged | TrainwrightTooOld]]:
        """The folders that hold the run of that id, by name, and what is wrong with those that may have held it."""
        found: list[tuple[RunFolder, Run]] = []
        damages: list[RunDamaged | TrainwrightTooOld] = []
        for path in sorted(self.runs.glob(f"*-{run_id[:NUM_ID_DIGITS]}")):
            folder = RunFolder(path)
            try:
                run = folder.read_run()
            except (RunDamaged, TrainwrightTooOld) as error:
                damages.append(error)
            else:
                if run.id == run_id:
                    found.append((folder, run))
        return found, damages

    def iter_run_folders(self) -> Iterator[RunFolder]:
        """Every run folder, by name; their content is not looked at."""
        for path in sorted(self.runs.iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                yield RunFolder(path)

    def read_measurement(self, key: str) -> dict[str, Any] | None:
        """What was measured for `key` on this machine, or None.

        A damaged file is set aside and ObjectDamaged raised; the next call gives None, so that it is measured anew.
        """
        path = self._measurement_path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        measurement = _parse_measurement(data)
        if measurement is None:
            aside = path.with_name(f"damaged-{path.name}")
            with translate_write_errors(aside), suppress(FileNotFoundError):
                path.replace(aside)
            raise ObjectDamaged(
                f"The measurement {path.name} is damaged; it was set aside as {aside.name}.",
                why="Its content no longer has the digest that was written with it.",
                next_step="Run it again: what is missing is measured anew. Check the disk.",
            )
        return measurement

    def write_measurement(self, key: str, measurement: dict[str, Any]) -> None:
        """Keep a measurement for `key`, with its digest, in place of an older one. Raises DiskFull, NotWritable."""
        document = {"digest": digest_json(measurement), "measurement": measurement}
        write_file(self._measurement_path(key), canonical_json(document))

    def _measurement_path(self, key: str) -> Path:
        if _KEY.fullmatch(key) is None:
            raise ValueError(f"{key!r} cannot be the name of a measurement's file")
        return self.measurements / f"{key}.json"


def open_workspace(root: Path) -> Workspace:
    """Open the workspace at `root`, making what is not there yet. Any number of processes may do so at once.

    The environment's TRAINWRIGHT_TRACES_URL puts the trace store elsewhere, for example into PostgreSQL, and
    TRAINWRIGHT_JOBS_URL the queue of jobs.
    Raises NotWritable, DiskFull, LedgerUnavailable, TrainwrightTooOld.
    """
    from trainwright.store.filed_ledger import FiledLedger  # SQLAlchemy takes a while to load; `--help` should not wait

    root = root.absolute()
    folders = {name: root / name for name in ("objects", "runs", "downloads", "measurements")}
    for folder in folders.values():
        _make_folder(folder)
    return Workspace(
        root=root,
        objects=FolderObjects(folders["objects"]),
        ledger=FiledLedger.open_in(root),
        runs=folders["runs"],
        downloads=folders["downloads"],
        measurements=folders["measurements"],
        traces_url=os.environ.get("TRAINWRIGHT_TRACES_URL") or None,
        jobs_url=os.environ.get("TRAINWRIGHT_JOBS_URL") or None,
    )


def _make_folder(folder: Path) -> None:
    try:
        with translate_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        in_the_way = next(path for path in (folder, *folder.parents) if path.exists())
        raise NotWritable(
            f"{folder} cannot be made.",
            why=f"{in_the_way} is a file, not a folder.",
            next_step="Choose another folder with --workspace, or move the file away.",
        ) from None


def _parse_measurement(data: bytes) -> dict[str, Any] | None:
    """The measurement, or None where the bytes are not what was written."""
    try:
        document = json.loads(data)
        measurement = document.get("measurement") if isinstance(document, dict) else None
        intact = isinstance(measurement, dict) and document.get("digest") == digest_json(measurement)
    except ValueError:  # not UTF-8, not JSON, or NaN, which canonical JSON refuses
        return None
    return measurement if intact else None
