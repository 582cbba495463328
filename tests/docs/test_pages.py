"""Links lead somewhere, and the project speaks of itself alone."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/guide.md", "docs/manifest.md")
PAGES += ("docs/errors.md", "docs/commands.md", "docs/files.md", "docs/rest.md", "docs/service.md", "docs/parity.md")

# A letter in brackets keeps a pattern from finding itself here.
FOREIGN = {
    "a folder of one machine": r"(?<![\w.])/w[o]rk\b",
    "a folder beside the repository": r"\bs[h]ared/",
    "an issue's number": r"(?i)\bi[s]sues? #?\d",
    "who wrote it, and when": r"(?i)\b(this|previous|earlier|next|last) s[e]ssion\b|\bf[o]under\b",
}


def list_files(root: Path) -> list[Path]:
    """Every file that is tracked, or would be with the next commit."""
    if not (root / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout, so there is no list of tracked files")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
        text=True,
    )
    # .ci/ is for the machine that runs it, and says where that one keeps real text.
    names = [name for name in listed.stdout.split("\0") if name and not name.startswith(".ci/")]
    return [root / name for name in names if (root / name).is_file()]


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def read_prose(path: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_every_page_is_tested(root):
    found = {path.relative_to(root).as_posix() for folder in (root, root / "docs") for path in folder.glob("*.md")}
    assert found == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(root, page):
    path = root / page
    for target in re.findall(r"\]\(([^)\s]+)\)", read_prose(path)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), f"{page} links to {target}"
        if anchor:
            anchors = [slug(heading) for heading in re.findall(r"^#+ (.+)$", read_prose(linked), re.MULTILINE)]
            assert anchor in anchors, f"{page} links to {target}"


def test_every_page_is_reached_from_the_readme(root):
    reached, pending = set(), [root / "README.md"]
    while pending:
        path = pending.pop()
        if path in reached or path.suffix != ".md" or not path.is_file():
            continue
        reached.add(path)
        for target in re.findall(r"\]\(([^)#\s]+)", read_prose(path)):
            pending.append((path.parent / target).resolve())
    assert {path.relative_to(root).as_posix() for path in reached} == set(PAGES)


def test_paths_that_pages_name_exist(root):
    for page in ("ARCHITECTURE.md", "CONTRIBUTING.md"):
        for name in re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", (root / page).read_text(encoding="utf-8")):
            places = (root / name, root / "src" / "trainwright" / name, root / "tests" / name)
            assert any(place.exists() for place in places), f"{page} names {name}"


def test_architecture_names_every_room(root):
    package = root / "src" / "trainwright"
    rooms = {path.name for path in package.iterdir() if (path / "__init__.py").is_file()}
    listed = set(re.findall(r"^\| `(\w+)/` \|", (root / "ARCHITECTURE.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == rooms


def test_changelog_has_the_version(root):
    from trainwright import __version__

    assert f"\n## [{__version__}]" in (root / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("what", FOREIGN)
def test_no_file_speaks_of_where_it_was_made(root, what):
    found = []
    for path in list_files(root):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if re.search(FOREIGN[what], line):
                found.append(f"{path.relative_to(root)}:{number}: {line.strip()[:80]}")
    assert found == [], what


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a folder of one machine", "see /w~ork/main"),
        ("a folder beside the repository", "../s~hared/data"),
        ("an issue's number", "as i~ssue #12 says"),
        ("who wrote it, and when", "the f~ounder decides"),
        ("who wrote it, and when", "left by an earlier s~ession"),
    ],
)
def test_foreign_words_are_recognised(what, text):
    assert re.search(FOREIGN[what], text.replace("~", ""))
    assert not re.search(FOREIGN[what], text)
