"""The English text of the running Python's own documentation: language topics and the standard library's docstrings.

Nothing of the library is imported to be read: docstrings come from the source files through `ast`. The text is the same
wherever the same Python is installed, and its version is in the settings.
"""

import ast
import platform
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainwright.core.errors import SourceNotFound

_LEFT_OUT_FOLDERS = {
    "__pycache__", "_pyrepl", "dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test",
    "tests", "turtledemo", "lib-dynload",
}  # fmt: skip
_LEFT_OUT_PREFIXES = ("config-", "_sysconfigdata")  # made on the machine where this Python was built

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def describe_settings() -> dict[str, Any]:
    """What the text depends on."""
    return {"python": f"{platform.python_implementation()} {platform.python_version()}"}


def iter_python_docs() -> Iterator[str]:
    """One document a language topic, then one a module; both sorted by name.

    Raises SourceNotFound where this Python was installed without its sources.
    """
    yield from _iter_topics()
    folder = Path(sysconfig.get_path("stdlib"))
    num_modules = 0
    for path in _iter_module_files(folder):
        if text := _read_module(path, _module_name(path.relative_to(folder))):
            num_modules += 1
            yield text
    if not num_modules:
        raise SourceNotFound(
            "This Python has no documentation to read.",
            why=f"There are no source files with docstrings in {folder}: it was installed without sources.",
            next_step="Use another corpus, for example builtin:stories, or a Python with its full standard library.",
        )


def _iter_topics() -> Iterator[str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions package it apart; the modules' docstrings remain
        return
    for name in sorted(topics):
        if text := topics[name].strip():
            yield text + "\n"


def _iter_module_files(folder: Path) -> Iterator[Path]:
    files = []
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).parts
        if not any(part in _LEFT_OUT_FOLDERS or part.startswith(_LEFT_OUT_PREFIXES) for part in parts):
            files.append(path)
    return iter(sorted(files, key=lambda path: path.relative_to(folder).as_posix()))


def _module_name(relative: Path) -> str:
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _read_module(path: Path, name: str) -> str:
    """The module's docstrings with their headings, or "" where it has none."""
    with tokenize.open(path) as file:  # honours a source file's own encoding line
        source = file.read()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in the library's own older files are not our user's business
        tree = ast.parse(source)
    sections = list(_iter_sections(tree, f"Module {name}"))
    return "\n\n".join(sections) + "\n" if sections else ""


def _iter_sections(node: _Documented, heading: str, owner: str = "") -> Iterator[str]:
    docstring = ast.get_docstring(node, clean=True)
    if docstring and docstring.strip():
        yield f"{heading}\n\n{docstring.strip()}"
    for child in node.body:
        if isinstance(child, ast.ClassDef):
            yield from _iter_sections(child, f"class {owner}{child.name}", f"{owner}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _iter_sections(child, f"{owner}{child.name}({ast.unparse(child.args)})", f"{owner}{child.name}.")
