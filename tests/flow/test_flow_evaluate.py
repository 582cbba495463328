"""Before and after: an evalset is put to a model, recorded outputs are scored, two evaluations are compared."""

import hashlib
import json
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
BEFORE = {"w1": "Answer: sun", "w2": "A", "n1": "1. Add: 2 + 3 = 6.\nAnswer: 5", "n2": "who\nknows"}
AFTER = {
    "w1": "Answer: the Moon",
    "w2": "Answer: B",
    "n1": "1. Add: 2 + 3 = 5.\nAnswer: 5",
    "n2": "20 + 30 = 50\n#### 50",
}


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def evalset(tmp_path):
    return write_rows(tmp_path / "items.jsonl", ITEMS)


@pytest.fixture
def recorded(tmp_path):
    def write(name, outputs):
        return write_rows(tmp_path / name, [{"id": item_id, "output": text} for item_id, text in outputs.items()])

    return write("before.jsonl", BEFORE), write("after.jsonl", AFTER)


@pytest.fixture(scope="module")
def model(tmp_path_factory, finished):
    """The finished run's folder, for evaluations that only add to it."""
    return finished.command


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


@pytest.mark.parametrize("temperature", ["0", "1.5"])
def test_outputs_do_not_depend_on_what_else_is_asked(model, evalset, tmp_path, temperature):
    options = (f"--temperature={temperature}", "--seed=5")
    whole = ask(model, evalset, *options).document
    assert ask(model, evalset, *options).document["evaluation_id"] == whole["evaluation_id"]
    alone = ask(model, write_rows(tmp_path / "other.jsonl", [ITEMS[2], ITEMS[0]]), *options).document
    said = {row["item_id"]: row["output"] for row in read_table(model, whole)}
    assert {row["item_id"]: row["output"] for row in read_table(model, alone)} == {
        key: said[key] for key in ("n1", "w1")
    }
    if temperature != "0":
        assert ask(model, evalset, options[0], "--seed=6").document["table"] != whole["table"]


def test_likelihood_is_measured_for_answers_and_choices(model, evalset):
    document = ask(model, evalset, "--by=likelihood").document
    assert document["statuses"] == {
        "choice_correct": {"scored": 1}, "choice_correct_per_byte": {"scored": 1},
        "answer_logprob": {"scored": 4}, "answer_logprob_per_byte": {"scored": 4},
    }  # fmt: skip
    assert all(row["score"] < 0 for row in read_table(model, document) if row["metric"] == "answer_logprob")
    assert document["settings"] == {
        "by": "likelihood", "template": "{prompt}", "max_tokens": None, "temperature": None, "top_k": None,
        "top_p": None, "seed": None,
    }  # fmt: skip


def test_killed_evaluation_goes_on_where_it_stood(finished_copy, evalset, at_instant):
    whole = ask(finished_copy, evalset, "--seed=9")
    begun = ask(
        finished_copy, evalset, "--seed=10", expect=-signal.SIGKILL, instant=at_instant("KILL", 3, "/evaluations/")
    )
    assert begun.out == ""
    (kept,) = (finished_copy.workspace / "evaluations").iterdir()
    assert kept.read_bytes().count(b'"id":') >= 1
    again = ask(finished_copy, evalset, "--seed=10").document
    assert again["table"] == whole.document["table"]  # greedy: the seed makes no difference
    assert list((finished_copy.workspace / "evaluations").iterdir()) == []


def test_checkpoints_of_a_run_are_compared_by_their_names(finished_copy, evalset):
    run = finished_copy("runs", "list", "--json").document["items"][0]["run_id"][:12]
    for step in (9, 10):
        finished_copy("evaluate", f"{run}@{step}", "--evalset", evalset, "--by=likelihood", "--json")
    document = finished_copy("compare", f"{run}@9", f"{run}@10", "--json").document
    assert document["a"]["label"] == f"{run}@9"
    assert {delta["metric"] for delta in document["overall"]} >= {"answer_logprob", "choice_correct"}
    assert document["differing_settings"] == {}
    ask(finished_copy, evalset)
    ask(finished_copy, evalset, "--template=Q: {prompt}")
    error = finished_copy("compare", f"{run}@10", "sentences@latest", "--json", expect=64).error
    assert error["name"] == "ambiguous-ref"
    error = finished_copy("compare", f"{run}@10", f"{run}@6", "--json", expect=64).error
    assert error["name"] == "unknown-ref"


# ── recorded outputs ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def both(command, evalset, recorded, tmp_path):
    """Two evaluations of recorded outputs, as files."""
    paths = []
    for predictions in recorded:
        paths.append(tmp_path / f"{predictions.stem}.json")
        command("evaluate", "--evalset", evalset, "--predictions", predictions, "--output", paths[-1])
    return paths


def test_recorded_outputs_are_scored_exactly_without_a_model(command, evalset, recorded):
    words = ("evaluate", "--evalset", evalset, "--json", "--predictions")
    before, after = (command(*words, predictions).document for predictions in recorded)
    assert before["checkpoint"] is None
    assert before["predictions"] is not None
    assert before["statuses"]["answer_correct"] == {"scored": 3, "unparsed": 1}
    assert before["aggregates"]["answer_correct"]["value"] == 1 / 4
    assert before["aggregates"]["right_steps_wrong"]["value"] == 1 / 2
    assert after["aggregates"]["answer_correct"]["value"] == 1
    assert after["aggregates"]["right_steps_right"]["value"] == 1
    assert after["aggregates"]["truncated_rate"]["value"] is None


def test_delta_report_is_written_in_every_form_and_the_same_each_time(command, both, tmp_path):
    for suffix in ("md", "html", "json"):
        for name in ("one", "two"):
            command("compare", *both, "--output", tmp_path / f"{name}.{suffix}")
        one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
        assert hashlib.sha256(one).digest() == hashlib.sha256(two).digest()
    document = json.loads(one)
    (answers, steps) = document["overall"]
    assert (answers["gained"], answers["lost"], answers["test"]["p_value"]) == (3, 0, 0.25)
    assert (steps["gained"], steps["left_out"]) == (1, 1)
    assert document["outcomes"]["right_steps_wrong"] == [1, 0]
    assert {(delta["slice"], delta["value"]) for delta in document["slices"]} == {
        ("category", "sums"), ("category", "words"), ("difficulty", "easy"), ("difficulty", "hard"),
    }  # fmt: skip
    said = command("compare", *both).out
    assert "answer right, steps wrong: 1 → 0" in said


def test_same_evaluation_twice_is_no_change(command, both):
    document = command("compare", both[0], both[0], "--json").document
    assert document["identical"] is True
    assert {delta["verdict"] for delta in document["overall"]} == {"no change"}


def test_outputs_leave_as_traces(command, evalset, recorded, tmp_path):
    words = (
        "evaluate",
        "--evalset",
        evalset,
        "--predictions",
        recorded[0],
        "--write-predictions",
        tmp_path / "t.jsonl",
    )
    said = command(*words)
    assert "4 traces written, 0 items without an output left out" in said.err
    traces = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [trace["meta"]["item_id"] for trace in traces] == ["w1", "w2", "n1", "n2"]
    assert {trace["meta"]["source"] for trace in traces} == {"evaluation"}
    assert traces[2]["final_answer"] == "5"
    assert command(*words, "--json", expect=64).error["name"] == "output-exists"


# ── bad input ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_other_items_and_changed_prompts_are_refused_by_name(command, evalset, recorded, both, tmp_path):
    fewer = write_rows(tmp_path / "fewer.jsonl", ITEMS[:3])
    some = write_rows(tmp_path / "some.jsonl", [{"id": key, "output": BEFORE[key]} for key in ("w1", "w2", "n1")])
    other, reworded = tmp_path / "other.json", tmp_path / "reworded.json"
    command("evaluate", "--evalset", fewer, "--predictions", some, "--output", other)
    error = command("compare", both[0], other, "--json", expect=5).error
    assert (error["name"], error["why"]) == ("items-differ", "1 only in A: n2.")
    words = ("--template", "Q: {prompt}", "--output", reworded)
    command("evaluate", "--evalset", evalset, "--predictions", recorded[0], *words)
    error = command("compare", both[0], reworded, "--json", expect=5).error
    assert error["name"] == "prompts-differ"
    assert "w1" in error["why"]


def test_evaluation_file_that_was_changed_is_refused(command, both):
    text = both[0].read_text(encoding="utf-8")
    both[0].write_text(text.replace('"score":0.0', '"score":1.0', 1), encoding="utf-8")
    error = command("compare", *both, "--json", expect=2).error
    assert (error["name"], error["why"]) == ("source-unreadable", "Changed: table.")


@pytest.mark.parametrize(
    ("words", "name", "code"),
    [
        (("evaluate", "--evalset", "items.jsonl"), "usage", 64),
        (("evaluate", "m@latest", "--evalset", "items.jsonl", "--predictions", "before.jsonl"), "usage", 64),
        (("evaluate", "m@latest", "--evalset", "items.jsonl", "--by=likelihood", "--write-predictions=x"), "usage", 64),
        (("evaluate", "m@latest", "--evalset", "items.jsonl"), "unknown-ref", 64),
        (("evaluate", "--evalset", "none.jsonl", "--predictions", "before.jsonl"), "source-not-found", 2),
        (("evaluate", "--evalset", "items.jsonl", "--predictions", "none.jsonl"), "source-not-found", 2),
        (("evaluate", "--evalset", "items.jsonl", "--predictions", "items.jsonl"), "invalid-row", 2),
        (("evaluate", "--evalset", "before.jsonl", "--predictions", "before.jsonl"), "invalid-row", 2),
        (("evaluate", "m@latest", "--evalset", "items.jsonl", "--template=no place"), "invalid-value", 64),
        (("evaluate", "m@latest", "--evalset", "items.jsonl", "--output=items.jsonl"), "output-exists", 64),
        (("compare", "a", "b", "--output=delta.txt"), "invalid-value", 64),
        (("compare", "a", "b", "--output=items.jsonl"), "invalid-value", 64),
        (("compare", "nothing", "nothing"), "unknown-ref", 64),
    ],
)
def test_bad_input_gets_the_designed_error(command, evalset, recorded, words, name, code):
    assert command(*words, "--json", expect=code).error["name"] == name
