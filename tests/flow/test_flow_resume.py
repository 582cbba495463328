"""Killed, stopped, damaged: a run that goes on gives the weights and the events it would have given."""

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_killed_again_and_again_still_gives_the_same_weights_and_events(command, finished, corpus, at_instant):
    draw = random.Random(20)
    command.run(corpus, expect=-signal.SIGKILL, instant=at_instant("KILL", 33))
    instants = [draw.randint(12, 60) for _ in range(3)]
    codes = [command("resume", "--json", expect=None, instant=at_instant("KILL", at)).code for at in instants]
    assert codes == [-signal.SIGKILL] * len(instants)
    ended = command("resume", "--json")
    assert ended.document["weights_digest"] == finished.document["weights_digest"]
    assert command.events() == finished.command.events()


# While the run's folder is made, while a checkpoint is put in place, while an old one is removed.
@pytest.mark.parametrize("at", [13, 97, 109])
def test_run_with_resume_goes_on_after_a_kill_at_any_operation_on_a_file(command, finished, corpus, at_instant, at):
    command.run(corpus, expect=-signal.SIGKILL, instant=at_instant("KILL", at))
    digest, said = command.train_to_the_end(*command.run_words(corpus, "--resume"))
    assert said.count("reused") == 2
    assert digest == finished.document["weights_digest"]
    (row,) = command("runs", "list", "--json").document["items"]
    assert command.read_events(Path(row["run_dir"])) == finished.events_of_training
    assert ("going on from the checkpoint" in said) == (at > 45)


def test_killed_before_the_first_checkpoint_starts_at_the_beginning(command, finished, corpus, at_instant):
    command.run(corpus, expect=-signal.SIGKILL, instant=at_instant("KILL", 1, '"kind":"step","step":3,'))
    (folder,) = command.run_folders()
    assert not list((folder / "checkpoints").glob("step-*"))
    digest, _ = command.train_to_the_end("resume", "--json")
    assert digest == finished.document["weights_digest"]
    assert command.events() == finished.events_of_training


def test_killed_while_the_report_was_written_is_finished_by_the_same_command(command, finished, corpus, at_instant):
    command.run(corpus, expect=-signal.SIGKILL, instant=at_instant("KILL", 2, "loss.png"))
    (folder,) = command.run_folders()
    assert not (folder / "report.html").exists()
    ended = command.run(corpus, "--resume")
    assert (folder / "report.html").is_file()
    assert (folder / "loss.png").is_file()
    assert ended.document["weights_digest"] == finished.document["weights_digest"]


def test_a_killed_run_is_shown_as_interrupted_and_begins_no_second_one_unsaid(stopped_copy):
    (row,) = stopped_copy("runs", "list", "--json").document["items"]
    assert row["status"] == "interrupted"
    assert row["step"] in (9, 10)  # training went on while the checkpoint was being written
    shown = stopped_copy("runs", "show", row["run_id"][:8], "--json").document
    assert shown["status"] == "interrupted"
    assert [checkpoint["step"] for checkpoint in shown["checkpoints"]] == [4, 6, 8]


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_asked_to_stop_it_saves_and_goes_on_later(command, finished, corpus, at_instant, name):
    stopped = command.run(corpus, expect=130, instant=at_instant(name, 1, '"kind":"step","step":5,'))
    error = stopped.error
    assert error["name"] == "interrupted"
    (folder,) = command.run_folders()
    run_id = folder.name.rpartition("-")[2]
    assert run_id in error["next"]
    assert "step 5 of 10" in error["message"]
    # None is due after step 5: this one was saved because the run was asked to stop.
    assert max(path.name for path in (folder / "checkpoints").glob("step-*")) == "step-00000005"
    digest, said = command.train_to_the_end("resume", run_id, "--json")
    assert "step 5" in said
    assert digest == finished.document["weights_digest"]
    assert command.events() == finished.events_of_training


def test_interrupted_before_training_leaves_nothing_half_made(command, finished, corpus, at_instant):
    stopped = command.run(corpus, expect=130, instant=at_instant("INT", 4, "/.trainwright/objects/"))
    assert stopped.error["name"] == "interrupted"
    assert command.run_folders() == []
    digest, _ = command.train_to_the_end(*command.run_words(corpus))
    assert digest == finished.document["weights_digest"]


def test_damaged_checkpoint_is_named_set_aside_and_the_one_before_it_used(stopped_copy, finished, corpus):
    (folder,) = stopped_copy.run_folders()
    flip_a_byte(folder / "checkpoints" / "step-00000008" / "model.safetensors")
    digest, said = stopped_copy.train_to_the_end("resume", "--json")
    assert "the checkpoint of step 8 is damaged and was set aside as damaged-step-00000008" in said
    assert "going on from the checkpoint at step 6" in said
    assert (folder / "checkpoints" / "damaged-step-00000008").is_dir()
    assert digest == finished.document["weights_digest"]
    assert stopped_copy.events() == finished.events_of_training


def test_no_good_checkpoint_is_an_error_and_never_a_fresh_start(stopped_copy, corpus):
    (folder,) = stopped_copy.run_folders()
    for checkpoint in (folder / "checkpoints").glob("step-*"):
        flip_a_byte(checkpoint / "optimizer.safetensors")
    before = (folder / "events.jsonl").read_bytes()
    error = stopped_copy("resume", "--json", expect=4).error
    assert error["name"] == "no-good-checkpoint"
    assert "damaged-step-00000008" in error["why"]
    assert stopped_copy.run(corpus, "--resume", expect=4).error["name"] == "no-good-checkpoint"
    assert (folder / "events.jsonl").read_bytes() == before


def test_second_process_on_one_run_is_refused(stopped_copy, finished, at_instant):
    (folder,) = stopped_copy.run_folders()
    run_id = folder.name.rpartition("-")[2]
    # The first process stands still in the middle of its work, and holds the run; its checkpoints are written, and it
    # holds the ledger no more.
    first = stopped_copy.start(
        "resume",
        run_id,
        "--json",
        instant=at_instant("STOP", 1, '"kind":"run-finished"'),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_stopped(first.pid)
        error = stopped_copy("resume", run_id, "--json", expect=4).error
        assert error["name"] == "run-busy"
        assert str(first.pid) in error["why"]
        (row,) = stopped_copy("runs", "list", "--json").document["items"]
        assert row["status"] == "running"
        assert stopped_copy("resume", "--json", expect=4).error["name"] == "run-busy"
        first.send_signal(signal.SIGCONT)
        out, _ = first.communicate(timeout=120)
    finally:
        first.kill()
        first.communicate()
    assert first.returncode == 0
    assert json.loads(out)["weights_digest"] == finished.document["weights_digest"]


def wait_until_stopped(process: int) -> None:
    for _ in range(3000):
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        if state == "T":
            return
        assert state != "Z", "the process ended before it could be stopped"
        time.sleep(0.02)
    raise AssertionError("the process was never stopped")


def test_nothing_to_resume_is_said(finished_copy, command):
    assert finished_copy("resume", "--json", expect=64).error["name"] == "nothing-to-resume"
    assert command("resume", "--json", expect=64).error["name"] == "nothing-to-resume"


def test_resume_of_a_finished_run_trains_nothing(finished_copy, finished):
    again = finished_copy("resume", finished.document["run_id"], "--json")
    assert again.document["reused"] == ["training"]
    assert again.document["weights_digest"] == finished.document["weights_digest"]


def test_resume_refuses_a_plan_that_was_changed(stopped_copy):
    (folder,) = stopped_copy.run_folders()
    path = folder / "plan.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"seed": 1337', '"seed": 1338'), encoding="utf-8")
    error = stopped_copy("resume", "--json", expect=4).error
    assert error["name"] == "plan-mismatch"
