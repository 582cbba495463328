"""Selecting traces: every matching one is looked at, and chance depends on seed and content alone."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainwright.core.errors import InvalidValue, NothingSelected
from trainwright.core.traces import parse_trace
from trainwright.data.near_duplicates import NearDuplicates, hash_runs, measure_similarity
from trainwright.data.selection import Filter, Selection, Tally, allocate, divide_splits, iter_chosen, parse_filter
from trainwright.store.traces import MemoryTraces, import_batch


def make_trace(number, **meta):
    document = {
        "trace_version": "1.0",
        "prompt": f"prompt {number}",
        "final_answer": str(number),
        "steps": [{"i": index, "type": "a", "content": f"step {index}"} for index in range(1 + number % 3)],
        "meta": {"number": number} | meta if meta.get("meta", True) is not None else None,
    }
    return parse_trace(document)


def store_of(traces):
    store = MemoryTraces()
    import_batch(store, traces)
    return store


def choose(store, **settings):
    tally = Tally()
    chosen = list(iter_chosen(store, Selection(**settings), tally))
    return [one.trace for one in chosen], tally


def numbers(traces):
    return [trace.meta["number"] for trace in traces]


TRACES = [make_trace(number, kind="even" if number % 2 == 0 else "odd") for number in range(100)]


# ── strategies ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_latest_is_the_last_imported_first():
    chosen, _ = choose(store_of(TRACES), limit=3)
    assert numbers(chosen) == [99, 98, 97]


def test_random_depends_on_the_seed_and_not_on_the_order_of_importing():
    first, _ = choose(store_of(TRACES), strategy="random", seed=7, limit=10)
    shuffled, _ = choose(store_of(TRACES[::-1]), strategy="random", seed=7, limit=10)
    other, _ = choose(store_of(TRACES), strategy="random", seed=8, limit=10)
    assert first == shuffled
    assert first != other
    assert min(numbers(first)) < 50  # no window of recent ones


def test_top_takes_the_greatest_and_leaves_out_what_has_no_number():
    scored = [make_trace(number, score=number / 2) for number in range(5)]
    store = store_of([*scored, make_trace(200, score="many"), make_trace(201, score=True)])
    chosen, tally = choose(store, strategy="top", by="meta.score", limit=3)
    assert numbers(chosen) == [4, 3, 2]
    everything, tally = choose(store, strategy="top", by="meta.score")
    assert len(everything) == 5
    assert tally.num_matching == 7


def test_stratified_keeps_the_shares():
    traces = [make_trace(number, kind="rare" if number % 10 == 0 else "common") for number in range(100)]
    traces += [make_trace(number + 1000) for number in range(10)]
    chosen, tally = choose(store_of(traces), strategy="stratified", by="meta.kind", limit=22)
    assert Counter(trace.meta.get("kind", "(none)") for trace in chosen) == {"common": 18, "rare": 2, "(none)": 2}
    assert tally.num_without_key == 10


@given(st.integers(0, 200), st.lists(st.integers(0, 50), min_size=1, max_size=8))
def test_allocation_adds_up_and_gives_no_one_more_than_there_is(total, sizes):
    shares = allocate(total, sizes)
    assert sum(shares) == min(total, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    if sum(sizes):
        ideal = [min(total, sum(sizes)) * size / sum(sizes) for size in sizes]
        assert all(abs(share - wanted) <= 1 for share, wanted in zip(shares, ideal, strict=True))


# ── filters ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("meta.kind=even", 50),
        ("meta.number=7", 1),
        ("meta.number=10..19", 10),
        ("meta.number=..4", 5),
        ("meta.number=95.5..", 4),
        ("num_steps=2..3", 66),
        ("kind=trace", 100),
        ("trace_version=1.0", 100),
        ("num_characters=1..", 100),
    ],
)
def test_filters_match_values_and_ranges(text, count):
    chosen, tally = choose(store_of(TRACES), filters=(parse_filter(text),))
    assert len(chosen) == tally.num_matching == count
    assert tally.num_seen == 100


def test_filters_look_into_lists_and_objects_and_pass_by_what_is_not_there():
    traces = [make_trace(1, tags=["a", "b"]), make_trace(2, deep={"er": None}), make_trace(3, meta=None)]
    assert [parse_filter("meta.tags=b").matches(trace) for trace in traces] == [True, False, False]
    assert [parse_filter("meta.deep.er=null").matches(trace) for trace in traces] == [False, False, False]
    assert [parse_filter("meta.number=1..").matches(trace) for trace in traces] == [True, True, False]
    assert parse_filter("meta.flag=true").matches(make_trace(4, flag=True))


@pytest.mark.parametrize("text", ["meta.a=1..5", "meta.a=..5", "meta.a=x=y", "meta.a=..", "meta.a=", "num_steps=2.5.."])
def test_a_filter_reads_as_it_is_written(text):
    assert str(parse_filter(text)) == text


def test_a_range_needs_numbers():
    assert parse_filter("meta.a=e..e") == Filter("meta.a", value="e..e")


@pytest.mark.parametrize("text", ["meta.a", "category=x", "=x", ""])
def test_what_is_no_filter_is_refused(text):
    with pytest.raises(InvalidValue):
        parse_filter(text)


@pytest.mark.parametrize(
    "settings", [{"strategy": "top"}, {"strategy": "random", "by": "meta.a"}, {"strategy": "top", "by": "a"}]
)
def test_strategy_and_field_must_go_together(settings):
    with pytest.raises(InvalidValue):
        Selection(**settings)


@pytest.mark.parametrize(
    ("traces", "settings", "why"),
    [
        ([], {}, "no trace in this workspace"),
        (TRACES, {"filters": (parse_filter("meta.kind=none"),)}, "None of 100 traces matches meta.kind=none"),
        (TRACES, {"strategy": "top", "by": "meta.score"}, "has a number in meta.score"),
    ],
)
def test_a_selection_of_nothing_says_why(traces, settings, why):
    store = store_of(traces) if traces else MemoryTraces()
    with pytest.raises(NothingSelected) as caught:
        choose(store, **settings)
    assert why in caught.value.why


# ── duplicates ────────────────────────────────────────────────────────────────────────────────────────────────────────
WORDS = (
    "the quick brown fox jumps over the lazy dog while seven wise owls watch from an old oak tree in silence tonight"
)


def worded(text, number):
    document = {
        "trace_version": "1",
        "prompt": text,
        "final_answer": "x",
        "steps": [{"i": 0, "type": "a", "content": "b"}],
    }
    return parse_trace(document | {"meta": {"number": number}})


def test_exact_duplicates_differ_in_meta_alone():
    store = store_of([worded(WORDS, 1), worded(WORDS, 2), worded(WORDS + "!", 3)])
    kept, tally = choose(store)
    assert numbers(kept) == [3, 2]
    assert tally.num_duplicates == 1
    everything, _ = choose(store, dedup="none")
    assert len(everything) == 3


def test_near_duplicates_are_dropped_and_counted():
    changed = WORDS.replace("the quick", "a quick")
    store = store_of([worded(WORDS.upper(), 1), worded(changed, 2), worded("something else " * 10, 3)])
    kept, tally = choose(store, dedup="near")
    assert numbers(kept) == [3, 2]
    assert (tally.num_duplicates, tally.num_near_duplicates) == (0, 1)


def test_a_limit_is_filled_up_with_what_is_no_duplicate():
    store = store_of([worded(WORDS, number) for number in range(5)] + [worded("another text", 9)])
    kept, _ = choose(store, strategy="top", by="meta.number", limit=2)
    assert numbers(kept) == [9, 4]


def test_likeness_is_four_fifths_of_the_runs_of_five_words():
    base = [f"word{number}" for number in range(104)]  # 100 runs
    runs = hash_runs(" ".join(base))
    near, far = [*base], [*base]
    near[50:52] = ["x", "y"]  # 6 runs changed: 94 shared of 106
    for place in (10, 40, 70):
        far[place] = "x"  # 15 runs changed: 85 shared of 115
    assert measure_similarity(runs, hash_runs(" ".join(near))) == pytest.approx(94 / 106)
    assert measure_similarity(runs, hash_runs(" ".join(far))) == pytest.approx(85 / 115)
    seen = NearDuplicates()
    assert not seen.has_like(" ".join(base))
    assert seen.has_like(" ".join(near))
    assert not seen.has_like(" ".join(far))
    assert not seen.has_like("")
    assert seen.has_like("")


# ── splits ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("count", "share", "held_out"), [(1, 0.5, 0), (2, 0.01, 1), (10, 0.1, 1), (100, 0.25, 25), (7, 0, 0)]
)
def test_a_split_has_its_share_and_at_least_one(count, share, held_out):
    ids = [make_trace(number).id for number in range(count)]
    assert sum(divide_splits(ids, [""] * count, share, seed=0)) == held_out


def test_a_split_depends_on_ids_and_seed_and_keeps_strata():
    ids = [make_trace(number).id for number in range(40)]
    strata = ["a"] * 30 + ["b"] * 10
    chosen = divide_splits(ids, strata, 0.2, seed=1)
    assert (sum(chosen[:30]), sum(chosen[30:])) == (6, 2)
    turned = divide_splits(ids[::-1], strata[::-1], 0.2, seed=1)
    assert turned[::-1] == chosen
    assert divide_splits(ids, strata, 0.2, seed=2) != chosen
