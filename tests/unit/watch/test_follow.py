"""Reading a stream while it is written: once each, never half a line, and a cut is noticed."""

import pytest

from trainwright.core.errors import EventsDamaged
from trainwright.watch.follow import Cursor, Follower

LATER = "2025-01-31T13:00:00.000+00:00"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def seqs(reading):
    return [event["seq"] for event in reading.events]


def test_each_event_is_read_once(path, events, write_stream):
    follower = Follower(path)
    path.write_bytes(write_stream(events[:3]))
    assert seqs(follower.read_new()) == [0, 1, 2]
    assert seqs(follower.read_new()) == []
    path.write_bytes(write_stream(events[:5]))
    assert seqs(follower.read_new()) == [3, 4]


def test_events_are_those_that_were_written(path, events, write_stream):
    path.write_bytes(write_stream(events))
    assert Follower(path).read_new().events == events


def test_stream_that_is_not_there_yet_has_no_events(path):
    assert Follower(path).read_new().events == []


def test_torn_last_line_is_read_when_it_is_whole(path, events, write_stream):
    whole = write_stream(events[:4])
    path.write_bytes(whole[:-7])
    follower = Follower(path)
    assert seqs(follower.read_new()) == [0, 1, 2]
    path.write_bytes(whole)
    assert seqs(follower.read_new()) == [3]


def test_reading_takes_at_most_what_is_asked(path, events, write_stream):
    path.write_bytes(write_stream(events[:5]))
    follower = Follower(path)
    assert seqs(follower.read_new(2)) == [0, 1]
    assert seqs(follower.read_new(2)) == [2, 3]
    assert seqs(follower.read_new(2)) == [4]


def test_stream_cut_by_a_resume_is_read_from_its_beginning(path, events, write_stream):
    path.write_bytes(write_stream(events[:9]))
    follower = Follower(path)
    follower.read_new()
    path.write_bytes(write_stream(events[:4]))
    reading = follower.read_new()
    assert reading.restarted
    assert seqs(reading) == [0, 1, 2, 3]


def test_cut_is_noticed_though_the_stream_grew_longer_again(path, events, write_stream):
    """The same events, at other times: every line is as long as before, and the file is longer."""
    path.write_bytes(write_stream(events[:9]))
    follower = Follower(path)
    follower.read_new()
    path.write_bytes(write_stream(events[:4]) + write_stream(events[4:20], at=LATER))
    reading = follower.read_new()
    assert reading.restarted
    assert seqs(reading) == list(range(20))


def test_cursor_survives_its_process(path, events, write_stream):
    path.write_bytes(write_stream(events[:6]))
    follower = Follower(path)
    follower.read_new()
    kept = Cursor.model_validate_json(follower.cursor.model_dump_json())
    path.write_bytes(write_stream(events[:8]))
    reading = Follower(path, kept).read_new()
    assert not reading.restarted
    assert seqs(reading) == [6, 7]


def test_damaged_line_is_named(path, events, write_stream):
    path.write_bytes(write_stream(events[:2]) + b"{}\n")
    with pytest.raises(EventsDamaged, match="Line 3"):
        Follower(path).read_new()


def test_file_is_only_read(path, events, write_stream):
    path.write_bytes(write_stream(events[:2]) + b'{"half')
    path.chmod(0o444)
    before = path.read_bytes(), path.stat().st_mtime_ns
    Follower(path).read_new()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
