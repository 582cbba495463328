"""A framework tried for real, without the trying: what is skipped, what fails, and what is written of both."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from trainwright.backends.probing import Probed
from trainwright.core.errors import DeviceUnavailable, InvalidValue, OutputExists, PackageMissing, SmokeFailed
from trainwright.pipeline import smoke as module
from trainwright.pipeline.journal import Journal, SilentScreen
from trainwright.pipeline.smoke import Trial, choose_framework, smoke

WORKS = Probed(framework="reference", device="cpu", works=True, version="1", device_name="a CPU")
BROKEN = Probed(framework="reference", device="cpu", works=False, problem="It adds wrongly.", remedy="buy another")


def try_it(monkeypatch, probed, framework="reference", output_dir=None, skip=False, overwrite=False):
    monkeypatch.setattr(module, "probe_apart", lambda name, device: probed)
    journal = Journal(SilentScreen())
    return smoke(framework, journal, output_dir=output_dir, skip_unavailable=skip, overwrite=overwrite)


def let_commands_be(monkeypatch, code):
    """In place of every `trainwright` command, a process that runs `code`."""

    def start(self, name, words):
        with (self._logs / f"{name}.json").open("wb") as answer, (self._logs / f"{name}.txt").open("wb") as log:
            return subprocess.Popen([sys.executable, "-c", code], stdout=answer, stderr=log, start_new_session=True)

    monkeypatch.setattr(Trial, "_start", start)


def read_evidence(folder):
    return json.loads((folder / "evidence.json").read_bytes())


def test_framework_that_cannot_compute_is_an_error_unless_it_may_be_skipped(monkeypatch, tmp_path):
    with pytest.raises(DeviceUnavailable, match="reference cannot compute") as raised:
        try_it(monkeypatch, BROKEN, output_dir=tmp_path / "out")
    assert (raised.value.why, raised.value.next_step) == ("It adds wrongly.", "buy another")
    assert raised.value.exit_code == 1
    assert read_evidence(tmp_path / "out")["status"] == "failed"

    result = try_it(monkeypatch, BROKEN, skip=True, output_dir=tmp_path / "out", overwrite=True)
    assert (result.status, result.why, result.steps) == ("skipped", "It adds wrongly.", ())
    evidence = read_evidence(tmp_path / "out")
    assert (evidence["status"], evidence["why"], evidence["plan"]) == ("skipped", "It adds wrongly.", None)
    assert evidence["probe"]["remedy"] == "buy another"
    assert evidence["environment"]["packages"]["numpy"]


def test_framework_that_is_not_installed_is_the_error_with_the_command_that_installs_it(monkeypatch):
    def refuse(name):
        raise PackageMissing("not installed", next_step="pip install it")

    monkeypatch.setattr(module, "open_backend", refuse)
    with pytest.raises(PackageMissing) as raised:
        try_it(monkeypatch, BROKEN.model_copy(update={"framework": "torch"}), "torch")
    assert raised.value.next_step == "pip install it"


def test_what_a_command_said_of_its_failure_is_what_is_told(monkeypatch, tmp_path):
    error = {
        "error": {"name": "disk-full", "message": "There is no room.", "why": "It is full.", "next": "", "exit_code": 1}
    }
    let_commands_be(monkeypatch, f"print({json.dumps(error)!r}); raise SystemExit(1)")
    with pytest.raises(SmokeFailed, match="`train` ended with exit code 1 before it could be killed") as raised:
        try_it(monkeypatch, WORKS, output_dir=tmp_path / "out", skip=True)
    assert raised.value.why == "disk-full: There is no room. It is full."
    assert str(tmp_path / "out") in raised.value.next_step
    evidence = read_evidence(tmp_path / "out")
    assert (evidence["status"], evidence["error"]) == ("failed", "smoke-failed")
    assert [(step["name"], step["status"]) for step in evidence["steps"]] == [("train", "failed")]
    assert "There is no room." in (tmp_path / "out" / "logs" / "train.json").read_text(encoding="utf-8")


def test_command_that_crashes_is_told_by_its_last_words(monkeypatch):
    let_commands_be(monkeypatch, "raise RuntimeError('out of luck')")
    with pytest.raises(SmokeFailed) as raised:
        try_it(monkeypatch, WORKS)
    assert raised.value.why == "RuntimeError: out of luck"
    assert "--output-dir" in raised.value.next_step


def test_command_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_S", 0.3)
    let_commands_be(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(SmokeFailed, match="`train` had not come far enough"):
        try_it(monkeypatch, WORKS)


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """A trial of which the run that was killed is known."""
    trial = Trial("reference", tmp_path, Journal(SilentScreen()), None)
    trial.killed_run = "a" * 64
    return trial


def let_a_run_be_there(trial, monkeypatch):
    monkeypatch.setattr(trial, "_start_and_kill", lambda name, words, is_time: trial._root)
    monkeypatch.setattr(module.RunFolder, "read_run", lambda folder: SimpleNamespace(id="b" * 64))


def test_run_that_was_over_before_it_could_be_killed_is_a_failure(trial, monkeypatch):
    let_a_run_be_there(trial, monkeypatch)
    trial._root.mkdir()
    (trial._root / "events.jsonl").write_text('{"kind":"step"}\n{"kind":"run-finished"}\n', encoding="utf-8")
    with pytest.raises(SmokeFailed, match="over before its process could be killed"):
        trial._train_and_kill()


def test_other_weights_after_a_kill_are_a_failure(trial, monkeypatch):
    digests = iter([{10: "x", 20: "y"}, {10: "x", 20: "z"}])
    monkeypatch.setattr(module, "_digests_of", lambda run, workspace: next(digests))
    let_a_run_be_there(trial, monkeypatch)
    with pytest.raises(SmokeFailed, match="other weights") as raised:
        trial._repeat()
    assert raised.value.why == "They differ at 20."
    assert [(row.step, row.killed, row.never_stopped) for row in trial.digests] == [(10, "x", "x"), (20, "y", "z")]


def test_checkpoint_that_only_one_of_the_runs_had_is_a_failure(trial, monkeypatch):
    digests = iter([{10: "x"}, {10: "x", 20: "z"}])
    monkeypatch.setattr(module, "_digests_of", lambda run, workspace: next(digests))
    let_a_run_be_there(trial, monkeypatch)
    with pytest.raises(SmokeFailed):
        trial._repeat()


@pytest.mark.parametrize(
    ("attempts", "framework", "run", "said"),
    [
        ([0, 10], "torch", "a", "computed with torch"),
        ([0, 0], "reference", "a", "went on from nothing"),
        ([0, 10], "reference", "b", "Another run was resumed"),
    ],
)
def test_resume_of_something_else_is_a_failure(trial, monkeypatch, attempts, framework, run, said):
    described = {
        "attempts": [{"from_step": step} for step in attempts],
        "plan": {"compute": {"framework": framework}, "training": {"num_steps": 60}},
    }
    monkeypatch.setattr(module, "describe_run", lambda run, workspace: described)
    monkeypatch.setattr(trial, "_call", lambda name, words: {"run_id": run * 64})
    with pytest.raises(SmokeFailed, match=said):
        trial._resume()


@pytest.mark.parametrize(
    ("losses", "passed", "said"),
    [
        ([3.0] * 60, True, "did not learn"),
        ([float("nan")] * 60, True, "did not learn"),
        ([6.0] + [3.0] * 59, False, "checks"),
    ],
)
def test_model_that_did_not_learn_is_a_failure(trial, monkeypatch, losses, passed, said):
    events = [{"kind": "step", "loss": loss} for loss in losses]
    monkeypatch.setattr(module, "read_run_events", lambda run, workspace: events)
    checks = [{"name": "held-out loss below uniform guessing", "passed": passed}]
    monkeypatch.setattr(module, "describe_run", lambda run, workspace: {"checks": checks})
    with pytest.raises(SmokeFailed, match=said):
        trial._look_at_losses()


def test_verdict_that_is_another_and_text_that_is_another_are_failures(trial, monkeypatch):
    monkeypatch.setattr(trial, "_call", lambda name, words: {"status": "differs", "why": "step 3", "text": name})
    with pytest.raises(SmokeFailed, match="does not come out the same"):
        trial._verify()
    with pytest.raises(SmokeFailed, match="same text twice"):
        trial._generate()


def test_output_folder_that_is_taken_is_refused_before_anything_is_tried(monkeypatch, tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputExists):
        try_it(monkeypatch, WORKS, output_dir=tmp_path)
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_framework_is_the_one_that_was_named_or_the_first_that_auto_would_try(monkeypatch):
    assert choose_framework("reference") == "reference"
    monkeypatch.setattr(module, "choose_frameworks", lambda section, optimizer: (("torch", "tinygrad"), ()))
    assert choose_framework(None) == "torch"
    with pytest.raises(InvalidValue):
        choose_framework("abacus")
