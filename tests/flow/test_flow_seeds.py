"""Runs of one plan with other seeds, side by side."""

import json

import pytest


@pytest.mark.slow  # many processes, one after the other
def test_runs_that_differ_in_their_seed_alone_are_summarised(command, corpus, tmp_path):
    for seed in (1, 2):
        command.run(corpus, f"--seed={seed}")
    command.run(corpus, "--seed=1", "train.steps=5", "name=other")
    items = tmp_path / "items.jsonl"
    items.write_text(json.dumps({"id": "a", "prompt": "The cat saw the", "expected_answer": "moon"}) + "\n")
    document = command("runs", "seeds", "sentences@latest", "--json").document
    assert sorted(run["seed"] for run in document["runs"]) == [1, 2]
    spread = document["figures"]["bits_per_byte"]
    assert spread["num_runs"] == 2
    assert spread["lowest"] < spread["mean"] < spread["highest"]
    assert spread["deviation"] > 0
    for run in document["runs"]:
        command("evaluate", run["run_id"], "--evalset", items, "--by=likelihood")
    figures = command("runs", "seeds", "sentences@latest", "--json").document["figures"]
    (name,) = [name for name in figures if name.startswith("answer_logprob (")]
    assert figures[name]["num_runs"] == 2
    assert "deviation" in command("runs", "seeds", "sentences@latest").out
