"""Do 16 processes that write into one workspace for a minute lose anything, while a service on it is asked all the time?

    python bench/many_writers.py [--writers 16] [--seconds 60]

One tiny run is really done. Each writer then has a run of its own, the same plan with another seed, and a job in line, and does
what the process of a training job and its worker do, but more often than any of them: ten times a second it writes ten events,
puts a record, moves a ref and holds on to its job. The poller asks the service for the status of the jobs and for what each run
measured, one request after another.

What must hold: no writer met an error, such as that of a locked database; the service answered 200 every time; afterwards it
tells of every event that was written, in order, and the ledger has every record and move. Exit code 1, and what is missing is
named, where any of it does not.
"""

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from many_runs import TINY, multiply
from service_speed import open_service

from trainwright.core.errors import TrainwrightError
from trainwright.core.hashing import digest_bytes
from trainwright.core.records import Checkpoint
from trainwright.pipeline.inspect import find_runs
from trainwright.store.jobs import Limits
from trainwright.store.workspace import open_workspace
from trainwright.watch.events import EventLog
from trainwright.work.submit import build_job

EVENTS_A_RECORD = 10
PAUSE_S = 0.1


@dataclass
class Written:
    """What a writer put where, and the errors that it met."""

    run_id: str
    num_events: int = 0
    records: list[str] = field(default_factory=list)
    num_moves: int = 0
    errors: list[str] = field(default_factory=list)


def main() -> int:
    """Write, ask, look for what was written; 1 where anything is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, root = Path(place), Path(place) / "workspace"
        words = [sys.executable, "-m", "trainwright", "run", *TINY, f"--workspace={root}"]
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
        workspace = open_workspace(root)
        multiply(workspace, given.writers + 1)
        runs = [run.id for run in find_runs(workspace)][: given.writers]
        for _ in runs:
            workspace.jobs.add(build_job({}, TINY, who="bench", folder=folder))
        with open_service(folder, "--no-worker") as (address, _, _):
            answers: Counter[int] = Counter()
            is_over = threading.Event()
            poller = threading.Thread(target=poll, args=(address, runs, is_over, answers))
            poller.start()
            with multiprocessing.get_context("spawn").Pool(given.writers) as pool:
                written = pool.starmap(write, [(root, run, given.seconds) for run in runs])
            is_over.set()
            poller.join()
            missing = [*find_missing(address, root, written)]
    tell(written, answers, given.seconds)
    missing += [f"the service answered {status}, {num} times" for status, num in answers.items() if status != 200]
    for what in missing:
        print(what)
    print("nothing was lost" if not missing else f"{len(missing)} faults")
    return 1 if missing else 0


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def write(root: Path, run_id: str, seconds: float) -> Written:
    """In a process of its own: write into a run for so long."""
    workspace, done = open_workspace(root), Written(run_id)
    claim = workspace.jobs.claim(run_id, run_id, Limits())
    assert claim is not None, "there are as many jobs as writers"
    end = time.monotonic() + seconds
    with EventLog.open(workspace.find_run_folder(run_id).path / "events.jsonl", keep=None) as log:
        while time.monotonic() < end:
            for _ in range(EVENTS_A_RECORD):
                done.num_events += 1
                log.emit("step", {"step": done.num_events, "loss": 1 / done.num_events})
            try:
                _write_records(workspace, run_id, done)
                assert workspace.jobs.renew(claim.job.id, claim.lease) is not None, "the job is another's by now"
            except TrainwrightError as error:
                done.errors.append(f"{error.message} {error.why}")
            time.sleep(PAUSE_S)
    workspace.jobs.settle(claim.job.id, claim.lease, "completed", 0, None)
    return done


def _write_records(workspace: Any, run_id: str, done: Written) -> None:
    """A checkpoint's record, and the ref that now names it."""
    weights = digest_bytes(f"{run_id} {done.num_events}".encode())
    checkpoint = Checkpoint(run=run_id, step=done.num_events, num_tokens=0, weights=weights, files={})
    before = done.records[-1] if done.records else None
    done.records.append(workspace.ledger.put(checkpoint))
    workspace.ledger.move_ref(f"w{run_id[:12]}@latest", done.records[-1], before, "bench", "written")
    done.num_moves += 1


# ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def poll(address: str, runs: list[str], is_over: threading.Event, answers: Counter[int]) -> None:
    """Ask one thing after another, and count the answers by their status."""
    with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        while not is_over.is_set():
            for run in runs:
                for path in ("/api/training/status", f"/api/runs/{run}/metrics?limit=10", "/api/runs?limit=20"):
                    answers[client.get(path).status_code] += 1


def find_missing(address: str, root: Path, written: list[Written]) -> list[str]:
    """What was written and is not there, and what went wrong."""
    workspace, missing = open_workspace(root), []
    known = set(workspace.ledger.ids())
    with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        jobs = client.get("/api/training/status").json()["training"]
        for done in written:
            steps = [*iter_steps(client, done.run_id)][-done.num_events :] if done.num_events else []
            if steps != list(range(1, done.num_events + 1)):
                missing.append(f"run {done.run_id[:12]}: {len(steps)} of {done.num_events} events in order")
            if lost := set(done.records) - known:
                missing.append(f"run {done.run_id[:12]}: {len(lost)} records lost")
            if len(workspace.ledger.ref_history(f"w{done.run_id[:12]}@latest")) != done.num_moves:
                missing.append(f"run {done.run_id[:12]}: a move of its ref is lost")
            missing += [f"run {done.run_id[:12]}: {error}" for error in done.errors]
    if jobs["completedJobs"] != len(written):
        missing.append(f"{jobs['completedJobs']} of {len(written)} jobs are completed")
    return missing


def iter_steps(client: httpx.Client, run: str) -> Any:
    """The steps of a run's events of that kind, page by page."""
    after: int | None = -1
    while after is not None:
        page = client.get(f"/api/runs/{run}/metrics", params={"kind": "step", "after": after}).json()
        yield from (item["step"] for item in page["items"])
        after = page["next"]


def tell(written: list[Written], answers: Counter[int], seconds: float) -> None:
    """How much was written and asked."""
    events, records = sum(done.num_events for done in written), sum(len(done.records) for done in written)
    print(
        f"{len(written)} writers, {seconds:.0f} s: {events:,} events, {records:,} records, as many moves and renewals"
    )
    print(f"the poller had {sum(answers.values()):,} answers; errors of writers: {sum(len(d.errors) for d in written)}")


if __name__ == "__main__":
    sys.exit(main())
