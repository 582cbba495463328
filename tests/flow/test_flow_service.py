"""The service as a person has it: `trainwright serve`, a job over HTTP, stopped, gone on with, killed in every way."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("fastapi", reason="the service is an extra: pip install 'trainwright[serve]'")

import httpx

from trainwright.store.jobs import LEASE_S

WAIT_S = 120.0


class Service:
    """A service in a folder of its own. Its jobs' processes are found by the workspace that they name."""

    def __init__(self, command: Any) -> None:
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(trust_env=False, timeout=30)

    def open(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """Start it; what it printed."""
        words = ("serve", "--port=0", "--json", f"--workspace={self.command.workspace}", *arguments)
        self.process = self.command.start(
            *words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, environment=environment
        )
        assert self.process.stdout is not None
        printed = b"".join(iter(self.process.stdout.readline, b"}\n")) + b"}"
        document: dict[str, Any] = json.loads(printed)
        self.client.base_url = document["address"]
        return document

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return code

    def close(self) -> None:
        if self.process is not None:
            self.end(signal.SIGKILL)
        self.client.close()
        for process in self.find_processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
                process.wait(30)

    def find_processes(self, what: str = "") -> list[psutil.Process]:
        """Workers (`trainwright.work`) and jobs (`trainwright.work.child`) of this workspace."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline()
                if any(str(self.command.workspace) in word for word in words) and (not what or what in words):
                    found.append(process)
        return found

    def get(self, path: str, status: int = 200) -> Any:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 202, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.client.post(path, json=body, headers=named)
        assert answer.status_code == status, answer.text
        return answer.json()

    def wait_for(self, job_id: str, is_met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The job once it is as wanted."""
        deadline = time.monotonic() + WAIT_S
        while True:
            job: dict[str, Any] = self.get(f"/api/training/jobs/{job_id}")
            if is_met(job):
                return job
            assert time.monotonic() < deadline, job
            time.sleep(0.1)

    def wait_for_state(self, job_id: str, state: str) -> dict[str, Any]:
        return self.wait_for(job_id, lambda job: job["state"] == state)

    def wait_for_step(self, job_id: str, step: int) -> dict[str, Any]:
        return self.wait_for(job_id, lambda job: job["progress"] is not None and (job["progress"]["step"] or 0) >= step)


@pytest.fixture
def service(command: Any) -> Iterator[Service]:
    opened = Service(command)
    yield opened
    opened.close()


def build_manifest(corpus: Path) -> dict[str, Any]:
    """A run of many small steps, so that there is time to do something to it."""
    return {
        "name": "small",
        "data": {"corpus": str(corpus), "split": {"block_lines": 20}},
        "tokenizer": {"vocab_size": 300},
        "model": {"hidden_size": 16, "heads": 2, "head_dim": 8, "intermediate_size": 32, "layers": 1},
        "train": {
            "steps": 600,
            "batch_size": 4,
            "max_seq_length": 32,
            "validate_every": 300,
            "checkpoint_every": 50,
            "sample_tokens": 4,
        },
        "compute": {"framework": "reference", "threads": 1},
        "budgets": {"latency_p95_ms": None},
    }


@pytest.fixture
def manifest(corpus: Path) -> dict[str, Any]:
    return build_manifest(corpus)


@pytest.fixture(scope="module")
def expected_digest(corpus: Path, open_command: Any, tmp_path_factory: Any) -> str:
    """The weights of the same manifest run by the command, undisturbed."""
    command = open_command(tmp_path_factory.mktemp("undisturbed"))
    (command.folder / "manifest.json").write_text(json.dumps(build_manifest(corpus)), encoding="utf-8")
    return str(command("run", "manifest.json", "--json").document["weights_digest"])


def read_digest(service: Service, job: dict[str, Any]) -> str:
    """The weights that a job ended in, by the run that it names."""
    (run_id,) = job["runs"]
    return str(service.command("runs", "show", run_id, "--json").document["weights_digest"])


def test_a_job_is_started_watched_stopped_and_gone_on_with(
    service: Service, manifest: dict[str, Any], expected_digest: str
) -> None:
    assert service.open()["address"].startswith("http://127.0.0.1:")
    assert service.get("/api/training/status")["status"] == "idle"
    job = service.post("/api/training/start", {"manifest": manifest}, Idempotency_Key="once")
    assert job["state"] == "queued"
    assert (
        service.post("/api/training/start", {"manifest": manifest}, Idempotency_Key="once")["job_id"] == job["job_id"]
    )

    service.wait_for_step(job["job_id"], 20)
    status = service.get("/api/training/status")
    assert status["training"]["totalJobs"] == 1
    assert status["jobs"][job["job_id"]]["num_steps"] == 600

    service.post(f"/api/training/stop/{job['job_id']}")
    stopped = service.wait_for_state(job["job_id"], "cancelled")
    assert (stopped["exit_code"], stopped["stop_asked_by"] is not None) == (130, True)
    assert service.get("/api/training/status")["training"]["cancelledJobs"] == 1
    assert service.client.post(f"/api/training/stop/{job['job_id']}").json()["error"]["name"] == "job-ended"

    service.post(f"/api/training/resume/{job['job_id']}")
    done = service.wait_for_state(job["job_id"], "completed")
    assert done["attempts"] == 2
    assert read_digest(service, done) == expected_digest
    metrics = service.get("/api/training/metrics")
    assert (metrics["totalJobs"], metrics["completedJobs"], metrics["frameworkUsage"]) == (1, 1, {"reference": 1})
    assert metrics["averageTrainingTime"] > 0
    assert "training" in service.get(f"/api/training/jobs/{job['job_id']}/logs")["text"]
    assert service.end() == 0


def test_events_are_told_once_and_gone_on_with_where_a_connection_broke(
    service: Service, manifest: dict[str, Any]
) -> None:
    service.open()
    manifest["train"]["steps"] = 30
    job = service.post("/api/training/start", {"manifest": manifest})
    path = f"/api/training/jobs/{job['job_id']}/events"
    first = read_ids(service, path, most=5)
    rest = read_ids(service, path, last=first[-1])
    run = service.get(f"/api/training/jobs/{job['job_id']}")["runs"][0]
    numbers = [int(name.partition(":")[2]) for name in first + rest]
    assert numbers == list(range(len(numbers)))
    assert {name.partition(":")[0] for name in first + rest} == {run[:12]}
    assert service.get(f"/api/training/jobs/{job['job_id']}")["state"] == "completed"
    assert read_ids(service, path) == first + rest
    assert service.end() == 0


def read_ids(service: Service, path: str, most: int | None = None, last: str | None = None) -> list[str]:
    headers = {} if last is None else {"Last-Event-ID": last}
    ids: list[str] = []
    with service.client.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("id: "):
                ids.append(line.removeprefix("id: "))
                if len(ids) == most:
                    return ids
    return ids


def test_a_worker_that_is_killed_is_noticed_and_its_job_goes_on_to_the_same_weights(
    service: Service, manifest: dict[str, Any], expected_digest: str
) -> None:
    service.open()
    job = service.post("/api/training/start", {"manifest": manifest})
    running = service.wait_for_step(job["job_id"], 60)
    (worker,) = service.find_processes("trainwright.work")
    os.kill(worker.pid, signal.SIGKILL)
    done = service.wait_for_state(job["job_id"], "completed")
    assert done["attempts"] >= 2
    assert done["runs"] == running["runs"]
    assert read_digest(service, done) == expected_digest
    assert service.end() == 0


@pytest.mark.slow
def test_a_job_whose_process_is_killed_goes_on_from_its_checkpoint(
    service: Service, manifest: dict[str, Any], expected_digest: str
) -> None:
    service.open()
    job = service.post("/api/training/start", {"manifest": manifest})
    service.wait_for_step(job["job_id"], 60)
    (child,) = service.find_processes("trainwright.work.child")
    os.kill(child.pid, signal.SIGKILL)
    done = service.wait_for_state(job["job_id"], "completed")
    assert (done["attempts"], done["crashes"]) == (2, 1)
    assert read_digest(service, done) == expected_digest
    assert service.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_service_that_is_killed_or_ended_and_started_again_does_not_touch_a_running_job(
    service: Service, manifest: dict[str, Any], number: int
) -> None:
    service.open()
    job = service.post("/api/training/start", {"manifest": manifest})
    service.wait_for_step(job["job_id"], 20)
    service.end(number)
    service.open()
    done = service.wait_for_state(job["job_id"], "completed")
    assert done["attempts"] == 1
    assert service.end() == 0


def test_a_job_that_was_accepted_is_not_lost_with_the_service(service: Service, manifest: dict[str, Any]) -> None:
    manifest["train"]["steps"] = 10
    service.open("--no-worker")
    job = service.post("/api/training/start", {"manifest": manifest})
    service.end(signal.SIGKILL)
    worked = service.command("work", "--until-empty", "--json")
    assert worked.document["jobs"]["completed"] == 1
    shown = service.command("jobs", "show", job["job_id"][:8], "--json").document
    assert (shown["state"], shown["progress"]["step"]) == ("completed", 10)


def test_a_worker_that_is_asked_to_end_puts_its_job_back_in_line(service: Service, manifest: dict[str, Any]) -> None:
    manifest["train"]["steps"] = 100_000
    service.open("--no-worker")
    job = service.post("/api/training/start", {"manifest": manifest})
    worker = service.command.start("work", f"--workspace={service.command.workspace}", stderr=subprocess.DEVNULL)
    service.wait_for_step(job["job_id"], 20)
    worker.terminate()
    assert worker.wait(WAIT_S) == 0
    waiting = service.get(f"/api/training/jobs/{job['job_id']}")
    assert (waiting["state"], waiting["crashes"]) == ("queued", 0)
    assert waiting["progress"]["step"] >= 20
    assert service.end() == 0


def test_what_fails_says_why_in_the_one_shape(service: Service, manifest: dict[str, Any]) -> None:
    manifest["data"]["corpus"] = "nowhere.txt"
    service.open()
    job = service.post("/api/training/start", {"manifest": manifest})
    failed = service.wait_for_state(job["job_id"], "failed")
    assert failed["error"]["name"] == "source-not-found"
    assert failed["exit_code"] == failed["error"]["exit_code"] == 2
    assert service.end() == 0


def test_a_job_that_this_host_never_takes_is_named_and_not_waited_for(command: Any) -> None:
    started = command("jobs", "start", "--json", "budgets.training_peak_mb=5000").document
    assert (started["memory_bytes"], started["device"]) == (5_000_000_000, "any")
    worked = command("work", "--until-empty", "--max-memory-mb=4000", "--json")
    (left,) = worked.document["not_for_this_host"]
    assert left["job_id"] == started["job_id"]
    assert "5,000 MB" in left["why"]
    assert "is not for this host" in worked.err
    assert command("jobs", "list", "--json").document["items"][0]["state"] == "queued"


@pytest.mark.slow  # many processes, one after the other
def test_the_queue_is_worked_off_by_the_command_line_alone(command: Any, corpus: Path) -> None:
    settings = (*command.small[2:], f"data.corpus={corpus}", "compute.framework=reference", "train.batch_size=4")
    started = command("jobs", "start", *settings, "train.max_seq_length=32", "--json").document
    assert command("jobs", "list", "--json").document["items"][0]["state"] == "queued"
    command("work", "--until-empty")
    again = command("jobs", "show", started["job_id"], "--json").document
    assert (again["state"], again["name"]) == ("completed", "sentences")
    assert "validation" in command("jobs", "logs", started["job_id"][:8]).out
    error = command("jobs", "stop", started["job_id"], "--json", expect=64).error
    assert error["name"] == "job-ended"


# ── the queue, the disk ───────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.slow
def test_a_queue_that_is_locked_for_longer_than_a_lease_costs_a_running_job_nothing(
    service: Service, manifest: dict[str, Any], expected_digest: str
) -> None:
    service.open()
    job = service.post("/api/training/start", {"manifest": manifest})
    service.wait_for_step(job["job_id"], 20)
    with closing(sqlite3.connect(service.command.workspace / "jobs.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(LEASE_S + 2)
        assert service.get("/api/training/status")["training"]["runningJobs"] == 1
        other.execute("COMMIT")
    done = service.wait_for_state(job["job_id"], "completed")
    assert done["attempts"] == 1
    assert read_digest(service, done) == expected_digest
    assert service.end() == 0


@pytest.mark.slow
def test_a_disk_that_is_full_is_said_and_loses_nothing(
    service: Service, manifest: dict[str, Any], expected_digest: str
) -> None:
    workspace = service.command.workspace
    workspace.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", workspace], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        service.open()
        job = service.post("/api/training/start", {"manifest": manifest})
        service.wait_for_step(job["job_id"], 20)
        filler = workspace / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"0" * 4096)
        refused = service.client.post("/api/training/start", json={"manifest": {**manifest, "seed": 7}})
        assert refused.status_code == 507
        assert refused.json()["error"]["name"] == "disk-full"
        deadline = time.monotonic() + WAIT_S
        while service.find_processes("trainwright.work.child"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert service.get("/api/training/status")["training"]["totalJobs"] == 1
        filler.unlink()
        failed = service.wait_for(job["job_id"], lambda job: job["state"] in ("failed", "completed"))
        if failed["state"] == "failed":  # else its lease ran out before that could be put on record, and it went on
            assert failed["error"]["name"] == "disk-full"
            service.post(f"/api/training/resume/{job['job_id']}")
        done = service.wait_for_state(job["job_id"], "completed")
        assert read_digest(service, done) == expected_digest
        assert service.command("audit", "verify")
        assert service.end() == 0
    finally:
        service.close()
        subprocess.run(["umount", "--lazy", workspace], check=True)


@pytest.mark.slow
def test_a_database_that_is_gone_for_a_while_is_said_and_costs_a_running_job_nothing(
    service: Service, manifest: dict[str, Any], own_postgresql: Any, expected_digest: str
) -> None:
    url = own_postgresql.url.render_as_string(hide_password=False)
    service.open(TRAINWRIGHT_JOBS_URL=url)
    job = service.post("/api/training/start", {"manifest": manifest})
    service.wait_for_step(job["job_id"], 20)
    own_postgresql.stop()
    refused = service.client.post("/api/training/start", json={"manifest": manifest})
    assert refused.status_code == 503
    assert refused.json()["error"]["name"] == "ledger-unavailable"
    time.sleep(LEASE_S + 2)  # it trains meanwhile, or even ends
    own_postgresql.start()
    done = service.wait_for_state(job["job_id"], "completed")
    assert done["attempts"] == 1
    assert read_digest(service, done) == expected_digest
    assert service.end() == 0


@pytest.mark.slow
def test_two_services_on_one_postgresql_run_every_job_once(
    service: Service, manifest: dict[str, Any], new_database: Callable[[], str]
) -> None:
    other = Service(service.command)
    url = new_database()
    manifest["train"]["steps"] = 40
    try:
        both = (service, other)
        opening = [
            threading.Thread(target=one.open, args=("--max-jobs=3",), kwargs={"TRAINWRIGHT_JOBS_URL": url})
            for one in both
        ]
        for thread in opening:
            thread.start()
        for thread in opening:
            thread.join()
        ids = []
        for seed in range(5):  # each asked for by both, under one key
            body = {"manifest": {**manifest, "seed": seed}}
            asked = {one.post("/api/training/start", body, Idempotency_Key=f"job-{seed}")["job_id"] for one in both}
            ids += asked
        assert len(ids) == 5
        done = [both[number % 2].wait_for_state(job_id, "completed") for number, job_id in enumerate(ids)]
        assert [job["attempts"] for job in done] == [1] * 5
        assert len({job["runs"][0] for job in done}) == len(service.command.run_folders()) == 5
        assert other.get("/api/training/status")["training"]["totalJobs"] == 5
        assert (service.end(), other.end()) == (0, 0)
    finally:
        other.close()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_few_kills_of_workers_and_service_change_nothing(tmp_path: Path) -> None:
    bench = Path(__file__).parents[2] / "bench" / "service_kill_matrix.py"
    words = ["--kills=4", "--jobs=2", "--steps=300", f"--json={tmp_path / 'said.json'}"]
    ended = subprocess.run([sys.executable, bench, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    said = json.loads((tmp_path / "said.json").read_bytes())
    assert said["kills"] >= 4
    assert said["differences"] == []
    assert said["equal"] == said["jobs"] >= 2
