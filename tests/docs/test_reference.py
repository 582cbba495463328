"""The generated pages are what the code says now, and leave nothing out."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from trainwright.cli.main import VERBS
from trainwright.core.errors import TrainwrightError, iter_error_classes
from trainwright.core.manifest import Manifest, Section, iter_manifest_keys


@pytest.fixture(scope="module")
def reference(root):
    spec = importlib.util.spec_from_file_location("write_reference", root / "scripts" / "write_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_page(root: Path, name: str) -> str:
    return (root / "docs" / name).read_text(encoding="utf-8")


def test_generated_pages_are_not_stale(reference):
    assert reference.find_stale_pages() == [], "run: python scripts/write_reference.py"


def test_stale_and_missing_pages_are_found(reference, tmp_path):
    (tmp_path / "errors.md").write_text(reference.render_errors_page() + "more\n", encoding="utf-8")
    (tmp_path / "manifest.md").write_text(reference.render_manifest_page(), encoding="utf-8")
    assert reference.find_stale_pages(tmp_path) == ["errors.md", "commands.md", "rest.md", "openapi.json"]


def test_check_writes_nothing_and_fails_where_a_page_is_stale(reference, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reference.find_stale_pages, "__defaults__", (tmp_path,))
    monkeypatch.setattr(sys, "argv", ["write_reference.py", "--check"])
    assert reference.main() == 1
    assert "docs/errors.md is stale" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_key_without_a_meaning_is_refused(reference, monkeypatch):
    monkeypatch.delitem(reference.MEANINGS, "train.batch_size")
    with pytest.raises(KeyError, match=r"train\.batch_size"):
        reference.render_manifest_page()


def test_meaning_without_a_key_is_refused(reference, monkeypatch):
    monkeypatch.setitem(reference.MEANINGS, "train.patience", "Gone.")
    with pytest.raises(KeyError, match=r"train\.patience"):
        reference.render_manifest_page()


def test_ranges_and_types_are_those_of_the_manifest(root):
    page = read_page(root, "manifest.md")
    assert "| `train.batch_size` | integer | `32` | ≥ 1, ≤ 4,096 |" in page
    assert "| `train.optimizer.beta1` | number | `0.8` | ≥ 0, < 1 |" in page
    assert "| `tokenizer.vocab_size` | integer or `auto` | `auto` | ≥ 256, ≤ 65,535 |" in page
    assert "| `data.validation` | text or `null` | `null` |" in page


def test_every_manifest_key_is_documented(root):
    page = read_page(root, "manifest.md")
    keys = list(iter_manifest_keys())
    assert len(keys) > 50
    undocumented = [key for key in keys if f"| `{key}` |" not in page and f"# `{key}`" not in page]
    assert undocumented == []


def test_every_section_says_what_it_is():
    def iter_sections(section: type[Section]):
        yield section
        for field in section.model_fields.values():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                yield from iter_sections(field.annotation)

    assert [section.__name__ for section in iter_sections(Manifest) if not section.__dict__.get("__doc__")] == []


def test_every_error_has_a_name_of_its_own_in_kebab_case_and_a_meaning():
    classes = list(iter_error_classes())
    names = [error_class.name for error_class in classes]
    assert sorted(set(names)) == sorted(names)
    for error_class in classes:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", error_class.name), error_class
        assert "name" in error_class.__dict__, f"{error_class} has its parent's name"
        assert error_class.__dict__.get("__doc__"), f"{error_class} has its parent's docstring"


def test_every_error_is_documented_with_its_exit_code_and_status(root):
    page = read_page(root, "errors.md")
    for error_class in iter_error_classes():
        if error_class is not TrainwrightError:
            row = f"| `{error_class.name}` | {error_class.exit_code} | {error_class.http_status} | "
            assert page.count(row) == 1, error_class


def test_every_error_stands_in_the_tree_of_the_module(root):
    from trainwright.core import errors

    tree = set(re.findall(r"[A-Z]\w+", errors.__doc__ or ""))
    assert {error_class.__name__ for error_class in iter_error_classes()} <= tree


def test_every_verb_argument_and_option_is_documented(root, reference):
    page = read_page(root, "commands.md")
    for verb in VERBS:
        command = reference.open_command(verb)
        for name, leaf in getattr(command, "commands", {verb: command}).items():
            path = verb if name == verb else f"{verb} {name}"
            section = re.split(r"^#{2,3} ", page.partition(f"# trainwright {path}\n")[2], flags=re.MULTILINE)[0]
            assert leaf.help, path
            assert section.strip(), f"trainwright {path} is not documented"
            for param in leaf.params:
                expected = param.opts[0] if param.param_type_name == "option" else param.name.upper()
                if param.nargs == -1:
                    expected = "key=value …" if param.name == "overrides" else f"{expected} …"
                assert re.search(rf"`\[?{re.escape(expected)}[\s`\]]", section), f"{path}: {expected}"
                assert param.help, f"{path}: {expected} has no help"
