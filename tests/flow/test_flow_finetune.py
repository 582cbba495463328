"""One manifest, two runs: text first, then traces; held-out problems before and after; killed anywhere, the same end."""

import json
import shutil
import signal
from pathlib import Path

import pytest

MANIFEST = """
name: sums
data: {corpus: sentences.txt, split: {block_lines: 20}}
tokenizer: {vocab_size: 300}
model: {hidden_size: 16, heads: 2, head_dim: 8, intermediate_size: 32, layers: 1}
train: {steps: 3, batch_size: 4, max_seq_length: 64, sample_tokens: 4, validate_every: 3}
compute: {framework: reference, threads: 1}
budgets: {latency_p95_ms: null}
finetune:
  data: {traces: traces.jsonl, system: "Think first."}
  train: {steps: 4, max_seq_length: 128, checkpoint_every: 2}
  evaluate: {items: 3, max_tokens: 8}
"""
REPORTS = ("delta.html", "delta.md", "delta.json")


def write_traces(path, count=24):
    rows = [
        {"trace_version": "1", "prompt": f"What is {n} + 1?", "final_answer": str(n + 1),
         "steps": [{"i": 0, "type": "sum", "content": f"{n} + 1 = {n + 1}."}], "meta": {"category": f"kind {n % 2}"}}
        for n in range(count)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def base(finished, corpus, tmp_path_factory):
    """A folder with the manifest and its data, where nothing was run yet."""
    folder = tmp_path_factory.mktemp("finetune")
    shutil.copy(corpus, folder / "sentences.txt")
    write_traces(folder / "traces.jsonl")
    (folder / "sums.yaml").write_text(MANIFEST, encoding="utf-8")
    return type(finished.command)(folder)


@pytest.fixture(scope="module")
def tuned(base):
    """What `run` says when all was done."""
    return base, base("run", "sums.yaml", "--json").document


def read(document, name):
    return json.loads((Path(document["run_dir"]) / name).read_bytes())


def test_second_run_starts_from_the_first_and_learns_from_samples(tuned):
    command, document = tuned
    first = document["first_run"]
    plan = read(document, "plan.json")
    assert plan["training"]["packing"] == "samples"
    assert plan["training"]["sample_prompts"] != ["Once upon a time"]
    checkpoint = next(folder for folder in command.run_folders() if folder.name.startswith("sums-tuned"))
    assert Path(document["run_dir"]) == checkpoint.resolve()
    lineage = command("lineage", "sums-tuned@latest", "--json", "--check").document
    assert lineage["findings"] == []
    start = [edge for edge in lineage["edges"] if edge["role"] == "start"]
    assert [edge["parent"] for edge in start] == [plan["start"]["source"]]
    assert command("runs", "show", first["run_id"], "--json").document["name"] == "sums"


def test_both_plans_are_printed_and_the_second_is_whole_once_the_first_has_run(base, tuned, tmp_path):
    command, document = tuned
    fresh = type(command)(tmp_path)
    for name in ("sums.yaml", "sentences.txt", "traces.jsonl"):
        shutil.copy(base.folder / name, tmp_path / name)
    early = fresh("plan", "sums.yaml", "--json").document
    late = command("plan", "sums.yaml", "--json").document
    assert early["plan_id"] == late["plan_id"] == document["first_run"]["plan_id"]
    assert early["unknown"] == late["unknown"] == {}
    assert late["finetune"]["plan_id"] == document["plan_id"]
    assert late["finetune"]["unknown"] == {}
    second = early["finetune"]
    assert (second["plan_id"], second["plan"]["start"]) == (None, None)
    assert set(second["unknown"]) == {"start", "plan_id"}
    assert second["plan"] == late["finetune"]["plan"] | {"start": None}
    # Nothing is dropped of what is read often by a model that was made before, and the plan knows that it will be.
    often = fresh("plan", "sums.yaml", "finetune.train.epochs=12", "--json").document["finetune"]["plan"]["training"]
    assert often["num_steps"] > 10 * often["steps_per_epoch"]
    assert often["dropout"] == 0.0
    plans = [line for line in (fresh.workspace / "ledger.jsonl").read_text().splitlines() if '"kind":"plan"' in line]
    assert len(plans) == 1  # what could not run is on no record


def test_same_problems_are_asked_before_and_after_in_the_same_words(tuned):
    _, document = tuned
    comparison = document["comparison"]
    assert comparison["num_items"] == 2  # the file's held-out traces; three were asked for
    assert comparison["overall"][0]["metric"] == "answer_correct"
    for name in REPORTS:
        assert Path(document["artefacts"][name]).is_file()
    assert "sums-tuned" in Path(document["artefacts"]["delta.md"]).read_text(encoding="utf-8")


def test_nothing_is_done_twice(tuned):
    command, document = tuned
    folders = command.run_folders()
    again = command("run", "sums.yaml", "--json").document
    assert again["weights_digest"] == document["weights_digest"]
    assert again["reused"] == ["data", "tokenizer", "training", "evaluation"]
    assert again["first_run"]["reused"] == ["data", "tokenizer", "training"]
    assert again["evaluation_id"] == document["evaluation_id"]
    assert command.run_folders() == folders


def test_model_that_learnt_to_answer_is_asked_in_its_template(tuned):
    command, _ = tuned
    said = command("generate", "sums-tuned@latest", "What is 3 + 1?", "--max-tokens=4", "--temperature=0", "--json")
    plain = command("generate", "sums@latest", "What is 3 + 1?", "--max-tokens=4", "--temperature=0", "--json")
    assert said.document["prompt"] == plain.document["prompt"]


def test_run_that_learnt_from_samples_is_computed_again_to_the_same_weights(tuned):
    command, _ = tuned
    assert command("verify", "sums-tuned@latest", "--json").document["status"] == "verified"


def test_output_folder_is_that_of_the_model_that_answers(tuned):
    command, _ = tuned
    command("run", "sums.yaml", "--output-dir=out")
    names = {path.name for path in (command.folder / "out").iterdir()}
    assert {"traces.jsonl", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    template = (command.folder / "out" / "chat_template.jinja").read_text(encoding="utf-8")
    assert "'Think first.'" in template
    config = json.loads((command.folder / "out" / "tokenizer_config.json").read_bytes())
    assert config["chat_template"] == template
    command("export", "sums@latest", "text")  # that one learnt text
    assert not (command.folder / "text" / "chat_template.jinja").exists()
    assert "corpus.txt" not in names
    assert len((command.folder / "out" / "traces.jsonl").read_text(encoding="utf-8").splitlines()) == 24


@pytest.mark.slow  # many processes, one after the other
def test_killed_between_the_runs_and_within_the_second_and_while_asking_it_ends_the_same(tuned, at_instant, tmp_path):
    command, document = tuned
    shutil.copytree(command.folder, tmp_path / "copy")
    again = type(command)(tmp_path / "copy")
    shutil.rmtree(again.workspace)
    words = ("run", "sums.yaml", "--json")
    instants = (
        at_instant(
            "KILL", 1, "/.trainwright/runs/.sums-tuned"
        ),  # the first run has ended, the second has no folder yet
        at_instant("KILL", 1, '"kind":"step","step":4,'),
        at_instant("KILL", 1, "delta.html"),
    )
    for instant in instants:
        again(*words, expect=-signal.SIGKILL, instant=instant)
        words = ("resume", "--json")
    resumed = again(*words).document
    assert resumed["weights_digest"] == document["weights_digest"]
    assert resumed["comparison"]["overall"] == document["comparison"]["overall"]
    assert again("resume", "--json", expect=64).error["name"] == "nothing-to-resume"


@pytest.mark.parametrize(
    ("setting", "code", "name"),
    [
        ("finetune.data.traces=nowhere.jsonl", 2, "source-not-found"),
        ("finetune.data.traces=dev@v9", 64, "unknown-ref"),
        ("finetune.data.template=poem", 64, "invalid-value"),
        ("finetune.data.template=tokenizer", 2, "template-unreadable"),
        ("finetune.train.max_seq_length=32", 2, "source-empty"),
    ],
)
def test_traces_that_cannot_be_learnt_from_are_an_error_by_name(tuned, setting, code, name):
    command, _ = tuned
    before = command.run_folders()
    assert command("run", "sums.yaml", setting, "--json", expect=code).error["name"] == name
    assert command.run_folders() == before
