"""`evaluate` and `compare` on recorded outputs, in this process: exact figures, every form of report, every refusal."""

import json
import signal
import sys

import pytest

from trainwright.cli import main as door

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


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with the items and two files of recorded outputs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRAINWRIGHT_WORKSPACE", raising=False)
    write_rows(tmp_path / "items.jsonl", ITEMS)
    for name, outputs in (("before", BEFORE), ("after", AFTER)):
        write_rows(tmp_path / f"{name}.jsonl", [{"id": item_id, "output": text} for item_id, text in outputs.items()])
    return tmp_path


@pytest.fixture
def command(folder, monkeypatch, capsys):
    """Call `trainwright WORDS`, which must end with `expect`: (standard output, standard error)."""
    before = signal.getsignal(signal.SIGTERM)

    def call(*words, expect=0):
        monkeypatch.setattr(sys, "argv", ["trainwright", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            door.main()
        said = capsys.readouterr()
        assert left.value.code == expect, said.err
        return said

    yield call
    signal.signal(signal.SIGTERM, before)


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_document(said):
    return json.loads(said.out)


def read_error(said):
    error = json.loads(said.out)["error"]
    assert "Traceback" not in said.err
    return error


# ── recorded outputs ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def both(command):
    """Two evaluations of recorded outputs, as files."""
    for name in ("before", "after"):
        command("evaluate", "--evalset=items.jsonl", f"--predictions={name}.jsonl", f"--output={name}.json")
    return "before.json", "after.json"


def test_recorded_outputs_are_scored_exactly_without_a_model(command):
    words = ("evaluate", "--evalset=items.jsonl", "--json", "--predictions")
    before, after = (read_document(command(*words, f"{name}.jsonl")) for name in ("before", "after"))
    assert before["checkpoint"] is None
    assert before["predictions"] is not None
    assert before["statuses"]["answer_correct"] == {"scored": 3, "unparsed": 1}
    assert before["aggregates"]["answer_correct"]["value"] == 1 / 4
    assert before["aggregates"]["right_steps_wrong"]["value"] == 1 / 2
    assert after["aggregates"]["answer_correct"]["value"] == 1
    assert after["aggregates"]["right_steps_right"]["value"] == 1
    assert after["aggregates"]["truncated_rate"]["value"] is None


@pytest.mark.parametrize("suffix", ["md", "html", "json"])
def test_delta_report_is_written_and_the_same_each_time(command, both, folder, suffix):
    for name in ("one", "two"):
        command("compare", *both, "--output", f"{name}.{suffix}")
    one, two = ((folder / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
    assert one == two


def test_delta_is_exact(command, both):
    document = read_document(command("compare", *both, "--json"))
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
    document = read_document(command("compare", both[0], both[0], "--json"))
    assert document["identical"] is True
    assert {delta["verdict"] for delta in document["overall"]} == {"no change"}


def test_outputs_leave_as_traces(command, folder):
    words = ("evaluate", "--evalset=items.jsonl", "--predictions=before.jsonl", "--write-predictions=t.jsonl")
    said = command(*words)
    assert "4 traces written, 0 items without an output left out" in said.err
    traces = [json.loads(line) for line in (folder / "t.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [trace["meta"]["item_id"] for trace in traces] == ["w1", "w2", "n1", "n2"]
    assert {trace["meta"]["source"] for trace in traces} == {"evaluation"}
    assert traces[2]["final_answer"] == "5"
    assert read_error(command(*words, "--json", expect=64))["name"] == "output-exists"


# ── bad input ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_other_items_and_changed_prompts_are_refused_by_name(command, both, folder):
    write_rows(folder / "fewer.jsonl", ITEMS[:3])
    write_rows(folder / "some.jsonl", [{"id": key, "output": BEFORE[key]} for key in ("w1", "w2", "n1")])
    command("evaluate", "--evalset=fewer.jsonl", "--predictions=some.jsonl", "--output=other.json")
    error = read_error(command("compare", both[0], "other.json", "--json", expect=5))
    assert (error["name"], error["why"]) == ("items-differ", "1 only in A: n2.")
    words = ("--template=Q: {prompt}", "--output=reworded.json")
    command("evaluate", "--evalset=items.jsonl", "--predictions=before.jsonl", *words)
    error = read_error(command("compare", both[0], "reworded.json", "--json", expect=5))
    assert error["name"] == "prompts-differ"
    assert "w1" in error["why"]


def test_evaluation_file_that_was_changed_is_refused(command, both, folder):
    text = (folder / both[0]).read_text(encoding="utf-8")
    (folder / both[0]).write_text(text.replace('"score":0.0', '"score":1.0', 1), encoding="utf-8")
    error = read_error(command("compare", *both, "--json", expect=2))
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
def test_bad_input_gets_the_designed_error(command, words, name, code):
    assert read_error(command(*words, "--json", expect=code))["name"] == name


# ── a model or an endpoint, a suite or an evalset ─────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("model@latest",), "usage"),
        (("model@latest", "--suite=safety", "--evalset=x.jsonl"), "usage"),
        (("--suite=safety",), "usage"),
        (("--suite=safety", "--predictions=x.jsonl", "--judge-record=j.jsonl"), "usage"),
        (("--suite=safety", "--chat", "--predictions=x.jsonl"), "usage"),
        (("model@latest", "--suite=safety", "--endpoint=http://127.0.0.1:9", "--model=m"), "usage"),
        (("--suite=safety", "--endpoint=http://127.0.0.1:9"), "usage"),
        (("model@latest", "--suite=safety", "--model=m"), "usage"),
        (("--suite=language-modelling", "--endpoint=http://127.0.0.1:9", "--model=m"), "usage"),
        (("model@latest", "--suite=language-modelling", "--write-predictions=x.jsonl"), "usage"),
        (("model@latest", "--suite=language-modelling", "--by=generation"), "invalid-value"),
        (("--suite=safety", "--endpoint=nowhere", "--model=m"), "invalid-value"),
        (("model@latest", "--suite=nowhere"), "suite-not-found"),
    ],
)
def test_what_cannot_be_meant_is_refused(command, words, name):
    said = command("evaluate", *words, "--json", expect=64)
    assert json.loads(said.out)["error"]["name"] == name
