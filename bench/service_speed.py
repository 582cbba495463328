"""How fast the status route answers while a job trains: 16 connections, each asking again as soon as it was answered.

    python bench/service_speed.py [--seconds 10] [--connections 16]

Client, service and training share this machine, and the client is Python too: what is printed is an upper bound of what the
service takes. Beside it: how long the service took to print its address, and how much memory it has when idle.
"""

import argparse
import asyncio
import contextlib
import json
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
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_service(Path(folder)) as (address, process, start_s):
        time.sleep(1)
        idle_mb = process.memory_info().rss / 1e6
        with httpx.Client(base_url=address, trust_env=False) as client:
            job = client.post("/api/training/start", json={"manifest": MANIFEST}).json()["job_id"]
            wait_for_step(client, job)
            before = process.cpu_times()
            took_s = asyncio.run(ask(address, given.seconds, given.connections))
            after = process.cpu_times()
            status = client.get("/api/training/status").json()["jobs"][job]
            client.post(f"/api/training/stop/{job}")
            while client.get(f"/api/training/jobs/{job}").json()["state"] == "running":
                time.sleep(0.2)
    low, high = np.percentile(np.array(took_s) * 1e3, [50, 99])
    print(f"start {start_s:.2f} s, idle {idle_mb:.0f} MB, the job was at step {status['step']}")
    print(f"{given.connections} connections: {len(took_s) / given.seconds:,.0f}/s, p50 {low:.2f} ms, p99 {high:.2f} ms")
    cpu_s = after.user + after.system - before.user - before.system
    print(f"the service took {cpu_s / len(took_s) * 1e3:.2f} ms of a core for each")


@contextlib.contextmanager
def open_service(folder: Path) -> Iterator[tuple[str, psutil.Process, float]]:
    """(address, process, seconds until it could be reached) of a service with a worker."""
    begun = time.perf_counter()
    words = [sys.executable, "-m", "trainwright", "serve", "--port=0", "--json", f"--workspace={folder / 'workspace'}"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, cwd=folder)
    assert process.stdout is not None
    printed = b"".join(iter(process.stdout.readline, b"}\n")) + b"}"
    took_s = time.perf_counter() - begun
    try:
        yield json.loads(printed)["address"], psutil.Process(process.pid), took_s
    finally:
        process.terminate()
        process.wait()


def wait_for_step(client: httpx.Client, job: str) -> None:
    """Until the job trains."""
    while not (client.get(f"/api/training/jobs/{job}").json().get("progress") or {}).get("step"):
        time.sleep(0.2)


async def ask(address: str, seconds: float, num_connections: int) -> list[float]:
    """Seconds that each answer took."""
    place = urlsplit(address)
    request = f"GET /api/training/status HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
    took_s: list[float] = []
    end = time.perf_counter() + seconds

    async def connect() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while time.perf_counter() < end:
            begun = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            took_s.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(connect() for _ in range(num_connections)))
    return took_s


if __name__ == "__main__":
    main()
