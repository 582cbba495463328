"""Feeding a tracker: everything once, across processes, resumes and deaths."""

import json
import sys
import threading
import types

import pytest

from trainwright.core.errors import PackageMissing
from trainwright.watch.trackers import feed as feeding
from trainwright.watch.trackers.feed import Assignment, feed, read_state
from trainwright.watch.trackers.protocol import TrackerSettings

LATER = "2025-01-31T13:00:00.000+00:00"


class Server:
    """What a tracker has taken, and how it behaves. `is_safe` is whether it vouches for what was written."""

    def __init__(self):
        self.seqs = []
        self.ends = []
        self.is_safe = True
        self.dies_at = None

    def open_tracker(self, subject, settings, mark):
        return Connection(self, is_new=mark is None)


class Connection:
    where = "a place"

    def __init__(self, server, *, is_new):
        self.server, self.is_new = server, is_new
        if is_new:
            server.seqs.clear()

    def write(self, points):
        for point in points:
            if point.seq == self.server.dies_at:
                raise ConnectionError("the server is gone")
            self.server.seqs.append(point.seq)

    def mark(self):
        return {"n": len(self.server.seqs)} if self.server.is_safe else None

    def close(self, *, completed):
        self.server.ends.append(completed)
        return {"n": len(self.server.seqs)}


@pytest.fixture
def server(monkeypatch):
    server = Server()
    module = types.ModuleType("trainwright.watch.trackers.tensorboard")
    module.open_tracker = server.open_tracker
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(feeding, "POLL_S", 0.001)
    return server


@pytest.fixture
def assignment(tmp_path, run_record, plan):
    folder = tmp_path / f"stories-{run_record.id[:12]}"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(run_record.model_dump(mode="json")), encoding="utf-8")
    (folder / "plan.json").write_text(json.dumps(plan.model_dump(mode="json")), encoding="utf-8")
    return Assignment(tracker="tensorboard", run_dir=str(folder), settings=TrackerSettings())


@pytest.fixture
def over():
    event = threading.Event()
    event.set()
    return event


def with_steps(events):
    return [event["seq"] for event in events if "step" in event]


def test_finished_run_is_told_whole(server, assignment, over, events, write_stream):
    assignment.events_path.write_bytes(write_stream(events))
    state = feed(assignment, over)
    assert server.seqs == with_steps(events)
    assert server.ends == [True]
    assert (state.status, state.num_events, state.step) == ("complete", len(events), 100)
    assert read_state(assignment) == state


def test_run_is_followed_until_it_is_over(server, assignment, events, write_stream):
    over = threading.Event()
    assignment.events_path.write_bytes(write_stream(events[:10]))
    thread = threading.Thread(target=feed, args=(assignment, over))
    thread.start()
    assignment.events_path.write_bytes(write_stream(events[:20]))
    over.set()
    thread.join()
    assert server.seqs == with_steps(events[:20])
    assert server.ends == [False]


def test_what_was_told_once_is_not_told_again(server, assignment, over, events, write_stream):
    assignment.events_path.write_bytes(write_stream(events[:30]))
    feed(assignment, over)
    assignment.events_path.write_bytes(write_stream(events))
    feed(assignment, over)
    feed(assignment, over)
    assert server.seqs == with_steps(events)


def test_steps_that_a_resume_does_again_are_not_told_again(server, assignment, over, events, write_stream):
    assignment.events_path.write_bytes(write_stream(events[:30]))
    feed(assignment, over)
    again = write_stream(events[:20]) + write_stream(events[20:25], at=LATER)
    assignment.events_path.write_bytes(again)
    feed(assignment, over)  # stopped before it came as far as it had been
    assignment.events_path.write_bytes(again + write_stream(events[25:], at=LATER))
    feed(assignment, over)
    assert server.seqs == with_steps(events)


def test_what_was_not_safe_when_its_process_died_is_told_again(server, assignment, over, events, write_stream):
    server.is_safe = False
    assignment.events_path.write_bytes(write_stream(events[:30]))
    feed(assignment, over)
    assignment.events_path.write_bytes(write_stream(events[:40]))
    server.dies_at = 35
    with pytest.raises(ConnectionError):
        feed(assignment, over)
    del server.seqs[len(with_steps(events[:30])) :]  # what nobody vouched for is lost
    server.dies_at = None
    feed(assignment, over)
    assert server.seqs == with_steps(events[:40])


def test_run_that_is_not_there_any_more_is_told_from_its_beginning(server, assignment, over, events, write_stream):
    assignment.events_path.write_bytes(write_stream(events))
    feed(assignment, over)
    server.open_tracker = lambda subject, settings, mark: Connection(server, is_new=True)
    sys.modules["trainwright.watch.trackers.tensorboard"].open_tracker = server.open_tracker
    feed(assignment, over)
    assert server.seqs == with_steps(events)


def test_other_settings_mean_another_place(server, assignment, over, events, write_stream):
    assignment.events_path.write_bytes(write_stream(events))
    feed(assignment, over)
    elsewhere = assignment.model_copy(update={"settings": TrackerSettings(project="other")})
    assert read_state(elsewhere) is None
    assert feed(elsewhere, over).num_events == len(events)


def test_rolled_back_steps_are_told_as_they_come(server, assignment, over, eventful, write_stream):
    assignment.events_path.write_bytes(write_stream(eventful))
    feed(assignment, over)
    assert server.seqs == with_steps(eventful)


def test_package_that_is_not_installed_is_named(assignment, over, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith(("tensorboard.", "trainwright.watch.trackers.tens"))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(PackageMissing) as raised:
        feed(assignment, over)
    assert "pip install 'trainwright[tensorboard]'" in raised.value.next_step


def test_note_that_cannot_be_read_is_as_none(server, assignment, over, events, write_stream):
    assignment.events_path.write_bytes(write_stream(events))
    assignment.folder.mkdir()
    assignment.state_path.write_text("{", encoding="utf-8")
    assert feed(assignment, over).num_events == len(events)
