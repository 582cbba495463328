"""Which intervals are computed again, and what is said of the others."""

from pathlib import Path

import pytest

from trainwright.core.records import Change, Difference, Drift, Interval, Run
from trainwright.pipeline.recompute import Finding
from trainwright.pipeline.verify import History, Progress, choose, iter_rows
from trainwright.store.run_folder import RunFolder

RUN = Run(plan="0" * 64, name="x", started_at="", nonce="", environment="0" * 64)
STEPS = tuple(range(10, 101, 10))


def history(kept=STEPS, damaged=(), drift_at: int | None = None) -> History:
    change = Change(name="numpy", before="1", now="2", exact=False)
    drifts = () if drift_at is None else (Drift(run=RUN.id, step=drift_at, at="", changes=(change,)),)
    return History(
        run=RUN,
        plan=None,
        folder=RunFolder(Path("nowhere")),
        steps=STEPS,
        kept=frozenset(kept),
        damaged=dict.fromkeys(damaged, "it changed"),
        drifts=drifts,
    )


def spans(intervals) -> list[tuple[int, int]]:
    return [(interval.first_step, interval.last_step) for interval in intervals]


def test_all_of_a_run_is_chosen_where_no_sample_is_asked_for() -> None:
    assert spans(choose(history(kept=[100]), None, 0)) == [(first, first + 10) for first in range(0, 100, 10)]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
def test_a_sample_is_as_large_as_its_share_allows(share: float) -> None:
    for seed in range(5):
        chosen = choose(history(), share, seed)
        assert len(chosen) == int(share * 10)


def test_equal_seeds_draw_equal_samples_and_others_others() -> None:
    drawn = [spans(choose(history(), 0.2, seed)) for seed in range(8)]
    assert drawn[3] == spans(choose(history(), 0.2, 3))
    assert len({str(each) for each in drawn}) > 4


def test_a_sample_begins_where_something_is_kept() -> None:
    chosen = {span for seed in range(20) for span in spans(choose(history(kept=[80, 100]), 0.1, seed))}
    assert chosen == {(0, 10), (80, 90)}


def test_a_sample_that_is_smaller_than_every_interval_takes_one() -> None:
    assert len(choose(history(), 0.01, 0)) == 1


def test_what_leads_to_a_damaged_checkpoint_is_computed_whatever_is_drawn() -> None:
    for seed in range(5):
        chosen = spans(choose(history(kept=[40, 70, 100], damaged=[70]), 0.1, seed))
        assert {(40, 50), (50, 60), (60, 70)} <= set(chosen)
        assert (70, 80) not in chosen


def test_nothing_is_computed_after_a_drift() -> None:
    assert max(span[1] for span in spans(choose(history(drift_at=60), None, 0))) == 60
    for seed in range(10):
        assert all(span[1] <= 60 for span in spans(choose(history(drift_at=60), 0.3, seed)))


def rows_of(known: History, chosen, findings, difference: Difference | None = None) -> list[str]:
    progress = Progress([])
    for finding in findings:
        progress.take(finding)
    return [row.found for row in iter_rows(known, chosen, progress, difference)]


def test_every_interval_is_told_apart() -> None:
    known = history(drift_at=80)
    chosen = choose(known, None, 0)
    agreed = [Finding(kind="agreed", step=step) for step in (10, 20, 30)]
    found = rows_of(known, chosen, agreed, Difference(step=40, tensor="model.norm.weight"))
    assert found == ["agrees"] * 3 + ["differs"] + ["not reached"] * 4 + ["after drift"] * 2


def test_what_was_not_drawn_is_not_said_to_agree() -> None:
    chosen = (Interval(first_step=20, last_step=30),)
    found = rows_of(history(), chosen, [Finding(kind="agreed", step=30)])
    assert found == ["not drawn"] * 2 + ["agrees"] + ["not drawn"] * 7
