"""What the tests of the pages share: code blocks that are typed as they stand, in a folder of their own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from trainwright.core.errors import iter_error_classes

ROOT = Path(__file__).resolve().parents[2]

TINY = (
    "compute.framework=reference",
    "compute.threads=1",
    "tokenizer.vocab_size=512",
    "model.hidden_size=16",
    "model.heads=2",
    "model.head_dim=8",
    "model.intermediate_size=32",
    "model.layers=1",
    "train.batch_size=8",
    "train.max_seq_length=32",
    "train.sample_tokens=4",
)
"""Appended to `run` and `plan`, so that blocks meant for a real machine end in seconds. The length comes besides."""

# Latency depends on what else the machine does, and is no business of these tests.
LATENCY = "budgets.latency_p95_ms=null"

EXIT_CODES = {error_class.name: error_class.exit_code for error_class in iter_error_classes()}


@dataclass
class Command:
    """One `$` line of a console block and the output that the block shows under it."""

    line: str
    where: str
    shown: list[str] = field(default_factory=list)

    @property
    def is_interrupted(self) -> bool:
        """The page asks the reader to press Ctrl-C."""
        return "Ctrl-C" in self.line.partition(" # ")[2]

    @property
    def exit_code(self) -> int:
        """What the block says by the error it shows; 0 where it shows none."""
        if self.is_interrupted:
            return EXIT_CODES["interrupted"]
        names = [match.group(1) for text in self.shown if (match := re.match(r"error\[(.+?)\]", text))]
        return EXIT_CODES[names[0]] if names else 0


def read_commands(page: Path) -> list[Command]:
    """The commands of a page's ```console blocks, in order."""
    commands: list[Command] = []
    inside = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            commands.append(Command(line[2:], f"{page.name}:{number}"))
        elif inside and line.strip():
            commands[-1].shown.append(line)
    return commands


class Reader:
    """Someone who types a page's commands, one after the other, in a folder of their own."""

    def __init__(self, folder: Path, extra: tuple[str, ...]) -> None:
        self.folder = folder
        programs = folder / ".bin"
        programs.mkdir()
        _write_program(programs / "python", f'exec "{sys.executable}" "$@"')
        appended = " ".join(extra)
        _write_program(
            programs / "trainwright",
            f'case "$1" in\n'
            f'run|plan) exec "{sys.executable}" -m trainwright "$@" {appended} $LENGTH ;;\n'
            f'jobs) if [ "$2" = start ]; then set -- "$@" {appended} $LENGTH; fi ;;\n'
            f'sweep) if [ "$2" = run ]; then set -- "$@" {appended} $LENGTH; fi ;;\nesac\n'
            f'exec "{sys.executable}" -m trainwright "$@"',
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRAINWRIGHT")}
        self.environment = kept | {"PATH": f"{programs}{os.pathsep}{kept['PATH']}", "COLUMNS": "120"}
        self.environment["XDG_CONFIG_HOME"] = str(folder / ".config")

    def type(self, command: Command, length: str) -> None:
        """Run the command; its exit code and the output that the page shows must be what really comes."""
        child = subprocess.Popen(
            ["bash", "-c", command.line],
            cwd=self.folder,
            env=self.environment | {"LENGTH": length},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        if command.is_interrupted:
            self._press_ctrl_c(child)
        said, _ = child.communicate()
        assert child.returncode == command.exit_code, f"{command.where}: {command.line}\n{said}"
        for line in command.shown:
            assert line in said, f"{command.where} shows a line that does not come: {line!r}\n{said}"

    def _press_ctrl_c(self, child: "subprocess.Popen[str]") -> None:
        """As soon as a run that was not there before has done a step."""
        finished = self._runs_with_steps()
        while child.poll() is None:
            if self._runs_with_steps() > finished:
                os.killpg(child.pid, signal.SIGINT)
                return
            time.sleep(0.01)

    def _runs_with_steps(self) -> int:
        streams = self.folder.glob(".trainwright/runs/*/events.jsonl")
        return sum(b'"kind":"step"' in stream.read_bytes() for stream in streams)


def _write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def walk(page: Path, folder: Path, *, tiny: bool) -> None:
    """Type every command of a page. `make` is left out: it would set a machine up."""
    reader = Reader(folder, (*TINY, LATENCY) if tiny else (LATENCY,))
    for command in read_commands(page):
        if not command.line.startswith("make "):
            num_steps = 300 if command.is_interrupted else 6
            reader.type(command, f"train.steps={num_steps}" if tiny else "")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def commands_of() -> Callable[[Path], list[Command]]:
    return read_commands


@pytest.fixture(scope="session")
def walk_page() -> Callable[..., None]:
    return walk


@pytest.fixture(scope="session")
def guide_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the guide was followed from its first line to its last, with a tiny model."""
    folder = tmp_path_factory.mktemp("guide")
    walk(ROOT / "docs" / "guide.md", folder, tiny=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
