"""What a worker says about how an attempt ended, and when it lets go."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainwright.core.errors import LedgerUnavailable, NotWritable
from trainwright.core.jobs import Job
from trainwright.store.jobs import Limits
from trainwright.store.workspace import Workspace, open_workspace
from trainwright.work import worker as module
from trainwright.work.job_folder import JobFolder
from trainwright.work.submit import build_job
from trainwright.work.worker import MAX_CRASHES, Worker


class Process:
    """An attempt at a job that ends as a test says."""

    place = "nowhere"

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self.code: int | None = None
        self.was_asked = False
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.answer_path.unlink(missing_ok=True)

    def poll(self) -> int | None:
        return self.code

    def ask_stop(self) -> None:
        self.was_asked = True
        self.code = 130

    def kill(self) -> None:
        self.code = -9

    def explain(self, code: int) -> str:
        return "It was told to."

    def end(self, code: int, error: str | None = None) -> None:
        self.code = code
        if error is not None:
            self.folder.answer_path.write_text(json.dumps({"error": {"name": error}}), encoding="utf-8")


class Executor:
    name = "under test"

    def start(self, job: Job, folder: JobFolder, workspace_root: Path) -> Process:
        return Process(folder)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name in ("CLAIM_EVERY_S", "RENEW_EVERY_S", "BUSY_PAUSE_S", "CRASH_PAUSE_S"):
        monkeypatch.setattr(module, name, 0.0)
    return open_workspace(tmp_path / "ws")


@pytest.fixture
def job_id(workspace: Workspace) -> str:
    return workspace.jobs.add(build_job({}, who="ada", folder=Path("/")))[0].id


def begin(workspace: Workspace, worker: Worker) -> Process:
    worker.look()
    (held,) = worker._held
    process: Any = held.attempt
    assert isinstance(process, Process)
    return process


@pytest.mark.parametrize(
    ("code", "error", "state"),
    [
        (0, None, "completed"),
        (7, "budget-reached", "budget-reached"),
        (130, "interrupted", "interrupted"),
        (-15, None, "interrupted"),
        (4, "drift", "failed"),
        (5, "validation-failed", "failed"),
        (70, "internal-error", "failed"),
        (4, "run-busy", "queued"),
    ],
)
def test_how_an_attempt_ended_says_how_the_job_stands(
    workspace: Workspace, job_id: str, code: int, error: str | None, state: str
) -> None:
    worker = Worker(workspace, Limits(), Executor())
    begin(workspace, worker).end(code, error)
    worker.drain()
    worker.look()
    job = workspace.jobs.get(job_id)
    assert job.state == state
    assert job.worker is None
    assert (job.error or {}).get("name") == (error if state in ("failed", "interrupted", "budget-reached") else None)


def test_a_process_that_dies_without_a_word_is_tried_again_and_not_for_ever(workspace: Workspace, job_id: str) -> None:
    worker = Worker(workspace, Limits(), Executor())
    for number in range(1, MAX_CRASHES + 1):
        begin(workspace, worker).end(-9)
        worker._is_draining.set()
        worker.look()
        worker._is_draining.clear()
        job = workspace.jobs.get(job_id)
        assert job.state == ("queued" if number < MAX_CRASHES else "failed")
    assert job.error is not None
    assert job.error["name"] == "job-crashed"
    assert "signal 9" in job.error["message"]


def test_what_fits_is_run_and_what_never_does_is_named_once(
    workspace: Workspace, job_id: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NOTE_EVERY_S", 0.0)
    large = workspace.jobs.add(build_job({"budgets": {"training_peak_mb": 9000}}, who="ada", folder=Path("/")))[0]
    worker = Worker(workspace, Limits(memory_bytes=10**9), Executor())
    begin(workspace, worker).end(0)
    worker.run_until_empty()
    assert workspace.jobs.get(job_id).state == "completed"
    assert workspace.jobs.get(large.id).state == "queued"
    assert list(worker.note_misfits()) == [large.id]
    assert sum("is not for this host" in record.message for record in caplog.records) == 1


def test_a_place_that_cannot_begin_an_attempt_fails_the_job_with_its_error(workspace: Workspace, job_id: str) -> None:
    class Broken(Executor):
        def start(self, job: Job, folder: JobFolder, workspace_root: Path) -> Process:
            raise NotWritable("nowhere", why="It is read-only.")

    worker = Worker(workspace, Limits(), Broken())
    worker.look()
    job = workspace.jobs.get(job_id)
    assert (job.state, job.exit_code, (job.error or {})["name"]) == ("failed", 1, "not-writable")


def test_a_stop_is_handed_on_and_the_job_is_cancelled(workspace: Workspace, job_id: str) -> None:
    worker = Worker(workspace, Limits(), Executor())
    process = begin(workspace, worker)
    workspace.jobs.ask_stop(job_id, "bob")
    worker.look()
    assert process.was_asked
    worker.look()
    assert workspace.jobs.get(job_id).state == "cancelled"


def test_a_job_that_ended_by_itself_while_it_was_to_stop_is_complete(workspace: Workspace, job_id: str) -> None:
    worker = Worker(workspace, Limits(), Executor())
    process = begin(workspace, worker)
    workspace.jobs.ask_stop(job_id, "bob")
    process.end(0)
    worker.look()
    assert workspace.jobs.get(job_id).state == "completed"


def test_a_worker_that_is_to_end_puts_its_job_back_in_line(workspace: Workspace, job_id: str) -> None:
    worker = Worker(workspace, Limits(), Executor())
    begin(workspace, worker)
    worker.stop()
    worker.run()
    job = workspace.jobs.get(job_id)
    assert (job.state, job.crashes, job.worker) == ("queued", 0, None)


def test_training_goes_on_while_the_queue_is_gone_and_its_end_is_told_when_it_is_back(
    workspace: Workspace, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(workspace, Limits(), Executor())
    process = begin(workspace, worker)

    def fail(*_: object, **__: object) -> None:
        raise LedgerUnavailable("The queue cannot be used.")

    with monkeypatch.context() as gone:
        gone.setattr(type(workspace.jobs), "renew", fail)
        gone.setattr(type(workspace.jobs), "claim", fail)
        worker.look()
        assert not process.was_asked
        process.end(0)
        worker.look()
    assert workspace.jobs.get(job_id).state == "running"
    worker.look()
    assert workspace.jobs.get(job_id).state == "completed"


def test_a_worker_whose_lease_is_anothers_stops_its_process_and_says_nothing(workspace: Workspace, job_id: str) -> None:
    worker = Worker(workspace, Limits(), Executor())
    process = begin(workspace, worker)
    (held,) = worker._held
    assert workspace.jobs.release(job_id, held.claim.lease)
    heir = workspace.jobs.claim("heir", "elsewhere", Limits())
    assert heir is not None
    worker.drain()
    worker.look()
    assert process.was_asked
    worker.look()
    assert worker._held == []
    job = workspace.jobs.get(job_id)
    assert (job.state, job.worker) == ("running", "heir")
