"""How fast the status route answers while a job trains: 16 connections, each asking again as soon as it was answered.

    python bench/service_speed.py [--seconds 10] [--connections 16] [--mlflow]

Client, service and training share this machine, and the client is Python too: what is printed is an upper bound of what the
service takes. Beside it: how long the service took to print its address, and how much memory it has when idle.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import uvloop

MANIFEST = {
    "name": "busy",
    "data": {"corpus": "builtin:stories"},
    "model": {"hidden_size": 32, "heads": 2, "head_dim": 16, "intermediate_size": 64, "layers": 2},
    "train": {"steps": 1_000_000, "batch_size": 8, "max_seq_length": 64},
    "compute": {"framework": "reference", "threads": 1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--mlflow", action="store_true", help="ask MLflow's server too, in the same minutes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_service(Path(folder)) as (address, process, start_s):
        time.sleep(1)
        print(f"start {start_s:.2f} s, idle {process.memory_info().rss / 1e6:.0f} MB")
        with httpx.Client(base_url=address, trust_env=False) as client:
            job = client.post("/api/training/start", json={"manifest": MANIFEST}).json()["job_id"]
            run = wait_for_run(client, job)
            before = process.cpu_times()
            status = measure("status route", f"{address}/api/training/status", given)
            after = process.cpu_times()
            get_run = measure("get-run", f"{address}/api/runs/{run}", given)
            if given.mlflow:
                with open_mlflow(Path(folder)) as url:
                    theirs = measure("MLflow's get-run", url, given)
                print(
                    f"beside MLflow's get-run: status {status / theirs:.1f} times as many, get-run {get_run / theirs:.1f} times"
                )
            step = client.get("/api/training/status").json()["jobs"][job]["step"]
            client.post(f"/api/training/stop/{job}")
            while client.get(f"/api/training/jobs/{job}").json()["state"] == "running":
                time.sleep(0.2)
    cpu_s = after.user + after.system - before.user - before.system
    print(
        f"a status took {cpu_s / (status * given.seconds) * 1e3:.2f} ms of a core; the job was at step {step} by the end"
    )


def measure(name: str, url: str, given: argparse.Namespace) -> float:
    """Answers a second; prints them, and how long they took."""
    took_s = uvloop.run(ask(url, given.seconds, given.connections))
    low, high = np.percentile(np.array(took_s) * 1e3, [50, 99])
    per_s = len(took_s) / given.seconds
    print(f"{name}, {given.connections} connections: {per_s:,.0f}/s, p50 {low:.2f} ms, p99 {high:.2f} ms")
    return per_s


@contextlib.contextmanager
def open_mlflow(folder: Path) -> Iterator[str]:
    """The address of a run on an MLflow server with one worker on SQLite."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    words = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    words += ["--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--workers", "1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(words, cwd=folder, env=environment, start_new_session=True, **quiet)
    try:
        with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
            while not is_up(client):
                time.sleep(0.5)
            run = client.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}).json()["run"]["info"][
                "run_id"
            ]
        yield f"{address}/api/2.0/mlflow/runs/get?run_id={run}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


@contextlib.contextmanager
def open_service(folder: Path, *options: str) -> Iterator[tuple[str, psutil.Process, float]]:
    """(address, process, seconds until it could be reached) of a service with a worker."""
    begun = time.perf_counter()
    words = [sys.executable, "-m", "trainwright", "serve", "--port=0", "--json", f"--workspace={folder / 'workspace'}"]
    process = subprocess.Popen([*words, *options], stdout=subprocess.PIPE, cwd=folder)
    assert process.stdout is not None
    printed = b"".join(iter(process.stdout.readline, b"}\n")) + b"}"
    took_s = time.perf_counter() - begun
    try:
        yield json.loads(printed)["address"], psutil.Process(process.pid), took_s
    finally:
        process.terminate()
        process.wait()


def wait_for_run(client: httpx.Client, job: str) -> str:
    """The run of a job, once it trains."""
    while not ((found := client.get(f"/api/training/jobs/{job}").json()).get("progress") or {}).get("step"):
        time.sleep(0.2)
    return str(found["runs"][-1])


async def ask(url: str, seconds: float, num_connections: int) -> list[float]:
    """Seconds that each answer took."""
    place = urlsplit(url)
    path = f"{place.path}?{place.query}" if place.query else place.path
    request = f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
    took_s: list[float] = []
    end = time.perf_counter() + seconds

    async def connect() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while time.perf_counter() < end:
            begun = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.split(b" ", 2)[1] == b"200", head
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            took_s.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(connect() for _ in range(num_connections)))
    return took_s


if __name__ == "__main__":
    main()
