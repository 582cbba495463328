"""The console: a live display on a terminal, plain lines in a log, silence when its stream is gone."""

import errno
import io
import math
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trainwright.watch.progress import (
    SPARK_BLOCKS,
    ConsoleProgress,
    make_console,
    render_duration,
    render_sparkline,
    strip_controls,
)


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def log_of(events: list[dict[str, Any]], *, step_s: float = 0.1, **settings: Any) -> list[str]:
    stream, clock = io.StringIO(), Clock()
    with ConsoleProgress(make_console(stream), clock=clock, **settings) as progress:
        for event in events:
            clock.now_s += step_s if event["kind"] == "step" else 0.0
            progress.emit(event)
    return stream.getvalue().splitlines()


def terminal() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=True, width=100, color_system=None, legacy_windows=False), stream


def test_a_log_has_a_line_every_few_seconds_and_one_for_each_validation(events: list[dict[str, Any]]) -> None:
    lines = log_of(events, every_s=2.5)
    assert [line.split()[1] for line in lines if line.startswith("step ")] == ["1/100", "26/100", "51/100", "76/100"]
    assert sum(line.startswith("validation at step") for line in lines) == 5
    assert sum(line.startswith("checkpoint at step") for line in lines) == 5
    assert lines[0] == "plan pppppppppppp: 2,447,680 weights, 100 steps"
    assert lines[-1].startswith("run completed at step 100  loss ")


def test_a_log_has_no_terminal_codes_even_where_colour_is_forced(
    events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = "\n".join(log_of(events))
    assert "\x1b[2K" not in text
    assert "\x1b[?25l" not in text
    assert "step 1/100" in text


def test_a_log_line_is_never_wrapped(events: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert any(line.startswith("step 1/100") and line.endswith("tokens/s") for line in log_of(events))


def test_the_time_left_is_judged_by_steps_of_this_process(events: list[dict[str, Any]]) -> None:
    stream, clock = io.StringIO(), Clock()
    steps = [event for event in events if event["kind"] == "step"]
    with ConsoleProgress(make_console(stream), clock=clock, every_s=0.0) as progress:
        progress.catch_up([events[0], *steps[:50]])
        assert stream.getvalue() == ""
        clock.now_s += 5000.0  # the night between
        progress.emit(steps[50])
        clock.now_s += 2.0
        progress.emit(steps[51])
    first, second = stream.getvalue().splitlines()
    assert first.startswith("step 51/100")
    assert "left" not in first
    assert second.endswith("1:36 left")  # 48 steps of 2 s


def test_a_second_run_on_one_display_is_shown_as_if_it_were_the_first(events: list[dict[str, Any]]) -> None:
    assert log_of(events + events)[-1] == log_of(events)[-1]
    shorter = [event for event in events if event.get("step", 0) <= 20 or event["kind"] == "run-finished"]
    assert log_of(events + shorter)[-1] == log_of(shorter)[-1]


def test_quiet_says_nothing(events: list[dict[str, Any]]) -> None:
    stream = io.StringIO()
    with ConsoleProgress(make_console(stream), quiet=True) as progress:
        progress.start_phase("data")
        progress.finish_phase("data", "failed", 1.0)
        progress.announce("hello")
        for event in events:
            progress.emit(event)
    assert stream.getvalue() == ""


def test_a_terminal_shows_bar_numbers_sparkline_and_sample(events: list[dict[str, Any]]) -> None:
    console, stream = terminal()
    clock = Clock()
    with ConsoleProgress(console, clock=clock) as progress:
        progress.start_phase("training")
        for event in events[:70]:
            clock.now_s += 1.0
            progress.emit(event)
    last_frame = stream.getvalue().rpartition("· training")[2]
    for expected in ("60%", "step 60/100", "epoch 1.80", "val loss", "bits/byte", "tokens/s", "left", "█", "a fox"):
        assert expected in last_frame
    assert stream.getvalue().endswith("\x1b[2K") or "\x1b[?25h" in stream.getvalue()[-40:], "the cursor comes back"


def test_a_terminal_is_redrawn_at_most_four_times_a_second(events: list[dict[str, Any]]) -> None:
    console, stream = terminal()
    clock = Clock()
    steps = [event for event in events if event["kind"] == "step"]
    with ConsoleProgress(console, clock=clock) as progress:
        progress.emit(events[0])
        for step in steps:
            clock.now_s += 0.01
            progress.emit(step)
    assert 3 <= stream.getvalue().count("tokens/s") <= 6  # 1 second of steps


def test_phases_are_told_with_mark_time_and_detail() -> None:
    stream = io.StringIO()
    with ConsoleProgress(make_console(stream)) as progress:
        progress.start_phase("data")
        progress.finish_phase("data", "reused", 0.12, "10,000 documents")
        progress.finish_phase("training", "completed", 93.0)
        progress.emit({"kind": "phase", "name": "validation", "status": "failed", "timing": {"elapsed_s": 3.0}})
    lines = stream.getvalue().splitlines()
    assert lines[0] == "data …"
    assert [line.split()[:2] for line in lines[1:]] == [["↺", "data"], ["✓", "training"], ["✗", "validation"]]
    assert lines[1].endswith("0.1 s  reused, 10,000 documents")
    assert lines[2].endswith("1:33")
    assert lines[3].endswith("3.0 s  failed")


def test_a_stream_that_cannot_show_marks_gets_words(events: list[dict[str, Any]]) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="strict")
    with ConsoleProgress(make_console(stream)) as progress:
        progress.start_phase("data")
        progress.finish_phase("data", "failed", 0.1)
        for event in events:
            progress.emit(event)
    stream.flush()
    text = raw.getvalue().decode("ascii")
    assert "FAILED  data" in text
    assert "run completed at step 100" in text


def test_a_numberless_loss_is_shown_as_it_is(events: list[dict[str, Any]]) -> None:
    step = events[1] | {"loss": math.nan, "gradient_norm": math.inf}
    (line,) = log_of([step])
    assert "loss nan" in line
    assert "gradient inf" in line


def test_a_sample_cannot_steer_the_terminal(events: list[dict[str, Any]]) -> None:
    sample = {"kind": "sample", "step": 1, "prompt": "a", "text": "\x1b[2J\x07[red]b[/red]\n\nc", "timing": {}}
    assert log_of([sample]) == ["sample at step 1: a�[2J�[red]b[/red] c"]


class GoneStream(io.StringIO):
    """A stream whose reader has left."""

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "Input/output error")


def test_a_terminal_that_goes_away_silences_the_display_and_nothing_else(
    events: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    with ConsoleProgress(make_console(GoneStream())) as progress:
        progress.start_phase("training")
        for event in events:
            progress.emit(event)
        progress.announce("done")
    assert capsys.readouterr().err.count("the progress display stopped") == 1


def test_a_broken_pipe_does_not_end_the_process(events: list[dict[str, Any]]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", encoding="utf-8", buffering=1)
    with ConsoleProgress(make_console(stream)) as progress:
        for event in events:
            progress.emit(event)
        progress.announce("still here")
    with pytest.raises(BrokenPipeError):  # what was left in the buffer had nowhere to go
        stream.close()


def test_a_closed_stream_does_not_end_the_process(events: list[dict[str, Any]]) -> None:
    stream = io.StringIO()
    with ConsoleProgress(make_console(stream)) as progress:
        stream.close()
        for event in events:
            progress.emit(event)


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    with ConsoleProgress(make_console(stream)) as progress:
        progress.finish_phase("data", "completed", 0.1)
    assert "\x1b[32m" not in stream.getvalue()
    assert "✓" in stream.getvalue()


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ([], 10, ""),
        ([1.0], 0, ""),
        ([1.0, 1.0], 10, "▁▁"),
        ([0.0, 1.0], 10, "▁█"),
        (list(range(8)), 8, SPARK_BLOCKS),
        ([0.0, 0.0, 8.0, 8.0], 2, "▁█"),
        ([0.0, math.nan, 8.0], 3, "▁×█"),
        ([math.inf, -math.inf], 2, "××"),
    ],
)
def test_a_sparkline_runs_from_lowest_to_highest(values: list[float], width: int, expected: str) -> None:
    assert render_sparkline(values, width) == expected


@given(values=st.lists(st.floats(-1e300, 1e300), max_size=200), width=st.integers(0, 60))
def test_a_sparkline_fits_its_width(values: list[float], width: int) -> None:
    line = render_sparkline(values, width)
    assert len(line) == min(width, len(values))


def iter_durations() -> Iterator[tuple[float, str]]:
    yield from [(0.0, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (59.6, "1:00"), (61, "1:01"), (3723, "1:02:03")]


@pytest.mark.parametrize(("seconds", "expected"), list(iter_durations()))
def test_durations_read_as_people_say_them(seconds: float, expected: str) -> None:
    assert render_duration(seconds) == expected


def test_control_characters_are_made_visible_and_space_is_folded() -> None:
    assert strip_controls("a\tb\r\n c\x1b\x9b\ud800é") == "a b c���é"
