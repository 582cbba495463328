"""What can happen to a run's files: each is a named error or a named fallback, and never a different model."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


HARMS = {"flipped": flip_a_bit, "cut": cut_in_half, "removed": Path.unlink}


@pytest.fixture(scope="module")
def every_step(tmp_path_factory, open_command, corpus, at_instant):
    """A run with a checkpoint after every step, killed as it began to write its eighth. Not to be changed."""
    command = open_command(tmp_path_factory.mktemp("every-step"))
    words = command.run_words(corpus, "train.checkpoint_every=1", "train.keep_last=20")
    command(*words, expect=-signal.SIGKILL, instant=at_instant("KILL", 1, "/checkpoints/.step-00000008"))
    return command


@pytest.fixture
def every_step_copy(every_step, open_command, tmp_path):
    shutil.copytree(every_step.folder, tmp_path / "copy")
    return open_command(tmp_path / "copy")


@pytest.mark.parametrize("harm", HARMS)
def test_checkpoint_corruption_handling(every_step_copy, finished, harm):
    """A flipped bit, a truncation or a removal, in each file of a checkpoint."""
    (folder,) = every_step_copy.run_folders()
    damaged = dict(zip((7, 6, 5, 4), FILES, strict=True))
    for step, name in damaged.items():
        HARMS[harm](folder / "checkpoints" / f"step-{step:08d}" / name)
    digest, said = every_step_copy.train_to_the_end("resume", "--json")
    assert digest == finished.document["weights_digest"]
    assert "going on from the checkpoint at step 3" in said
    problems = [line for line in read_attempts(folder) if "problem" in line]
    assert len(problems) == len(damaged)
    for (step, name), problem in zip(damaged.items(), problems, strict=True):
        aside = f"damaged-step-{step:08d}"
        assert f"step {step} is damaged and was set aside as {aside}" in problem["problem"]
        # A manifest whose digest of another file was damaged accuses that file.
        assert name in problem["why"] or (harm == "flipped" and name == "manifest.json")
        assert problem["problem"] in said
        assert (folder / "checkpoints" / aside).is_dir()
    # What was set aside is no part of the story, which is that of a run to which nothing happened.
    shown = every_step_copy("runs", "show", folder.name.rpartition("-")[2], "--json").document
    assert [line["problem"] for line in shown["attempts"] if "problem" in line] == [p["problem"] for p in problems]
    assert list_figures(every_step_copy.events()) == list_figures(finished.events_of_training)


def list_figures(events: list[dict]) -> list[dict]:
    """What was computed, in order; runs with more checkpoints number it differently."""
    return [event | {"seq": None} for event in events if event["kind"] in ("step", "validation", "sample")]


def test_checkpoint_versioning(stopped_copy):
    """One that a newer version wrote is neither misread nor passed over for an older one."""
    (folder,) = stopped_copy.run_folders()
    manifest = folder / "checkpoints" / "step-00000008" / "manifest.json"
    manifest.write_text(json.dumps({"format": 99, "files": {}}), encoding="utf-8")
    error = stopped_copy("resume", "--json", expect=1).error
    assert error["name"] == "trainwright-too-old"
    assert "99" in error["why"]
    assert manifest.exists()


def test_disk_that_fills_up_during_a_run_is_said_and_the_run_goes_on_later(command, finished, corpus, at_instant):
    with stopped_at(command, corpus, at_instant) as process:
        # No file may grow beyond this: room for an event, none for an optimizer's state.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
        error = continue_to_its_error(process)
    assert (error["name"], error["exit_code"]) == ("disk-full", 1)
    require_only_whole_checkpoints(command)
    require_the_same_end(command, finished)


def test_folder_made_read_only_during_a_run_is_said_and_the_run_goes_on_later(command, finished, corpus, at_instant):
    prefix = prefix_without_privileges()
    with stopped_at(command, corpus, at_instant, prefix=prefix) as process:
        (folder,) = command.run_folders()
        (folder / "checkpoints").chmod(0o555)
        error = continue_to_its_error(process)
    assert (error["name"], error["exit_code"]) == ("not-writable", 1)
    (folder / "checkpoints").chmod(0o755)
    require_only_whole_checkpoints(command)
    require_the_same_end(command, finished)


def test_run_folder_copied_into_another_workspace_is_not_taken_for_a_run_of_it(stopped, command):
    (folder,) = stopped.run_folders()
    command("runs", "list")  # makes the workspace
    shutil.copytree(folder, command.workspace / "runs" / folder.name)
    assert command("resume", "--json", expect=64).error["name"] == "nothing-to-resume"
    assert command("resume", folder.name.rpartition("-")[2], "--json", expect=64).error["name"] == "unknown-ref"


@pytest.mark.parametrize("name", ["run.json", "plan.json", "environment.json"])
def test_damage_to_what_the_run_was_begun_with_is_named(stopped_copy, name):
    (folder,) = stopped_copy.run_folders()
    cut_in_half(folder / name)
    error = stopped_copy("resume", "--json", expect=4).error
    assert error["name"] == "run-damaged"
    assert name in error["message"]


def test_lost_events_are_named_and_never_made_up(stopped_copy):
    (folder,) = stopped_copy.run_folders()
    lines = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "events.jsonl").write_bytes(b"".join(lines[:4]))
    error = stopped_copy("resume", "--json", expect=4).error
    assert error["name"] == "events-damaged"


# ── a process that stands still while something happens to it ─────────────────────────────────────────────────────────
class stopped_at:  # noqa: N801 - reads as what it is in a `with`
    """A run that stands still as it writes the event of its second step; killed when the block ends."""

    def __init__(self, command, corpus, at_instant, **options):
        self.process = command.start(
            *command.run_words(corpus),
            instant=at_instant("STOP", 1, '"kind":"step","step":2,'),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            **options,
        )

    def __enter__(self):
        for _ in range(3000):
            state = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            assert state != "Z", "the process ended before it could be stopped"
            if state == "T":
                return self.process
            time.sleep(0.02)
        raise AssertionError("the process was never stopped")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def continue_to_its_error(process) -> dict:
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=120)
    error = json.loads(out)["error"]
    assert error["exit_code"] == process.returncode
    return error


def require_only_whole_checkpoints(command) -> None:
    (folder,) = command.run_folders()
    assert not list((folder / "checkpoints").glob("damaged-*"))
    assert not list((folder / "checkpoints").glob(".*"))


def require_the_same_end(command, finished) -> None:
    digest, _ = command.train_to_the_end("resume", "--json")
    assert digest == finished.document["weights_digest"]
    assert command.events() == finished.events_of_training


def read_attempts(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "attempts.jsonl").read_text(encoding="utf-8").splitlines()]


def prefix_without_privileges() -> tuple[str, ...]:
    """Words before a command that make permissions count for it (they do not for the administrator)."""
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("running as root, for whom permissions do not count, and there is no setpriv to become less")
    without = "-dac_override,-dac_read_search"
    return (setpriv, f"--bounding-set={without}", f"--inh-caps={without}")
