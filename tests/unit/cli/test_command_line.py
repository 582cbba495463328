"""The door in this process: usage errors and settings that cannot be meant, in one shape, before anything is begun."""

import json
import signal
import sys

import pytest

from trainwright.cli import main as door
from trainwright.core.errors import DataError, InvalidValue


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Call `trainwright WORDS`: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRAINWRIGHT_WORKSPACE", raising=False)
    before = signal.getsignal(signal.SIGTERM)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["trainwright", *words])
        with pytest.raises(SystemExit) as left:
            door.main()
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    yield call
    signal.signal(signal.SIGTERM, before)


def read_error(answer):
    code, out, err = answer
    document = json.loads(out)
    assert set(document) == {"error"}
    assert set(document["error"]) == {"name", "message", "why", "next", "exit_code"}
    assert document["error"]["exit_code"] == code
    assert err.startswith(f"error[{document['error']['name']}]: ")
    assert "Traceback" not in err
    return document["error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--nosuch"], "--nosuch"),
        (["nosuch"], "nosuch"),
        (["generate"], "ref"),
        (["export", "model"], "output_dir"),
        (["run", "--steps=many"], "--steps"),
        (["runs", "list", "--limit=0"], "--limit"),
        (["export", "model", "out", "--to=nosuch"], "nosuch"),
        (["runs", "nosuch"], "nosuch"),
        (["generate", "model", "text", "--temperature=hot"], "--temperature"),
        (["generate", "model", "text", "--top-p=2"], "--top-p"),
    ],
)
def test_usage_error_is_said_in_the_one_shape(command, words, said, tmp_path):
    error = read_error(command(*words, "--json"))
    assert error["name"] == "usage"
    assert error["exit_code"] == 64
    assert said in error["message"]
    assert error["next"].startswith("trainwright ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "error_name", "said"),
    [
        (["lerning_rate=0.1"], "unknown-key", "learning_rate"),
        (["train.optimizer.lerning_rate=0.1"], "unknown-key", "train.optimizer.learning_rate"),
        (["train.optimizer.learning_rate=2"], "out-of-range", "1e-06–1"),
        (["--learning-rate=1e-9"], "out-of-range", "1e-06–1"),
        (["--batch-size=5000"], "out-of-range", "1–4096"),
        (["--vocab-size=100"], "out-of-range", "256–65535"),
        (["--max-seq-length=8"], "out-of-range", "32–8192"),
        (["--epochs=0"], "out-of-range", "1000"),
        (["--epochs=1001"], "out-of-range", "1000"),
        (["--steps=0"], "out-of-range", "1–"),
        (["--seed=-1"], "out-of-range", "0"),
        (["--time-budget=0"], "out-of-range", "0"),
        (["--time-budget=nan"], "invalid-value", "time_budget"),
        (["--time-budget=soon"], "invalid-value", "--time-budget"),
        (["train.batch_size=many"], "invalid-value", "many"),
        (["--preset=huge"], "invalid-value", "balanced"),
        (["--framework=nosuch"], "invalid-value", "reference"),
        (["train.epochs=2", "train.steps=2"], "invalid-value", "one length"),
        (["name=../up"], "invalid-value", "name"),
        (["train=5"], "invalid-value", "train"),
        (["=5"], "invalid-value", "override"),
        (["train.steps=[1"], "invalid-value", "train.steps"),
        (["train.steps=5", "nonsense"], "invalid-value", "nonsense"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "plan"])
def test_setting_that_cannot_be_meant_is_refused(command, verb, settings, error_name, said, tmp_path):
    error = read_error(command(verb, *settings, "--json"))
    assert error["name"] == error_name
    assert error["exit_code"] == 64
    assert said in " ".join([error["message"], error["why"], error["next"]])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "error_name"),
    [
        (None, "manifest-not-found"),
        (b"- one\n- two\n", "manifest-unreadable"),
        (b"train: {steps: 1\n", "manifest-unreadable"),
        (b"\xff\xfe\x00", "manifest-unreadable"),
        (b"train: {lerning_rate: 0.1}\n", "unknown-key"),
    ],
)
def test_file_that_is_no_manifest_is_refused(command, content, error_name, tmp_path):
    if content is not None:
        (tmp_path / "manifest.yaml").write_bytes(content)
    error = read_error(command("run", "manifest.yaml", "--json"))
    assert error["name"] == error_name
    assert not (tmp_path / ".trainwright").exists()


def test_fault_of_ours_has_its_own_name_code_and_the_traceback(command, monkeypatch):
    def fail(path, overrides=(), flags=None):
        raise RuntimeError("broken within")

    monkeypatch.setattr("trainwright.cli.manifest_options.parse_manifest", fail)
    code, out, err = command("run", "--json")
    assert code == 70
    assert json.loads(out)["error"]["name"] == "internal-error"
    assert "broken within" in json.loads(out)["error"]["message"]
    assert "Traceback" in err


def test_interruption_before_any_work_is_130(command, monkeypatch):
    def interrupt(path, overrides=(), flags=None):
        raise KeyboardInterrupt

    monkeypatch.setattr("trainwright.cli.manifest_options.parse_manifest", interrupt)
    error = read_error(command("run", "--json"))
    assert (error["name"], error["exit_code"]) == ("interrupted", 130)


def test_error_leaves_with_the_exit_code_of_its_class(command, monkeypatch):
    def fail(path, overrides=(), flags=None):
        raise DataError("No text.", why="There is none.", next_step="Give some.")

    monkeypatch.setattr("trainwright.cli.manifest_options.parse_manifest", fail)
    code, out, err = command("run")
    assert (code, out) == (2, "")
    assert err == "error[data]: No text.\n  why:  There is none.\n  next: Give some.\n"


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("2M", 120)])
def test_duration_is_read(text, seconds):
    from trainwright.cli.manifest_options import parse_duration

    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "5 days", "five"])
def test_duration_that_is_none_is_refused(text):
    from trainwright.cli.manifest_options import parse_duration

    with pytest.raises(InvalidValue, match="--time-budget"):
        parse_duration(text)


def test_length_given_as_a_flag_replaces_the_one_in_the_file(tmp_path):
    from trainwright.cli.manifest_options import read_manifest

    path = tmp_path / "manifest.yaml"
    path.write_text("train: {epochs: 3}\n", encoding="utf-8")
    train = read_manifest(str(path), None, time_budget=None, steps=7).train
    assert (train.steps, train.epochs, train.time_budget_s) == (7, None, None)
    train = read_manifest(str(path), None, time_budget="2m").train
    assert (train.steps, train.epochs, train.time_budget_s) == (None, None, 120)


def test_first_word_with_an_equals_sign_is_an_override():
    from trainwright.cli.manifest_options import read_manifest

    assert read_manifest("train.steps=20", ["seed=3"], time_budget=None).train.steps == 20
