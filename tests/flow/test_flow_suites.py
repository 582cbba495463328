"""Suites through the command line: a model of ours, an endpoint and recorded outputs are asked the same, and compared."""

import json
import shutil

import pytest

ITEMS = [
    {"id": f"s{n}", "prompt": f"Say {n}.", "expected_answer": str(n), "meta": {"kind": "odd" if n % 2 else "even"}}
    for n in range(6)
]
SUITE = """
name: numbers
version: 3
items: numbers.jsonl
template: "Q: {prompt}"
decoding: {max_tokens: 3, temperature: 0.5, top_k: 20, top_p: 0.9, seed: 4}
slices: [kind]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory, finished):
    """A copy of the finished run's folder, for evaluations that only add to it."""
    folder = tmp_path_factory.mktemp("asked") / "copy"
    shutil.copytree(finished.command.folder, folder)
    return type(finished.command)(folder)


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "numbers.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS), encoding="utf-8")
    path = tmp_path / "numbers.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return path


def read_object(command, digest):
    return (command.workspace / "objects" / digest[:2] / digest[2:]).read_bytes()


def test_suite_decides_how_a_model_is_asked_and_is_on_record(model, suite):
    document = model("evaluate", "sentences@latest", "--suite", suite, "--json").document
    shown = model("suites", "show", suite, "--json").document
    assert (document["evalset"], document["suite"]) == ("numbers", shown["suite_id"])
    assert document["settings"] == {
        "by": "generation", "template": "Q: {prompt}", "max_tokens": 3, "temperature": 0.5, "top_k": 20, "top_p": 0.9,
        "seed": 4,
    }  # fmt: skip
    kept = json.loads(read_object(model, document["suite"]))
    assert (kept["version"], kept["items"]) == (3, shown["items"])
    assert model("lineage", document["evaluation_id"], "--check", "--json").document["findings"] == []
    rows = [json.loads(line) for line in read_object(model, document["table"]).splitlines()]
    assert rows[0]["slices"] == {"kind": "even"}

    changed = model(
        "evaluate", "sentences@latest", "--suite", suite, "--max-tokens=2", "--limit=4", "--seed=5", "--json"
    )
    settings = changed.document["settings"]
    assert (settings["max_tokens"], settings["temperature"], settings["seed"]) == (2, 0.5, 5)
    assert settings["sample"] == {"num_items": 4, "out_of": 6, "seed": 5}
    assert (changed.document["num_items"], changed.document["suite"]) == (4, document["suite"])
    assert "a sample: 4 of 6 items" in model("evaluate", "sentences@latest", "--suite", suite, "--limit=4").out


def test_texts_have_a_perplexity_and_bits_per_byte(model):
    document = model("evaluate", "sentences@latest", "--suite=language-modelling", "--limit=3", "--json").document
    assert document["settings"]["window"] == 32
    assert document["statuses"] == {
        name: {"scored": 3} for name in ("text_nats", "text_tokens", "text_correct", "text_bytes")
    }
    assert set(document["estimates"]) >= {"perplexity", "bits_per_byte"}
    assert document["estimates"]["perplexity"]["value"] > 1


def test_endpoint_is_asked_and_its_outputs_are_scored_again(model, suite, chat_server, tmp_path):
    suite.write_text(SUITE.replace("top_k: 20, ", ""), encoding="utf-8")
    chat_server.answer = lambda prompt: (400, b"no") if "Say 2" in prompt else (200, prompt.strip("Q: Say."))
    words = (
        "evaluate",
        "--suite",
        suite,
        "--endpoint",
        chat_server.url,
        "--model=tiny",
        "--api-key-env=MY_KEY",
        "--json",
    )
    document = model(*words, environment={"MY_KEY": "secret", "NO_PROXY": "127.0.0.1"}).document
    assert chat_server.requests[0][0]["Authorization"] == "Bearer secret"
    assert "secret" not in json.dumps(document)
    assert (document["settings"]["endpoint"], document["settings"]["endpoint_model"]) == (chat_server.url, "tiny")
    assert document["statuses"]["answer_correct"] == {"scored": 5, "error": 1}
    assert document["estimates"]["answer_correct"]["value"] == 1

    rows = [json.loads(line) for line in read_object(model, document["predictions"]).splitlines()]
    kept = [
        {"output" if key == "text" else key: value for key, value in row.items() if value is not None} for row in rows
    ]
    predictions = tmp_path / "kept.jsonl"
    predictions.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    again = model("evaluate", "--suite", suite, "--predictions", predictions, "--json").document
    assert (again["table"], again["suite"]) == (document["table"], document["suite"])

    refused = model(*words, expect=64).error
    assert (refused["name"], "MY_KEY" in refused["message"]) == ("invalid-value", True)
    chat_server.answer = lambda prompt: (401, b"who are you?")
    denied = model(*words[:-2], "--seed=9", "--json", expect=5, environment={"NO_PROXY": "127.0.0.1"}).error
    assert denied["name"] == "endpoint-refused"


def test_refusals_that_were_recorded_elsewhere_are_refusals(model, tmp_path):
    items = [item["id"] for item in map(json.loads, read_suite_items("safety"))]
    predictions = tmp_path / "said.jsonl"
    rows = [
        {"id": name, "output": "No.", "refused": True}
        if name.startswith("unsafe")
        else {"id": name, "output": "Gladly."}
        for name in items
    ]
    predictions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    document = model("evaluate", "--suite=safety", "--predictions", predictions, "--json").document
    values = {name: document["estimates"][name]["value"] for name in ("refused_unsafe", "answered_safe")}
    assert values == {"refused_unsafe": 1, "answered_safe": 1}


def read_suite_items(name):
    from trainwright.evaluate.suites import find_suite

    return find_suite(name).with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()


def test_suites_are_listed(model):
    listed = model("suites", "list", "--json").document["items"]
    assert {"arithmetic", "safety", "crisis"} <= {suite["name"] for suite in listed}
    assert all(suite["items"]["num_items"] for suite in listed)
    assert "language-modelling" in model("suites", "list").out
    assert "category unsafe" not in model("suites", "show", "crisis").out
    assert "by category   safe 48, unsafe 48" in model("suites", "show", "safety").out
