"""The ladder: a step that goes wrong is skipped, several roll the run back, several of those end it.

Faults are injected into real trainers of both backends. Whatever happens, a run that is killed or stopped and goes on ends
as one that was left alone.
"""

import contextlib
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from trainwright.core.errors import TrainingUnstable
from trainwright.core.records import Stability
from trainwright.core.state import Position, Steadiness
from trainwright.train.stability import (
    Objection,
    Setback,
    calls_for_rollback,
    find_objection,
    remember_skipped,
    remember_taken,
    roll_back,
)
from trainwright.train.telling import HeldOut

LADDER = Stability(outlier_sigmas=6, window=8, max_skips=3, rate_factor=0.5, max_rollbacks=2)
USUAL = Steadiness(losses=(2.0, 2.2, 2.0, 2.2), norms=(1.0, 1.1, 1.0, 1.1))
NAN = float("nan")


# ── judging a step ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("settings", [None, LADDER])
@pytest.mark.parametrize(("loss", "norm"), [(NAN, 1.0), (math.inf, 1.0), (2.0, NAN), (2.0, math.inf)])
def test_what_is_not_finite_is_refused_from_the_first_step_on(settings, loss, norm):
    assert find_objection(settings, Steadiness(), loss, norm) == Objection("not-finite")


def test_limit_is_the_mean_and_so_many_deviations():
    assert find_objection(LADDER, USUAL, 2.69, 1.0) is None  # 2.1 + 6 · 0.1
    found = find_objection(LADDER, USUAL, 2.71, 1.0)
    assert found is not None
    assert found.reason == "loss-outlier"
    assert found.limit == pytest.approx(2.7)
    found = find_objection(LADDER, USUAL, 2.1, 1.36)  # 1.05 + 6 · 0.05
    assert found is not None
    assert (found.reason, found.limit) == ("gradient-outlier", pytest.approx(1.35))


def test_what_is_unusually_small_is_welcome():
    assert find_objection(LADDER, USUAL, 0.1, 0.001) is None


def test_nothing_is_an_outlier_before_half_a_window_is_remembered():
    few = USUAL.model_copy(update={"losses": USUAL.losses[1:], "norms": USUAL.norms[1:]})
    assert find_objection(LADDER, few, 1e6, 1e6) is None
    assert find_objection(LADDER, USUAL, 1e6, 1e6) is not None


def test_rounding_error_is_no_outlier_where_nothing_moves():
    still = Steadiness(losses=(2.0,) * 8, norms=(1.0,) * 8)
    assert find_objection(LADDER, still, 2.0 + 1e-6, 1.0 + 1e-6) is None
    assert find_objection(LADDER, still, 2.1, 1.0) is not None


def test_without_sigmas_only_what_is_not_finite_is_refused():
    relaxed = LADDER.model_copy(update={"outlier_sigmas": 0})
    assert find_objection(relaxed, USUAL, 1e6, 1e6) is None
    assert find_objection(relaxed, USUAL, NAN, 1.0) is not None
    assert remember_taken(relaxed, Steadiness(), 2.0, 1.0) == Steadiness()


def test_only_the_last_window_is_remembered():
    steadiness = Steadiness()
    for step in range(11):
        steadiness = remember_taken(LADDER, steadiness, float(step), step / 10)
    assert steadiness.losses == tuple(float(step) for step in range(3, 11))
    assert steadiness.norms == tuple(step / 10 for step in range(3, 11))


def test_without_a_ladder_nothing_is_remembered():
    assert remember_taken(None, Steadiness(), 2.0, 1.0) == Steadiness()


def test_skips_are_counted_within_a_window():
    steadiness = Steadiness()
    for step in (0, 4, 8):
        steadiness = remember_skipped(LADDER, steadiness, step)
    assert steadiness.skipped_steps == (4, 8)
    assert not calls_for_rollback(LADDER, steadiness)
    assert calls_for_rollback(LADDER, remember_skipped(LADDER, steadiness, 9))


# ── rolling back ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_rollback_bars_what_was_skipped_and_lowers_the_rate():
    now = Position(
        step=20, num_tokens=9, num_events=9, best_step=8, scheduled_step=12,
        steadiness=USUAL.model_copy(update={"skipped_steps": (11, 14, 19), "barred_steps": (13,), "rate_factor": 0.5}),
    )  # fmt: skip
    kept = Steadiness(losses=(3.0,), norms=(2.0,), skipped_steps=(11,))
    scheduled = Position(step=12, num_tokens=5, num_events=4, best_step=8, scheduled_step=12, steadiness=kept)
    position = roll_back(LADDER, Setback(now, "skips"), scheduled)
    assert position.model_copy(update={"steadiness": kept}) == scheduled
    assert position.steadiness == Steadiness(
        losses=(3.0,), norms=(2.0,), barred_steps=(13, 14, 19), num_rollbacks=1, rate_factor=0.25
    )


@pytest.mark.parametrize("reason", ["skips", "held-out-loss", "weights"])
def test_rollback_too_many_ends_the_run(reason):
    now = Position(step=20, num_tokens=9, num_events=9, steadiness=Steadiness(num_rollbacks=2, rate_factor=0.25))
    with pytest.raises(TrainingUnstable, match="after 2 rollbacks") as raised:
        roll_back(LADDER, Setback(now, reason), Position.start())
    assert raised.value.exit_code == 4
    assert "0.25" in raised.value.why
    assert raised.value.next_step


# ── in the loop, on each backend ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("fault", ["nan loss", "nan gradient", "exploding loss", "exploding gradient"])
def test_skipped_step_changes_no_bit_of_weights_or_optimizer(build_world, faults, require_same_state, fault):
    world = build_world({10: faults[fault]}, num_steps=12, ema_decay=0.9)
    result = world.go()
    require_same_state(world.trainer.before[11], world.trainer.before[10])
    assert result.position.step == 12
    assert world.trainer.read_state().num_updates == 11
    assert [facts["step"] for facts in world.facts("step")] == [*range(1, 10), 11, 12]
    (skip,) = world.facts("skip")
    reason = {
        "nan loss": "not-finite",
        "nan gradient": "not-finite",
        "exploding loss": "loss-outlier",
        "exploding gradient": "gradient-outlier",
    }[fault]
    assert (skip["step"], skip["reason"]) == (10, reason)
    assert (skip["limit"] is None) == (reason == "not-finite")
    assert all(np.isfinite(weight).all() for weight in world.trainer.read_state().weights.values())


def test_skipped_step_still_counts(build_world, faults):
    world = build_world({12: faults["nan loss"]})
    world.go()
    assert [facts["step"] for facts in world.facts("validation")] == [6, 12, 18, 24]
    assert {4, 8, 12, 16, 20, 24} <= set(world.checkpoints)
    assert [facts["num_tokens"] for facts in world.facts("step")] == [32 * taken for taken in range(1, 24)]
    assert world.told("rollback") == []


def test_early_explosion_is_only_clipped(build_world, faults):
    world = build_world({2: faults["exploding gradient"]}, num_steps=6)
    world.go()
    assert world.told("skip") == []


def test_repeated_nan_rolls_back_to_the_scheduled_checkpoint(build_world, faults, require_same_state):
    world = build_world(dict.fromkeys((13, 15, 16), faults["nan gradient"]))
    world.go()
    assert world.facts("rollback") == [
        {
            "step": 16, "to_step": 12, "reason": "skips", "num_rollbacks": 1, "rate_factor": 0.5,
            "barred_steps": [13, 15, 16],
        }
    ]  # fmt: skip
    assert world.trainer.computed == [*range(1, 17), 14, *range(17, 25)]
    require_same_state(world.trainer.before[14], world.checkpoints[12][0])
    rates = [facts["learning_rate"] for facts in world.facts("step")]
    assert rates == [1.5e-3] + [3e-3] * 12 + [1.5e-3] * 9
    barred = [facts["step"] for facts in world.facts("skip") if facts["reason"] == "barred"]
    assert barred == [13, 15, 16]
    assert world.facts("checkpoint")[-1]["step"] == 24


def test_rollback_before_the_first_checkpoint_goes_to_the_start(build_world, faults, require_same_state):
    world = build_world(dict.fromkeys((1, 2, 3), faults["nan loss"]))
    start = world.trainer.read_state()
    world.go()
    assert world.facts("rollback")[0]["to_step"] == 0
    require_same_state(world.trainer.before[4], start)
    assert world.trainer.computed == [1, 2, 3, *range(4, 25)]


def test_nan_without_end_stops_in_bounded_time(build_world, faults):
    world = build_world(dict.fromkeys(range(9, 25), faults["nan loss"]))
    with pytest.raises(TrainingUnstable):
        world.go()
    assert [facts["num_rollbacks"] for facts in world.facts("rollback")] == [1, 2]
    assert [facts["to_step"] for facts in world.facts("rollback")] == [
        8,
        12,
    ]  # 9 to 11 were passed over, and 12 is saved
    assert len(world.trainer.computed) < 24


def test_held_out_loss_that_is_no_number_rolls_back(build_world):
    results = iter([2.0, NAN, 1.9, 1.8, 1.7])

    def held_out():
        loss = next(results)
        return HeldOut(val_loss=loss, perplexity=2.0, bits_per_byte=1.0, accuracy=0.5)

    world = build_world(held_out=held_out)
    world.go()
    (rollback,) = world.facts("rollback")
    assert (rollback["step"], rollback["to_step"], rollback["reason"]) == (12, 8, "held-out-loss")
    assert [facts["val_loss"] for facts in world.facts("validation")] == [2.0, 1.9, 1.8, 1.7]


def test_weight_that_is_no_number_rolls_back(build_world):
    world = build_world()
    read, spoilt = world.trainer._trainer.read_state, []

    def read_state():
        state = read()
        if world._last_step() == 16 and len(spoilt) < 2:  # as the step begins, and as it would be saved
            state.weights["model.norm.weight"][0] = np.inf
            spoilt.append(state)
        return state

    world.trainer._trainer.read_state = read_state
    world.go()
    (rollback,) = world.facts("rollback")
    assert (rollback["step"], rollback["to_step"], rollback["reason"]) == (16, 12, "weights")
    assert 24 in world.checkpoints


# ── killed, stopped, resumed ──────────────────────────────────────────────────────────────────────────────────────────
LEFT_ALONE = pytest.StashKey()
TROUBLED = {10: "nan loss", 13: "nan gradient", 14: "exploding gradient", 15: "nan loss", 19: "nan loss"}


def troubled(build_world, faults):
    return build_world({step: faults[fault] for step, fault in TROUBLED.items()})


@pytest.fixture
def left_alone(build_world, faults, framework, request):
    """The troubled run that nobody disturbed."""
    known = request.session.stash.setdefault(LEFT_ALONE, {})
    if framework not in known:
        known[framework] = troubled(build_world, faults)
        known[framework].go()
    return known[framework]


def assert_same_end(world, whole, require_same_state):
    require_same_state(world.trainer.read_state(), whole.trainer.read_state())
    assert repr(world.told()) == repr(whole.told())  # by their text: a NaN is not equal to itself
    assert max(world.checkpoints) == max(whole.checkpoints)
    assert world.checkpoints[24][1] == whole.checkpoints[24][1]


@pytest.mark.parametrize("stop_after", [9, 13, 14, 15, 16, 19, 20])
def test_stopped_anywhere_and_resumed_it_climbs_the_same_ladder(
    build_world, faults, left_alone, require_same_state, stop_after
):
    assert len(left_alone.facts("rollback")) == 1
    world = troubled(build_world, faults)
    world.stop_after = stop_after
    assert world.go().interrupted
    world.stop_after = None
    assert not world.resume().interrupted
    assert_same_end(world, left_alone, require_same_state)


def test_checkpoint_of_an_interruption_is_never_where_a_rollback_goes(build_world, faults):
    world = build_world(dict.fromkeys((10, 12, 14), faults["nan loss"]), checkpoint_every=100, validate_every=100)
    world.stop_after = 11
    assert world.go().interrupted
    assert set(world.checkpoints) == {11}
    assert world.checkpoints[11][1].scheduled_step == 0
    world.stop_after = None
    world.resume()
    assert world.facts("rollback")[0]["to_step"] == 0
    assert set(world.checkpoints) == {24}


SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


class Killed(Exception):
    """Stands for a process that ends without a word."""


@given(deaths=st.lists(st.integers(1, 80), min_size=1, max_size=3), stops=st.lists(st.integers(1, 23), max_size=2))
@settings(max_examples=8, suppress_health_check=SLOW, phases=[Phase.generate])
def test_killed_anywhere_it_climbs_the_same_ladder(build_world, faults, left_alone, require_same_state, deaths, stops):
    """A death may fall between any two things that leave a trace: an event, a save, either side of a rollback."""
    world = troubled(build_world, faults)
    for death, stop in zip(deaths, [*stops, None, None, None], strict=False):
        countdown = iter(range(death, 0, -1))

        def tick(countdown=countdown):
            if next(countdown, 0) == 1:
                raise Killed

        world.on_trace, world.stop_after = tick, stop
        with contextlib.suppress(Killed):
            world.resume()
    world.on_trace, world.stop_after = (lambda: None), None
    world.resume()
    assert_same_end(world, left_alone, require_same_state)
