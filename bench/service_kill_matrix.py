"""The service killed at random instants while jobs run: does every job end as if nothing had happened?

    python bench/service_kill_matrix.py [--kills 50] [--jobs 4] [--steps 1500] [--seed 0] [--json FILE]

First each job's manifest is run by the command line, undisturbed. Then, in a new workspace, a service with its worker and a
second worker beside it are begun, and the jobs are put in line over HTTP. At drawn instants the service, or a worker that has a
job, is killed (SIGKILL); what a person would begin again is begun again. The service is also killed while it accepts a job,
which is then asked for again under the same idempotency key. Once the jobs are over the workspace is looked at, and where kills
are left, another one is begun. Only kills that met a job that was running, or being accepted, are counted.

What must hold: every job completed, in the weights of the undisturbed run; one run for each plan, on which no two processes
worked at the same time; as many jobs as were asked for; nothing held by anybody; a whole audit log; no process left behind.
Exit code 1, and every difference named, where any of it does not.
"""

import argparse
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from trainwright.core.jobs import JOB_STATES
from trainwright.pipeline.accounts import locate_usage
from trainwright.pipeline.inspect import describe_run
from trainwright.store.workspace import Workspace, open_workspace
from trainwright.watch.usage import read_usages

LONGEST_PAUSE_S = 5.0
LONGEST_ACCEPTANCE_S = 0.08
SHARE_KILLED_ACCEPTING = 0.3
PATIENCE_S = 1800.0
"""A job that is not over by then is lost."""
SHARE_OF_SERVICE = 0.3
SHARE_AT_WORK = 0.5
LONGEST_WAIT_S = 60.0
SERVICE, ITS_WORKER, WORKER = "service", "worker of the service", "worker of its own"
ACCEPTING = "service, while it accepted a job"


@dataclass
class Tally:
    """What was done, and what came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


def main() -> int:
    """Run the matrix, print what came of it; 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=4, help="jobs that run at the same time")
    parser.add_argument("--steps", type=int, default=1500, help="steps of each job")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="a file for all that is printed, and each job")
    given = parser.parse_args()
    begun, tally = time.monotonic(), Tally()
    with tempfile.TemporaryDirectory(prefix="service-kills-") as name:
        folder = Path(name)
        lines = (f"{number} and {number % 7} are {number + number % 7}." for number in range(400))
        (folder / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        manifests = [build_manifest(folder / "text.txt", given.steps, number) for number in range(given.jobs)]
        expected = run_undisturbed(folder, manifests)
        draw = random.Random(given.seed)
        while sum(tally.kills.values()) < given.kills:
            number = len({job["round"] for job in tally.jobs}) + 1
            play_round(folder / f"round-{number}", number, manifests, expected, given.kills, draw, tally)
            print(f"round {number}: {sum(tally.kills.values())} of {given.kills} kills", file=sys.stderr, flush=True)
    document = describe(tally, time.monotonic() - begun)
    print_table(document)
    if given.json is not None:
        given.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 1 if tally.differences else 0


def build_manifest(corpus: Path, num_steps: int, number: int) -> dict[str, Any]:
    """A small job, different from the others in its seed alone."""
    return {
        "name": f"job-{number}",
        "seed": number,
        "data": {"corpus": str(corpus), "split": {"block_lines": 10}},
        "model": {"hidden_size": 16, "heads": 2, "head_dim": 8, "intermediate_size": 32, "layers": 1},
        "train": {
            "steps": num_steps,
            "batch_size": 4,
            "max_seq_length": 32,
            "dropout": 0.1,
            "checkpoint_every": max(1, num_steps // 30),
            "validate_every": max(1, num_steps // 3),
            "sample_tokens": 4,
        },
        "compute": {"framework": "reference", "threads": 1},
        "budgets": {"latency_p95_ms": None, "inference_rss_mb": None, "training_peak_mb": None},
    }


def run_undisturbed(folder: Path, manifests: list[dict[str, Any]]) -> dict[str, str]:
    """{name: digest of the weights} of each manifest, run by the command line."""
    root = folder / "undisturbed"
    running = []
    for manifest in manifests:
        path = folder / f"{manifest['name']}.json"
        path.write_text(json.dumps(manifest), encoding="utf-8")
        words = [sys.executable, "-m", "trainwright", "run", str(path), "--json", f"--workspace={root}"]
        running.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
    answers = [json.loads(process.communicate()[0]) for process in running]
    return {manifest["name"]: answer["weights_digest"] for manifest, answer in zip(manifests, answers, strict=True)}


# ── one round ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def play_round(
    root: Path,
    number: int,
    manifests: list[dict[str, Any]],
    expected: dict[str, str],
    num_kills: int,
    draw: random.Random,
    tally: Tally,
) -> None:
    """All jobs in a new workspace, with kills until they are over; then what became of them."""
    place = Place(root, len(manifests))
    try:
        for manifest in manifests:
            put_in_line(place, manifest, num_kills, draw, tally)
        deadline = time.monotonic() + PATIENCE_S
        while not place.is_over() and time.monotonic() < deadline:
            place.revive()
            if draw.random() < SHARE_AT_WORK:  # however slow the machine is, kills are to meet jobs that train too
                place.wait_for_step()
            wait(draw.uniform(0.0, LONGEST_PAUSE_S))
            if sum(tally.kills.values()) < num_kills:
                kill_one(place, draw, tally)
        place.end(tally)
    finally:
        place.close()
    with open_workspace(root) as workspace:
        check(workspace, number, expected, tally)


def put_in_line(place: "Place", manifest: dict[str, Any], num_kills: int, draw: random.Random, tally: Tally) -> None:
    """Ask for a job until it is accepted; sometimes the service is killed meanwhile."""
    is_to_be_killed = sum(tally.kills.values()) < num_kills and draw.random() < SHARE_KILLED_ACCEPTING
    if is_to_be_killed:
        asking = threading.Thread(target=lambda: place.ask(manifest))
        asking.start()
        wait(draw.uniform(0.0, LONGEST_ACCEPTANCE_S))
        place.kill_service()
        asking.join()
        tally.kills[ACCEPTING] += 1
    deadline = time.monotonic() + PATIENCE_S
    while not place.ask(manifest):
        if time.monotonic() > deadline:
            raise SystemExit(f"{manifest['name']} was never accepted")
        place.revive()


def kill_one(place: "Place", draw: random.Random, tally: Tally) -> None:
    """Kill the service, or a drawn one of the workers that have a job, if any has."""
    workers = place.find_workers()
    if not workers:
        return
    if draw.random() < SHARE_OF_SERVICE:
        tally.kills[SERVICE] += place.kill_service()
    else:
        victim, pid = draw.choice(workers)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            tally.kills[victim] += 1


def wait(seconds: float) -> None:
    """Pauses are drawn, so that kills come anywhere."""
    time.sleep(seconds)


class Place:
    """A workspace with a service, its worker, and a worker beside it."""

    def __init__(self, root: Path, num_jobs: int) -> None:
        self.root, self._num_jobs = root, num_jobs
        root.parent.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", trust_env=False, timeout=60)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._workspace = open_workspace(root)
        self.revive()

    def revive(self) -> None:
        """Begin what is not there: the service, which begins its worker, and the other worker."""
        many = f"--max-jobs={self._num_jobs}"
        self._begin(SERVICE, "serve", f"--port={self._port}", many)
        self._begin(WORKER, "work", many)

    def ask(self, manifest: dict[str, Any]) -> bool:
        """Ask for a job under its own key; whether it was accepted."""
        try:
            answer = self._client.post(
                "/api/training/start", json={"manifest": manifest}, headers={"Idempotency-Key": manifest["name"]}
            )
        except httpx.HTTPError:
            time.sleep(0.05)
            return False
        if answer.status_code == 409 and answer.json()["error"]["name"] == "request-under-way":
            time.sleep(1.0)
            return False
        if answer.status_code != 202:
            raise SystemExit(f"a job was refused: {answer.text}")
        return True

    def find_workers(self) -> list[tuple[str, int]]:
        """(which, process) of each living worker that has a job."""
        names = {job.worker for job in self._workspace.jobs.find(states=("running",)) if job.worker}
        holders = {int(name.rsplit("-", 2)[1]) for name in names}
        own = self._processes[WORKER].pid
        living = {process.pid for process in self._find() if process.pid in holders}
        return [(WORKER if pid == own else ITS_WORKER, pid) for pid in sorted(living)]

    def wait_for_step(self) -> None:
        """Until a job has said something new, all are over, or none does for long."""
        begun, deadline = self._measure_events(), time.monotonic() + LONGEST_WAIT_S
        while self._measure_events() == begun and not self.is_over() and time.monotonic() < deadline:
            time.sleep(0.05)

    def is_over(self) -> bool:
        counts = self._workspace.jobs.count()
        return counts["running"] + counts["queued"] == 0

    def kill_service(self) -> bool:
        """Whether it was there to be killed."""
        process = self._processes[SERVICE]
        if process.poll() is not None:
            return False
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True

    def end(self, tally: Tally) -> None:
        """Ask everything to end, which it has to do in order, with nothing left behind."""
        self.revive()
        wait(2.0)
        for name, process in self._processes.items():
            process.terminate()
            code = process.wait(120)
            if code != 0:
                tally.differences.append(f"{self.root.name}: the {name} ended with {code} when it was asked to")
        deadline = time.monotonic() + 60
        while (left := list(self._find())) and time.monotonic() < deadline:
            time.sleep(0.2)
        tally.differences += [f"{self.root.name}: process {process.pid} is left behind" for process in left]

    def close(self) -> None:
        self._client.close()
        self._workspace.close()
        for process in (*self._processes.values(), *self._find()):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for process in self._processes.values():
            process.wait()

    def _measure_events(self) -> int:
        return sum(path.stat().st_size for path in self.root.glob("runs/*/events.jsonl"))

    def _begin(self, name: str, verb: str, *options: str) -> None:
        known = self._processes.get(name)
        if known is None or known.poll() is not None:
            words = [sys.executable, "-m", "trainwright", verb, f"--workspace={self.root}", *options]
            with (self.root.parent / f"{self.root.name}-{verb}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )

    def _find(self) -> Iterator[psutil.Process]:
        """Processes that name the workspace."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline()
                if any(str(self.root) in word for word in words) and process.pid != os.getpid():
                    yield process


# ── what became of them ───────────────────────────────────────────────────────────────────────────────────────────────
def check(workspace: Workspace, number: int, expected: dict[str, str], tally: Tally) -> None:
    """Everything that must hold of a workspace whose jobs are over."""
    say = tally.differences.append
    where = f"round {number}"
    jobs = workspace.jobs.find(1000)
    if sorted(job.name for job in jobs) != sorted(expected):
        say(f"{where}: asked for {sorted(expected)}, in the queue are {sorted(job.name for job in jobs)}")
    counts = workspace.jobs.count()
    if counts != {state: len(jobs) if state == "completed" else 0 for state in JOB_STATES}:
        say(f"{where}: the queue counts {counts}")
    folders = [folder.path.name for folder in workspace.iter_run_folders()]
    if len(folders) != len(expected):
        say(f"{where}: {len(expected)} plans, and {len(folders)} runs: {', '.join(folders)}")
    for job in jobs:
        digest, overlaps = None, 0
        if len(job.runs) == 1:
            digest = describe_run(job.runs[0], workspace)["weights_digest"]
            overlaps = count_overlaps(locate_usage(job.runs[0], workspace))
        if (job.state, digest) != ("completed", expected.get(job.name)):
            say(f"{where}: {job.name} is {job.state}, with weights {digest}, {job.error}")
        if overlaps or len(job.runs) != 1:
            say(f"{where}: {job.name} has {len(job.runs)} runs, and {overlaps} processes worked on it beside another")
        if job.worker is not None or job.device_held is not None:
            say(f"{where}: {job.name} is over, and {job.worker} has it")
        row = {"round": number, "name": job.name, "state": job.state, "attempts": job.attempts}
        tally.jobs.append({**row, "is_equal": digest == expected.get(job.name), "overlaps": overlaps})
    audited = subprocess.run(
        [sys.executable, "-m", "trainwright", "audit", "verify", f"--workspace={workspace.root}", "--json"],
        capture_output=True,
        check=False,
    )
    if audited.returncode != 0:
        say(f"{where}: the audit log is damaged: {audited.stdout.decode()}")


def count_overlaps(path: Path) -> int:
    """How many of the processes that held a run began before the one before had written its last sign of life."""
    usages = read_usages(path)
    return sum(later.begun_at < earlier.at for earlier, later in itertools.pairwise(usages))


def describe(tally: Tally, took_s: float) -> dict[str, Any]:
    return {
        "kills": sum(tally.kills.values()),
        "killed": dict(tally.kills),
        "rounds": max((job["round"] for job in tally.jobs), default=0),
        "jobs": len(tally.jobs),
        "equal": sum(job["is_equal"] for job in tally.jobs),
        "attempts": sum(job["attempts"] for job in tally.jobs),
        "differences": tally.differences,
        "took_s": round(took_s, 1),
        "each_job": tally.jobs,
    }


def print_table(document: dict[str, Any]) -> None:
    rows = [(f"killed: {name}", number) for name, number in document["killed"].items()]
    rows += [("kills", document["kills"]), ("jobs", document["jobs"]), ("attempts at them", document["attempts"])]
    rows += [("jobs with the weights of an undisturbed run", document["equal"])]
    rows += [("differences", len(document["differences"]))]
    for name, number in rows:
        print(f"{name:<46} {number:>5}")
    for difference in document["differences"]:
        print(f"  {difference}")


if __name__ == "__main__":
    sys.exit(main())
