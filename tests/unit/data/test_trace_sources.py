"""Traces from a file or made here, as a dataset version: split by hash, each once, the same every time."""

import json

import pytest

from trainwright.core.errors import InvalidTrace, InvalidValue, SourceEmpty, SourceNotFound
from trainwright.data.builtin import arithmetic
from trainwright.data.trace_dataset import iter_traces
from trainwright.data.trace_sources import build_source_dataset, compute_source_key, iter_builtin_traces
from trainwright.store.objects import MemoryObjects


def write_traces(path, count=10, **changes):
    rows = [
        {"trace_version": "1", "prompt": f"What is {n} + 1?", "steps": [{"i": 0, "type": "sum", "content": "Add."}],
         "final_answer": str(n + 1), "meta": None} | changes
        for n in range(count)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_same_file_gives_the_same_version(tmp_path):
    path = write_traces(tmp_path / "sums.jsonl")
    versions = [build_source_dataset(str(path), 0.2, 7, MemoryObjects()) for _ in range(2)]
    assert versions[0].id == versions[1].id
    assert (versions[0].name, versions[0].source) == ("sums", "sums.jsonl")
    assert {name: split.num_documents for name, split in versions[0].splits.items()} == {"train": 8, "validation": 2}


def test_seed_and_share_decide_what_is_held_out(tmp_path):
    path = write_traces(tmp_path / "sums.jsonl")

    def held_out(share, seed):
        objects = MemoryObjects()
        dataset = build_source_dataset(str(path), share, seed, objects)
        return {trace.id for trace in iter_traces(dataset, "validation", objects)}

    assert held_out(0.3, 7) == held_out(0.3, 7)
    assert held_out(0.3, 7) != held_out(0.3, 8)
    assert held_out(0.2, 7) < held_out(0.3, 7)
    assert len({compute_source_key(str(path), share, seed) for share in (0.2, 0.3) for seed in (7, 8)}) == 4


def test_trace_that_is_there_twice_is_learnt_once(tmp_path):
    path = write_traces(tmp_path / "sums.jsonl")
    path.write_text(path.read_text() * 2)
    dataset = build_source_dataset(str(path), 0.2, 7, MemoryObjects())
    assert sum(split.num_documents for split in dataset.splits.values()) == 10
    assert dataset.num_dropped_duplicates == 10


def test_conversations_and_other_shapes_are_read_as_an_import_reads_them(tmp_path):
    path = tmp_path / "gsm.jsonl"
    rows = [{"question": f"What is {n} + 1?", "answer": f"Add.\n#### {n + 1}"} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    objects = MemoryObjects()
    dataset = build_source_dataset(str(path), 0.25, 7, objects)
    assert {trace.final_answer for trace in iter_traces(dataset, None, objects)} == {"1", "2", "3", "4"}


def test_bad_record_is_named_by_file_and_line(tmp_path):
    path = write_traces(tmp_path / "sums.jsonl", 3)
    path.write_text(path.read_text() + '{"trace_version": "1"}\n')
    with pytest.raises(InvalidTrace, match=r"sums\.jsonl, line 4"):
        build_source_dataset(str(path), 0.2, 7, MemoryObjects())


def test_source_that_is_missing_or_too_small_is_an_error(tmp_path):
    with pytest.raises(SourceNotFound):
        compute_source_key(str(tmp_path / "nowhere.jsonl"), 0.1, 7)
    with pytest.raises(InvalidValue, match="builtin:poems"):
        compute_source_key("builtin:poems", 0.1, 7)
    with pytest.raises(SourceEmpty):
        build_source_dataset(str(write_traces(tmp_path / "one.jsonl", 1)), 0.2, 7, MemoryObjects())


def test_builtin_traces_ask_nothing_that_the_builtin_corpus_has():
    read = {trace.prompt for trace in arithmetic.iter_arithmetic_traces(arithmetic.NUM_TRACES, arithmetic.SEED)}
    traces = list(iter_builtin_traces("builtin:arithmetic"))
    assert len({trace.id for trace in traces}) == arithmetic.NUM_TRACES
    assert read.isdisjoint(trace.prompt for trace in traces)
    assert {trace.meta["category"] for trace in traces} >= {"addition", "sharing"}
