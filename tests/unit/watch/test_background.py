"""A screen in its own thread: nothing it does holds up the run."""

import io
import threading

import pytest
from rich.console import Console

from trainwright.watch import background
from trainwright.watch.background import BackgroundScreen
from trainwright.watch.progress import ConsoleProgress


class HeldTerminal(io.StringIO):
    """A terminal on which Ctrl-S was pressed: writing to it ends when `go_on` is set."""

    def __init__(self):
        super().__init__()
        self.go_on = threading.Event()

    def write(self, text):
        self.go_on.wait()
        return super().write(text)


def screen_on(file):
    return ConsoleProgress(Console(file=file, width=100, color_system=None))


def test_everything_is_shown_in_order(events):
    file = io.StringIO()
    with BackgroundScreen(screen_on(file)) as screen:
        screen.start_phase("training")
        for event in events:
            screen.emit(event)
        screen.finish_phase("training", "completed", 1.0, "100 steps")
    text = file.getvalue()
    assert text.index("training …") < text.index("validation at step 20") < text.index("run completed")
    assert text.rstrip().endswith("100 steps")


def test_announcement_was_shown_when_the_call_returns():
    file = io.StringIO()
    with BackgroundScreen(screen_on(file)) as screen:
        screen.announce("going on from the checkpoint at step 9")
        assert "at step 9" in file.getvalue()


def test_terminal_that_is_held_holds_up_nothing(monkeypatch, events):
    monkeypatch.setattr(background, "WAIT_S", 0.01)
    monkeypatch.setattr(background, "MAX_WAITING", 16)
    file = HeldTerminal()
    with BackgroundScreen(screen_on(file)) as screen:
        screen.announce("hello")
        for event in events * 10:
            screen.emit(event)
        screen.finish_phase("training", "completed", 1.0)
    assert screen.is_stuck
    file.go_on.set()


def test_what_goes_on_growing_is_taken_as_it_is(events):
    """`catch_up` is given a reader of a file that this very process goes on writing."""
    grown = list(events[:5])
    taken = []

    class Screen(ConsoleProgress):
        def catch_up(self, so_far):
            grown.append(events[5])
            taken.extend(so_far)

    with BackgroundScreen(Screen(Console(file=io.StringIO()))) as screen:
        screen.catch_up(event for event in grown)
    assert taken == events[:5]


def test_error_in_the_block_is_let_through():
    with pytest.raises(KeyError), BackgroundScreen(screen_on(io.StringIO())):
        raise KeyError
