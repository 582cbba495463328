"""What the README tells a reader to type does what it says; the guide is walked where its files are looked at, in
test_files.py: once is enough for the longest test there is."""

import json
import re
from pathlib import Path

import pytest

NUM_BOOK_CHARACTERS = 60_000


def write_book(folder: Path) -> None:
    """A text that a person might have: the beginning of Python's language reference."""
    from pydoc_data.topics import topics

    text = "\n\n".join(topics.values())[:NUM_BOOK_CHARACTERS]
    (folder / "book.txt").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def readme_folder(root, walk_page, tmp_path_factory):
    """A folder in which the README was followed, on a text of the reader's own."""
    folder = tmp_path_factory.mktemp("readme")
    write_book(folder)
    walk_page(root / "README.md", folder, tiny=True)
    return folder


def test_readme_commands_do_what_it_says(readme_folder):
    assert (readme_folder / "book-hf" / "config.json").is_file()


def test_make_targets_that_pages_name_exist(root, commands_of):
    targets = set(re.findall(r"^([\w-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {command.line.split()[1] for command in commands_of(root / "README.md") if command.line.startswith("make ")}
    assert asked == {"demo", "test"}
    named = set(re.findall(r"`make ([\w-]+)`", (root / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert asked | named <= targets


def test_tables_that_pages_show_have_the_rows_that_a_run_prints(root, readme_folder):
    stored = next(readme_folder.glob(".trainwright/runs/*/training_metrics.json"))
    checks = {check["name"] for check in json.loads(stored.read_bytes())["validation"]}
    for page in (root / "README.md", root / "docs" / "guide.md"):
        shown = set(re.findall(r"^│ (.+?) +│", page.read_text(encoding="utf-8"), re.MULTILINE))
        quality = {"held-out bits per byte", "held-out perplexity per token", "next-token accuracy"}
        assert shown == checks | quality, page.name


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", ["README.md"])  # the guide's full-size runs take longer than a check may
def test_pages_hold_as_they_stand(root, walk_page, tmp_path, page):
    write_book(tmp_path)
    walk_page(root / Path(page), tmp_path, tiny=False)
