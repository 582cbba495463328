"""GSM8K as an evalset: all of it is read and judged, and a small model is asked a little of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainwright.evaluate.ground_truth import score_outputs
from trainwright.evaluate.loaders.formats import read_evalset
from trainwright.evaluate.outputs import Output
from trainwright.evaluate.table import classify_outcomes, count_statuses

DATA = os.environ.get("TRAINWRIGHT_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="TRAINWRIGHT_DATA does not name a folder with real text")


@pytest.fixture(scope="module")
def test_file():
    return Path(str(DATA)) / "gsm8k" / "test.jsonl"


def test_all_of_gsm8k_is_an_evalset_and_its_own_answers_are_right(test_file):
    items = read_evalset(test_file)
    assert len(items) == 1319
    assert items[0].expected_answer == "18"
    worked = [json.loads(line)["answer"] for line in test_file.read_text(encoding="utf-8").splitlines()]
    rows = score_outputs(items, [Output(id=item.id, text=text) for item, text in zip(items, worked, strict=True)])
    assert count_statuses(rows)["answer_correct"] == {"scored": 1319}
    assert all(row.score == 1 for row in rows if row.metric == "answer_correct")
    outcomes = list(classify_outcomes(rows).values())
    # The data set itself has a few steps that are not so: "364 / 4 = 273", "$32 - $20 = $300".
    assert outcomes.count("right_steps_wrong") <= 10
    assert outcomes.count("right_steps_right") >= 1280


@pytest.mark.slow
def test_small_model_is_asked_a_little_of_gsm8k(test_file, tmp_path):
    lines = test_file.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "few.jsonl").write_text("".join(lines[:5]), encoding="utf-8")

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
    document = trainwright(
        "evaluate", "arithmetic@latest", "--evalset=few.jsonl", "--max-tokens=16", "--template=Question: {prompt}\\n"
    )
    assert document["num_items"] == 5
    assert sum(document["statuses"]["answer_correct"].values()) == 5
