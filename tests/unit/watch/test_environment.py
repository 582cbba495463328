"""What a run ran on, with and without the tools that could tell."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from trainwright.watch.environment import read_environment

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_environment_is_json_and_names_what_is_not_installed(folder: Path) -> None:
    environment = read_environment(["numpy", "no-such-package-here"])
    assert json.loads(json.dumps(environment, allow_nan=False)) == environment
    assert environment["packages"]["numpy"]
    assert environment["packages"]["no-such-package-here"] is None
    assert environment["cpu"]["num_usable"] >= 1
    assert environment["memory_bytes"] > 2**20
    assert len(environment["code"]) == 64
    assert environment["gpu"] == {"name": None, "why_not": "not measured: no framework was asked for one"}
    assert read_environment([], gpu_name="a device")["gpu"] == {"name": "a device", "why_not": ""}


@needs_git
def test_the_commit_is_that_of_the_current_folder(folder: Path) -> None:
    assert read_environment([])["git"]["why_not"] == "the current folder is not in a git repository"
    git(folder, "init", "-q")
    assert read_environment([])["git"] == {
        "sha": None, "dirty": None, "why_not": "the git repository has no commit yet",
    }  # fmt: skip
    (folder / "a.txt").write_text("a")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "a")
    clean = read_environment([])["git"]
    assert clean == {"sha": git(folder, "rev-parse", "HEAD"), "dirty": False, "why_not": ""}
    (folder / "b.txt").write_text("b")
    assert read_environment([])["git"] == clean | {"dirty": True}


def test_a_machine_without_git_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    assert read_environment([])["git"] == {"sha": None, "dirty": None, "why_not": "git is not installed"}


def test_only_variables_that_change_numbers_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("MY_API_TOKEN", "secret")
    variables = read_environment([])["variables"]
    assert variables["OMP_NUM_THREADS"] == "3"
    assert "secret" not in json.dumps(read_environment([]))
