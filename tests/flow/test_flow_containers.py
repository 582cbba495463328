"""Jobs in containers, as a person has them: killed, stopped, short of memory, and the same weights in the end."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

WAIT_S = 180.0


class Queue:
    """The queue of one workspace, and workers that run its jobs in containers."""

    def __init__(self, command: Any, place: Any) -> None:
        self.command, self.place = command, place
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def options(self) -> list[str]:
        mounts = [f"--mount={path}" for path in self.place.mounts]
        return ["work", "--executor=container", f"--image={self.place.image}", *mounts, "--devices=none"]

    def put(self, corpus: Path, num_steps: int) -> str:
        """The id of a job in line."""
        settings = (*self.command.small[2:], f"data.corpus={corpus}", "compute.framework=reference")
        lengths = ("train.batch_size=4", "train.max_seq_length=32", f"train.steps={num_steps}")
        started = self.command("jobs", "start", *settings, *lengths, "train.checkpoint_every=20", "--json")
        return str(started.document["job_id"])

    def begin_worker(self, *options: str) -> "subprocess.Popen[bytes]":
        self.workers.append(self.command.start(*self.options, *options, stderr=subprocess.DEVNULL))
        return self.workers[-1]

    def show(self, job_id: str) -> dict[str, Any]:
        document: dict[str, Any] = self.command("jobs", "show", job_id, "--json").document
        return document

    def wait_for(self, job_id: str, is_met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_S
        while not is_met(job := self.show(job_id)):
            assert time.monotonic() < deadline, (job, self.command("jobs", "logs", job_id).out)
            time.sleep(0.3)
        return job

    def wait_for_step(self, job_id: str, step: int) -> dict[str, Any]:
        return self.wait_for(job_id, lambda job: job["progress"] is not None and (job["progress"]["step"] or 0) >= step)

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGKILL)
                worker.wait(30)
        for name in self.place.list_running():
            with suppress(AssertionError):
                self.place.podman("kill", name)


@pytest.fixture
def queue(command: Any, containers: Any) -> Iterator[Queue]:
    opened = Queue(command, containers)
    yield opened
    opened.close()


@pytest.mark.slow
@pytest.mark.extra
def test_a_job_whose_container_and_whose_worker_are_killed_ends_in_the_weights_of_an_undisturbed_run(
    queue: Queue, corpus: Path, open_command: Any, tmp_path: Path
) -> None:
    (tmp_path / "undisturbed").mkdir()
    lengths = ("train.steps=300", "train.checkpoint_every=20")
    expected = open_command(tmp_path / "undisturbed").run(corpus, *lengths).document["weights_digest"]
    job_id = queue.put(corpus, 300)
    worker = queue.begin_worker(f"--mount={corpus.parent}")
    queue.wait_for_step(job_id, 30)
    (name,) = queue.place.list_running()
    queue.place.podman("kill", name)
    again = queue.wait_for(job_id, lambda job: job["attempts"] == 2)
    assert again["crashes"] == 1
    queue.wait_for(job_id, lambda job: len(queue.place.list_running()) == 1)
    worker.send_signal(signal.SIGKILL)
    worker.wait(30)
    queue.begin_worker(f"--mount={corpus.parent}", "--until-empty")
    done = queue.wait_for(job_id, lambda job: job["state"] not in ("queued", "running"))
    assert (done["state"], done["attempts"] > 2, len(done["runs"])) == ("completed", True, 1)
    shown = queue.command("runs", "show", done["runs"][0], "--json").document
    assert shown["weights_digest"] == expected
    assert shown["environment"]["container"]["kind"] == "podman"


@pytest.mark.slow
@pytest.mark.extra
def test_a_job_that_is_stopped_in_its_container_saves_and_goes_on_from_there(queue: Queue, corpus: Path) -> None:
    job_id = queue.put(corpus, 100_000)
    queue.begin_worker(f"--mount={corpus.parent}")
    queue.wait_for_step(job_id, 10)
    (name,) = queue.place.list_running()
    (facts,) = json.loads(queue.place.podman("inspect", name))
    assert facts["HostConfig"]["NetworkMode"] == "none"
    assert facts["HostConfig"]["ReadonlyRootfs"] is True
    assert facts["EffectiveCaps"] in (None, [])
    assert facts["Config"]["User"] == f"{os.getuid()}:{os.getgid()}"
    queue.command("jobs", "stop", job_id)
    stopped = queue.wait_for(job_id, lambda job: job["state"] == "cancelled")
    assert stopped["exit_code"] == 130
    queue.command("jobs", "resume", job_id)
    on = queue.wait_for_step(job_id, stopped["progress"]["step"] + 10)
    assert (on["attempts"], on["runs"]) == (2, stopped["runs"])


@pytest.mark.slow
@pytest.mark.extra
def test_a_job_that_needs_more_memory_than_its_container_has_says_so(queue: Queue, corpus: Path) -> None:
    job_id = queue.put(corpus, 10)
    worker = queue.begin_worker("--job-memory-mb=64", "--job-cpus=1", "--until-empty")
    assert worker.wait(WAIT_S) == 0
    failed = queue.show(job_id)
    assert (failed["state"], failed["exit_code"]) == ("failed", 4)
    error = failed["error"]
    assert error["name"] == "job-out-of-memory"
    assert "64 MB" in error["message"]
    assert "--job-memory-mb" in error["next"]
    queue.command("jobs", "resume", job_id)
    assert queue.begin_worker(f"--mount={corpus.parent}", "--until-empty").wait(WAIT_S) == 0
    assert queue.show(job_id)["state"] == "completed"


@pytest.mark.slow
@pytest.mark.extra
def test_an_image_that_is_not_there_is_named_before_any_job_is_taken(queue: Queue, corpus: Path) -> None:
    error = queue.command("work", "--executor=container", "--image=nobody/made:this", "--json", expect=1).error
    assert error["name"] == "image-missing"
    assert "nobody/made:this" in error["message"]
    assert "podman build" in error["next"]


def test_without_an_engine_it_is_said_what_to_install(command: Any, tmp_path: Path) -> None:
    words = ("--executor=container", "--image=trainwright", "--json")
    nothing = {"PATH": str(tmp_path / "nothing")}
    for verb in (("work",), ("serve", "--port=0")):
        error = command(*verb, *words, environment=nothing, expect=1).error
        assert error["name"] == "container-engine-missing"
        assert "podman is not installed" in error["why"]
        assert "apt-get install podman" in error["next"]
    found = command("doctor", "--json", environment=nothing).document["items"]
    (row,) = (row for row in found if row["name"] == "container engine")
    assert (row["ok"], row["error"]) == (None, "container-engine-missing")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--executor=container",), "needs an image"),
        (("--executor=chroot",), "no such place"),
        (("--job-memory-mb=100",), "about containers"),
        (("--executor=container", "--image=x", "--mount=nowhere"), "--mount nowhere"),
        (("--devices=cuda:0,cuda:0",), "twice"),
        (("--devices=GPU one",), "no device"),
    ],
)
def test_options_that_do_not_go_together_are_refused(command: Any, words: tuple[str, ...], said: str) -> None:
    error = command("work", *words, "--json", expect=64).error
    assert error["name"] == "invalid-value"
    assert said in error["message"]
