"""A real Prometheus takes the shipped rules and scrapes a real service. Debian's package is taken where it can be had."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the service is an extra: pip install 'trainwright[serve]'")
pytest.importorskip("prometheus_client", reason="the service is an extra: pip install 'trainwright[serve]'")

import httpx

import trainwright

pytestmark = pytest.mark.slow

OPS = Path(__file__).parents[2] / "ops" / "prometheus"
WAIT_S = 60.0


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `prometheus` and `promtool`."""
    installed = shutil.which("promtool")
    if installed and shutil.which("prometheus"):
        return Path(installed).parent
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        pytest.skip("Prometheus is not installed, and there is no apt-get to fetch it with")
    folder = tmp_path_factory.mktemp("prometheus")
    fetched = subprocess.run(
        ["apt-get", "download", "prometheus"], cwd=folder, capture_output=True, check=False, timeout=120
    )
    packages = list(folder.glob("prometheus_*.deb"))
    if fetched.returncode != 0 or not packages:
        pytest.skip(f"Debian's package of Prometheus cannot be had: {fetched.stderr.decode()[-200:]}")
    subprocess.run(["dpkg", "-x", packages[0], folder], check=True, timeout=120)
    return folder / "usr" / "bin"


@contextmanager
def running(words: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(words, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


def test_the_shipped_rules_are_rules(tools: Path) -> None:
    for kind, path in (("rules", "trainwright.rules.yml"), ("config", "prometheus.yml")):
        checked = subprocess.run(
            [tools / "promtool", "check", kind, OPS / path], capture_output=True, check=False, timeout=60
        )
        assert checked.returncode == 0, checked.stderr.decode()
        assert b"9 rules" in checked.stdout


def test_prometheus_scrapes_the_service_and_a_rule_fires(tools: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(trainwright.__file__).parents[1])}
    command = [sys.executable, "-m", "trainwright"]
    subprocess.run(
        [*command, "budgets", "set", "--project", "stories", "--tokens", "10"],
        cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    (tmp_path / ".trainwright" / "accounts" / "runs" / ("a" * 64)).mkdir(parents=True)
    account = tmp_path / ".trainwright" / "accounts" / "runs" / ("a" * 64)
    (account / "account.json").write_text('{"project": "stories"}')
    usage = {
        "attempt": "x",
        "who": "ada",
        "device": "cpu",
        "begun_at": "2026-01-01",
        "at": "2026-01-01",
        "num_tokens": 9,
    }
    (account / "usage.jsonl").write_text(json.dumps(usage) + "\n")

    words = [*command, "serve", "--port=0", "--no-worker", "--json"]
    with running(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as service:
        assert service.stdout is not None
        address = json.loads(b"".join(iter(service.stdout.readline, b"}\n")) + b"}")["address"]
        configuration = (OPS / "prometheus.yml").read_text()
        configuration = configuration.replace("127.0.0.1:8765", address.removeprefix("http://").rstrip("/"))
        configuration = configuration.replace("scrape_interval: 15s", "scrape_interval: 1s\n  evaluation_interval: 1s")
        (tmp_path / "prometheus.yml").write_text(configuration)
        shutil.copy(OPS / "trainwright.rules.yml", tmp_path)
        port = find_free_port()
        with (tmp_path / "log").open("wb") as log, running(
            [
                str(tools / "prometheus"),
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            cwd=tmp_path, stdout=log, stderr=log,
        ):  # fmt: skip
            assert wait_for(port, "trainwright_alerts_open") == {"low": 0, "medium": 0, "high": 0, "critical": 0}
            assert wait_for(port, "trainwright_runs", "status")["running"] == 0
            assert wait_for(port, 'ALERTS{alertname="TrainwrightBudgetNearlySpent"}', "target") == {"stories": 1}


def find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def wait_for(port: int, query: str, label: str = "severity") -> dict[str, float]:
    """{value of the label: figure} of a query, once there is any."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            url = f"http://127.0.0.1:{port}/api/v1/query"
            answer = httpx.get(url, params={"query": query}, trust_env=False, timeout=10).json()
            if found := answer["data"]["result"]:
                return {one["metric"][label]: float(one["value"][1]) for one in found}
        time.sleep(0.5)
    raise AssertionError(f"{query} was never there")
