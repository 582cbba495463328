"""Text to a model in one command: what is there afterwards, what is said, what is used again."""

import json
import re
import stat
from pathlib import Path

DOCUMENT_KEYS = {
    "run_id",
    "plan_id",
    "status",
    "run_dir",
    "weights_digest",
    "final_metrics",
    "phases",
    "artefacts",
    "reused",
}
METRICS_KEYS = {
    "run_id",
    "plan_id",
    "start_timestamp",
    "end_timestamp",
    "configuration",
    "environment",
    "epoch_history",
    "final_metrics",
    "phases",
    "stability",
    "validation",
}
ROW_KEYS = {
    "epoch",
    "step",
    "train_loss",
    "val_loss",
    "perplexity",
    "bits_per_byte",
    "lr",
    "gradient_norm",
    "tokens_per_s",
    "elapsed_s",
    "sample_outputs",
}
FINAL_KEYS = {
    "best_val_loss",
    "best_epoch",
    "final_train_loss",
    "final_val_loss",
    "total_epochs",
    "total_training_time_s",
    "convergence_achieved",
    "overfitting_detected",
}
OUTPUT_FILES = {
    "corpus.txt",
    "tokenizer.model",
    "tokenizer.json",
    "model.safetensors",
    "config.json",
    "training_metrics.json",
    "report.html",
    "loss.png",
}


def test_text_becomes_a_model_in_one_command(finished):
    document = finished.document
    assert set(document) == DOCUMENT_KEYS
    assert document["status"] == "completed"
    assert document["reused"] == []
    assert {"bits_per_byte", "perplexity", "val_loss"} <= set(document["final_metrics"])
    phases = {phase["name"]: phase["status"] for phase in document["phases"]}
    assert list(phases) == ["prerequisites", "data", "tokenizer", "plan", "training", "validation"]
    assert set(phases.values()) == {"completed"}
    assert all(Path(path).is_file() for path in document["artefacts"].values())
    assert {path.name for path in finished.output_dir.iterdir()} >= OUTPUT_FILES
    assert set(document["artefacts"]) >= OUTPUT_FILES
    assert {path.name for path in finished.run_folder.iterdir()} >= {
        "run.json",
        "plan.json",
        "environment.json",
        "events.jsonl",
        "checkpoints",
        "training_metrics.json",
        "report.html",
        "loss.png",
    }


def test_what_a_person_should_know_is_said_on_standard_error(finished):
    for phase in ("prerequisites", "data", "tokenizer", "plan", "training", "validation"):
        assert phase in finished.result.err
    assert "val loss" in finished.result.err
    assert "\x1b" not in finished.result.err


def test_output_folder_can_be_read_by_others_and_holds_nothing_half_written(finished):
    assert stat.S_IMODE(finished.output_dir.stat().st_mode) == 0o755
    assert [path.name for path in finished.command.folder.iterdir() if path.name not in (".trainwright", "out")] == []
    assert not list(finished.command.folder.rglob("*.tmp"))


def test_output_corpus_is_the_whole_text(finished, corpus):
    written = (finished.output_dir / "corpus.txt").read_text(encoding="utf-8").splitlines()
    assert sorted(written) == sorted(corpus.read_text(encoding="utf-8").splitlines())


def test_training_metrics_have_every_key_of_the_contract(finished):
    metrics = json.loads((finished.output_dir / "training_metrics.json").read_bytes())
    assert set(metrics) == METRICS_KEYS
    assert set(metrics["final_metrics"]) >= FINAL_KEYS
    rows = metrics["epoch_history"]
    assert [row["step"] for row in rows] == [4, 8, 10]
    assert all(set(row) >= ROW_KEYS for row in rows)
    assert [len(row["sample_outputs"]) for row in rows] == [1, 1, 1]
    assert all(check["passed"] is not False for check in metrics["validation"])
    assert metrics["run_id"] == finished.document["run_id"]
    assert metrics["plan_id"] == finished.document["plan_id"]
    assert metrics["final_metrics"] == finished.document["final_metrics"]


def test_report_stands_alone(finished):
    html = (finished.output_dir / "report.html").read_text(encoding="utf-8")
    assert finished.document["run_id"][:12] in html
    # Whatever a browser would go and fetch.
    fetched = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", html) + re.findall(r"url\(\s*([^)]+)\)", html)
    assert [target for target in fetched if not target.startswith(("#", "data:"))] == []
    assert "@import" not in html


def test_loss_plot_is_a_png(finished):
    assert (finished.output_dir / "loss.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_same_command_again_reuses_everything_and_says_so(finished_copy, finished, corpus):
    again = finished_copy.run(corpus)
    assert set(again.document["reused"]) == {"data", "tokenizer", "training"}
    assert set(again.document) == DOCUMENT_KEYS
    assert again.document["run_id"] == finished.document["run_id"]
    assert again.document["weights_digest"] == finished.document["weights_digest"]
    assert again.document["final_metrics"] == finished.document["final_metrics"]
    assert again.err.count("reused") >= 3
    assert len(finished_copy.run_folders()) == 1


def test_report_lost_after_the_run_ended_is_written_again(finished_copy, corpus):
    (folder,) = finished_copy.run_folders()
    for name in ("report.html", "loss.png"):
        (folder / name).unlink()
    again = finished_copy.run(corpus)
    assert (folder / "report.html").is_file()
    assert (folder / "loss.png").is_file()
    assert {"report.html", "loss.png", "training_metrics.json"} <= set(again.document["artefacts"])


def test_plan_that_was_fulfilled_under_another_name_is_found_by_its_own(finished_copy, finished, corpus):
    again = finished_copy.run(corpus, "name=other")
    assert again.document["run_id"] == finished.document["run_id"]
    shown = finished_copy("runs", "show", "other@latest", "--json")
    assert shown.document["weights_digest"] == finished.document["weights_digest"]


def test_another_seed_reuses_data_and_tokenizer_alone(finished_copy, finished, corpus):
    other = finished_copy.run(corpus, "--seed=7")
    assert set(other.document["reused"]) == {"data", "tokenizer"}
    assert other.document["plan_id"] != finished.document["plan_id"]
    assert other.document["weights_digest"] != finished.document["weights_digest"]


def test_two_runs_of_one_plan_give_the_same_weights_and_events(finished_copy, finished, corpus):
    digest, _ = finished_copy.train_to_the_end(*finished_copy.run_words(corpus, "--retrain"))
    assert digest == finished.document["weights_digest"]
    (second,) = [folder for folder in finished_copy.run_folders() if folder.name != finished.run_folder.name]
    assert finished_copy.read_events(second) == finished.events_of_training
    assert len([event for event in finished.events_of_training if event["kind"] == "step"]) == 10


def test_another_workspace_gives_the_same_weights(command, finished, corpus):
    # Through a manifest, a folder of its own and other ways of saying the same: a plan is its numbers, not their spelling.
    (command.folder / "manifest.yaml").write_text(
        "train: {steps: 10, batch_size: 4}\nmodel: {hidden_size: 16, heads: 2}\n", encoding="utf-8"
    )
    elsewhere = command.folder / "elsewhere"
    other = command(
        "run",
        "manifest.yaml",
        "--framework=reference",
        f"--corpus={corpus}",
        *[setting for setting in command.small if not setting.startswith(("train.steps", "model.h", "--batch"))],
        "model.head_dim=8",
        f"--workspace={elsewhere}",
        "--json",
    )
    assert other.document["plan_id"] == finished.document["plan_id"]
    assert other.document["weights_digest"] == finished.document["weights_digest"]
    assert not command.workspace.exists()
    assert elsewhere.is_dir()


def test_without_json_a_person_gets_a_table_and_what_to_type_next(finished_copy, corpus):
    said = finished_copy("run", "--framework=reference", f"--corpus={corpus}", *finished_copy.small).out
    assert "held-out bits per byte" in said
    assert "report.html" in said
    assert "trainwright generate sentences@latest" in said


def test_skipped_corpus_must_be_there(command, corpus):
    error = command.run(corpus, "--skip-corpus", expect=2).error
    assert error["name"] == "dataset-missing"
    assert str(corpus) in error["message"]


def test_skipped_tokenizer_must_be_there(command, corpus):
    error = command.run(corpus, "--skip-tokenizer", expect=3).error
    assert error["name"] == "tokenizer-missing"
    assert "--skip-tokenizer" in error["next"]


def test_skipped_corpus_and_tokenizer_are_used_as_they_are(finished_copy, finished, tmp_path, corpus):
    # The source is gone, and still the plan is the same: its dataset is in the workspace.
    corpus_here = finished_copy.folder / corpus.name
    corpus_here.write_bytes(corpus.read_bytes())
    finished_copy("plan", "--framework=reference", f"--corpus={corpus_here}", *finished_copy.small, "--json")
    corpus_here.unlink()
    again = finished_copy.run(corpus_here, "--skip-corpus", "--skip-tokenizer")
    assert set(again.document["reused"]) == {"data", "tokenizer", "training"}
    assert again.document["plan_id"] == finished.document["plan_id"]


def test_existing_output_folder_is_refused_before_anything_is_begun(command, corpus):
    (command.folder / "out").mkdir()
    (command.folder / "out" / "mine.txt").write_text("keep me", encoding="utf-8")
    error = command.run(corpus, "--output-dir=out", expect=64).error
    assert error["name"] == "output-exists"
    assert "--overwrite" in error["next"]
    assert [path.name for path in (command.folder / "out").iterdir()] == ["mine.txt"]
    assert command.run_folders() == []


def test_overwrite_replaces_the_output_folder(finished_copy, corpus):
    (finished_copy.folder / "out" / "mine.txt").write_text("replace me", encoding="utf-8")
    finished_copy.run(corpus, "--output-dir=out", "--overwrite")
    names = {path.name for path in (finished_copy.folder / "out").iterdir()}
    assert names >= OUTPUT_FILES
    assert "mine.txt" not in names
    assert not [path for path in finished_copy.folder.iterdir() if path.name not in (".trainwright", "out")]


def test_overwrite_never_replaces_the_folder_that_holds_the_workspace(finished_copy, corpus):
    before = sorted(path.name for path in finished_copy.folder.iterdir())
    error = finished_copy.run(corpus, f"--output-dir={finished_copy.folder}", "--overwrite", expect=64).error
    assert error["name"] == "invalid-value"
    assert sorted(path.name for path in finished_copy.folder.iterdir()) == before


def test_a_file_where_the_output_folder_should_be_is_left_alone(finished_copy, corpus):
    (finished_copy.folder / "notes.txt").write_text("keep me", encoding="utf-8")
    error = finished_copy.run(corpus, "--output-dir=notes.txt", "--overwrite", expect=64).error
    assert error["name"] == "output-exists"
    assert (finished_copy.folder / "notes.txt").read_text(encoding="utf-8") == "keep me"


def test_failed_budget_is_named_and_everything_is_there_nevertheless(finished_copy, corpus):
    result = finished_copy.run(corpus, "budgets.model_file_mb=0.001", "--output-dir=small", expect=5)
    assert result.error["name"] == "budget-exceeded"
    assert "model file" in result.error["message"]
    assert {path.name for path in (finished_copy.folder / "small").iterdir()} >= OUTPUT_FILES
    metrics = json.loads((finished_copy.folder / "small" / "training_metrics.json").read_bytes())
    assert [row["name"] for row in metrics["validation"] if row["passed"] is False] == ["model file"]
    assert "model file" in (finished_copy.folder / "small" / "report.html").read_text(encoding="utf-8")


def test_time_budget_becomes_steps_and_many_passes_bring_dropout(finished_copy, corpus):
    """The length of the run, and with it the dropout that a step pays for, is known only after a first measurement."""
    measurements = finished_copy.workspace / "measurements"
    small = [word for word in finished_copy.small if not word.startswith("train.steps=")]
    words = ("plan", "--framework=reference", f"--corpus={corpus}", *small)
    short = finished_copy(*words, "train.steps=10", "--json").document["plan"]["training"]
    before = set(measurements.glob("*"))
    long = finished_copy(*words, "--time-budget=600s", "--json").document["plan"]["training"]
    assert (short["num_steps"], short["dropout"]) == (10, 0.0)
    assert long["num_steps"] > 10 * long["steps_per_epoch"]
    assert long["dropout"] == 0.2
    assert len(set(measurements.glob("*")) - before) == 2  # steps without dropout, and with it
