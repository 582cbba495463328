"""The command line itself: help that loads nothing heavy, usage errors in one shape, a reader that goes away."""

import os
import signal
import subprocess
import sys

import pytest

VERBS = ("run", "plan", "resume", "runs", "runs list", "runs show", "generate", "lineage", "export", "doctor")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--nosuch"], "--nosuch"),
        (["generate"], "ref"),
        (["run", "--steps=many"], "--steps"),
    ],
)
def test_usage_error_has_the_one_shape(command, words, said):
    person = command(*words, expect=64)
    assert person.out == ""
    assert person.err.startswith("error[usage]: ")
    assert said in person.err
    error = command(*words, "--json", expect=64).error
    assert error["name"] == "usage"
    assert said in error["message"]
    assert error["next"].startswith("trainwright ")
    assert error["next"].endswith("--help")
    assert not command.workspace.exists()


@pytest.mark.parametrize("words", [[], ["runs"]])
def test_no_command_shows_the_help_and_says_what_is_missing(command, words):
    result = command(*words, expect=64)
    assert "Usage: trainwright" in result.out
    assert "error[usage]: A command is missing." in result.err


def test_version_is_one_line(command):
    import trainwright

    assert command("--version").out == f"trainwright {trainwright.__version__}\n"


def test_help_of_every_verb_loads_nothing_heavy(command):
    # One process for all of them: each asks for its help, and what was imported by then is looked at in the end.
    program = """
import runpy, sys
for words in sys.argv[1:]:
    sys.argv = ["trainwright", *words.split(), "--help"]
    try:
        runpy.run_module("trainwright", run_name="__main__")
    except SystemExit as left:
        assert left.code == 0, (words, left.code)
heavy = ["torch", "numpy.linalg.lapack", "pyarrow", "sentencepiece", "tokenizers", "matplotlib", "sqlalchemy", "httpx",
         "transformers", "rich.live"]
print("LOADED", [name for name in heavy if name in sys.modules])
"""
    finished = subprocess.run(
        [sys.executable, "-c", program, "", *VERBS],
        cwd=command.folder,
        env=command.environment(None, None, True),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert finished.returncode == 0, finished.stderr
    assert "LOADED []" in finished.stdout, finished.stdout[-300:]
    for verb in VERBS:
        assert f"Usage: trainwright {verb}" in finished.stdout
    assert "completion" not in finished.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "sentences@latest", "The cat", "--max-tokens=50"],
        ["runs", "show", "sentences@latest", "--json"],
        ["lineage", "sentences@latest"],
        ["--help"],
    ],
)
def test_reader_that_goes_away_is_no_crash(finished, words):
    read, write = os.pipe()
    os.close(read)
    process = finished.command.start(*words, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    _, said = process.communicate(timeout=60)
    assert b"Traceback" not in said, said.decode()
    assert b"Exception ignored" not in said, said.decode()
    assert b"error[" not in said, said.decode()
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize("as_json", [False, True])
def test_run_is_complete_though_nobody_reads_what_it_prints(finished_copy, corpus, as_json):
    read, write = os.pipe()
    os.close(read)
    words = ["run", "--framework=reference", f"--corpus={corpus}", *finished_copy.small, "--output-dir=again"]
    process = finished_copy.start(*words, *(["--json"] if as_json else []), stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    _, said = process.communicate(timeout=60)
    assert b"Traceback" not in said, said.decode()
    assert process.returncode == 128 + signal.SIGPIPE
    assert (finished_copy.folder / "again" / "model.safetensors").is_file()


def test_terminal_that_closes_standard_error_does_not_end_the_run(finished_copy, corpus):
    read, write = os.pipe()
    os.close(read)
    words = ["run", "--framework=reference", f"--corpus={corpus}", *finished_copy.small, "--output-dir=again", "--json"]
    process = finished_copy.start(*words, stdout=subprocess.PIPE, stderr=write)
    os.close(write)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert b'"status": "completed"' in out


def test_workspace_can_be_named_by_the_environment(command, finished):
    environment = {"TRAINWRIGHT_WORKSPACE": str(finished.command.workspace)}
    (row,) = command("runs", "list", "--json", environment=environment).document["items"]
    assert row["run_id"] == finished.document["run_id"]
    assert not command.workspace.exists()
    elsewhere = command("runs", "list", "--json", f"--workspace={command.folder / 'ws'}", environment=environment)
    assert elsewhere.document == {"items": [], "next": None}
