"""The container engine of this host: Podman or Docker, whichever answers. That a command is there proves nothing."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from trainwright.core.errors import ContainerEngineMissing, ImageMissing
from trainwright.core.records import Frozen
from trainwright.prerequisites import Finding

KNOWN = ("podman", "docker")
ASK_TIMEOUT_S = 60.0
_INSTALL = (
    "Install Podman (Debian: apt-get install podman) or Docker, or run jobs as child processes: --executor process"
)


class Engine(Frozen):
    """An engine that answers. `is_rootless`: its containers' root is the account that runs it."""

    name: str
    version: str
    is_rootless: bool = False


def find_engines() -> list[Engine]:
    """Every engine that answers. Raises ContainerEngineMissing where none does, saying what each one said."""
    answers = [_ask(name) for name in KNOWN]
    found = [answer for answer in answers if isinstance(answer, Engine)]
    if not found:
        raise ContainerEngineMissing(
            "There is no container engine here that answers.",
            why="; ".join(map(str, answers)) + ".",
            next_step=_INSTALL,
        )
    return found


def choose_engine(image: str) -> Engine:
    """The first engine that has the image. Raises ContainerEngineMissing; ImageMissing: none is ever fetched."""
    engines = find_engines()
    problems = []
    for engine in engines:
        problem = _call([engine.name, "image", "inspect", "--format", "{{.Id}}", image])[1]
        if not problem:
            return engine
        problems.append(f"{engine.name} said: {problem}")
    raise ImageMissing(
        f"There is no image {image!r} on this host.",
        why="; ".join(problems) + ".",
        next_step=f"In a checkout of Trainwright: {engines[0].name} build --tag {image} --file Containerfile .",
    )


def check_engine() -> Finding:
    """Whether jobs can run in containers here; nothing else needs an engine."""
    try:
        found = ", ".join(f"{engine.name} {engine.version}" for engine in find_engines())
    except ContainerEngineMissing as error:
        return Finding(name="container engine", ok=None, found=error.why, remedy=error.next_step, error=error.name)
    return Finding(name="container engine", ok=True, found=found)


def _ask(name: str) -> Engine | str:
    """The engine, or why there is none."""
    if shutil.which(name) is None:
        return f"{name} is not installed"
    said, problem = _call([name, "info", "--format", "json" if name == "podman" else "{{json .}}"])
    if problem:
        return f"{name} said: {problem}"
    try:
        facts: dict[str, Any] = json.loads(said)
        if name == "podman":
            return Engine(
                name=name, version=facts["version"]["Version"], is_rootless=facts["host"]["security"]["rootless"]
            )
        if facts.get("ServerErrors"):
            return f"{name} said: {facts['ServerErrors'][0]}"
        rootless = any("rootless" in option for option in facts.get("SecurityOptions") or ())
        return Engine(name=name, version=facts["ServerVersion"], is_rootless=rootless)
    except (ValueError, KeyError, TypeError):
        return f"{name} said nothing about itself that can be read"


def _call(words: Sequence[str]) -> tuple[str, str]:
    """(what it said, what went wrong or nothing) of a command of the engine's."""
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"nothing for {ASK_TIMEOUT_S:.0f} s"
    except OSError as error:
        return "", f"it cannot be started ({error.strerror})"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return done.stdout, "" if done.returncode == 0 else (
        lines[-1].rstrip(".") if lines else f"exit code {done.returncode}"
    )
