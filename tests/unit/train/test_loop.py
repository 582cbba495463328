"""The loop on the reference backend, with everything around it in memory.

The one promise that matters most: whatever happens to a run, going on from its checkpoint gives the weights and the
events of a run that was left alone, bit for bit.
"""

import contextlib
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainwright.backends.initial import build_initial_state, build_initial_weights
from trainwright.backends.protocol import Gradients, Rates
from trainwright.backends.reference import ReferenceBackend, ReferenceTrainer
from trainwright.core.errors import NonFiniteLoss
from trainwright.core.records import (
    Budgets,
    Compute,
    EarlyStopping,
    ModelShape,
    Optimizer,
    Plan,
    Schedule,
    TrainingPlan,
)
from trainwright.core.seeds import derive_seed
from trainwright.core.state import Position
from trainwright.train.batches import BatchSource
from trainwright.train.loop import HeldOut, Surroundings, rates_at, train

SHAPE = ModelShape(
    vocab_size=17, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, intermediate_size=8
)


def build_plan(optimizer="muon", metric="val_loss", patience=0, min_delta=0.0, **changes):
    settings = {
        "num_steps": 12,
        "steps_per_epoch": 5,
        "batch_size": 4,
        "accumulation": 2,
        "max_seq_length": 8,
        "optimizer": Optimizer(
            name=optimizer,
            learning_rate=3e-3,
            beta1=0.9,
            beta2=0.95,
            epsilon=1e-8,
            weight_decay=0.01,
            clip_norm=1.0,
            matrix_learning_rate=0.02 if optimizer == "muon" else 0.0,
        ),
        "schedule": Schedule(name="warmup-stable-decay", num_warmup_steps=2, num_decay_steps=6, floor=0.0),
        "label_smoothing": 0.0,
        "dropout": 0.1,
        "init_scale": 0.02,
        "validate_every": 4,
        "checkpoint_every": 3,
        "keep_last": 3,
        "early_stopping": EarlyStopping(metric=metric, patience=patience, min_delta=min_delta),
        "sample_prompts": ("a",),
        "sample_tokens": 2,
    }
    return Plan(
        token_set="a" * 64,
        seed=1337,
        model=SHAPE,
        training=TrainingPlan(**(settings | changes)),
        compute=Compute(framework="reference", device="cpu", dtype="float32", compile=False, num_threads=1),
        budgets=Budgets(latency_p95_ms=None, inference_rss_bytes=None, model_file_bytes=None, training_peak_bytes=None),
    )


class Tokens:
    """A split that a small model can learn a little of."""

    num_tokens = 20 * 8 + 3

    def read(self, start, stop):
        positions = np.arange(start, stop, dtype=np.int64)
        return (3 * positions % SHAPE.vocab_size).astype(np.int32)


class ListEvents:
    """An event stream in memory, which a resume can cut off."""

    def __init__(self, events=(), on_trace=lambda: None):
        self.events = list(events)
        self._on_trace = on_trace

    @property
    def num_events(self):
        return len(self.events)

    def emit(self, kind, facts, timing=None):
        self._on_trace()
        self.events.append((kind, dict(facts), dict(timing or {})))

    def told(self):
        """What was told, apart from the clock."""
        return [(kind, facts) for kind, facts, _ in self.events]

    def steps_of(self, wanted):
        return [facts["step"] for kind, facts, _ in self.events if kind == wanted]


class World:
    """A run and its surroundings: events, checkpoints, and someone who may ask for a stop."""

    def __init__(self, plan, held_out=None):
        self.plan = plan
        self.events = ListEvents()
        self.checkpoints = {}
        self.saves = []
        self.stop_after = None
        self.on_trace = lambda: None  # called before every event, and before and after every save
        self._held_out = held_out
        self.trainer = self.open_trainer()

    def open_trainer(self):
        weights = build_initial_weights(SHAPE, self.plan.seed, self.plan.training.init_scale)
        return ReferenceBackend().open_trainer(SHAPE, weights, self.plan.compute, self.plan.training)

    def go(self, position=None):
        training = self.plan.training
        batches = BatchSource(
            Tokens(),
            seed=self.plan.seed,
            batch_size=training.batch_size,
            accumulation=training.accumulation,
            seq_length=training.max_seq_length,
        )
        around = Surroundings(
            events=self.events,
            validate=self._validate,
            write_samples=lambda step: [(prompt, f"text at {step}") for prompt in training.sample_prompts],
            save=self._save,
            read_scheduled=self._read_scheduled,
            should_stop=lambda: self.stop_after is not None and self.trainer.num_updates >= self.stop_after,
        )
        return train(self.plan, self.trainer, batches, around, position or Position.start())

    def resume(self):
        """What a fresh process does: newest checkpoint, a new trainer, the events the checkpoint knows of."""
        self.trainer = self.open_trainer()
        position = Position.start()
        if self.checkpoints:
            state, position = self.checkpoints[max(self.checkpoints)]
            self.trainer.load_state(state)
        self.events = ListEvents(self.events.events[: position.num_events], self.on_trace)
        return self.go(position)

    def _save(self, state, position):
        self.on_trace()
        self.checkpoints[position.step] = (state, position)
        self.saves.append(position.step)
        self.on_trace()
        return "a" * 64

    def _read_scheduled(self, step):
        """Checkpoints of later steps are void from then on, as they are on disk."""
        self.on_trace()
        self.checkpoints = {kept: saved for kept, saved in self.checkpoints.items() if kept <= step}
        start = (build_initial_state(SHAPE, self.plan.training, self.plan.seed), Position.start())
        return self.checkpoints[step] if step else start

    def _validate(self):
        if self._held_out is not None:
            return self._held_out(self.trainer.num_updates)
        batch = BatchSource(Tokens(), seed=1, batch_size=4, accumulation=1, seq_length=8).micro_batches_at(0)[0]
        scores = self.trainer.score(batch)
        loss = float(scores.nll_BT.mean(dtype=np.float64))
        return HeldOut(loss, float(np.exp(loss)), loss / 2, float(scores.correct_BT.mean()))


def losses(values, field="val_loss"):
    """Held-out results that follow a script, by step."""

    def held_out(step):
        result = HeldOut(val_loss=1.0, perplexity=2.0, bits_per_byte=1.0, accuracy=0.5)
        return replace(result, **{field: values[step]})

    return held_out


def finish(plan, held_out=None):
    world = World(plan, held_out)
    return world, world.go()


@cache
def left_alone(optimizer="muon"):
    """The run that nobody disturbed."""
    return finish(build_plan(optimizer))[0]


def assert_same_end(world, other):
    for mine, theirs in zip(world_state(world), world_state(other), strict=True):
        assert mine.keys() == theirs.keys()
        for name, array in mine.items():
            np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    assert world.events.told() == other.events.told()


def world_state(world):
    state = world.trainer.read_state()
    return state.weights, state.optimizer


# ── the order of things ───────────────────────────────────────────────────────────────────────────────────────────────
def test_events_come_in_the_order_of_what_happened():
    world, result = finish(build_plan(), losses({4: 3.0, 8: 2.0, 12: 2.5}))
    kinds = [f"{kind} {facts['step']}" for kind, facts, _ in world.events.events]
    assert kinds == [
        *["step 1", "step 2", "step 3", "checkpoint 3"],
        *["step 4", "validation 4", "sample 4", "checkpoint 4"],
        *["step 5", "step 6", "checkpoint 6"],
        *["step 7", "step 8", "validation 8", "sample 8", "checkpoint 8"],
        *["step 9", "checkpoint 9", "step 10", "step 11"],
        *["step 12", "validation 12", "sample 12", "checkpoint 12"],
    ]
    assert not result.interrupted
    assert not result.stopped_early
    assert result.position.step == 12


def test_steps_say_what_was_computed():
    world, _ = finish(build_plan())
    steps = [facts for kind, facts in world.events.told() if kind == "step"]
    assert [facts["step"] for facts in steps] == list(range(1, 13))
    assert [facts["num_tokens"] for facts in steps] == [32 * step for step in range(1, 13)]
    assert [facts["epoch"] for facts in steps] == [pytest.approx(step * 4 / 19) for step in range(1, 13)]
    rates = [rates_at(world.plan.training, step).learning_rate for step in range(12)]
    assert [facts["learning_rate"] for facts in steps] == rates
    assert rates[1] == 3e-3 > rates[0] > 0
    assert all(0 <= facts["accuracy"] <= 1 and facts["gradient_norm"] > 0 for facts in steps)
    assert steps[0]["loss"] == pytest.approx(np.log(SHAPE.vocab_size), abs=0.05)


def test_first_step_is_the_trainers_own():
    world, _ = finish(build_plan())
    alone = World(world.plan)
    batches = BatchSource(Tokens(), seed=1337, batch_size=4, accumulation=2, seq_length=8).micro_batches_at(0)
    gradients = alone.trainer.compute_gradients(batches, derive_seed(1337, "dropout", 0))
    facts = world.events.events[0][1]
    assert facts["loss"] == gradients.loss
    assert facts["gradient_norm"] == gradients.norm
    assert facts["accuracy"] == gradients.num_correct / 32


def test_both_rates_follow_the_schedule():
    training = build_plan().training
    assert rates_at(training, 0) == Rates(1.5e-3, 0.01)
    assert rates_at(training, 3) == Rates(3e-3, 0.02)


def test_what_the_clock_says_is_told_apart():
    world, _ = finish(build_plan())
    for kind, facts, timing in world.events.events:
        assert not any(name.endswith("_s") for name in facts), kind
        assert all(value is None or value >= 0 for value in timing.values())
    elapsed = [timing["elapsed_s"] for _, _, timing in world.events.events if "elapsed_s" in timing]
    assert elapsed == sorted(elapsed)


def test_last_step_is_validated_and_saved_whatever_the_intervals():
    world, _ = finish(build_plan(num_steps=7, validate_every=100, checkpoint_every=100))
    assert world.events.steps_of("validation") == [7]
    assert world.saves == [7]


@pytest.mark.parametrize(("validate_every", "checkpoint_every"), [(1, 1), (5, 2), (6, 6), (4, 12)])
def test_validation_and_checkpoints_keep_their_intervals(validate_every, checkpoint_every):
    plan = build_plan(validate_every=validate_every, checkpoint_every=checkpoint_every)
    validated = sorted({*range(validate_every, 13, validate_every), 12})
    best_at_first = losses(dict.fromkeys(validated, 1.0))
    world, _ = finish(plan, best_at_first)
    assert world.events.steps_of("validation") == validated
    saved = sorted({*range(checkpoint_every, 13, checkpoint_every), validate_every, 12})
    assert world.saves == world.events.steps_of("checkpoint") == saved


def test_position_of_a_checkpoint_counts_its_own_event():
    world, _ = finish(build_plan())
    for step, (state, position) in world.checkpoints.items():
        assert position.step == state.num_updates == step
        assert position.num_tokens == 32 * step
        assert world.events.told()[position.num_events - 1] == (
            "checkpoint",
            {"step": step, "best": position.best_step == step},
        )


def test_training_reduces_the_loss():
    world, _ = finish(build_plan(num_steps=60, dropout=0.0, validate_every=60, checkpoint_every=60))
    found = [facts["loss"] for kind, facts in world.events.told() if kind == "step"]
    assert np.mean(found[-5:]) < 0.8 * np.mean(found[:5])


# ── the best ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_best_checkpoint_is_the_one_with_the_lowest_loss():
    plan = build_plan(num_steps=5, validate_every=1, checkpoint_every=5)
    world, result = finish(plan, losses({1: 3.0, 2: 2.0, 3: 2.5, 4: 2.0, 5: 2.1}))
    assert (result.position.best_step, result.position.best_value) == (2, 2.0)
    assert world.saves == [1, 2, 5]  # a new best is saved at once
    assert [facts["best"] for kind, facts in world.events.told() if kind == "checkpoint"] == [True, True, False]


def test_of_accuracy_the_highest_is_the_best():
    plan = build_plan(num_steps=4, validate_every=1, metric="accuracy")
    _, result = finish(plan, losses({1: 0.2, 2: 0.4, 3: 0.3, 4: 0.4}, "accuracy"))
    assert (result.position.best_step, result.position.best_value) == (2, 0.4)


def test_gain_is_more_than_the_minimum():
    plan = build_plan(num_steps=4, validate_every=1, min_delta=0.5, patience=9)
    _, result = finish(plan, losses({1: 4.0, 2: 3.5, 3: 3.25, 4: 3.25}))
    assert (result.position.best_step, result.position.best_value) == (3, 3.25)
    assert result.position.num_validations_without_gain == 1


# ── early stopping ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("metric", ["val_loss", "bits_per_byte"])
def test_run_stops_when_patience_is_lost(metric):
    plan = build_plan(validate_every=1, checkpoint_every=100, metric=metric, patience=2)
    world, result = finish(plan, losses({1: 3.0, 2: 2.0, 3: 2.5, 4: 2.2, 5: 1.0}, metric))
    assert result.stopped_early
    assert not result.interrupted
    assert result.position.step == 4
    assert (result.position.best_step, result.position.num_validations_without_gain) == (2, 2)
    assert world.events.told()[-2:] == [
        ("early-stop", {"step": 4, "metric": metric}),
        ("checkpoint", {"step": 4, "best": False}),
    ]


def test_gain_gives_patience_back():
    plan = build_plan(num_steps=6, validate_every=1, patience=2)
    _, result = finish(plan, losses({1: 3.0, 2: 3.0, 3: 2.9, 4: 3.0, 5: 2.8, 6: 3.0}))
    assert not result.stopped_early
    assert result.position.num_validations_without_gain == 1


def test_gain_that_is_too_small_is_none():
    values = {step: 3.0 - 0.01 * step for step in range(1, 13)}
    plan = build_plan(validate_every=1, patience=3, min_delta=0.1)
    _, result = finish(plan, losses(values))
    assert result.stopped_early
    assert (result.position.step, result.position.best_step) == (4, 1)


def test_of_accuracy_a_fall_loses_patience():
    plan = build_plan(validate_every=1, metric="accuracy", patience=2)
    _, result = finish(plan, losses({1: 0.5, 2: 0.4, 3: 0.3}, "accuracy"))
    assert (result.stopped_early, result.position.step) == (True, 3)


def test_run_that_did_all_its_steps_did_not_stop_early():
    plan = build_plan(num_steps=3, validate_every=1, patience=2)
    world, result = finish(plan, losses({1: 1.0, 2: 2.0, 3: 3.0}))
    assert not result.stopped_early
    assert world.events.steps_of("early-stop") == []


def test_without_patience_no_run_stops_early():
    plan = build_plan(validate_every=1, patience=0)
    _, result = finish(plan, losses({step: float(step) for step in range(1, 13)}))
    assert (result.stopped_early, result.position.step) == (False, 12)


def test_resumed_after_an_early_stop_there_is_nothing_left_to_do():
    plan = build_plan(validate_every=1, patience=1)
    world, before = finish(plan, losses({1: 1.0, 2: 2.0}))
    told = world.events.told()
    after = world.resume()
    assert after == before
    assert world.events.told() == told
    assert world.saves == [1, 2]


# ── interruption ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_stop_that_is_asked_for_saves_and_says_nothing():
    world = World(build_plan())
    world.stop_after = 5
    result = world.go()
    assert result.interrupted
    assert result.position.step == 5
    assert world.saves == [3, 4, 5]
    assert world.events.told()[-1][0] == "step"
    assert world.events.steps_of("checkpoint") == [3, 4]
    assert world.checkpoints[5][1].num_events == world.events.num_events


def test_stop_that_is_asked_for_at_the_last_step_comes_too_late():
    world = World(build_plan())
    world.stop_after = 12
    assert not world.go().interrupted
    assert world.saves[-1] == 12


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("stop_after", range(1, 12))
def test_stopped_anywhere_and_resumed_it_is_the_run_left_alone(stop_after, optimizer):
    whole = left_alone(optimizer)
    world = World(build_plan(optimizer))
    world.stop_after = stop_after
    assert world.go().interrupted
    world.stop_after = None
    result = world.resume()
    assert not result.interrupted
    assert_same_end(world, whole)


class Killed(Exception):
    """Stands for a process that ends without a word."""


@given(st.lists(st.integers(1, 40), min_size=1, max_size=3))
@settings(max_examples=15)
def test_killed_anywhere_and_resumed_it_is_the_run_left_alone(deaths):
    """A death may fall between any two things that leave a trace: an event written, a checkpoint saved."""
    whole = left_alone()
    world = World(build_plan())
    for death in deaths:
        countdown = iter(range(death, 0, -1))

        def tick(countdown=countdown):
            if next(countdown, 0) == 1:
                raise Killed

        world.on_trace = tick
        with contextlib.suppress(Killed):
            world.resume()
    world.on_trace = lambda: None
    world.resume()
    assert_same_end(world, whole)


def test_run_that_is_finished_is_finished_when_resumed():
    world, before = finish(build_plan())
    told, saves = world.events.told(), list(world.saves)
    assert world.resume() == before
    assert world.events.told() == told
    assert world.saves == saves


def test_one_plan_gives_one_run():
    assert_same_end(finish(build_plan())[0], left_alone())


def test_other_seed_gives_another_run():
    other, _ = finish(build_plan().model_copy(update={"seed": 1}))
    with pytest.raises(AssertionError):
        assert_same_end(left_alone(), other)


# ── numbers that are none ─────────────────────────────────────────────────────────────────────────────────────────────
class BrokenTrainer(ReferenceTrainer):
    """Computes real gradients, and reports what it is told to from a given step on."""

    broken_from, change = 5, {"nll_sum": float("nan")}

    def compute_gradients(self, micro_batches, dropout_seed):
        gradients = super().compute_gradients(micro_batches, dropout_seed)
        return replace(gradients, **self.change) if self.num_updates >= self.broken_from else gradients


@pytest.mark.parametrize("change", [{"nll_sum": float("nan")}, {"nll_sum": float("inf")}, {"norm": float("nan")}])
def test_loss_that_is_no_number_stops_the_run_before_the_update(change):
    world = World(build_plan())
    world.trainer = BrokenTrainer(SHAPE, world.trainer.read_state().weights, world.plan.training)
    world.trainer.change = change
    whole = World(build_plan(num_steps=12))
    whole.stop_after = 5
    whole.go()
    with pytest.raises(NonFiniteLoss, match="at step 6") as raised:
        world.go()
    assert raised.value.exit_code == 4
    assert raised.value.next_step
    assert world.trainer.num_updates == 5
    for name, weight in world.trainer.read_state().weights.items():
        np.testing.assert_array_equal(weight, whole.trainer.read_state().weights[name])
    assert world.events.steps_of("step") == [1, 2, 3, 4, 5]
    assert world.saves == [3, 4]


def test_nan_weights_are_found_by_their_loss():
    world = World(build_plan())
    state = world.trainer.read_state()
    state.weights["model.norm.weight"][:] = np.nan
    world.trainer.load_state(state)
    with pytest.raises(NonFiniteLoss, match="at step 1 "):
        world.go()
    assert world.events.told() == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("first", [4, 8])
def test_held_out_loss_that_is_no_number_stops_the_run_before_it_is_saved(value, first):
    values = {4: 2.0, 8: 1.5, 12: 1.0} | {first: value}
    world = World(build_plan(checkpoint_every=4), losses(values))
    with pytest.raises(NonFiniteLoss, match=f"held-out loss is not finite after step {first}"):
        world.go()
    assert world.saves == list(range(4, first, 4))


@pytest.mark.parametrize("is_asked_to_stop", [False, True])
def test_weights_that_an_update_broke_do_not_become_a_checkpoint(is_asked_to_stop):
    class Overstepping(ReferenceTrainer):
        def apply_update(self, rates):
            super().apply_update(rates)
            if self.num_updates == 6:
                self._weights["model.norm.weight"][0] = np.inf

    world = World(build_plan(checkpoint_every=100 if is_asked_to_stop else 3, validate_every=100))
    world.trainer = Overstepping(SHAPE, world.trainer.read_state().weights, world.plan.training)
    world.stop_after = 6 if is_asked_to_stop else None
    with pytest.raises(NonFiniteLoss, match=r"model\.norm\.weight is not finite after step 6"):
        world.go()
    assert 6 not in world.saves
    assert 6 not in world.events.steps_of("checkpoint")


def test_gradients_are_finite_only_where_loss_and_norm_are():
    finite = Gradients(nll_sum=8.0, num_targets=4, num_correct=1, norm=1.0)
    assert finite.is_finite
    assert finite.loss == 2.0
    assert not replace(finite, norm=float("inf")).is_finite
    assert not replace(finite, nll_sum=float("nan")).is_finite


def test_error_of_a_save_ends_the_run():
    world = World(build_plan())

    def refuse():
        raise OSError(28, "No space left on device")

    world.on_trace = refuse
    with pytest.raises(OSError, match="No space"):
        world.go()
    world.on_trace = lambda: None
    world.resume()
    assert_same_end(world, left_alone())
