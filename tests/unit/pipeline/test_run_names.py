"""A run is named after its corpus, by a name that is safe in a path and in a ref."""

import pytest

from trainwright.pipeline.run import name_of
from trainwright.store.ledger import require_ref_name


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("builtin:stories", "stories"),
        ("books/emma.txt", "emma"),
        ("books/", "books"),
        ("books/*", "books"),
        ("https://example.org/texts/emma.txt.gz", "emma"),
        ("my book.txt", "my-book"),
        ("...", "model"),
        ("_private.txt", "private"),
        ("日本語.txt", "model"),
        ("x" * 100, "x" * 64),
    ],
)
def testname_of_a_corpus(corpus, name):
    assert name_of(corpus) == name
    require_ref_name(f"{name}@latest")


@pytest.mark.parametrize("corpus", ["книга.txt", "été.txt", "日本語.txt", "emma.txt?raw=1", "a%20b.txt"])
def testname_of_any_corpus_can_be_a_ref(corpus):
    require_ref_name(f"{name_of(corpus)}@latest")
