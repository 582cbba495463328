"""lm-evaluation-harness over a model of ours: local tasks, no network, and its samples in our item table."""

import json
import math

import pytest

pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

DOCS = [
    {"question": "The cat saw", "choices": ["the moon", "zebra logic"], "label": 0},
    {"question": "The dog liked", "choices": ["quantum", "a ball"], "label": 1},
    {"question": "The king found", "choices": ["some bread", "xylophones"], "label": 0},
]
TASKS = {
    "choices": """
task: choices
dataset_path: json
dataset_kwargs: {data_files: {test: DOCS}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: label
doc_to_choice: choices
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "writing": """
task: writing
dataset_path: json
dataset_kwargs: {data_files: {test: DOCS}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[label]}}"
generation_kwargs: {until: ["."], max_gen_toks: 6, do_sample: false}
metric_list: [{metric: exact_match}]
""",
    "texts": """
task: texts
dataset_path: json
dataset_kwargs: {data_files: {test: DOCS}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: bits_per_byte}, {metric: word_perplexity}]
""",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace with a small model in it."""
    from tests.flow.conftest import CommandLine, write_sentences

    folder = tmp_path_factory.mktemp("harness")
    command = CommandLine(folder)
    command.run(write_sentences(folder / "sentences.txt"))
    (folder / "docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in DOCS), encoding="utf-8")
    (folder / "tasks").mkdir()
    for name, text in TASKS.items():
        path = folder / "tasks" / f"{name}.yaml"
        path.write_text(text.replace("DOCS", str(folder / "docs.jsonl")), encoding="utf-8")
    return command


def run(command, task, *more):
    environment = {"HF_HOME": str(command.folder / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    words = ("harness", "run", "sentences@latest", task, "--include-path=tasks", *more, "--json")
    return command(*words, environment=environment, torch=True).document


def test_choices_of_the_harness_are_ours(trained):
    document = run(trained, "choices")
    assert document["num_items"] == 3
    assert document["estimates"]["choice_correct"]["value"] == pytest.approx(document["figures"]["acc"])
    assert document["estimates"]["choice_correct_per_character"]["value"] == pytest.approx(
        document["figures"]["acc_norm"]
    )
    assert document["estimates"]["choice_correct"]["method"] == "Wilson"
    lineage = trained("lineage", document["evaluation_id"], "--check", "--json").document
    assert {"checkpoint", "evaluation"} <= {node["kind"] for node in lineage["nodes"]}


def test_what_the_model_writes_is_in_the_table(trained):
    document = run(trained, "writing", "--limit=2")
    assert document["num_items"] == 2
    assert document["settings"]["by"] == "generation"
    assert document["estimates"]["answer_correct"]["value"] == pytest.approx(document["figures"]["exact_match"])


def test_bits_per_byte_of_texts_agree_with_the_harness(trained):
    document = run(trained, "texts")
    assert document["estimates"]["bits_per_byte"]["value"] == pytest.approx(document["figures"]["bits_per_byte"])
    assert math.isfinite(document["figures"]["bits_per_byte"])
    assert document["left_out"] == ["word_perplexity"]


def test_unknown_task_is_refused(trained):
    words = ("harness", "run", "sentences@latest", "nothing", "--include-path=tasks", "--json")
    assert trained(*words, torch=True, expect=64).error["name"] == "invalid-value"
