"""Before and after: an evalset is put to a model, and two evaluations are compared."""

import json
import shutil
import signal

import pytest

ITEMS = [
    {"id": "w1", "prompt": "The cat saw the", "expected_answer": "moon", "category": "words", "difficulty": "easy"},
    {
        "id": "w2",
        "prompt": "The dog liked a",
        "expected_answer": "B",
        "choices": ["tiny house", "ball"],
        "category": "words",
    },
    {"id": "n1", "prompt": "What is 2 + 3?", "expected_answer": 5, "category": "sums", "difficulty": "easy"},
    {"id": "n2", "prompt": "What is 20 + 30?", "expected_answer": 50, "category": "sums", "difficulty": "hard"},
]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def evalset(tmp_path):
    return write_rows(tmp_path / "items.jsonl", ITEMS)


@pytest.fixture(scope="module")
def model(tmp_path_factory, finished):
    """A copy of the finished run's folder, for evaluations that only add to it."""
    folder = tmp_path_factory.mktemp("asked") / "copy"
    shutil.copytree(finished.command.folder, folder)
    return type(finished.command)(folder)


def ask(model, evalset, *arguments, **options):
    words = ("evaluate", "sentences@latest", "--evalset", evalset, "--max-tokens=6", *arguments, "--json")
    return model(*words, **options)


def read_table(command, document):
    digest = document["table"]
    data = (command.workspace / "objects" / digest[:2] / digest[2:]).read_bytes()
    return [json.loads(line) for line in data.splitlines()]


# ── a model ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_item_is_answered_scored_and_kept(model, evalset):
    document = ask(model, evalset).document
    assert document["num_items"] == 4
    assert document["settings"]["max_tokens"] == 6
    assert set(document["metrics"]) == {"answer_correct", "steps_correct"}
    rows = read_table(model, document)
    assert [(row["item_id"], row["metric"]) for row in rows] == [
        ("w1", "answer_correct"), ("w2", "answer_correct"), ("n1", "answer_correct"), ("n1", "steps_correct"),
        ("n2", "answer_correct"), ("n2", "steps_correct"),
    ]  # fmt: skip
    assert all(row["output"] is not None and row["finish"] in ("end", "length") for row in rows)
    assert all((row["score"] is None) == (row["status"] != "scored") for row in rows)
    estimate = document["estimates"]["answer_correct"]
    assert estimate["low"] <= estimate["value"] <= estimate["high"]
    kinds = {
        node["kind"] for node in model("lineage", document["evaluation_id"], "--check", "--json").document["nodes"]
    }
    assert {"dataset", "run", "checkpoint", "evaluation"} <= kinds


def test_outputs_do_not_depend_on_what_else_is_asked(model, evalset, tmp_path):
    options = ("--temperature=1.5", "--seed=5")
    whole = ask(model, evalset, *options).document
    assert ask(model, evalset, *options).document["evaluation_id"] == whole["evaluation_id"]
    alone = ask(model, write_rows(tmp_path / "other.jsonl", [ITEMS[2], ITEMS[0]]), *options).document
    said = {row["item_id"]: row["output"] for row in read_table(model, whole)}
    assert {row["item_id"]: row["output"] for row in read_table(model, alone)} == {
        key: said[key] for key in ("n1", "w1")
    }
    assert ask(model, evalset, options[0], "--seed=6").document["table"] != whole["table"]


def test_killed_evaluation_goes_on_where_it_stood(finished_copy, evalset, at_instant):
    at = at_instant("KILL", 3, "/evaluations/")
    assert ask(finished_copy, evalset, "--seed=10", expect=-signal.SIGKILL, instant=at).out == ""
    (kept,) = (finished_copy.workspace / "evaluations").iterdir()
    assert kept.read_bytes().count(b'"id":') >= 1
    again = ask(finished_copy, evalset, "--seed=10").document
    assert list((finished_copy.workspace / "evaluations").iterdir()) == []
    assert again["table"] == ask(finished_copy, evalset).document["table"]  # greedy: the seed makes no difference


def test_checkpoints_of_a_run_are_compared_by_their_names(finished_copy, finished, evalset):
    run = finished.document["run_id"][:12]
    for step in (9, 10):
        words = ("evaluate", f"{run}@{step}", "--evalset", evalset, "--by=likelihood", "--json")
        document = finished_copy(*words).document
        assert document["statuses"] == {
            "choice_correct": {"scored": 1}, "choice_correct_per_byte": {"scored": 1},
            "answer_logprob": {"scored": 4}, "answer_logprob_per_byte": {"scored": 4},
        }  # fmt: skip
        rows = read_table(finished_copy, document)
        assert all(row["score"] < 0 for row in rows if row["metric"] == "answer_logprob")
    document = finished_copy("compare", f"{run}@9", f"{run}@10", "--output=delta.html", "--json").document
    assert document["a"]["label"] == f"{run}@9"
    assert {delta["metric"] for delta in document["overall"]} >= {"answer_logprob", "choice_correct"}
    assert document["differing_settings"] == {}
    assert (finished_copy.folder / "delta.html").is_file()
    error = finished_copy("compare", f"{run}@10", f"{run}@6", "--json", expect=64).error
    assert error["name"] == "unknown-ref"
