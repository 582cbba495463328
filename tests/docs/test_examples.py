"""The example manifests are good as they stand, and with each commented line put in."""

import re

import pytest

from trainwright.core.manifest import parse_manifest

EXAMPLES = ("stories.yaml", "books.yaml", "sft-arithmetic.yaml", "parity.yaml")


def test_every_example_is_tested(root):
    assert sorted(path.name for path in (root / "examples").iterdir()) == sorted(EXAMPLES)


def test_stories_example_is_the_default(root):
    assert parse_manifest(root / "examples" / "stories.yaml") == parse_manifest(None)


def test_books_example_trains_a_file_of_ones_own(root):
    manifest = parse_manifest(root / "examples" / "books.yaml")
    assert manifest.data.corpus == "books.txt"
    assert manifest.tokenizer.vocab_size == 8000
    assert manifest.train.epochs == 20


def test_arithmetic_example_reads_first_and_answers_then(root):
    manifest = parse_manifest(root / "examples" / "sft-arithmetic.yaml")
    assert (manifest.data.corpus, manifest.data.traces) == ("builtin:arithmetic", None)
    assert manifest.finetune.data.traces == "builtin:arithmetic"
    assert manifest.finetune.evaluate.items > 0


def test_parity_example_is_what_every_framework_can_do(root):
    manifest = parse_manifest(root / "examples" / "parity.yaml")
    assert (manifest.train.steps, manifest.train.dropout, manifest.train.optimizer.name) == (100, 0.0, "adamw")
    assert (manifest.compute.dtype, manifest.compute.compile, manifest.compute.threads) == ("float32", False, 1)


@pytest.mark.parametrize("name", EXAMPLES)
def test_commented_lines_of_an_example_can_be_put_in(root, tmp_path, name):
    text = (root / "examples" / name).read_text(encoding="utf-8")
    whole = re.sub(r"^( *)# ( *[a-z_0-9]+: *)", r"\1\2", text, flags=re.MULTILINE)
    path = tmp_path / name
    path.write_text(whole, encoding="utf-8")
    parsed = parse_manifest(path)
    assert (parsed != parse_manifest(root / "examples" / name)) == (whole != text)
