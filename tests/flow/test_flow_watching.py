"""Looking at runs while they go on and after: plots, watching, comparing; and trackers that misbehave."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

PNG = b"\x89PNG\r\n\x1a\n"


# ── runs show ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_curves_are_drawn_in_the_terminal(finished):
    said = finished.command("runs", "show", "sentences@latest", "--plot").out
    for title in ("loss, nats per token", "learning rate", "gradient norm"):
        assert title in said
    assert re.search("[\u2801-\u28ff]", said)


def test_curves_are_drawn_into_a_file(finished, tmp_path):
    finished.command("runs", "show", "sentences@latest", "--output", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    error = finished.command("runs", "show", "sentences@latest", "--output", "curves.gif", "--json", expect=64).error
    assert error["name"] == "invalid-value"
    assert ".png" in error["why"]


def test_curves_and_layers_come_as_json(finished):
    document = finished.command("runs", "show", "sentences@latest", "--plot", "--layers", "--json").document
    loss = next(chart for chart in document["curves"] if chart["name"] == "loss")
    assert loss["curves"]["training"]["steps"] == list(range(1, 11))
    assert "layers" in document


# ── runs watch ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_finished_run_is_shown_to_its_end(finished):
    said = finished.command("runs", "watch", "sentences@latest").out
    assert "validation at step 8" in said
    assert "is completed, at step 10 of 10" in said


def test_watching_answers_with_one_document(finished):
    result = finished.command("runs", "watch", "sentences@latest", "--json")
    assert result.document["status"] == "completed"
    assert result.document["step"] == 10
    assert result.document["loss"] > 0
    assert "validation at step 8" in result.err


def test_interrupted_run_is_shown_as_far_as_it_came(stopped):
    assert stopped("runs", "watch", stopped_id(stopped), "--json").document["status"] == "interrupted"


def test_ctrl_c_ends_the_watching_and_not_the_run(command, corpus, at_instant):
    """The run holds still in its fifth step until it has been watched."""
    words = command.run_words(corpus)
    instant = at_instant("STOP", 1, '"kind":"step","step":5,')
    run = command.start(*words, instant=instant, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        os.waitid(os.P_PID, run.pid, os.WSTOPPED | os.WNOWAIT)
        watching = command.start("runs", "watch", stopped_id(command), stdout=subprocess.PIPE)
        assert watching.stdout is not None
        seen = watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        rest, _ = watching.communicate(timeout=60)
        assert watching.returncode == 0
        assert b"is running and goes on, at step 4 of 10" in seen + rest
    finally:
        run.send_signal(signal.SIGCONT)
        said, _ = run.communicate(timeout=120)
    assert run.returncode == 0
    assert json.loads(said)["status"] == "completed"


def stopped_id(command):
    (folder,) = command.run_folders()
    return folder.name.rpartition("-")[2]


# ── runs compare ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def two_runs(finished, tmp_path_factory, corpus):
    """The finished run and one with another rate and tokenizer, in one workspace."""
    import shutil

    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(finished.command.folder, folder / "copy")
    command = type(finished.command)(folder / "copy")
    settings = ("--learning-rate=0.005", "tokenizer.algorithm=bpe", "tokenizer.vocab_size=auto", "name=other")
    command.run(corpus, *settings)
    return command


def test_runs_are_compared_key_by_key(two_runs):
    document = two_runs("runs", "compare", "sentences@latest", "other@latest", "--json").document
    rows = {row["key"]: row["values"] for row in document["configuration"]}
    assert rows["training.optimizer.learning_rate"][1] == 0.005
    assert rows["tokenizer.algorithm"] == ["unigram", "bpe"]
    assert "seed" not in rows
    assert document["environment"] == []


def test_with_other_tokenizers_only_bits_per_byte_are_compared(two_runs):
    document = two_runs("runs", "compare", "sentences@latest", "other@latest", "--json").document
    comparable = {metric["name"]: metric["comparable"] for metric in document["metrics"]}
    assert comparable["bits_per_byte"]
    assert not comparable["val_loss"]
    assert not comparable["perplexity"]
    assert [chart["name"] for chart in document["curves"]] == ["bits_per_byte"]
    assert "The tokenizers differ" in two_runs("runs", "compare", "sentences@latest", "other@latest").out


def test_comparison_is_written_as_a_page_and_as_a_picture(two_runs, tmp_path):
    for name in ("page.html", "picture.png"):
        two_runs("runs", "compare", "sentences@latest", "other@latest", "--output", tmp_path / name)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 2
    assert "src=" not in page
    assert (tmp_path / "picture.png").read_bytes().startswith(PNG)


def test_comparison_takes_two_runs(finished):
    error = finished.command("runs", "compare", "sentences@latest", "sentences@latest", "--json", expect=64).error
    assert error["name"] == "invalid-value"


# ── trackers ──────────────────────────────────────────────────────────────────────────────────────────────────────────
FAKES = {
    "tensorboard": "import time\ntime.sleep(1e6)",
    "wandb": "raise RuntimeError('no luck today')",
    "mlflow": "raise ModuleNotFoundError('no mlflow', name='mlflow')",
}
"""One package hangs for ever, one raises, one is not there."""


@pytest.fixture
def misbehaving(command, tmp_path):
    """The environment of a machine on which every tracker misbehaves."""
    for name, text in FAKES.items():
        package = tmp_path / "fakes" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(text, encoding="utf-8")
    return {"PYTHONPATH": f"{tmp_path / 'fakes'}:{command.environment(None)['PYTHONPATH']}"}


@pytest.mark.slow  # many processes, one after the other
def test_trackers_that_hang_die_or_are_missing_cost_the_run_nothing(command, finished, corpus, misbehaving):
    result = command.run(corpus, "watch.trackers=[tensorboard,wandb,mlflow]", environment=misbehaving)
    assert result.document["weights_digest"] == finished.document["weights_digest"]
    assert result.document["plan_id"] == finished.document["plan_id"]
    assert command.events() == finished.command.events()
    # Each is said once.
    assert result.err.count("tracker tensorboard: it had not ended 5 s after the run") == 1
    assert result.err.count("tracker wandb: RuntimeError: no luck today") == 1
    assert result.err.count("tracker mlflow: The tracker mlflow is not installed.") == 1
    assert "pip install 'trainwright[mlflow]'" in result.err
    (folder,) = command.run_folders()
    states = {name: json.loads((folder / "trackers" / f"{name}.json").read_bytes()) for name in FAKES}
    assert {name: state["status"] for name, state in states.items()} == {
        "tensorboard": "behind", "wandb": "failed", "mlflow": "failed",
    }  # fmt: skip
    error = command("runs", "track", "sentences@latest", "--tracker=wandb", "--json", environment=misbehaving, expect=1)
    assert error.error["name"] == "tracker-failed"
    assert "no luck today" in error.error["why"]


def test_run_without_trackers_leaves_no_trace_of_them(finished):
    assert not (finished.run_folder / "trackers").exists()
    assert not (finished.run_folder / "watch.json").exists()


def test_standard_error_that_nobody_reads_holds_up_no_run(command, corpus):
    """A terminal that is held, a pipe whose reader sleeps: what is said cannot be written, and the run ends all the same."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    run = command.start(*command.run_words(corpus), stdout=subprocess.PIPE, stderr=writing)
    os.close(writing)
    said, _ = run.communicate(timeout=120)
    os.close(reading)
    assert run.returncode == 0
    assert Path(json.loads(said)["run_dir"]).is_dir()
