"""The event stream: exact, append-only, and honest about damage."""

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainwright.core.errors import DiskFull, EventsDamaged
from trainwright.watch.events import EventLog, ListSink, decode_nonfinite, encode_nonfinite, iter_events, render_event

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def write_events(path: Path, count: int) -> None:
    with EventLog.open(path) as log:
        for index in range(count):
            log.emit("step", {"step": index + 1, "loss": 1.0 / (index + 1)}, {"step_s": 0.1})


def facts_of(path: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in event.items() if key != "timing"} for event in iter_events(path)]


def test_events_read_back_as_they_were_emitted_and_as_sinks_saw_them(tmp_path: Path) -> None:
    sink = ListSink()
    with EventLog.open(tmp_path / "events.jsonl", sinks=[sink]) as log:
        log.emit("step", {"step": 1, "loss": 0.1 + 0.2, "rate": np.float32(0.1)}, {"elapsed_s": 1.5})
        log.emit("sample", {"prompt": "α\n\u2028", "text": 'NaN "quoted"'})
        assert log.num_events == 2
    events = list(iter_events(tmp_path / "events.jsonl"))
    assert events == sink.events
    assert [event["seq"] for event in events] == [0, 1]
    assert events[0]["loss"] == 0.30000000000000004
    assert events[0]["rate"] == float(np.float32(0.1))
    assert events[0]["timing"]["elapsed_s"] == 1.5
    assert events[1]["timing"]["at"].endswith("+00:00")


@given(facts=st.dictionaries(st.text(min_size=1), json_values, max_size=4))
def test_any_facts_survive_a_line_of_json(facts: dict[str, Any]) -> None:
    event = {"seq": 0, "kind": "k", "facts": facts, "timing": {"at": "now"}}
    line = render_event(event)
    assert line.count(b"\n") == 1
    document = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert decode_nonfinite(document) == event


def test_numbers_that_json_lacks_are_strings_on_disk_and_numbers_when_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog.open(path) as log:
        facts = {"loss": math.nan, "text": "NaN", "norms": {"a/b~c": [1.0, -math.inf]}}
        log.emit("step", facts, {"tokens_per_s": math.inf})
    document = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document["loss"] == "NaN"
    assert document["nonfinite"] == ["/loss", "/norms/a~1b~0c/1"]
    (event,) = iter_events(path)
    assert math.isnan(event["loss"])
    assert event["text"] == "NaN"
    assert event["norms"] == {"a/b~c": [1.0, -math.inf]}
    assert event["timing"]["tokens_per_s"] == math.inf
    assert "nonfinite" not in event


def test_encoding_nonfinite_numbers_leaves_the_original_alone() -> None:
    document = {"rows": [{"loss": math.inf}]}
    encoded = encode_nonfinite(document)
    assert document == {"rows": [{"loss": math.inf}]}
    assert decode_nonfinite(encoded) == document


def test_half_a_surrogate_pair_in_a_sample_is_kept(tmp_path: Path) -> None:
    with EventLog.open(tmp_path / "events.jsonl") as log:
        log.emit("sample", {"text": "a\ud800b"})
    assert [event["text"] for event in iter_events(tmp_path / "events.jsonl")] == ["a\ud800b"]


def test_reserved_names_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with EventLog.open(tmp_path / "events.jsonl") as log, pytest.raises(ValueError, match="seq"):
        log.emit("step", {"seq": 4})
    assert (tmp_path / "events.jsonl").read_bytes() == b""


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 3)
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines()[-1]) + 1):
        path.write_bytes(whole[:-cut])
        assert len(list(iter_events(path))) == 2


@pytest.mark.parametrize("damage", [b"{not json}\n", b"[1]\n", b'{"seq":1}\n', b"\xff\xfe\n", b"\n"])
def test_a_broken_line_in_the_middle_is_named_by_its_number(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + damage + lines[2])
    with pytest.raises(EventsDamaged, match="Line 2 of"):
        list(iter_events(path))


def test_a_line_that_was_taken_out_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(EventsDamaged, match="Line 2 of"):
        list(iter_events(path))


def test_a_missing_stream_is_an_error_by_name(tmp_path: Path) -> None:
    with pytest.raises(EventsDamaged, match="no event stream"):
        list(iter_events(tmp_path / "events.jsonl"))


def test_reopening_keeps_the_first_events_and_sets_the_rest_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 5)
    before = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(before) + b'{"seq":5,"torn')
    with EventLog.open(path, keep=3) as log:
        assert log.num_events == 3
        log.emit("step", {"step": 4, "loss": 0.25})
    assert path.read_bytes().startswith(b"".join(before[:3]))
    assert [facts["seq"] for facts in facts_of(path)] == [0, 1, 2, 3]
    assert (tmp_path / "events.abandoned.jsonl").read_bytes() == b"".join(before[3:]) + b'{"seq":5,"torn\n'


def test_every_resume_adds_to_what_was_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        with EventLog.open(path, keep=0) as log:
            log.emit("step", {"step": 1})
    EventLog.open(path, keep=0).close()
    assert len((tmp_path / "events.abandoned.jsonl").read_bytes().splitlines()) == 2
    assert path.read_bytes() == b""


def test_reopening_without_a_count_keeps_all_whole_events(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 4)
    path.write_bytes(path.read_bytes() + b"torn")
    with EventLog.open(path, keep=None) as log:
        assert log.num_events == 4
    assert not path.read_bytes().endswith(b"torn")


def test_reopening_a_stream_that_lost_events_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 2)
    before = path.read_bytes()
    with pytest.raises(EventsDamaged, match="2 whole events where 3"):
        EventLog.open(path, keep=3)
    assert path.read_bytes() == before


def test_equal_runs_have_equal_streams_apart_from_timing(tmp_path: Path) -> None:
    write_events(tmp_path / "one" / "events.jsonl", 3)
    write_events(tmp_path / "two" / "events.jsonl", 3)
    assert facts_of(tmp_path / "one" / "events.jsonl") == facts_of(tmp_path / "two" / "events.jsonl")


class BrokenSink:
    calls = 0

    def emit(self, event: dict[str, Any]) -> None:
        self.calls += 1
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_sink_that_breaks_is_dropped_once_and_the_others_hear_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, listening = BrokenSink(), ListSink()
    with EventLog.open(tmp_path / "events.jsonl", sinks=[broken]) as log:
        log.add_sink(listening)
        log.emit("step", {"step": 1})
        log.emit("step", {"step": 2})
    assert broken.calls == 1
    assert len(listening.events) == 2
    assert capsys.readouterr().err.count("BrokenSink") == 1
    assert len(list(iter_events(tmp_path / "events.jsonl"))) == 2


def test_a_fault_in_a_sink_is_not_hidden(tmp_path: Path) -> None:
    class FaultySink:
        def emit(self, event: dict[str, Any]) -> None:
            raise KeyError("loss")

    with EventLog.open(tmp_path / "events.jsonl", sinks=[FaultySink()]) as log, pytest.raises(KeyError):
        log.emit("step", {"step": 1})


def test_a_full_disk_is_a_designed_error_and_leaves_only_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog.open(path)
    log.emit("step", {"step": 1})
    write = os.write
    room = [10]

    def write_little(descriptor: int, data: bytes) -> int:
        if room[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", write_little)
    with pytest.raises(DiskFull):
        log.emit("step", {"step": 2})
    room[0] = 10**6
    log.emit("step", {"step": 2})
    log.close()
    assert [facts["step"] for facts in facts_of(path)] == [1, 2]


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    log = EventLog.open(tmp_path / "events.jsonl")
    log.close()
    log.close()
