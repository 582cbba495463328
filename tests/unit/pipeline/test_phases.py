"""The phases of a command: how each ended is kept, whatever ended it."""

import pytest

from trainwright.core.errors import Interrupted, SourceEmpty
from trainwright.pipeline.journal import Journal


class Screen:
    def __init__(self):
        self.said = []

    def start_phase(self, name):
        self.said.append(("start", name))

    def finish_phase(self, name, status, elapsed_s, detail=""):
        assert elapsed_s >= 0
        self.said.append((status, name, detail))

    def show_progress(self, what, done, total):
        self.said.append((what, done, total))

    def announce(self, text):
        self.said.append(text)

    def catch_up(self, events):
        self.said.extend(events)


def test_phase_is_completed_with_its_detail():
    journal = Journal(Screen())
    with journal.phase("data") as phase:
        phase.detail = "ten documents"
    assert journal.screen.said == [("start", "data"), ("completed", "data", "ten documents")]
    assert [(phase.name, phase.status, phase.error) for phase in journal.phases] == [("data", "completed", None)]
    assert journal.reused == []


def test_reused_phases_are_named_in_order():
    journal = Journal(Screen())
    for name, reuse in (("data", True), ("tokenizer", False), ("training", True)):
        with journal.phase(name) as phase:
            if reuse:
                phase.reuse()
    assert journal.reused == ["data", "training"]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (SourceEmpty("Nothing there."), "failed", "source-empty"),
        (Interrupted("Stopped."), "interrupted", "interrupted"),
        (KeyboardInterrupt(), "interrupted", "interrupted"),
    ],
)
def test_phase_that_ended_in_an_error_is_kept_with_its_name_and_the_error_goes_on(error, status, said):
    journal = Journal(Screen())
    with pytest.raises(type(error)), journal.phase("data"):
        raise error
    assert [(phase.status, phase.error) for phase in journal.phases] == [(status, said)]
    assert journal.screen.said[-1] == (status, "data", said)
