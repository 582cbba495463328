"""What every trace store promises. To try another one, add a case to `CASES`."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainwright.core.errors import AmbiguousRef, InvalidValue, OutOfRange, TraceForgotten, UnknownRef
from trainwright.core.traces import AnyTrace, Conversation, Message, Step, Trace
from trainwright.store.sql_traces import SqlTraces
from trainwright.store.traces import Counts, MemoryTraces, TraceStore, import_batch

CASES: dict[str, Callable[[pytest.FixtureRequest, Path], TraceStore]] = {
    "memory": lambda request, folder: MemoryTraces(),
    "sqlite": lambda request, folder: SqlTraces.open_file(folder / "traces.sqlite"),
    "postgresql": lambda request, folder: SqlTraces(request.getfixturevalue("new_database")()),
}


@pytest.fixture(params=CASES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TraceStore]:
    opened = CASES[request.param](request, tmp_path)
    yield opened
    opened.close()


def make_trace(number: int, **changes: object) -> Trace:
    document = {
        "trace_version": "1.0",
        "prompt": f"What is {number} plus 1?",
        "final_answer": str(number + 1),
        "steps": ({"i": 0, "type": "sum", "content": f"{number} + 1 = {number + 1}\0 é 🌊"},),
        "meta": {"number": number},
    }
    return Trace.model_validate(document | changes)


def make_conversation(number: int) -> Conversation:
    return Conversation(messages=(Message(role="user", content=f"hello {number}"),), meta=None)


def fill(store: TraceStore, count: int) -> list[AnyTrace]:
    traces: list[AnyTrace] = [make_trace(number) for number in range(count)]
    import_batch(store, traces)
    return traces


def ids(rows: object) -> list[str]:
    return [row.id for row in rows]  # type: ignore[attr-defined]


def test_a_trace_comes_back_as_it_was_added(store: TraceStore) -> None:
    trace, conversation = make_trace(7), make_conversation(7)
    added = import_batch(store, [trace, conversation])
    assert [(one.id, one.state) for one in added] == [(trace.id, "new"), (conversation.id, "new")]
    assert store.get(trace.id).trace == trace
    assert store.get(conversation.id).trace == conversation
    assert store.get(trace.id).canonical == trace.canonical
    assert store.count() == Counts(1, 1, 0)


def test_the_same_trace_twice_is_one_and_it_says_so(store: TraceStore) -> None:
    first = make_trace(1)
    with store.importing() as running:
        states = [one.state for one in running.add([first, make_trace(2), first])]
        states += [one.state for one in running.add([make_trace(2), make_trace(3)])]
    assert states == ["new", "new", "repeated", "repeated", "new"]
    assert [one.state for one in import_batch(store, [first])] == ["known"]
    assert store.count().num_traces == 3


def test_an_import_that_fails_leaves_nothing(store: TraceStore) -> None:
    fill(store, 2)

    def fail() -> None:
        with store.importing() as running:
            running.add([make_trace(10), make_trace(11)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.count().num_traces == 2
    assert [one.state for one in import_batch(store, [make_trace(10)])] == ["new"]
    assert store.find(1)[0].id == make_trace(10).id


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_is_1_to_1000(store: TraceStore, count: int) -> None:
    with pytest.raises(OutOfRange, match=rf"{count:,} traces"):
        import_batch(store, [make_trace(number) for number in range(count)])
    assert store.count().num_traces == 0


def test_a_batch_of_1000_is_taken(store: TraceStore) -> None:
    traces = fill(store, 1000)
    assert ids(store.iter_all()) == [trace.id for trace in traces]


def test_the_last_added_come_first_page_by_page(store: TraceStore) -> None:
    traces = fill(store, 5)
    first = store.find(2)
    second = store.find(2, after=first[-1].id)
    third = store.find(2, after=second[-1].id)
    assert ids([*first, *second, *third]) == [trace.id for trace in reversed(traces)]
    assert store.find(2, after=third[-1].id) == []
    with pytest.raises(UnknownRef):
        store.find(2, after="0" * 64)


def test_what_is_added_while_one_reads_is_not_among_it(store: TraceStore) -> None:
    traces = fill(store, 3)
    reading = store.iter_all()
    seen = [next(reading).id]
    import_batch(store, [make_trace(99)])
    seen += ids(reading)
    assert seen == [trace.id for trace in traces]


def test_traces_come_in_the_order_of_the_ids_given(store: TraceStore) -> None:
    wanted = [trace.id for trace in reversed(fill(store, 450))]
    assert ids(store.iter_ids(wanted)) == wanted
    with pytest.raises(UnknownRef, match="000000"):
        list(store.iter_ids([wanted[0], "0" * 64]))


def test_the_beginning_of_an_id_is_enough(store: TraceStore) -> None:
    traces = fill(store, 300)
    assert store.resolve(traces[5].id[:20].upper()) == traces[5].id
    assert store.resolve(traces[5].id) == traces[5].id
    with pytest.raises(UnknownRef):
        store.resolve("0" * 64)
    with pytest.raises(UnknownRef, match="No trace"):
        store.resolve(traces[5].id[:3])
    by_beginning: dict[str, int] = {}
    for trace in traces:
        by_beginning[trace.id[:4]] = by_beginning.get(trace.id[:4], 0) + 1
    for beginning, number in by_beginning.items():
        if number > 1:
            with pytest.raises(AmbiguousRef):
                store.resolve(beginning)


def test_searching_finds_whole_words_in_either_case(store: TraceStore) -> None:
    whale = make_trace(1, prompt="A WHALE in the sea")
    import_batch(store, [whale, make_trace(2, prompt="whales everywhere"), make_conversation(3)])
    assert ids(store.search("whale")) == [whale.id]
    assert ids(store.search("Sea, whale!")) == [whale.id]
    assert ids(store.search("whale everywhere")) == []
    assert ids(store.search("HELLO")) == [make_conversation(3).id]
    assert ids(store.search("é")) == [make_trace(2, prompt="whales everywhere").id, whale.id]
    later = make_trace(4, final_answer="another whale")
    import_batch(store, [later])
    assert ids(store.search("whale")) == [later.id, whale.id]
    assert ids(store.search("whale", limit=1, after=later.id)) == [whale.id]
    with pytest.raises(InvalidValue, match="no word"):
        store.search(" - ")


def test_keys_and_meta_are_not_searched(store: TraceStore) -> None:
    import_batch(store, [make_trace(1, meta={"secret": "treasure"})])
    assert store.search("prompt") == store.search("treasure") == []


def test_a_forgotten_trace_is_an_id_and_a_reason(store: TraceStore) -> None:
    kept, gone = fill(store, 2)
    store.search("what")
    tombstone = store.forget(gone.id, who="someone", why="she asked for it")
    assert (tombstone.id, tombstone.who, tombstone.why) == (gone.id, "someone", "she asked for it")
    with pytest.raises(TraceForgotten, match="was forgotten") as caught:
        store.get(gone.id)
    assert "she asked for it" in caught.value.why
    with pytest.raises(TraceForgotten):
        list(store.iter_ids([gone.id]))
    assert ids(store.find()) == ids(store.iter_all()) == ids(store.search("what")) == [kept.id]
    assert store.count() == Counts(1, 0, 1)
    assert store.resolve(gone.id[:16]) == gone.id
    assert store.tombstones() == [tombstone]


def test_forgetting_again_changes_nothing(store: TraceStore) -> None:
    (trace,) = fill(store, 1)
    first = store.forget(trace.id, who="someone", why="once")
    assert store.forget(trace.id, who="another", why="twice") == first
    with pytest.raises(UnknownRef):
        store.forget("0" * 64, who="someone", why="never was here")


def test_what_was_forgotten_does_not_come_back(store: TraceStore) -> None:
    gone, kept = fill(store, 2)
    store.forget(gone.id, who="someone", why="because")
    with store.importing() as running:
        assert [one.state for one in running.add([gone, kept, make_trace(5)])] == ["forgotten", "known", "new"]
    with pytest.raises(TraceForgotten):
        import_batch(store, [make_trace(6), gone])
    assert store.count() == Counts(2, 0, 1)


def test_a_page_can_follow_a_forgotten_trace(store: TraceStore) -> None:
    traces = fill(store, 3)
    store.forget(traces[1].id, who="someone", why="because")
    assert ids(store.find(5, after=traces[1].id)) == [traces[0].id]


def test_a_step_can_have_the_largest_number(store: TraceStore) -> None:
    trace = make_trace(1, steps=(Step(i=(1 << 63) - 1, type="a", content="b"),))
    import_batch(store, [trace])
    assert store.get(trace.id).trace == trace


def test_imports_at_once_lose_and_double_nothing(store: TraceStore) -> None:
    batches = [[make_trace(number) for number in range(start, start + 40)] for start in (0, 20, 40, 60)]
    states: list[str] = []

    def work(batch: list[AnyTrace]) -> None:
        states.extend(one.state for one in import_batch(store, batch))

    threads = [threading.Thread(target=work, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states.count("new") == store.count().num_traces == 100
    assert len(states) == 160
