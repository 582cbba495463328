"""A sweep through the command line: ranked, killed and resumed to the same table, stopped early, out of budget, confirmed."""

import json
import shutil
import signal

import pytest
import yaml

RATE = "train.optimizer.learning_rate"
GRID = {"name": "rates", "sampler": "grid", "search_space": {RATE: [0.001, 0.03], "model.kv_heads": [1, 3]}}


def write_sweep(command, file="sweep.yaml", **document):
    (command.folder / file).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def sweep_words(command, corpus, file="sweep.yaml"):
    settings = [word for word in command.small if not word.startswith("--")]
    return (
        *("sweep", "run", file, f"data.corpus={corpus}", "compute.framework=reference", "train.batch_size=4"),
        *("train.max_seq_length=32", *settings, "--json"),
    )


def tabulate(document):
    """The table without what names a run."""
    left_out = {"run_id", "trial_id"}
    rows = [
        row | {"runs": [{key: run[key] for key in run.keys() - left_out} for run in row["runs"]]}
        for row in document["trials"]
    ]
    return rows, document["importance"], document["notes"], document["best"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory, open_command, corpus):
    """(command, document) of a finished grid of four points, two of which are impossible. Not to be changed."""
    command = open_command(tmp_path_factory.mktemp("swept"))
    write_sweep(command, **GRID)
    return command, command(*sweep_words(command, corpus)).document


def test_trials_are_ranked_and_an_impossible_one_fails_with_its_error_while_the_sweep_goes_on(swept):
    command, document = swept
    assert document["status"] == "completed"
    assert [row["place"] for row in document["trials"]] == [1, 2, None, None]
    first, second, *failed = document["trials"]
    assert first["values"] == {RATE: 0.03, "model.kv_heads": 1}
    assert first["value"] < second["value"]
    for row in failed:
        assert row["error"].startswith("invalid-value: model.heads is 2 and model.kv_heads is 3")
        assert row["runs"][0]["plan_id"] is None
    assert document["importance"]["why_not"] == "2 completed trials are fewer than 20"
    notes = " ".join(document["notes"])
    assert "likely to be worse" in notes
    assert "2 of 4 trials failed" in notes
    runs = command("runs", "list", "--json").document["items"]
    assert [run["name"] for run in runs] == ["rates-3", "rates-1"]
    assert {run["run_id"] for run in runs} == {row["runs"][0]["run_id"] for row in (first, second)}
    assert next(run["bits_per_byte"] for run in runs if run["name"] == "rates-3") == first["value"]
    (item,) = command("sweep", "list", "--json").document["items"]
    assert (item["sweep_id"], item["num_completed"], item["num_failed"]) == (document["sweep_id"], 2, 2)
    shown = command("sweep", "show", "rates", "--plot").out
    assert "best so far" in shown
    assert "importance: not measured: 2 completed trials" in shown
    lineage = command("lineage", document["sweep_id"]).out
    assert "trial-outcome" in lineage
    assert "dataset" in lineage


@pytest.mark.slow  # nine processes, one after the other
@pytest.mark.timeout(900)
def test_killed_anywhere_a_sweep_goes_on_to_the_same_table_and_runs_nothing_twice(command, swept, corpus, at_instant):
    write_sweep(command, **GRID, limits={"tokens": 500})
    words = sweep_words(command, corpus)
    stopped = command(*words, expect=7).error
    assert stopped["name"] == "budget-reached"
    assert "The limit of the sweep rates is reached" in stopped["message"]
    assert command("sweep", "show", "rates", "--json").document["status"] == "budget-reached"
    verb = ("sweep", "resume", "rates", "--tokens=0", "--json")
    for match in (
        '"kind":"step","step":7,',  # in the middle of the first run
        "call:conclude",  # it ended, and that is not on record
        "call:propose",  # before the next trial is
        "call:begin_run",  # the trial is on record, and its run is not
        '"kind":"step","step":9,',
    ):
        killed = command(*verb, expect=None, instant=at_instant("KILL", 1, match))
        assert killed.code == -signal.SIGKILL, (match, killed.err)
    assert command("sweep", "show", "rates", "--json").document["status"] == "interrupted"
    document = command(*verb).document
    assert document["sweep_id"] == swept[1]["sweep_id"]
    assert tabulate(document) == tabulate(swept[1])
    assert len(command.run_folders()) == 2
    assert command(*verb).document == document
    assert len(command.run_folders()) == 2


def test_ctrl_c_stops_a_sweep_which_says_how_to_go_on(command, corpus, at_instant):
    write_sweep(command, **GRID)
    stopped = command(
        *sweep_words(command, corpus), expect=130, instant=at_instant("INT", 1, '"kind":"step","step":5,')
    )
    assert stopped.error["name"] == "interrupted"
    assert "trainwright sweep resume" in stopped.error["next"]
    assert "after 0 of 4 trials" in stopped.error["message"]


@pytest.mark.slow  # every process trains
def test_a_second_sweep_reuses_what_the_first_one_ran_and_the_best_is_confirmed_with_fresh_seeds(
    swept, open_command, tmp_path, corpus
):
    shutil.copytree(swept[0].folder, tmp_path / "copy")
    command = open_command(tmp_path / "copy")
    write_sweep(command, "again.yaml", **GRID | {"name": "again"})
    document = command(*sweep_words(command, corpus, "again.yaml")).document
    assert len(command.run_folders()) == 2
    assert [run["reused"] for row in document["trials"] for run in row["runs"]] == [True, True, False, False]
    assert [row["value"] for row in document["trials"]] == [row["value"] for row in swept[1]["trials"]]

    confirmed = command("sweep", "confirm", "again", "--seeds=2", "--json").document
    (found,) = confirmed["confirmations"]
    assert (found["number"], found["figure"]["n"], found["num_failed"]) == (3, 2, 0)
    assert found["chosen_by"] == document["best"]["value"]
    assert found["figure"]["low"] < found["figure"]["value"] < found["figure"]["high"]
    assert confirmed["best"] == document["best"]
    assert len(command.run_folders()) == 4
    command("sweep", "confirm", "again", "--seeds=2", "--json")
    assert len(command.run_folders()) == 4


@pytest.mark.slow  # every process trains
def test_what_is_behind_is_stopped_and_stays_so_after_a_kill(command, corpus, at_instant):
    write_sweep(
        command,
        name="halved",
        sampler="grid",
        search_space={RATE: [0.03, 0.000001]},
        seeds=2,
        pruning={"rule": "median", "startup_trials": 1},
    )
    command(*sweep_words(command, corpus), expect=-signal.SIGKILL, instant=at_instant("KILL", 1, "call:record_failure"))
    document = command("sweep", "resume", "halved", "--json").document
    first, second = document["trials"]
    assert [run["seed"] for run in first["runs"]] == [1337, 1338]
    assert first["figure"]["low"] < first["figure"]["value"] < first["figure"]["high"]
    assert (second["status"], second["place"], len(second["runs"])) == ("pruned", None, 1)
    assert second["runs"][0]["step"] == 4
    assert "median of 1 trials there" in second["error"]
    rows = {row["name"]: row for row in command("runs", "list", "--json").document["items"]}
    assert rows["halved-2"]["status"] == "pruned"
    assert command("resume", "--json", expect=64).error["name"] == "nothing-to-resume"
    assert "1 of 2 trials were stopped early" in " ".join(document["notes"])


@pytest.mark.parametrize(
    ("space", "name", "said"),
    [
        ({"train.batchsize": [1, 2]}, "unknown-key", "train.batch_size"),
        ({}, "invalid-value", "searches nothing"),
        ({"model.heads": [3, 5], "model.kv_heads": [2]}, "objective-missing", "model.heads is 3"),
    ],
)
def test_bad_input_is_refused_in_the_one_shape(command, corpus, space, name, said):
    write_sweep(command, name="bad", sampler="grid", search_space=space)
    error = command(*sweep_words(command, corpus), expect=None).error
    assert error["name"] == name
    assert said in json.dumps(error)


def test_other_data_is_not_the_sweep_that_was_begun(command, corpus, write_corpus, at_instant, tmp_path):
    text = write_corpus(tmp_path / "text.txt")
    write_sweep(command, **GRID)
    words = sweep_words(command, text)
    command(*words, expect=-signal.SIGKILL, instant=at_instant("KILL", 1, "call:propose"))
    write_corpus(text, seed=1)
    error = command("sweep", "resume", "rates", "--json", expect=4).error
    assert error["name"] == "drift"
    assert "sweep was begun" in error["message"]
