"""A framework tried for real in a few minutes, as a person would use it: what `trainwright smoke` is, and each leg of a
continuous integration.

    probe      a real kernel, in a process of its own; where it does not run, nothing else does, and that is what is said
    train      a tiny model on a builtin corpus, its process ended by SIGKILL once a checkpoint is on disk
    resume     the same run, by another process, to its end
    repeat     the same plan once more, never stopped before its training is over: every checkpoint has the digest of the
               other run's
    verify     the resumed run computed again from its plan and data, every checkpoint compared bit for bit
    generate   the model writes, twice, the same text
    learning   the loss fell, and lies below that of guessing

Every step but the first and the last is a `trainwright` command in a process of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from trainwright import __version__
from trainwright.backends.catalogue import open_backend
from trainwright.backends.choice import choose_frameworks
from trainwright.backends.probing import Probed, probe_apart
from trainwright.core.durable import write_folder
from trainwright.core.errors import DeviceUnavailable, SmokeFailed, TrainwrightError
from trainwright.core.manifest import FrameworkName, parse_manifest
from trainwright.core.records import Checkpoint, Frozen
from trainwright.pipeline.drift import PACKAGES
from trainwright.pipeline.inspect import describe_run, find_run
from trainwright.pipeline.inspect import read_events as read_run_events
from trainwright.pipeline.journal import Journal
from trainwright.pipeline.publish import require_free
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace, open_workspace
from trainwright.watch.environment import read_environment

Status = Literal["passed", "failed", "skipped"]

SETTINGS: Mapping[str, object] = {
    "name": "smoke",
    "data.corpus": "builtin:stories",
    "data.split.validation_share": 0.01,
    "tokenizer.vocab_size": 400,
    "model.hidden_size": 32,
    "model.heads": 2,
    "model.head_dim": 16,
    "model.intermediate_size": 64,
    "model.layers": 1,
    "train.steps": 60,
    "train.batch_size": 16,
    "train.max_seq_length": 64,
    "train.optimizer.name": "adamw",
    "train.optimizer.learning_rate": 0.01,
    "train.validate_every": 30,
    "train.checkpoint_every": 10,
    "train.sample_tokens": 8,
    "compute.dtype": "float32",
    "compute.compile": False,
    "compute.threads": 1,  # more would only wait for each other
    # What a model of this size costs on a machine that does other things too is not the question.
    "budgets.latency_p95_ms": None,
    "budgets.inference_rss_mb": None,
    "budgets.model_file_mb": None,
    "budgets.training_peak_mb": None,
}
"""Small enough for a framework that compiles on a processor, and long enough to be killed while it trains."""

PROMPT, NUM_WRITTEN = "Once upon a time", 16
LEAST_FALL = 0.5
"""By how much the loss has to fall, nats per token, from the first step to the mean of the last `NUM_LAST`."""
NUM_LAST = 10
LONGEST_S = 900.0
"""A command that is not done by then hangs."""
LOOK_EVERY_S = 0.005
EVIDENCE_FILE = "evidence.json"


class Step(Frozen):
    """What was tried, how it ended, and what was found."""

    name: str
    status: Literal["passed", "failed"]
    elapsed_s: float
    found: str


class DigestRow(Frozen):
    """The digest of the weights after `step` updates: of the run that was killed, and of the one that was never stopped."""

    step: int
    killed: str | None
    never_stopped: str | None


class Smoke(Frozen):
    """How a framework did. `why` is the reason where it was skipped or failed; `error` has the failure's name."""

    status: Status
    framework: str
    why: str
    error: str | None
    probe: Probed
    steps: tuple[Step, ...] = ()
    digests: tuple[DigestRow, ...] = ()
    evidence: str | None = None


def smoke(
    framework: str | None, journal: Journal, *, output_dir: Path | None, skip_unavailable: bool, overwrite: bool
) -> Smoke:
    """Try `framework`; without a name, the first that `auto` would try. What was found goes into `output_dir`, failed or not.

    Raises PackageMissing or DeviceUnavailable where it cannot compute here and that is not to be skipped, SmokeFailed where
    one of the steps goes wrong, InvalidValue for a name that no framework has.
    """
    name = choose_framework(framework)
    with tempfile.TemporaryDirectory(prefix="trainwright-smoke-") as scratch:
        trial = Trial(name, Path(scratch), journal, output_dir)
        trial.require_free(overwrite=overwrite)
        failure: TrainwrightError | None = None
        if trial.probe():
            try:
                trial.go()
            except TrainwrightError as error:
                failure = error
        elif not skip_unavailable:
            failure = complain(trial.probed)
        result = trial.conclude(failure)
        if output_dir is not None:
            with write_folder(output_dir, replace=overwrite) as folder:
                trial.write_evidence(result, folder)
    if failure is not None:
        raise failure
    return result


def choose_framework(framework: str | None) -> FrameworkName:
    """The one that was named; without a name, the first that is installed and works of those that `auto` measures.

    Raises InvalidValue, PackageMissing.
    """
    overrides = [] if framework is None else [f"compute.framework={framework}"]
    section = parse_manifest(None, overrides, SETTINGS).compute
    if isinstance(section.framework, str) and section.framework != "auto":
        return section.framework
    return choose_frameworks(section, str(SETTINGS["train.optimizer.name"]))[0][0]


def complain(probed: Probed) -> TrainwrightError:
    """The error of a framework that cannot compute here: PackageMissing, DeviceUnavailable."""
    try:
        open_backend(probed.framework)
    except TrainwrightError as error:
        return error
    return DeviceUnavailable(
        f"{probed.framework} cannot compute on the device {probed.device!r}.",
        why=probed.problem,
        next_step=probed.remedy,
    )


class Trial:
    """The steps, one after the other, in a folder that is thrown away."""

    def __init__(self, framework: FrameworkName, scratch: Path, journal: Journal, output_dir: Path | None) -> None:
        self.framework = framework
        self.steps: list[Step] = []
        self.digests: tuple[DigestRow, ...] = ()
        self.killed_run = self.repeated_run = ""
        self._journal, self._output_dir = journal, output_dir
        self._root, self._logs = scratch / "workspace", scratch / "logs"
        self._logs.mkdir()
        self._run_words = [
            *(f"{key}={_spell(value)}" for key, value in SETTINGS.items()),
            f"compute.framework={framework}",
        ]

    def require_free(self, *, overwrite: bool) -> None:
        """Raises OutputExists, InvalidValue, NotWritable where the output folder cannot be made."""
        with open_workspace(self._root) as workspace:
            require_free(self._output_dir, workspace, overwrite=overwrite)

    def probe(self) -> bool:
        """Whether a real kernel runs."""
        self.probed = probe_apart(self.framework, "auto")
        return self.probed.works

    def go(self) -> None:
        """Everything after the probe. Raises SmokeFailed."""
        self._take("train", self._train_and_kill)
        self._take("resume", self._resume)
        self._take("repeat", self._repeat)
        self._take("verify", self._verify)
        self._take("generate", self._generate)
        self._take("learning", self._look_at_losses)

    def conclude(self, failure: TrainwrightError | None) -> Smoke:
        """How it went."""
        status: Status = "failed" if failure is not None else "passed" if self.probed.works else "skipped"
        why = f"{failure.message} {failure.why}".strip() if failure is not None else self.probed.problem
        return Smoke(
            status=status,
            framework=self.framework,
            why=why,
            error=None if failure is None else failure.name,
            probe=self.probed,
            steps=tuple(self.steps),
            digests=self.digests,
            evidence=None if self._output_dir is None else str((self._output_dir / EVIDENCE_FILE).resolve()),
        )

    def write_evidence(self, result: Smoke, folder: Path) -> None:
        """One document with everything, the run's own files beside it, and what each command said."""
        document: dict[str, Any] = {"trainwright": __version__, **result.model_dump(mode="json")}
        document |= {"plan": None, "environment": read_environment(PACKAGES), "metrics": None, "report": None}
        if self.killed_run:
            with open_workspace(self._root) as workspace:
                run = describe_run(self.killed_run, workspace)
                run_folder = workspace.find_run_folder(self.killed_run)
            document |= {"plan": run["plan"], "environment": run["environment"], "attempts": run["attempts"]}
            document["report"] = {"final_metrics": run["final_metrics"], "checks": run["checks"]}
            if run_folder.metrics_path.exists():
                document["metrics"] = json.loads(run_folder.metrics_path.read_bytes())
            for path in (run_folder.report_path, run_folder.loss_path, run_folder.events_path):
                if path.exists():
                    shutil.copyfile(path, folder / path.name)
        shutil.copytree(self._logs, folder / "logs")
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / EVIDENCE_FILE).write_text(text + "\n", encoding="utf-8")

    # ── the steps ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _take(self, name: str, step: Callable[[], str]) -> None:
        begun = time.monotonic()
        status: Literal["passed", "failed"] = "failed"
        found = ""
        try:
            with self._journal.phase(name) as phase:
                found = phase.detail = step()
                status = "passed"
        except TrainwrightError as error:
            found = f"{error.message} {error.why}".strip()
            raise
        finally:
            elapsed_s = time.monotonic() - begun
            self.steps.append(Step(name=name, status=status, elapsed_s=elapsed_s, found=found))

    def _train_and_kill(self) -> str:
        """Kill the process as soon as a checkpoint is on disk."""
        folder = self._start_and_kill("train", ["run", *self._run_words], _has_checkpoint)
        if _is_trained(folder):
            raise self._fail("Training was over before its process could be killed.", "The steps were too fast for it.")
        self.killed_run = RunFolder(folder).read_run().id
        return f"killed after step {_count_steps(folder)}"

    def _start_and_kill(self, name: str, words: Sequence[str], is_time: Callable[[Path], bool]) -> Path:
        """Start a command that begins a run, and end it by SIGKILL once `is_time` says so of the run's folder."""
        known = set(self._run_folders())
        child = self._start(name, words)
        deadline = time.monotonic() + LONGEST_S
        try:
            while time.monotonic() < deadline:
                for folder in set(self._run_folders()) - known:
                    if is_time(folder):
                        return folder
                if child.poll() is not None:
                    raise self._explain(name, child.returncode, "before it could be killed")
                time.sleep(LOOK_EVERY_S)
        finally:
            _kill(child)
        raise self._fail(f"`{name}` had not come far enough after {LONGEST_S:.0f} s.", "The process was ended.")

    def _resume(self) -> str:
        document = self._call("resume", ["resume", self.killed_run])
        if document["run_id"] != self.killed_run:
            raise self._fail("Another run was resumed than the one that was killed.", f"It was {document['run_id']}.")
        with open_workspace(self._root) as workspace:
            run = describe_run(self.killed_run, workspace)
        plan, attempts = run["plan"], [each["from_step"] for each in run["attempts"] if "from_step" in each]
        if plan["compute"]["framework"] != self.framework:
            raise self._fail(
                f"The run computed with {plan['compute']['framework']}.", f"{self.framework} was asked for."
            )
        if not attempts or attempts[-1] == 0:
            raise self._fail("The run went on from nothing.", "It had a checkpoint to go on from.")
        return f"went on from step {attempts[-1]} to step {plan['training']['num_steps']}"

    def _repeat(self) -> str:
        folder = self._start_and_kill("repeat", ["run", "--retrain", *self._run_words], _is_trained)
        self.repeated_run = RunFolder(folder).read_run().id
        with open_workspace(self._root) as workspace:
            killed, whole = (_digests_of(run, workspace) for run in (self.killed_run, self.repeated_run))
        self.digests = tuple(
            DigestRow(step=step, killed=killed.get(step), never_stopped=whole.get(step))
            for step in sorted(killed.keys() | whole.keys())
        )
        differing = [row.step for row in self.digests if row.killed != row.never_stopped]
        if differing or not self.digests:
            where = ", ".join(map(str, differing)) or "no step at all"
            raise self._fail("A run that was killed and resumed has other weights.", f"They differ at {where}.")
        return f"equal digests of {len(self.digests)} checkpoints"

    def _verify(self) -> str:
        document = self._call("verify", ["verify", self.killed_run])
        if document["status"] != "verified":
            raise self._fail("The run does not come out the same again.", str(document["why"]))
        return f"all {document['num_steps']} steps computed again, bit for bit"

    def _generate(self) -> str:
        words = ["generate", self.killed_run, PROMPT, f"--max-tokens={NUM_WRITTEN}", "--temperature=0"]
        first, second = (str(self._call(name, words)["text"]) for name in ("generate", "generate-again"))
        if not first.strip() or first != second:
            raise self._fail("The model does not write the same text twice.", f"{first!r} and {second!r}.")
        return f"{PROMPT}{first}"

    def _look_at_losses(self) -> str:
        with open_workspace(self._root) as workspace:
            events = read_run_events(self.killed_run, workspace)
            checks = describe_run(self.killed_run, workspace)["checks"]
        losses = [event["loss"] for event in events if event["kind"] == "step"]
        first, last = losses[0], sum(losses[-NUM_LAST:]) / NUM_LAST
        if not first - last >= LEAST_FALL:
            raise self._fail(
                "The model did not learn.", f"Its loss went from {first:.3f} to {last:.3f} nats per token."
            )
        failed = [check["name"] for check in checks if check["passed"] is False]
        if failed:
            raise self._fail("The model did not pass its checks.", f"Not met: {', '.join(failed)}.")
        return f"loss from {first:.3f} to {last:.3f} nats per token in {len(losses)} steps"

    # ── processes ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _run_folders(self) -> list[Path]:
        runs = self._root / "runs"
        return [folder for folder in runs.iterdir() if not folder.name.startswith(".")] if runs.is_dir() else []

    def _start(self, name: str, words: Sequence[str]) -> "subprocess.Popen[bytes]":
        with (self._logs / f"{name}.json").open("wb") as answer, (self._logs / f"{name}.txt").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "trainwright", *words, f"--workspace={self._root}", "--json"],
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=log,
                start_new_session=True,
            )

    def _call(self, name: str, words: Sequence[str]) -> dict[str, Any]:
        """What a command prints. Raises SmokeFailed where it does not end well, or in time."""
        child = self._start(name, words)
        try:
            code = child.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            raise self._fail(
                f"`trainwright {words[0]}` was not done after {LONGEST_S:.0f} s.", "It was ended."
            ) from None
        finally:
            _kill(child)
        if code != 0:
            raise self._explain(name, code)
        document: dict[str, Any] = json.loads((self._logs / f"{name}.json").read_bytes())
        return document

    def _explain(self, name: str, code: int, when: str = "") -> SmokeFailed:
        """Why a command did not end well, by its own error document, else by the last that it said."""
        why = ""
        with suppress(ValueError, KeyError, TypeError):
            error = json.loads((self._logs / f"{name}.json").read_bytes())["error"]
            why = f"{error['name']}: {error['message']} {error['why']}".strip()
        said = (self._logs / f"{name}.txt").read_text(encoding="utf-8", errors="replace").split("\n")
        why = why or next((line.strip() for line in reversed(said) if line.strip()), "It said nothing.")
        return self._fail(f"`{name}` ended with exit code {code} {when}".strip() + ".", why)

    def _fail(self, message: str, why: str) -> SmokeFailed:
        place = "Name a folder with --output-dir" if self._output_dir is None else f"Look into {self._output_dir}"
        return SmokeFailed(
            f"{self.framework}: {message}",
            why=why,
            next_step=f"{place}: what each command said is in logs/.",
        )


def _digests_of(run_id: str, workspace: Workspace) -> dict[int, str]:
    """{step: digest of the weights} of every checkpoint that the run ever had."""
    children = workspace.ledger.children(find_run(run_id, workspace).id)
    records = (workspace.ledger.get(child) for role, child in children if role == "run")
    return {record.step: record.weights for record in records if isinstance(record, Checkpoint)}


def _has_checkpoint(folder: Path) -> bool:
    return (folder / "checkpoints" / "latest").exists()


def _is_trained(folder: Path) -> bool:
    """Whether the last step was taken; every checkpoint is then on disk."""
    path = folder / "events.jsonl"
    return path.exists() and b'"kind":"run-finished"' in path.read_bytes()


def _count_steps(folder: Path) -> int:
    return (folder / "events.jsonl").read_bytes().count(b'"kind":"step"')


def _kill(child: "subprocess.Popen[bytes]") -> None:
    """End it and everything that it started, at once and without warning."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _spell(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
