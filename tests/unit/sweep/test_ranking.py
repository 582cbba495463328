"""The ranking says how sure it is, and what may not be concluded."""

import pytest

from trainwright.sweep.ranking import find_confirmations, list_notes, rank_trials
from trainwright.sweep.record import TrialState
from trainwright.sweep.search import find_next


def test_the_best_come_first_and_what_failed_has_no_place(make_sweep, make_state):
    sweep = make_sweep()
    states = [make_state(sweep, 1, {}, 2.0), make_state(sweep, 2, {}, "failed"), make_state(sweep, 3, {}, 1.0)]
    ranks = rank_trials(sweep, states)
    assert [(rank.number, rank.place) for rank in ranks] == [(3, 1), (1, 2), (2, None)]
    assert ranks[0].figure.why_not == "one seed has no spread"
    assert (ranks[1].difference.value, ranks[1].difference.low, ranks[1].p_adjusted) == (1.0, None, None)
    up = sweep.model_copy(update={"objective": {"metric": "accuracy", "direction": "maximize"}})
    assert next(rank.number for rank in rank_trials(up, states)) == 1


def test_seeds_are_paired_so_that_what_all_trials_share_is_no_part_of_the_difference(make_sweep, make_state):
    sweep = make_sweep(num_seeds=3)
    states = [
        make_state(sweep, 1, {}, 1.0, 2.0, 3.0),
        make_state(sweep, 2, {}, 1.11, 2.1, 3.12),
        make_state(sweep, 3, {}, 1.0, 3.0, 2.3),
    ]
    first, *_ = ranks = rank_trials(sweep, states)
    assert [rank.number for rank in ranks] == [1, 3, 2]
    assert first.figure.high - first.figure.low > 4  # the seeds lie far apart
    behind = {rank.number: rank for rank in ranks}
    assert behind[2].difference.low > 0  # and the trials do not
    assert behind[3].difference.low < 0 < behind[3].difference.high
    assert behind[2].p_adjusted == pytest.approx(2 * behind[2].test.p_value)
    notes = " ".join(list_notes(sweep, states, ranks))
    assert "1 of the 2 trials behind the first cannot be told apart from it by 3 seeds" in notes
    assert "one seed" not in notes


def test_notes_say_that_the_best_of_many_is_optimistic_and_that_one_seed_tells_no_spread(make_sweep, make_state):
    sweep = make_sweep()
    alone = [make_state(sweep, 1, {}, 2.0)]
    assert list_notes(sweep, alone, rank_trials(sweep, alone)) == []
    states = [*alone, make_state(sweep, 2, {}, 1.0), make_state(sweep, 3, {}, "pruned")]
    notes = " ".join(list_notes(sweep, states, rank_trials(sweep, states)))
    assert "chosen by the very bits per byte that is shown" in notes
    assert "one seed" in notes
    assert "1 of 3 trials were stopped early" in notes


def test_a_trial_of_which_one_run_failed_has_failed(make_sweep, make_state):
    sweep = make_sweep(num_seeds=2)
    state = make_state(sweep, 1, {}, 1.0, "failed")
    assert (state.status, state.value, state.error) == ("failed", None, "failed: for a test")


def test_fresh_seeds_confirm_and_take_no_part_in_the_ranking(make_sweep, make_state):
    sweep = make_sweep()
    states = [make_state(sweep, 1, {}, 1.0, 1.4, 1.6, "failed"), make_state(sweep, 2, {}, 1.2)]
    assert rank_trials(sweep, states)[0].figure.value == 1.0
    (found,) = find_confirmations(states)
    assert (found.number, found.chosen_by, found.figure.value, found.num_failed) == (1, 1.0, 1.5, 1)


def test_what_is_next_follows_from_what_is_on_record(make_sweep, make_state):
    sweep = make_sweep(num_seeds=2, num_trials=3)
    assert find_next(sweep, []) == (1, 0)
    assert find_next(sweep, [make_state(sweep, 1, {}, 1.0)]) == (1, 1)
    assert find_next(sweep, [make_state(sweep, 1, {}, 1.0, "unfinished")]) == (1, 1)
    done: list[TrialState] = [make_state(sweep, 1, {}, 1.0, 2.0), make_state(sweep, 2, {}, "pruned")]
    assert find_next(sweep, done) == (3, 0)
    assert find_next(sweep, [*done, make_state(sweep, 3, {}, 1.0, "failed")]) is None
