"""Proposals are a pure function of the sweep and of what came before."""

import sys

import pytest

from trainwright.core.errors import PackageMissing
from trainwright.core.records import Dimension
from trainwright.sweep.proposals import Ended, name_sampler, place_drawn, propose, read_drawn


def walk(sweep, num_trials, judge=lambda values: float(values["model.layers"])):
    ended = []
    for _ in range(num_trials):
        values = propose(sweep, ended)
        ended.append(Ended(values, "completed", judge(values), {4: judge(values)}))
    return ended


def test_a_grid_is_walked_through_once_the_last_key_fastest(make_sweep):
    space = (
        Dimension(key="a", kind="categorical", values=("x", [1, 2])),
        Dimension(key="b", kind="int", low=1, high=5, step=2),
    )
    sweep = make_sweep(space=space, sampler="grid", num_trials=6)
    points = [one.values for one in walk(sweep, 6, judge=lambda values: 0.0)]
    assert points == [{"a": a, "b": b} for a in ("x", [1, 2]) for b in (1, 3, 5)]
    assert name_sampler(sweep) == "grid"


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_same_past_gives_the_same_proposal_and_another_seed_another(make_sweep, sampler):
    pytest.importorskip("optuna")
    sweep = make_sweep(sampler=sampler)
    past = walk(sweep, 12)
    assert walk(sweep, 12) == past
    assert propose(sweep, past) == propose(sweep, past)
    assert propose(make_sweep(sampler=sampler, seed=4), past) != propose(sweep, past)
    for one in past:
        assert 1e-4 <= one.values["train.optimizer.learning_rate"] <= 1e-1
        assert one.values["train.batch_size"] in (8, 16, 32)
        assert one.values["train.dropout"] in (0.0, 0.1, 0.2, 0.3)
        assert one.values["model.layers"] in range(1, 7)
    assert len({one.values["train.optimizer.learning_rate"] for one in past}) == 12


def test_tpe_learns_from_what_came_of_earlier_trials_and_random_does_not(make_sweep):
    pytest.importorskip("optuna")
    for sampler, learns in (("tpe", True), ("random", False)):
        past = walk(make_sweep(sampler=sampler), 12)
        inverted = [Ended(one.values, "completed", -(one.value or 0.0)) for one in past]
        sweep = make_sweep(sampler=sampler)
        assert (propose(sweep, past) != propose(sweep, inverted)) == learns


def test_trials_that_failed_or_were_pruned_are_heard_of_too(make_sweep):
    pytest.importorskip("optuna")
    sweep = make_sweep(sampler="tpe")
    past = walk(sweep, 11)
    past[3] = Ended(past[3].values, "failed", None)
    past[4] = Ended(past[4].values, "pruned", 2.0, {4: 2.0})
    assert propose(sweep, past).keys() == {one.key for one in sweep.space}


def test_a_value_is_found_again_by_its_draw(make_sweep):
    pytest.importorskip("optuna")
    sweep = make_sweep()
    for one in sweep.space:
        for ended in walk(sweep, 5):
            assert read_drawn(one, place_drawn(one, ended.values[one.key])) == ended.values[one.key]


def test_without_optuna_a_grid_works_and_the_other_samplers_say_what_to_install(make_sweep, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(PackageMissing) as error:
        propose(make_sweep(sampler="random"), [])
    assert "trainwright[sweep]" in error.value.next_step
    space = (Dimension(key="a", kind="categorical", values=(1, 2)),)
    assert propose(make_sweep(sampler="grid", space=space), []) == {"a": 1}
