"""A run is stopped where it is behind, by rules that look at nothing but the figures."""

import pytest

from trainwright.core.errors import TrialPruned
from trainwright.core.records import Objective, Pruning
from trainwright.sweep.pruning import Pruner, judge

LOWER = Objective(metric="bits_per_byte", direction="minimize")
HIGHER = Objective(metric="accuracy", direction="maximize")
MEDIAN = Pruning(rule="median", startup_trials=2, warmup_steps=1, reduction=3)
ASHA = Pruning(rule="asha", startup_trials=2, warmup_steps=2, reduction=2)


def test_median_stops_what_was_never_better_than_the_middle_of_the_others_there():
    others = [{4: 1.0}, {4: 2.0}, {4: 3.0}]
    assert "median of 3 trials" in judge(MEDIAN, LOWER, 4, {4: 2.5}, others)
    assert judge(MEDIAN, LOWER, 4, {4: 2.0}, others) == ""
    assert judge(MEDIAN, LOWER, 4, {2: 1.5, 4: 2.5}, others) == ""  # its best so far counts
    assert judge(MEDIAN, HIGHER, 4, {4: 2.5}, others) == ""
    assert judge(MEDIAN, HIGHER, 4, {4: 1.5}, others)


def test_nothing_is_stopped_before_enough_others_came_that_far_or_in_the_warmup():
    assert judge(MEDIAN, LOWER, 4, {4: 9.0}, [{4: 1.0}, {8: 1.0}]) == ""
    late = MEDIAN.model_copy(update={"warmup_steps": 5})
    assert judge(late, LOWER, 4, {4: 9.0}, [{4: 1.0}, {4: 1.0}]) == ""


def test_halving_keeps_the_best_part_at_each_rung():
    others = [{2: 1.0}, {2: 2.0}, {3: 3.0}]  # the first validation from the rung on counts
    assert judge(ASHA, LOWER, 2, {2: 1.5}, others) == ""  # second of four, two are kept
    assert "2 of 3 trials were better at the rung of 2 steps" in judge(ASHA, LOWER, 2, {2: 2.5}, others)
    assert judge(ASHA, LOWER, 3, {2: 2.5, 3: 9.0}, others) == ""  # between two rungs
    assert judge(ASHA, LOWER, 4, {2: 1.0, 4: 9.0}, others) == ""  # nobody else came to the next rung
    assert judge(ASHA, LOWER, 1, {1: 9.0}, others) == ""


def listen(events, pruning=MEDIAN, known=(), others=({4: 1.0, 8: 1.0}, {4: 1.0, 8: 1.0})):
    pruner = Pruner(pruning, LOWER, others, dict(known), num_steps=10)
    for event in events:
        pruner.emit(event)


def test_a_pruner_hears_validations_and_forgets_what_was_rolled_back():
    step, bad = {"kind": "step", "step": 4}, {"kind": "validation", "step": 4, "bits_per_byte": 2.0}
    with pytest.raises(TrialPruned, match="Stopped at step 4 of 10"):
        listen([step, bad])
    good = {"kind": "validation", "step": 3, "bits_per_byte": 0.5}
    listen([good, bad])
    back = {"kind": "rollback", "step": 4, "to_step": 0}
    with pytest.raises(TrialPruned):
        listen([good, back, bad])


def test_what_was_measured_before_this_process_counts_and_the_last_step_never_stops_a_run():
    listen([{"kind": "validation", "step": 8, "bits_per_byte": 2.0}], known={4: 0.5})
    with pytest.raises(TrialPruned):
        listen([{"kind": "validation", "step": 4, "bits_per_byte": 2.0}], known={4: 0.5})  # it is measured again
    listen([{"kind": "validation", "step": 10, "bits_per_byte": 9.0}], others=({10: 1.0}, {10: 1.0}))
    listen([{"kind": "validation", "step": 4, "bits_per_byte": float("nan")}])
