"""Importance is measured where trials are enough, and otherwise said not to be."""

import math
import random
import warnings

import numpy as np
import pytest

from trainwright.sweep.importance import MIN_TRIALS, TOP_SHARE, Column, compute_shares, measure_importance
from trainwright.sweep.proposals import Ended, build_frozen

RATE = "train.optimizer.learning_rate"


@pytest.fixture
def draw_states(make_sweep, make_state):
    """Trials at random places, whose objective depends on the rate alone, with a little noise."""

    def draw(num_trials):
        draw, sweep = random.Random(1), make_sweep()
        states = []
        for number in range(1, num_trials + 1):
            values = {
                RATE: 10 ** draw.uniform(-4, -1),
                "train.batch_size": draw.choice([8, 16, 32]),
                "train.dropout": draw.choice([0.0, 0.1, 0.2, 0.3]),
                "model.layers": draw.randint(1, 6),
            }
            value = abs(math.log10(values[RATE]) + 2) + draw.gauss(0, 0.01)
            states.append(make_state(sweep, number, values, value))
        return sweep, states

    return draw


def test_the_key_that_matters_is_found_with_its_interval(draw_states):
    sweep, states = draw_states(40)
    found = measure_importance(sweep, states)
    assert found.why_not == ""
    first = found.keys[0]
    assert (first.key, first.p_value < 0.01) == (RATE, True)
    assert 0 < first.share.low < first.share.value
    assert all(one.p_value > 0.05 for one in found.keys[1:])
    assert sum(one.share.value for one in found.keys) == pytest.approx(1)
    assert measure_importance(sweep, states) == found


def test_of_too_few_trials_or_equal_ones_nothing_is_said(draw_states, make_state):
    sweep, states = draw_states(MIN_TRIALS)
    assert measure_importance(sweep, states).why_not == ""
    few = measure_importance(sweep, states[1:])
    assert (few.keys, few.why_not) == ((), f"{MIN_TRIALS - 1} completed trials are fewer than {MIN_TRIALS}")
    equal = [make_state(sweep, state.number, state.values, 1.0) for state in states]
    assert measure_importance(sweep, equal).why_not == "all trials have the same objective"


def test_shares_are_those_of_optuna(draw_states):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sweep, states = draw_states(60)
    columns = [Column(one, [state.values[one.key] for state in states]) for one in sweep.space]
    ours = compute_shares(columns, np.array([state.value for state in states]), np.arange(len(states)))
    study = optuna.create_study()
    study.add_trials(build_frozen(sweep.space, Ended(state.values, "completed", state.value)) for state in states)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is called experimental
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP_SHARE)
        theirs = evaluator.evaluate(study)
    total = sum(theirs.values())
    # But for where a quartile lies between two cells, the same.
    assert ours == pytest.approx([theirs[one.key] / total for one in sweep.space], abs=0.02)
