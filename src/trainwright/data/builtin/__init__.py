"""Corpora that need no network, made by the project's own code: the same text on every machine.

The functions here only choose and describe; each corpus has its module.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright.core import seeds
from trainwright.core.hashing import digest_file, digest_json
from trainwright.data.builtin import arithmetic, python_docs, stories


@dataclass(frozen=True)
class BuiltinCorpus:
    """A corpus that is made, not fetched. `settings` says what its text depends on, for a dataset's recipe."""

    name: str
    description: str
    iter_documents: Callable[[], Iterator[str]]
    settings: Callable[[], dict[str, Any]]

    def key(self) -> str:
        """Equal where a copy made earlier is still what would be made now: settings, interpreter and code are equal."""
        code = [*sorted(Path(__file__).parent.glob("*.py")), Path(seeds.__file__)]
        digests = {path.name: digest_file(path) for path in code}
        return digest_json({"name": self.name, "settings": self.settings(), "python": sys.version, "code": digests})


BUILTIN_CORPORA: dict[str, BuiltinCorpus] = {
    corpus.name: corpus
    for corpus in (
        BuiltinCorpus("stories", "Short stories in simple English.", stories.iter_stories, stories.describe_settings),
        BuiltinCorpus(
            "python-docs",
            "The English text of the running Python's own documentation.",
            python_docs.iter_python_docs,
            python_docs.describe_settings,
        ),
        BuiltinCorpus(
            "arithmetic",
            "Worked sums and word problems with checkable answers.",
            arithmetic.iter_arithmetic_documents,
            arithmetic.describe_settings,
        ),
    )
}
"""Every builtin corpus by the name after `builtin:`."""
