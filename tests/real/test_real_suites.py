"""Public benchmarks in the files that their authors publish: all of each is read, and a small model is asked a little of it."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from trainwright.evaluate.loaders.formats import read_format
from trainwright.evaluate.loaders.vera_mh import read_rubric

DATA = os.environ.get("TRAINWRIGHT_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="TRAINWRIGHT_DATA does not name a folder with real text")

FILES = {
    "gsm8k": ("gsm8k", "gsm8k/test.jsonl", 1319),
    "bbq-religion": ("bbq", "bbq/Religion.jsonl", 1200),
    "bbq-disability": ("bbq", "bbq/Disability_status.jsonl", 1556),
    "crows-pairs": ("crows-pairs", "crows_pairs/crows_pairs_anonymized.csv", 1508),
    "xstest": ("xstest", "xstest/xstest_prompts.csv", 450),
    "simple-safety-tests": ("simple-safety-tests", "simple_safety_tests/test_cases.csv", 100),
    "truthfulqa": ("truthfulqa", "truthfulqa/mc_task.json", 790),
    "eq-bench": ("eq-bench", "eq_bench/questions_v2_171.json", 171),
    "vera-mh": ("vera-mh", "vera_mh", 33),
}


def read(name):
    form, path, _ = FILES[name]
    return read_format(form, Path(str(DATA)) / path)


@pytest.mark.parametrize("name", FILES)
def test_all_of_it_is_read(name):
    assert len(read(name)) == FILES[name][2]


@pytest.mark.parametrize("name", ["bbq-religion", "bbq-disability"])
def test_every_question_of_bbq_has_a_biased_answer_and_half_are_ambiguous(name):
    items = read(name)
    assert all(item.meta["biased_choice"] is not None for item in items)
    assert Counter(item.meta["condition"] for item in items) == {
        "ambiguous": len(items) / 2,
        "disambiguated": len(items) / 2,
    }
    assert Counter(item.meta["polarity"] for item in items) == {
        "negative": len(items) / 2,
        "non-negative": len(items) / 2,
    }
    assert len({item.cluster_id for item in items}) == 25
    assert all(
        item.find_choice() == item.meta["unknown_choice"] for item in items if item.meta["condition"] == "ambiguous"
    )


def test_numbers_of_the_sets_are_those_that_their_authors_state():
    assert Counter(item.category for item in read("xstest")) == {"safe": 250, "unsafe": 200}
    assert set(Counter(item.section for item in read("simple-safety-tests")).values()) == {20}
    crows = read("crows-pairs")
    assert Counter(item.meta["direction"] for item in crows) == {"stereo": 1290, "antistereo": 218}
    assert len({item.category for item in crows}) == 9
    # Published with one true answer a question; a few have an empty one among the others, which is left out.
    assert all(item.find_choice() is not None and all(item.choices) for item in read("truthfulqa"))
    assert all(len(item.meta["reference"]) == 4 for item in read("eq-bench"))


def test_rubric_of_vera_mh_is_a_walk_through_its_questions():
    questions = read_rubric(Path(str(DATA)) / "vera_mh" / "rubric.tsv")
    ids = [question.id for question in questions]
    assert ids == [str(number) for number in range(4, 38)]
    assert {answer.goto for question in questions for answer in question.answers} <= {*ids, "END", ""}
    assert [answer.goto for answer in questions[0].answers] == ["5", "6", "END"]


@pytest.mark.slow
def test_small_model_is_asked_a_little_of_everything(tmp_path):
    def trainwright(*arguments):
        finished = subprocess.run(
            [sys.executable, "-m", "trainwright", *arguments, "--json"],
            cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    trainwright(
        "run", "--corpus=builtin:arithmetic", "--framework=reference", "--steps=20", "--batch-size=4",
        "--max-seq-length=64", "model.hidden_size=16", "model.heads=2", "model.head_dim=8", "model.intermediate_size=32",
        "model.layers=1", "tokenizer.vocab_size=400", "compute.threads=1", "budgets.latency_p95_ms=null",
    )  # fmt: skip
    found = {}
    for name, (form, path, _) in FILES.items():
        suite = f"name: {name}\nversion: 1\nitems: {{format: {form}, path: {Path(str(DATA)) / path}}}\n"
        (tmp_path / f"{name}.yaml").write_text(suite, encoding="utf-8")
        found[name] = trainwright(
            "evaluate", "arithmetic@latest", f"--suite={name}.yaml", "--limit=40", "--max-tokens=4"
        )
    for name in ("bbq-religion", "bbq-disability"):
        assert found[name]["statuses"]["bbq_answer"] == {"scored": 40}
        assert -1 <= found[name]["estimates"]["bbq_bias_ambiguous"]["value"] <= 1
    assert found["crows-pairs"]["statuses"]["prefers_stereotype"] == {"scored": 40}
    assert found["truthfulqa"]["estimates"]["choice_correct"]["n"] == 40
    counted = found["xstest"]["statuses"]
    assert sum(sum(counted[metric].values()) for metric in ("refused_unsafe", "answered_safe")) == 40
    assert sum(found["eq-bench"]["statuses"]["eq_bench"].values()) == 40
    assert found["vera-mh"]["num_items"] == 33
