"""Watching a run: what is known of it, as lines and as a display."""

import io

import pytest
from rich.console import Console

from trainwright.watch.live import LineViewer, LiveViewer, RunSoFar, render_run


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=100, height=50, color_system=None)


def so_far_of(events):
    so_far = RunSoFar()
    for event in events:
        so_far.add(event)
    return so_far


def test_time_left_follows_the_runs_own_clock(events):
    so_far = so_far_of([event for event in events if event.get("step", 0) <= 60])
    assert so_far.left_s() == pytest.approx(4.0)  # 40 steps of 0.1 s


def test_time_left_is_unknown_right_after_a_resume(events):
    steps = [event for event in events if event["kind"] in ("run-started", "step")][:5]
    steps[-1]["timing"]["elapsed_s"] = 0.0
    assert so_far_of(steps).left_s() is None
    assert so_far_of(steps[:2]).left_s() is None


def test_what_a_rollback_undid_is_forgotten(eventful):
    so_far = so_far_of(eventful)
    steps = [event["step"] for event in so_far.events if event["kind"] == "step"]
    assert steps == list(range(1, 61))
    assert (so_far.num_skips, so_far.num_rollbacks) == (1, 1)


def test_document_has_the_newest_numbers_and_none_where_there_is_none(events):
    document = so_far_of(events).as_document()
    assert document["loss"] == events[-5]["loss"]
    assert document["tokens_per_s"] == 40960.0
    assert set(RunSoFar().as_document().values()) == {None, 0}


def test_display_shows_progress_numbers_curve_layers_and_sample(console, eventful):
    console.print(render_run(so_far_of(eventful[:-1]), "stories: run abc", console))
    text = console.file.getvalue()
    for part in (
        "stories: run abc",
        "step 60/60",
        "val loss",
        "loss, nats per token",
        "layer 0",
        "there was a fox",
        "skipped",
    ):
        assert part in text
    assert len(text.splitlines()) <= console.height


def test_display_fits_a_small_terminal(eventful):
    small = Console(file=io.StringIO(), width=50, height=18, color_system=None)
    small.print(render_run(so_far_of(eventful), "stories: run abc", small))
    assert "loss, nats per token" in small.file.getvalue()
    assert "layer 0" not in small.file.getvalue()


def test_display_of_a_run_that_said_nothing_yet(console):
    console.print(render_run(RunSoFar(), "stories: run abc", console))
    assert "no event yet" in console.file.getvalue()


def test_live_viewer_forgets_what_a_resume_cut_off(events):
    console = Console(file=io.StringIO(), width=100, height=50, force_terminal=True, color_system=None)
    with LiveViewer(console, "stories: run abc", clock=lambda: 0.0) as viewer:
        viewer.take(events)
        viewer.start_over()
        viewer.take(events[:10])
        viewer.take([])
    assert len(viewer.so_far.events) == 10


def test_lines_are_those_of_a_log(console, events):
    viewer = LineViewer(console)
    viewer.take(events)
    viewer.start_over()
    text = console.file.getvalue()
    assert "validation at step 20" in text
    assert "run completed at step 100" in text
    assert "resumed" in text
