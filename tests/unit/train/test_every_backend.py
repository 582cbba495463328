"""Schedules, early stopping, accumulation and smoothing in whole runs: the same on every backend."""

import numpy as np
import pytest

from trainwright.core.records import EarlyStopping, Schedule
from trainwright.train.loop import rates_at
from trainwright.train.telling import HeldOut

SCHEDULES = [
    Schedule(name="constant", num_warmup_steps=0, num_decay_steps=0, floor=0.0),
    Schedule(name="linear", num_warmup_steps=1, num_decay_steps=0, floor=0.1),
    Schedule(name="cosine", num_warmup_steps=3, num_decay_steps=0, floor=0.0),
    Schedule(name="warmup-stable-decay", num_warmup_steps=2, num_decay_steps=4, floor=0.0),
    Schedule(name="step", num_warmup_steps=2, num_decay_steps=0, floor=0.1, step_every=3, step_factor=0.5),
    Schedule(name="cosine", num_warmup_steps=30, num_decay_steps=0, floor=0.0),  # a warm-up that never ends
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: f"{schedule.name}-{schedule.num_warmup_steps}")
def test_rates_are_those_of_the_schedule_and_they_move_the_weights(build_world, schedule):
    world = build_world(schedule=schedule, num_steps=10, watch_every=1)
    world.go()
    rates = [facts["learning_rate"] for facts in world.facts("step")]
    assert rates == [rates_at(world.plan.training, step).learning_rate for step in range(10)]
    assert min(rates) > 0
    assert max(rates) <= 3e-3
    # AdamW's steps are about as long as its rate: a higher rate moved the last norm further.
    ratios = {facts["step"]: facts["groups"][-1]["update_ratio"] for facts in world.facts("anatomy")}
    if max(rates[1:]) > 2 * min(rates[1:]):
        highest, lowest = (pick(range(2, 11), key=lambda step: rates[step - 1]) for pick in (max, min))
        assert ratios[highest] > ratios[lowest]


def test_run_stops_early_where_nothing_is_gained(build_world):
    values = iter([3.0, 2.0, 2.5, 2.2, 1.0])

    def held_out():
        value = next(values)
        return HeldOut(val_loss=value, perplexity=2.0, bits_per_byte=value, accuracy=0.5)

    stopping = EarlyStopping(metric="val_loss", patience=2, min_delta=0.1)
    world = build_world(held_out=held_out, early_stopping=stopping, validate_every=2)
    result = world.go()
    assert result.stopped_early
    assert (result.position.step, result.position.best_step) == (8, 4)
    assert world.facts("early-stop") == [{"step": 8, "metric": "val_loss"}]
    assert 8 in world.checkpoints


def test_a_run_is_the_same_however_its_batches_are_cut(build_world):
    """1×8 = 2×4 = 8×1: in whole runs, to rounding."""
    whole = {"batch_size": 8, "dropout": 0.0, "num_steps": 8, "optimizer": "adamw"}
    losses = []
    for accumulation in (1, 2, 8):
        world = build_world(accumulation=accumulation, **whole)
        world.go()
        losses.append([facts["loss"] for facts in world.facts("step")])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-4)


def test_smoothing_keeps_a_run_from_being_certain(build_world):
    def certainty(smoothing):
        world = build_world(
            num_steps=60, dropout=0.0, label_smoothing=smoothing, validate_every=60, checkpoint_every=60
        )
        world.go()
        batch = world.open_batches().micro_batches_at(0)[0]
        return np.exp(-world.trainer.score(batch).nll_BT).max()

    assert certainty(0.3) < certainty(0.0)
