"""What an engine is told, and how one that answers is told from one that is only installed."""

import json
import os
import re
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from trainwright.core.errors import ContainerEngineMissing, ImageMissing
from trainwright.core.jobs import Job
from trainwright.work import contained
from trainwright.work import container as module
from trainwright.work.container import ContainerExecutor, build_run
from trainwright.work.engine import Engine, check_engine, choose_engine, find_engines
from trainwright.work.job_folder import JobFolder
from trainwright.work.settings import ContainerSettings
from trainwright.work.submit import build_job

PODMAN = Engine(name="podman", version="5.0.0")
DOCKER = Engine(name="docker", version="27.0.0")


def make_job(folder: Path, **changes: Any) -> Job:
    return build_job({}, who="ada", folder=folder).model_copy(update=changes)


def name_run(job: Job, root: Path, engine: Engine = PODMAN, **settings: Any) -> list[str]:
    told = ContainerSettings(image="trainwright", **settings)
    return list(build_run("one", job, JobFolder(root / "jobs" / job.id), root, engine, told))


def values_of(words: list[str], option: str) -> list[str]:
    return [words[place + 1] for place, word in enumerate(words) if word == option]


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_container_has_no_network_no_rights_and_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    words = name_run(make_job(tmp_path), tmp_path / "ws")
    assert words[:2] == ["podman", "run"]
    assert values_of(words, "--network") == ["none"]
    assert values_of(words, "--cap-drop") == ["all"]
    assert "no-new-privileges" in values_of(words, "--security-opt")
    assert values_of(words, "--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert values_of(words, "--pull") == ["never"]
    assert {"--read-only", "--rm", "--interactive"} <= set(words)
    assert not {"--memory", "--cpus", "--gpus", "--device"} & set(words)


def test_limits_are_said_and_leave_no_swap(tmp_path: Path) -> None:
    words = name_run(make_job(tmp_path), tmp_path, memory_bytes=10**9, num_cpus=1.5)
    assert values_of(words, "--memory") == values_of(words, "--memory-swap") == ["1000000000"]
    assert values_of(words, "--cpus") == ["1.5"]


def test_the_workspace_is_written_and_the_jobs_own_folder_is_read(tmp_path: Path) -> None:
    root, texts = tmp_path / "ws", tmp_path / "te,xts"
    for folder in (root, texts):
        folder.mkdir()
    words = name_run(make_job(texts), root, mounts=(str(tmp_path),))
    assert values_of(words, "--mount") == [
        f"type=bind,source={tmp_path},target={tmp_path},readonly",
        f'type=bind,"source={texts}","target={texts}",readonly',
        f"type=bind,source={root},target={root}",
    ]
    assert values_of(words, "--workdir") == [str(texts)]


@pytest.mark.parametrize("folder", ["/", "/usr", "/nowhere/at all"])
def test_the_hosts_system_is_never_put_over_the_images(tmp_path: Path, folder: str) -> None:
    words = name_run(make_job(Path(folder)), tmp_path)
    assert values_of(words, "--mount") == [f"type=bind,source={tmp_path},target={tmp_path}"]
    assert values_of(words, "--workdir") == [str(tmp_path)]


def test_values_of_variables_stand_in_no_list_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINWRIGHT_TRACES_URL", "postgresql://ada:secret@db/traces")
    monkeypatch.setenv("TRAINWRIGHT_JOBS_URL", "postgresql://ada:secret@db/jobs")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    words = name_run(make_job(tmp_path), tmp_path)
    named = values_of(words, "--env")
    assert {"TRAINWRIGHT_TRACES_URL", "OMP_NUM_THREADS", "USER", "TRAINWRIGHT_RUN_NOTES"} <= set(named)
    assert not {"TRAINWRIGHT_JOBS_URL", "GITHUB_TOKEN"} & set(named)
    assert "secret" not in " ".join(words)


def test_the_caller_stays_the_caller_where_the_engine_is_rootless(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    podman = name_run(job, tmp_path, PODMAN.model_copy(update={"is_rootless": True}))
    assert values_of(podman, "--userns") == ["keep-id"]
    assert values_of(podman, "--user") == [f"{os.getuid()}:{os.getgid()}"]
    docker = name_run(job, tmp_path, DOCKER.model_copy(update={"is_rootless": True}))
    assert values_of(docker, "--user") == ["0:0"]


def test_a_gpu_is_passed_through_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(module, "find_devices", lambda: ("cuda:0", "cuda:1"))
    monkeypatch.setattr(module, "_GPU_SPECIFICATIONS", (tmp_path,))
    given = make_job(tmp_path, device_held="cuda:1")
    assert values_of(name_run(given, tmp_path), "--device") == [], "Podman knows no GPU without a description"
    (tmp_path / "nvidia.yaml").touch()
    assert values_of(name_run(given, tmp_path), "--device") == ["nvidia.com/gpu=1"]
    assert values_of(name_run(given, tmp_path, DOCKER), "--gpus") == ["device=1"]
    assert values_of(name_run(make_job(tmp_path), tmp_path), "--device") == ["nvidia.com/gpu=all"]
    assert values_of(name_run(make_job(tmp_path, device="cpu"), tmp_path), "--device") == []


# ── the engine ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def write_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def docker_says(**facts: Any) -> str:
    return f"echo '{json.dumps(facts)}'"


def test_a_docker_without_its_daemon_is_no_engine(programs: Path) -> None:
    write_program(programs / "docker", "echo 'Cannot connect to the Docker daemon.' >&2; exit 1")
    with pytest.raises(ContainerEngineMissing) as raised:
        find_engines()
    assert "podman is not installed" in raised.value.why
    assert "Cannot connect to the Docker daemon" in raised.value.why
    write_program(programs / "docker", docker_says(ServerErrors=["no daemon"]))
    with pytest.raises(ContainerEngineMissing):
        find_engines()
    assert check_engine().ok is None


def test_an_engine_that_answers_is_used_and_shown(programs: Path) -> None:
    write_program(
        programs / "docker", docker_says(ServerVersion="27.1", SecurityOptions=["name=seccomp", "name=rootless"])
    )
    facts = {"version": {"Version": "5.2"}, "host": {"security": {"rootless": False}}}
    write_program(programs / "podman", f"echo '{json.dumps(facts)}'")
    assert find_engines() == [
        Engine(name="podman", version="5.2"),
        Engine(name="docker", version="27.1", is_rootless=True),
    ]
    assert check_engine().found == "podman 5.2, docker 27.1"


def test_the_engine_that_has_the_image_is_taken(programs: Path) -> None:
    info = docker_says(ServerVersion="27.1", SecurityOptions=None)
    write_program(programs / "docker", f"if [ $1 = info ]; then {info}; fi")
    facts = {"version": {"Version": "5.2"}, "host": {"security": {"rootless": False}}}
    missing = "echo 'no such image' >&2; exit 1"
    write_program(programs / "podman", f"if [ $1 = info ]; then echo '{json.dumps(facts)}'; else {missing}; fi")
    assert choose_engine("trainwright").name == "docker"
    (programs / "docker").unlink()
    with pytest.raises(ImageMissing) as raised:
        choose_engine("trainwright")
    assert "podman build --tag trainwright" in raised.value.next_step


@pytest.mark.parametrize(("engine_says", "code"), [(0, -9), (137, -9), (1, -9), (125, 125)])
def test_a_container_that_never_said_how_it_ended_did_not_end_by_itself(
    programs: Path, tmp_path: Path, engine_says: int, code: int
) -> None:
    facts = {"version": {"Version": "5.2"}, "host": {"security": {"rootless": False}}}
    run = f"echo 'the engine has its reasons'; exit {engine_says}"
    write_program(programs / "podman", f"case $1 in info) echo '{json.dumps(facts)}' ;; run) {run} ;; esac")
    job = make_job(tmp_path)
    folder = JobFolder(tmp_path / "jobs" / job.id)
    attempt = ContainerExecutor(ContainerSettings(image="one")).start(job, folder, tmp_path)
    while attempt.poll() is None:
        time.sleep(0.01)
    assert attempt.poll() == code
    assert "the engine has its reasons" in attempt.explain(code)


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("low 0\nhigh 0\noom 3\noom_kill 2\noom_group_kill 0\n", 2),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 1),
        ("oom_kill_disable 0\nunder_oom 0\n", 0),
    ],
)
def test_memory_kills_are_counted_by_the_containers_own_counter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, number: int
) -> None:
    counter = tmp_path / "memory.events"
    monkeypatch.setattr(contained, "_COUNTERS", (tmp_path / "nowhere", counter))
    assert contained.count_memory_kills() == 0
    counter.write_text(text, encoding="ascii")
    assert contained.count_memory_kills() == number


# ── the recipe ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_recipe_copies_all_that_a_build_of_the_package_reads() -> None:
    root = Path(__file__).parents[3]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    read = {"pyproject.toml", "src", project.get("readme", "pyproject.toml"), *project["license-files"]}
    recipe = (root / "Containerfile").read_text(encoding="utf-8")
    copied = {word for line in re.findall(r"^COPY (.+)$", recipe, re.MULTILINE) for word in line.split()[:-1]}
    assert copied == read
    let_in = {line[1:] for line in (root / ".containerignore").read_text(encoding="utf-8").split() if line[0] == "!"}
    assert let_in == read
