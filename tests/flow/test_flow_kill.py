"""Killed again and again, wherever it hurts: the run ends in the weights, the events and the figures of one never stopped."""

import random
import signal

import pytest

LENGTH = ("train.steps=20", "train.accumulation=2", "train.validate_every=5", "train.keep_last=2")
EPOCH = 10
"""Steps in an epoch of the short corpus, as the last one of them counts."""


@pytest.fixture(scope="module")
def short_corpus(tmp_path_factory, write_corpus):
    """So little text that twenty steps are two epochs."""
    return write_corpus(tmp_path_factory.mktemp("short") / "sentences.txt", num_lines=35)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, open_command, short_corpus):
    """(digest of the final weights, events) of a run that nothing happened to, up to the end of training."""
    command = open_command(tmp_path_factory.mktemp("undisturbed"))
    digest, _ = command.train_to_the_end(*words(command, short_corpus))
    return digest, command.events()


def words(command, corpus):
    return command.run_words(corpus, *LENGTH, "data.split.block_lines=3")


def list_instants():
    """(what, at, match) of each kill, in the order in which a run meets them; drawn, where it says so, from a fixed seed.

    Writing a checkpoint is eighteen operations on files, removing an old one nine more; a process that goes on does some
    thirteen before it trains.
    """
    draw = random.Random(4)
    return [
        ("inside an accumulation", 4, "call:compute_micro_batch"),
        ("in the middle of a step", 2, "call:apply_update"),
        ("as the first checkpoint is begun", 3, "/checkpoints/"),
        ("as it is put in place", 1, "/checkpoints/.latest"),
        ("while the figures of a validation are written", 1, '"kind":"validation","step":5'),
        ("just after a validation", 1, '"kind":"checkpoint","step":5'),
        ("anywhere in the next checkpoint", draw.randint(14, 40), "/checkpoints/"),
        ("and there once more", draw.randint(14, 40), "/checkpoints/"),
        ("at the end of an epoch", 1, f'"kind":"step","step":{EPOCH},'),
        ("as an old checkpoint is removed", 1, "retired.tmp"),
        ("anywhere", draw.randint(5, 60), "/checkpoints/"),
        ("just before the end", 1, '"kind":"step","step":20,'),
    ]


def test_killed_at_every_stage_still_gives_the_same_weights_events_and_figures(
    command, undisturbed, short_corpus, at_instant
):
    said = []
    for what, at, match in list_instants():
        verb = ("resume", "--json") if command.run_folders() else words(command, short_corpus)
        killed = command(*verb, expect=None, instant=at_instant("KILL", at, match))
        assert killed.code == -signal.SIGKILL, (what, killed.err)
        said.append(killed.err)
    digest, last = command.train_to_the_end("resume", "--json")
    assert digest == undisturbed[0]
    assert command.events() == undisturbed[1]
    assert "is damaged" not in "".join([*said, last])
    (folder,) = command.run_folders()
    assert not list((folder / "checkpoints").glob(".*.tmp"))


def test_the_epoch_ends_where_the_kill_is_meant_to_be(undisturbed):
    epochs = {event["step"]: event["epoch"] for event in undisturbed[1] if event["kind"] == "step"}
    assert epochs[EPOCH - 1] < 1 <= epochs[EPOCH]


@pytest.mark.slow  # many processes, one after the other
def test_a_clock_that_steps_back_changes_nothing(command, undisturbed, short_corpus, at_instant):
    kill = at_instant("KILL", 1, '"kind":"step","step":8,')
    command(*words(command, short_corpus), expect=-signal.SIGKILL, instant=kill)
    # Begun last, though by this clock it was begun a year before the other one.
    backwards = {"FLOW_CLOCK_S": str(-365 * 86_400)}
    command(*words(command, short_corpus), "--seed=3", expect=-signal.SIGKILL, instant=kill, environment=backwards)
    newest, *_ = command("runs", "list", "--json").document["items"]
    command.train_to_the_end("resume", "--json", environment=backwards)
    rows = {row["run_id"]: row["step"] for row in command("runs", "list", "--json").document["items"]}
    assert rows.pop(newest["run_id"]) == 20
    (other,) = rows
    digest, _ = command.train_to_the_end("resume", other, "--json", environment=backwards)
    assert digest == undisturbed[0]
    (folder,) = (folder for folder in command.run_folders() if folder.name.endswith(other[:12]))
    assert command.read_events(folder) == undisturbed[1]
