"""What README and guide tell a reader to type does what they say."""

import re
from pathlib import Path

import pytest

NUM_BOOK_CHARACTERS = 60_000


@pytest.fixture
def book_folder(tmp_path):
    """A folder with a text that a person might have: the beginning of Python's language reference."""
    from pydoc_data.topics import topics

    text = "\n\n".join(topics.values())[:NUM_BOOK_CHARACTERS]
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    return tmp_path


def test_readme_commands_do_what_it_says(root, walk_page, book_folder):
    walk_page(root / "README.md", book_folder, tiny=True)
    assert (book_folder / "book-hf" / "config.json").is_file()


def test_guide_commands_do_what_it_says(guide_folder):
    assert (guide_folder / "out" / "model.safetensors").is_file()
    assert (guide_folder / "manual-hf" / "config.json").is_file()


def test_make_targets_that_pages_name_exist(root, commands_of):
    targets = set(re.findall(r"^([\w-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {command.line.split()[1] for command in commands_of(root / "README.md") if command.line.startswith("make ")}
    assert asked == {"demo", "test"}
    named = set(re.findall(r"`make ([\w-]+)`", (root / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert asked | named <= targets


def test_tables_that_pages_show_have_the_rows_that_a_run_prints(root, guide_folder):
    import json

    stored = next((guide_folder / "out").glob("training_metrics.json"))
    checks = {check["name"] for check in json.loads(stored.read_bytes())["validation"]}
    for page in (root / "README.md", root / "docs" / "guide.md"):
        shown = set(re.findall(r"^│ (.+?) +│", page.read_text(encoding="utf-8"), re.MULTILINE))
        quality = {"held-out bits per byte", "held-out perplexity per token", "next-token accuracy"}
        assert shown == checks | quality, page.name


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", ["README.md"])  # the guide's full-size runs take longer than a check may
def test_pages_hold_as_they_stand(root, walk_page, book_folder, page):
    walk_page(root / Path(page), book_folder, tiny=False)
