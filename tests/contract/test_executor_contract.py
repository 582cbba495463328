"""What every place where jobs run promises. To try another one, add a case to `CASES`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trainwright.core.jobs import Job
from trainwright.store.workspace import Workspace, open_workspace
from trainwright.watch.events import iter_events
from trainwright.work.container import ContainerExecutor
from trainwright.work.executor import Attempt, Executor
from trainwright.work.job_folder import JobFolder
from trainwright.work.process import ProcessExecutor
from trainwright.work.settings import ContainerSettings
from trainwright.work.submit import build_job

WAIT_S = 120.0
LONG = 100_000


def open_process(request: pytest.FixtureRequest) -> Executor:
    return ProcessExecutor()


def open_container(request: pytest.FixtureRequest) -> Executor:
    place = request.getfixturevalue("containers")
    return ContainerExecutor(ContainerSettings(image=place.image, mounts=place.mounts))


CASES: dict[str, Callable[[pytest.FixtureRequest], Executor]] = {"process": open_process, "container": open_container}
NEEDS = {"process": [], "container": [pytest.mark.slow, pytest.mark.extra]}


@pytest.fixture(params=[pytest.param(name, marks=NEEDS[name]) for name in CASES])
def executor(request: pytest.FixtureRequest) -> Executor:
    return CASES[request.param](request)


class Place:
    """A workspace, a text beside it, and attempts at jobs about it."""

    def __init__(self, folder: Path, executor: Executor) -> None:
        self.folder = folder
        self.executor = executor
        self.root = folder / "workspace"
        self.workspace: Workspace = open_workspace(self.root)
        self.attempts: list[Attempt] = []
        lines = (f"{number} and {number % 7} are {number + number % 7}." for number in range(300))
        (folder / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def build_job(self, num_steps: int, corpus: str = "text.txt") -> Job:
        document = {
            "name": "numbers",
            "data": {"corpus": corpus, "split": {"block_lines": 10}},
            "model": {"hidden_size": 16, "heads": 2, "head_dim": 8, "intermediate_size": 32, "layers": 1},
            "train": {"batch_size": 4, "max_seq_length": 32, "checkpoint_every": 5, "sample_tokens": 4},
            "compute": {"framework": "reference", "threads": 1},
            "budgets": {"latency_p95_ms": None, "inference_rss_mb": None, "training_peak_mb": None},
        }
        return build_job(document, [f"train.steps={num_steps}"], who="ada", folder=self.folder)

    def folder_of(self, job: Job) -> JobFolder:
        return JobFolder(self.workspace.job_folders / job.id)

    def start(self, job: Job) -> Attempt:
        self.attempts.append(self.executor.start(job, self.folder_of(job), self.root))
        return self.attempts[-1]

    def wait(self, attempt: Attempt) -> int:
        self.wait_until(lambda: attempt.poll() is not None, attempt.folder)
        code = attempt.poll()
        assert code is not None
        return code

    def wait_for_steps(self, job: Job, num_steps: int) -> None:
        self.wait_until(lambda: self.count_steps(job) >= num_steps, self.folder_of(job))

    def wait_until(self, is_met: Callable[[], bool], folder: JobFolder) -> None:
        deadline = time.monotonic() + WAIT_S
        while not is_met():
            assert time.monotonic() < deadline, folder.log_path.read_text(encoding="utf-8")
            time.sleep(0.05)

    def count_steps(self, job: Job) -> int:
        runs = self.folder_of(job).read_runs()
        if not runs:
            return 0
        path = self.workspace.find_run_folder(runs[-1]).events_path
        return sum(event["kind"] == "step" for event in iter_events(path)) if path.exists() else 0

    def read_answer(self, job: Job) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.folder_of(job).answer_path.read_bytes())
        return answer

    def close(self) -> None:
        for attempt in self.attempts:
            if attempt.poll() is None:
                attempt.kill()
                self.wait(attempt)
        self.workspace.close()


@pytest.fixture
def place(executor: Executor, tmp_path: Path) -> Iterator[Place]:
    opened = Place(tmp_path, executor)
    yield opened
    opened.close()


def test_a_job_runs_to_its_end_and_says_what_it_made(place: Place) -> None:
    job = place.build_job(6)
    attempt = place.start(job)
    assert place.wait(attempt) == 0
    (run,) = attempt.folder.read_runs()
    answer = place.read_answer(job)
    assert answer["run_id"] == run
    assert place.count_steps(job) == 6
    assert "training" in attempt.folder.log_path.read_text(encoding="utf-8")
    assert attempt.folder.read_error() is None
    made = [path for path in place.root.rglob("*") if path.stat().st_uid != os.getuid()]
    assert made == [], "what a job writes is the caller's"


def test_a_job_that_fails_ends_with_its_error_and_the_errors_code(place: Place) -> None:
    attempt = place.start(place.build_job(6, corpus="nowhere.txt"))
    code = place.wait(attempt)
    error = attempt.folder.read_error()
    assert error is not None
    assert (code, error["name"], error["exit_code"]) == (2, "source-not-found", 2)


def test_a_job_that_is_asked_to_stop_saves_and_goes_on_from_there(place: Place) -> None:
    job = place.build_job(LONG)
    attempt = place.start(job)
    place.wait_for_steps(job, 7)
    assert not attempt.was_asked
    attempt.ask_stop()
    attempt.ask_stop()
    assert attempt.was_asked
    assert place.wait(attempt) == 130
    error = attempt.folder.read_error()
    assert error is not None
    assert error["name"] == "interrupted"
    num_steps = place.count_steps(job)
    again = place.start(job)
    place.wait_for_steps(job, num_steps + 5)
    again.ask_stop()
    assert place.wait(again) == 130
    assert len(again.folder.read_runs()) == 1


def test_a_job_that_is_killed_ends_by_a_signal_and_goes_on_from_its_checkpoint(place: Place) -> None:
    job = place.build_job(LONG)
    attempt = place.start(job)
    place.wait_for_steps(job, 12)
    attempt.kill()
    assert place.wait(attempt) == -signal.SIGKILL
    assert attempt.folder.read_error() is None
    assert attempt.explain(-signal.SIGKILL)
    (run,) = attempt.folder.read_runs()
    again = place.start(job)
    place.wait_until(lambda: len(place.workspace.find_run_folder(run).read_attempts()) == 2, again.folder)
    assert again.folder.read_runs() == (run,)
    begun_at = place.workspace.find_run_folder(run).read_attempts()[-1]
    assert begun_at["from_step"] >= 5


def test_a_stop_right_after_the_start_is_not_missed(place: Place) -> None:
    attempt = place.start(place.build_job(LONG))
    attempt.ask_stop()
    assert place.wait(attempt) in (130, -signal.SIGTERM)


def test_what_is_over_stays_over(place: Place) -> None:
    attempt = place.start(place.build_job(6, corpus="nowhere.txt"))
    place.wait(attempt)
    attempt.ask_stop()
    attempt.kill()
    assert attempt.poll() == 2
    assert attempt.place


STARTER = """
import sys, time
from pathlib import Path
from trainwright.core.jobs import Job
from trainwright.work.job_folder import JobFolder
from trainwright.work.executors import open_executor
from trainwright.work.settings import WorkSettings
settings, job, folder, root = sys.argv[1:]
attempt = open_executor(WorkSettings.model_validate_json(settings)).start(
    Job.model_validate_json(job), JobFolder(Path(folder)), Path(root)
)
print("started", flush=True)
time.sleep(600)
"""


def test_a_job_whose_starter_is_killed_saves_and_ends(place: Place) -> None:
    job = place.build_job(LONG)
    settings = {"container": getattr(place.executor, "settings", None)}
    words = [json.dumps(settings, default=lambda one: one.model_dump()), job.model_dump_json()]
    words += [str(place.folder_of(job).path), str(place.root)]
    starter = subprocess.Popen([sys.executable, "-c", STARTER, *words], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    with starter.stdout:
        assert starter.stdout.readline() == b"started\n"
        place.wait_for_steps(job, 7)
        run = place.workspace.find_run_folder(place.folder_of(job).read_runs()[0])
        assert run.is_locked()
        starter.kill()
        starter.wait()
        place.wait_until(lambda: not run.is_locked(), place.folder_of(job))
    *_, last = iter_events(run.events_path)
    assert (run.checkpoints_path / f"step-{last['step']:08d}").is_dir(), "what it had done is saved"
