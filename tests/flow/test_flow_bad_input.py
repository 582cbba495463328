"""What cannot be trained on, or cannot be written: the designed error, its exit code, and nothing half-written or lost."""

import os
import resource
import shutil

import pytest
import yaml

TEXT = b"A line of plain text that says nothing in particular.\n"


def require_nothing_begun(command):
    """No run, no output folder, no temporary file."""
    assert command.run_folders() == []
    assert not (command.folder / "out").exists()
    assert not list(command.folder.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("name", "content", "exit_code", "error_name", "said"),
    [
        ("empty.txt", b"", 2, "source-empty", "empty.txt"),
        ("blank.txt", b"\n \n\t\n", 2, "source-empty", "blank.txt"),
        ("short.txt", b"Too short to train on.\n", 2, "source-too-short", ""),
        ("image.txt", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 40, 2, "not-text", "image.txt"),
        ("latin.txt", TEXT * 40 + b"caf\xe9\n" + TEXT * 40, 2, "invalid-encoding", f"{len(TEXT) * 40 + 3}"),
        ("damaged.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03damaged", 2, "source-unreadable", "damaged.gz"),
        ("rows.jsonl", b'{"text": "one"}\n{"text": 5}\n', 2, "invalid-row", "rows.jsonl"),
    ],
)
def test_unusable_source_is_named(command, name, content, exit_code, error_name, said):
    (command.folder / name).write_bytes(content)
    error = command.run(name, "--output-dir=out", expect=exit_code).error
    assert error["name"] == error_name
    told = " ".join([error["message"], error["why"]])
    assert said in told
    if error_name == "invalid-encoding":
        assert name in told
    assert error["next"]
    require_nothing_begun(command)
    assert (command.folder / name).read_bytes() == content


def test_missing_source_is_answered_with_the_nearest_name(command):
    (command.folder / "sentences.txt").write_bytes(TEXT)
    error = command.run("sentense.txt", expect=2).error
    assert error["name"] == "source-not-found"
    assert "sentences.txt" in error["next"]


def test_text_shorter_than_one_window_is_refused(command, corpus):
    lines = corpus.read_text(encoding="utf-8").splitlines()[:200]
    (command.folder / "part.txt").write_text("\n".join(lines), encoding="utf-8")
    error = command.run("part.txt", "--max-seq-length=8192", expect=2).error
    assert error["name"] == "source-too-short"
    assert "8193" in error["message"]
    assert "--max-seq-length" in error["next"]
    require_nothing_begun(command)


def test_vocabulary_larger_than_the_text_allows_is_refused(command, corpus):
    error = command.run(corpus, "tokenizer.vocab_size=20000", expect=3).error
    assert error["name"] == "vocabulary-too-large"
    assert "--vocab-size" in error["next"]
    require_nothing_begun(command)


@pytest.mark.parametrize(
    ("settings", "error_name", "said"),
    [
        (["train.optimizer.lerning_rate=0.1"], "unknown-key", "train.optimizer.learning_rate"),
        (["--batch-size=5000"], "out-of-range", "1–4096"),
        (["model.heads=3", "model.kv_heads=2"], "invalid-value", "kv_heads"),
    ],
)
def test_setting_that_cannot_be_meant_is_refused(command, corpus, settings, error_name, said):
    error = command.run(corpus, *settings, expect=64).error
    assert error["name"] == error_name
    assert said in " ".join([error["message"], error["why"], error["next"]])
    require_nothing_begun(command)


def test_mistyped_key_in_a_manifest_is_answered_with_the_right_one(command):
    (command.folder / "typo.yaml").write_text("train: {lerning_rate: 0.1}\n", encoding="utf-8")
    error = command("run", "typo.yaml", "--json", expect=64).error
    assert error["name"] == "unknown-key"
    assert "learning_rate" in error["why"]
    require_nothing_begun(command)


def test_without_torch_the_pip_command_is_named(command, corpus):
    words = [f"--corpus={corpus}", *command.small]
    for framework in ([], ["--framework=torch"]):
        error = command("run", *words, *framework, "--json", expect=1).error
        assert error["name"] == "package-missing"
        assert "pip install 'trainwright[torch]'" in error["next"]
    require_nothing_begun(command)


def test_of_an_order_of_preference_what_is_missing_is_passed_over_and_named(command, corpus):
    words = ["plan", f"--corpus={corpus}", *command.small, "--json"]
    planned = command(*words, "compute.framework=[torch, reference]")
    assert planned.document["plan"]["compute"]["framework"] == "reference"
    why = "the package torch is not installed (pip install 'trainwright[torch]')"
    assert f"torch was passed over: {why}" in planned.err
    assert planned.document["choice"]["passed_over"] == [{"framework": "torch", "problem": why}]
    assert "falling back to reference" in planned.err
    shown = command(*words[:-1], "compute.framework=[torch, reference]").out
    assert shown.startswith("# reference: the only candidate\n#   framework  dtype ")
    assert "taken, not measured: the only candidate" in shown
    assert why in next(line for line in shown.splitlines() if line.startswith("#   torch "))
    assert yaml.safe_load(shown)["choice"] == planned.document["choice"]  # the table is a comment
    error = command(*words, "compute.framework=[tinygrad, torch]", expect=4).error
    assert error["name"] == "unsupported-plan"
    assert f"torch: {why}" in error["why"]


def pretend(command, **packages):
    """The environment of a child that finds these packages before any other, with what they hold."""
    folder = command.folder / "packages"
    for name, text in packages.items():
        path = folder / name / "__init__.py"
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    return {"PYTHONPATH": f"{folder}:{command.environment(None)['PYTHONPATH']}"}


def pretend_tunix(command, version, **packages):
    environment = pretend(command, tunix="", **packages)
    said = command.folder / "packages" / f"google_tunix-{version}.dist-info" / "METADATA"
    said.parent.mkdir()
    said.write_text(f"Metadata-Version: 2.1\nName: google-tunix\nVersion: {version}\n", encoding="utf-8")
    return environment


def test_tunix_of_another_version_is_refused_by_the_plan(command, corpus):
    environment = pretend_tunix(command, "0.3.0")
    words = ("plan", f"--corpus={corpus}", *command.small, "--framework=tunix", "--json")
    error = command(*words, expect=1, torch=True, environment=environment).error
    assert (error["name"], error["next"]) == ("package-missing", "pip install 'trainwright[tunix]'")
    assert "Tunix 0.3.0 is installed" in error["message"]
    assert "0.1.7 on, below 0.2" in error["why"]


def test_tunix_without_jax_and_jax_without_tunix_are_refused_with_the_extra_that_brings_both(command, corpus):
    words = ("plan", f"--corpus={corpus}", *command.small, "--framework=tunix", "--json")
    lacking = "raise ModuleNotFoundError(\"No module named 'jax'\")"
    environment = pretend_tunix(command, "0.1.7", jax=lacking)
    error = command(*words, expect=1, torch=True, environment=environment).error
    assert (error["name"], error["next"]) == ("package-missing", "pip install 'trainwright[tunix]'")
    assert "tunix is installed and cannot be imported" in error["message"]
    assert error["why"] == "No module named 'jax'"

    (command.folder / "packages" / "jax" / "__init__.py").write_text("")
    error = command(*words, expect=1, environment=environment).error  # tunix is hidden
    assert error["name"] == "package-missing"
    assert "tunix, which is not installed" in error["message"]
    assert error["next"].startswith("pip install 'trainwright[tunix]'")


def prefix_without_privileges() -> tuple[str, ...]:
    """Words before a command that make permissions count for it (they do not for the administrator)."""
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("running as root, for whom permissions do not count, and there is no setpriv to become less")
    without = "-dac_override,-dac_read_search"
    return (setpriv, f"--bounding-set={without}", f"--inh-caps={without}")


@pytest.fixture
def read_only(tmp_path):
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


def test_read_only_workspace_is_refused(command, corpus, read_only):
    error = command.run(corpus, f"--workspace={read_only / 'ws'}", prefix=prefix_without_privileges(), expect=1).error
    assert error["name"] == "not-writable"
    assert "--workspace" in error["next"]
    assert list(read_only.iterdir()) == []


def test_read_only_target_is_refused_before_anything_is_begun(command, corpus, read_only):
    for target in (read_only / "out", read_only / "deep" / "out"):
        error = command.run(corpus, f"--output-dir={target}", prefix=prefix_without_privileges(), expect=1).error
        assert error["name"] == "not-writable"
        assert str(read_only) in error["message"]
    assert list(read_only.iterdir()) == []
    assert command.run_folders() == []


def limit_file_size(num_bytes: int):
    """Files may not grow beyond this in the child: the nearest thing to a full disk that needs no disk."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))

    return limit


@pytest.mark.parametrize("num_bytes", [5_000, 40_000])
def test_full_disk_under_the_workspace_is_said_and_the_next_run_is_whole(command, finished, corpus, num_bytes):
    error = command.run(corpus, "--output-dir=out", preexec_fn=limit_file_size(num_bytes), expect=1).error
    assert error["name"] in ("disk-full", "ledger-unavailable")
    assert error["next"]
    assert not (command.folder / "out").exists()
    if num_bytes == 40_000:
        digest, _ = command.train_to_the_end(*command.run_words(corpus))
        assert digest == finished.document["weights_digest"]


def test_full_target_keeps_the_run_and_leaves_no_half_folder(finished_copy, finished, corpus):
    # The plot is the largest file that is copied out; nothing that large is written below the workspace again.
    limit = (finished.output_dir / "loss.png").stat().st_size - 1
    error = finished_copy.run(corpus, "--output-dir=full", preexec_fn=limit_file_size(limit), expect=1).error
    assert error["name"] == "disk-full"
    assert "full" in error["message"]
    assert not [path for path in finished_copy.folder.iterdir() if path.name not in (".trainwright", "out")]
    assert (
        finished_copy.run(corpus, "--output-dir=full").document["weights_digest"] == finished.document["weights_digest"]
    )


def test_full_target_leaves_the_folder_that_was_to_be_replaced(finished_copy, corpus, finished):
    limit = (finished.output_dir / "loss.png").stat().st_size - 1
    before = {path.name: path.read_bytes() for path in (finished_copy.folder / "out").iterdir()}
    finished_copy.run(corpus, "--output-dir=out", "--overwrite", preexec_fn=limit_file_size(limit), expect=1)
    assert {path.name: path.read_bytes() for path in (finished_copy.folder / "out").iterdir()} == before


def test_workspace_that_is_a_file_is_refused(command, corpus):
    (command.folder / "notes.txt").write_text("keep me", encoding="utf-8")
    error = command.run(corpus, "--workspace=notes.txt", expect=1).error
    assert error["name"] == "not-writable"
    assert (command.folder / "notes.txt").read_text(encoding="utf-8") == "keep me"


def test_damaged_ledger_is_named(finished_copy, corpus):
    ledger = finished_copy.workspace / "ledger.sqlite"
    for beside in finished_copy.workspace.glob("ledger.sqlite-*"):
        beside.unlink()
    ledger.write_bytes(b"this is no database at all, and long enough to be taken for one" * 100)
    for words in (["runs", "list", "--json"], ["generate", "sentences@latest", "--json"]):
        assert finished_copy(*words, expect=1).error["name"] == "ledger-unavailable"


def test_damaged_model_is_not_used(finished_copy, corpus):
    (folder,) = finished_copy.run_folders()
    path = folder / "checkpoints" / "step-00000010" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    for words in (["generate", "sentences@latest", "The"], ["export", "sentences@latest", "hf"]):
        assert finished_copy(*words, "--json", expect=4).error["name"] == "checkpoint-damaged"
    assert not (finished_copy.folder / "hf").exists()
    assert finished_copy.run(corpus, expect=4).error["name"] == "checkpoint-damaged"


def test_damaged_object_is_not_trained_on(finished_copy, corpus):
    for path in [path for path in (finished_copy.workspace / "objects").rglob("*") if path.is_file()]:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    error = finished_copy.run(corpus, "--seed=5", expect=2).error
    assert error["name"] in ("object-damaged", "object-missing")
