"""What the flow tests share: the command line as a child process, a small corpus, and runs that are already finished."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import trainwright

STARTUP = Path(__file__).parent / "startup"
SOURCES = Path(trainwright.__file__).parents[1]
"""Child processes run the very code that the tests import."""

SMALL = (
    "--batch-size=4",
    "--max-seq-length=32",
    "model.hidden_size=16",
    "model.heads=2",
    "model.head_dim=8",
    "model.intermediate_size=32",
    "model.layers=1",
    "tokenizer.vocab_size=300",
    "data.split.block_lines=20",
    "train.steps=10",
    "train.validate_every=4",
    "train.checkpoint_every=3",
    "train.sample_tokens=4",
    "compute.threads=1",
    # Latency depends on what else the machine is doing; a test of its own holds it against a budget.
    "budgets.latency_p95_ms=null",
)
"""A run of ten steps: checkpoints after 3, 4, 6, 8, 9 and 10, validations after 4, 8 and 10."""


@dataclass(frozen=True)
class Result:
    """How a child process ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output, which must be one JSON object and nothing else."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document

    @property
    def error(self) -> dict[str, Any]:
        """The error document, after checking that it is said once, in one shape, on both streams, and is designed."""
        document = self.document
        assert set(document) == {"error"}, document
        error = document["error"]
        assert set(error) == {"name", "message", "why", "next", "exit_code"}
        assert error["exit_code"] == self.code, error
        assert error["message"], error
        assert f"error[{error['name']}]: {error['message']}" in self.err
        assert "Traceback" not in self.err, self.err
        assert error["name"] != "internal-error", self.err
        return dict(error)


@dataclass(frozen=True)
class Instant:
    """When a child is to be signalled: before its `at`-th operation on a file whose path contains `match`, or writing of an
    event that does, or (`call:NAME`) call of a function. See `startup/sitecustomize.py`.
    """

    signal: str
    at: int
    match: str = "/.trainwright/runs/"


class CommandLine:
    """`trainwright` as a person has it: a new process in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = folder / ".trainwright"

    def __call__(self, *arguments: str | Path, expect: int | None = 0, **options: Any) -> Result:
        """Run one command to its end; `expect` is the exit code it must have (None: any)."""
        finished = subprocess.run(
            self.words(*arguments, prefix=options.pop("prefix", ())),
            cwd=self.folder,
            env=self.environment(
                options.pop("instant", None), options.pop("environment", None), options.pop("torch", False)
            ),
            capture_output=True,
            timeout=options.pop("timeout", 120),
            stdin=subprocess.DEVNULL,
            check=False,
            **options,
        )
        result = Result(finished.returncode, finished.stdout.decode(), finished.stderr.decode())
        if expect is not None:
            assert result.code == expect, f"exit {result.code}\n{result.out}\n{result.err}"
        return result

    def run(self, corpus: str | Path, *arguments: str | Path, **options: Any) -> Result:
        """`trainwright run` of the small model on the reference backend."""
        return self(*self.run_words(corpus, *arguments), **options)

    def train_to_the_end(self, *arguments: str | Path, **options: Any) -> tuple[str, str]:
        """Run a command until training is over, and kill it there: validation and report take most of a small run's time.

        Returns the digest of the final weights and what was said on standard error.
        """
        killed = self(
            *arguments, expect=-signal.SIGKILL, instant=Instant("KILL", 1, '"kind":"run-finished"'), **options
        )
        newest = max(self.run_folders(), key=lambda folder: (folder / "attempts.jsonl").stat().st_mtime_ns)
        (model,) = sorted((newest / "checkpoints").glob("step-*/model.safetensors"))[-1:]
        return hashlib.sha256(model.read_bytes()).hexdigest(), killed.err

    def run_words(self, corpus: str | Path, *arguments: str | Path) -> tuple[str | Path, ...]:
        """What `run` says to the command line."""
        return ("run", "--framework=reference", f"--corpus={corpus}", *SMALL, *arguments, "--json")

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        """Start one command and leave it running."""
        environment = self.environment(options.pop("instant", None), options.pop("environment", None), False)
        return subprocess.Popen(
            self.words(*arguments, prefix=options.pop("prefix", ())),
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            **options,
        )

    def words(self, *arguments: str | Path, prefix: tuple[str, ...] = ()) -> list[str]:
        return [*prefix, sys.executable, "-m", "trainwright", *map(str, arguments)]

    def environment(
        self, instant: Instant | None, extra: Mapping[str, str] | None = None, torch: bool = False
    ) -> dict[str, str]:
        """A clean environment. Torch is hidden unless asked for: the reference backend must do without."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TRAINWRIGHT_")}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{STARTUP}:{SOURCES}"}
        environment["TRAINWRIGHT_KEYS"] = str(self.folder / "keys")
        if not torch:
            environment["FLOW_HIDE_TORCH"] = "1"
        if instant is not None:
            environment |= {"FLOW_AT": str(instant.at), "FLOW_SIGNAL": instant.signal, "FLOW_MATCH": instant.match}
        return environment | dict(extra or {})

    @property
    def small(self) -> tuple[str, ...]:
        """The settings that make a run small."""
        return SMALL

    def read_events(self, run_folder: Path) -> list[dict[str, Any]]:
        """A run's events, without what depends on the clock."""
        return read_events(run_folder)

    def run_folders(self) -> list[Path]:
        """Every run's folder. What begins with a dot was left by a killed writer, and is none."""
        folders = (self.workspace / "runs").iterdir() if self.workspace.exists() else ()
        return sorted(folder for folder in folders if not folder.name.startswith("."))

    def events(self) -> list[dict[str, Any]]:
        """The events of the only run, without what depends on the clock."""
        (folder,) = self.run_folders()
        return read_events(folder)


def read_events(run_folder: Path) -> list[dict[str, Any]]:
    # What follows the last line end was torn by a kill.
    lines = (run_folder / "events.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    events = [json.loads(line) for line in lines]
    for event in events:
        del event["timing"]
    return events


def write_sentences(path: Path, num_lines: int = 600, seed: int = 0) -> Path:
    draw = random.Random(seed).choice
    who = ["cat", "dog", "bird", "fox", "girl", "boy", "king", "queen"]
    did = ["saw", "liked", "found", "lost", "made", "took"]
    what = ["a ball", "the moon", "a red hat", "the river", "some bread", "a tiny house"]
    lines = [
        f"The {draw(who)} {draw(did)} {draw(what)} and the {draw(who)} {draw(did)} {draw(what)}."
        for _ in range(num_lines)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: where it was made, what the command printed, the folder its artefacts were copied to."""

    command: CommandLine
    result: Result
    output_dir: Path

    @property
    def document(self) -> dict[str, Any]:
        return self.result.document

    @property
    def run_folder(self) -> Path:
        return Path(self.document["run_dir"])

    @property
    def events_of_training(self) -> list[dict[str, Any]]:
        """Its events, without what depends on the clock, up to the end of training."""
        events = self.command.events()
        assert events[-1]["kind"] == "run-finished"
        return events[:-1]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty kilobytes of simple English."""
    return write_sentences(tmp_path_factory.mktemp("corpus") / "sentences.txt")


@pytest.fixture(scope="session")
def command_line() -> type[CommandLine]:
    """For a fixture that makes a folder of its own."""
    return CommandLine


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    """The command line in an empty folder."""
    return CommandLine(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Iterator[FinishedRun]:
    """One finished run, for tests that only look. Those that change something take `finished_copy`.

    At the end it is held against what it was, so that no test's verdict hangs on which tests were before it.
    """
    command = CommandLine(tmp_path_factory.mktemp("finished"))
    result = command.run(corpus, "--output-dir=out")
    files = set(command.folder.rglob("*"))
    yield FinishedRun(command, result, command.folder / "out")
    added = set(command.folder.rglob("*")) - files
    assert not {path for path in added if "ledger.sqlite" not in path.name}, (
        "a test wrote into what it may only look at"
    )


@pytest.fixture
def finished_copy(finished: FinishedRun, tmp_path: Path) -> CommandLine:
    """The command line in a copy of the finished run's folder."""
    shutil.copytree(finished.command.folder, tmp_path / "copy")
    return CommandLine(tmp_path / "copy")


@pytest.fixture(scope="session")
def stopped(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> CommandLine:
    """A run of the same plan that was killed as it began to write its ninth step's checkpoint. Not to be changed."""
    command = CommandLine(tmp_path_factory.mktemp("stopped"))
    command.run(corpus, expect=-9, instant=Instant("KILL", 1, "/checkpoints/.step-00000009"))
    return command


@pytest.fixture
def stopped_copy(stopped: CommandLine, tmp_path: Path) -> CommandLine:
    """The command line in a copy of the killed run's folder."""
    shutil.copytree(stopped.folder, tmp_path / "copy")
    return CommandLine(tmp_path / "copy")


@pytest.fixture(scope="session")
def write_corpus() -> Callable[..., Path]:
    return write_sentences


@pytest.fixture(scope="session")
def open_command() -> Callable[[Path], CommandLine]:
    return CommandLine


@pytest.fixture(scope="session")
def at_instant() -> Callable[..., Instant]:
    return Instant
