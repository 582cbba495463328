"""What every ledger promises. To try another one, add a case to `CASES`."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainwright.core.errors import AmbiguousRef, InvalidValue, RefMoved, UnknownRef
from trainwright.core.records import DatasetVersion, SpecialTokens, Tokenizer
from trainwright.store.filed_ledger import FiledLedger
from trainwright.store.ledger import Ledger, MemoryLedger
from trainwright.store.sql_ledger import SqlLedger

CASES: dict[str, Callable[[Path, pytest.FixtureRequest], Ledger]] = {
    "memory": lambda folder, request: MemoryLedger(),
    "sqlite": lambda folder, request: SqlLedger.open_file(folder / "ledger.sqlite"),
    "filed": lambda folder, request: FiledLedger.open_in(folder),
    "postgresql": lambda folder, request: SqlLedger(request.getfixturevalue("new_database")()),
}
NO_TOKENS = SpecialTokens(pad=None, unknown=None, begin=None, end=None)


@pytest.fixture(params=CASES)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    opened = CASES[request.param](tmp_path, request)
    yield opened
    opened.close()


def dataset(number: int = 0) -> DatasetVersion:
    return DatasetVersion(source=f"text {number} ä", files=(), recipe={"keep": [1, 2.5, None]}, splits={})


def tokenizer(parent: str | None, vocab_size: int = 300) -> Tokenizer:
    return Tokenizer(
        dataset=parent, algorithm="bpe", vocab_size=vocab_size, special_tokens=NO_TOKENS, files={}, settings={}
    )


def test_a_record_comes_back_as_it_was_put(ledger: Ledger) -> None:
    record = dataset()
    assert ledger.put(record) == record.id
    assert ledger.get(record.id) == record
    assert isinstance(ledger.get(record.id), DatasetVersion)


def test_putting_twice_keeps_one_and_its_first_time(ledger: Ledger) -> None:
    ledger.put(dataset())
    before = ledger.find()
    ledger.put(dataset())
    assert ledger.find() == before
    assert len(before) == 1


def test_an_id_that_was_never_put_is_unknown(ledger: Ledger) -> None:
    with pytest.raises(UnknownRef):
        ledger.get("0" * 64)
    assert ledger.parents("0" * 64) == []
    assert ledger.children("0" * 64) == []


def test_find_gives_newest_first_in_pages(ledger: Ledger) -> None:
    ids = [ledger.put(dataset(number)) for number in range(7)]
    ledger.put(tokenizer(ids[0]))
    pages, after = [], None
    while page := ledger.find("dataset", limit=3, after=after):
        pages.append([stored.record.id for stored in page])
        after = page[-1].record.id
    assert [len(page) for page in pages] == [3, 3, 1]
    assert list(itertools.chain(*pages)) == ids[::-1]
    assert [stored.record.kind for stored in ledger.find(limit=2)] == ["tokenizer", "dataset"]
    assert ledger.find("run") == []


def test_a_page_is_not_shifted_by_what_is_put_meanwhile(ledger: Ledger) -> None:
    ids = [ledger.put(dataset(number)) for number in range(4)]
    first = ledger.find(limit=2)
    ledger.put(dataset(99))
    second = ledger.find(limit=2, after=first[-1].record.id)
    assert [stored.record.id for stored in second] == [ids[1], ids[0]]


def test_a_page_after_nothing_known_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(UnknownRef):
        ledger.find(after="0" * 64)


def test_edges_are_found_from_both_ends(ledger: Ledger) -> None:
    source = dataset()
    first, second = tokenizer(source.id, 300), tokenizer(source.id, 301)
    for record in (source, first, second, tokenizer(None)):
        ledger.put(record)
    assert ledger.parents(first.id) == [("dataset", source.id)]
    assert ledger.children(source.id) == [("dataset", first.id), ("dataset", second.id)]
    assert ledger.parents(source.id) == []


def test_a_record_may_come_before_its_parents(ledger: Ledger) -> None:
    source = dataset()
    child = tokenizer(source.id)
    ledger.put(child)
    assert ledger.parents(child.id) == [("dataset", source.id)]
    assert ledger.children(source.id) == [("dataset", child.id)]


def test_a_ref_moves_only_from_where_it_is(ledger: Ledger) -> None:
    one, two = ledger.put(dataset(1)), ledger.put(dataset(2))
    assert ledger.read_ref("stories@latest") is None
    ledger.move_ref("stories@latest", one, None, "ada", "first")
    assert ledger.read_ref("stories@latest") == one
    with pytest.raises(RefMoved):
        ledger.move_ref("stories@latest", two, None, "eve", "thinks it is new")
    with pytest.raises(RefMoved):
        ledger.move_ref("stories@latest", one, two, "eve", "thinks it is at two")
    with pytest.raises(RefMoved):
        ledger.move_ref("other@latest", one, two, "eve", "thinks it exists")
    assert ledger.read_ref("other@latest") is None
    ledger.move_ref("stories@latest", two, one, "ada", "better")
    assert ledger.read_ref("stories@latest") == two


def test_every_move_is_kept_and_no_lost_one(ledger: Ledger) -> None:
    one, two = ledger.put(dataset(1)), ledger.put(dataset(2))
    first = ledger.move_ref("b@latest", one, None, "ada", "first")
    ledger.move_ref("a@latest", one, None, "ada", "another ref")
    with pytest.raises(RefMoved):
        ledger.move_ref("b@latest", two, None, "eve", "lost")
    last = ledger.move_ref("b@latest", two, one, "bob", "second")
    assert ledger.ref_history("b@latest") == [first, last]
    assert (last.from_id, last.to_id, last.who, last.why) == (one, two, "bob", "second")
    assert last.seq > first.seq
    assert last.at >= first.at
    assert [(ref.name, ref.record_id) for ref in ledger.refs()] == [("a@latest", one), ("b@latest", two)]
    assert ledger.ref_history("c@latest") == []


def test_a_ref_cannot_point_at_nothing(ledger: Ledger) -> None:
    with pytest.raises(UnknownRef):
        ledger.move_ref("stories@latest", "0" * 64, None, "ada", "")
    assert ledger.refs() == []


@pytest.mark.parametrize("name", ["", " a", "a b", "@a", "ä@latest", "f" * 64, "a" * 201, "a\n"])
def test_a_name_that_no_ref_can_have_is_refused(ledger: Ledger, name: str) -> None:
    with pytest.raises(InvalidValue):
        ledger.move_ref(name, ledger.put(dataset()), None, "ada", "")


def test_what_a_stage_gave_is_recalled_and_replaced(ledger: Ledger) -> None:
    one, two = ledger.put(dataset(1)), ledger.put(dataset(2))
    assert ledger.recall("data/abc") is None
    ledger.remember("data/abc", one)
    ledger.remember("data/abc", one)
    assert ledger.recall("data/abc") == one
    ledger.remember("data/abc", two)
    assert ledger.recall("data/abc") == two
    with pytest.raises(UnknownRef):
        ledger.remember("data/xyz", "0" * 64)
    assert ledger.recall("data/xyz") is None


def test_resolve_takes_ids_beginnings_and_refs(ledger: Ledger) -> None:
    one = ledger.put(dataset(1))
    ledger.move_ref("stories@latest", one, None, "ada", "")
    for text in (one, one[:4], one[:12], one[:12].upper(), one.upper(), "stories@latest"):
        assert ledger.resolve(text) == one


def test_resolve_prefers_a_ref_to_the_beginning_of_an_id(ledger: Ledger) -> None:
    one, two = ledger.put(dataset(1)), ledger.put(dataset(2))
    ledger.move_ref(one[:8], two, None, "ada", "")
    assert ledger.resolve(one[:8]) == two
    assert ledger.resolve(one[:9]) == one


def test_resolve_lists_the_candidates_of_an_ambiguous_beginning(ledger: Ledger) -> None:
    by_prefix: dict[str, list[str]] = {}
    for number in itertools.count():
        record = dataset(number)
        by_prefix.setdefault(record.id[:4], []).append(record.id)
        if len(by_prefix[record.id[:4]]) == 2:
            break
    for candidate in by_prefix[record.id[:4]]:
        ledger.put(next(r for r in map(dataset, range(number + 1)) if r.id == candidate))
    with pytest.raises(AmbiguousRef) as caught:
        ledger.resolve(record.id[:4])
    assert all(candidate[:16] in caught.value.why for candidate in by_prefix[record.id[:4]])


def test_resolve_names_what_is_near(ledger: Ledger) -> None:
    ledger.move_ref("stories@latest", ledger.put(dataset()), None, "ada", "")
    for text in ("storys@latest", "stories"):
        with pytest.raises(UnknownRef) as caught:
            ledger.resolve(text)
        assert "stories@latest" in caught.value.why


@pytest.mark.parametrize("text", ["", "abc", "%", "____", "zzzz", "stories'; drop table refs", "a\x00b"])
def test_resolve_of_nonsense_is_unknown(ledger: Ledger, text: str) -> None:
    ledger.put(dataset())
    with pytest.raises(UnknownRef):
        ledger.resolve(text)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2)), max_size=8))
def test_history_tells_where_a_ref_is(ledger: Ledger, moves: list[tuple[int, int]]) -> None:
    ids = [ledger.put(dataset(number)) for number in range(3)]
    name, at = f"x{len(ledger.refs())}@latest", None
    for to, expected_index in moves:
        expected = None if expected_index < 0 else ids[expected_index]
        if expected == at:
            ledger.move_ref(name, ids[to], expected, "who", "why")
            at = ids[to]
        else:
            with pytest.raises(RefMoved):
                ledger.move_ref(name, ids[to], expected, "who", "why")
    history = ledger.ref_history(name)
    assert ledger.read_ref(name) == at == (history[-1].to_id if history else None)
    assert all(later.from_id == earlier.to_id for earlier, later in itertools.pairwise(history))
