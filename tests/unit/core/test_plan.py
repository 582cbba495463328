"""From manifest to plan: every `auto` becomes a number, and equal questions get equal answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainwright.core.errors import InvalidValue, OutOfRange
from trainwright.core.manifest import parse_manifest
from trainwright.core.plan import (
    NUM_VALIDATIONS,
    Pace,
    build_plan,
    describe_training,
    resolve_budgets,
    resolve_num_steps,
    resolve_optimizer,
    resolve_shape,
    resolve_training,
)
from trainwright.core.records import Compute, Stability, TokenSet


def read(*overrides):
    return parse_manifest(None, overrides)


def train(*overrides):
    return read(*overrides).train


# ── shape ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_auto_layers_are_as_many_as_fit():
    manifest = read()
    shape = resolve_shape(manifest, 4096)
    assert shape.num_parameters <= manifest.model.max_parameters
    assert shape.num_parameters + shape.num_parameters_per_layer > manifest.model.max_parameters


def test_default_model_is_in_the_class_it_is_said_to_be_in():
    assert 2_000_000 < resolve_shape(read(), 4096).num_parameters <= 2_450_000


@given(st.integers(300, 8000), st.integers(50_000, 3_000_000))
def test_no_room_for_a_layer_is_an_error_and_never_a_larger_model(vocab_size, room):
    manifest = read("model.hidden_size=64", "model.heads=2", f"model.max_parameters={room}")
    try:
        shape = resolve_shape(manifest, vocab_size)
    except OutOfRange as error:
        one_layer = resolve_shape(read("model.hidden_size=64", "model.heads=2", "model.layers=1"), vocab_size)
        assert one_layer.num_parameters > room
        assert f"{room:,}" in error.message  # noqa: PT017
    else:
        assert shape.num_parameters <= room


def test_layers_that_are_named_are_taken_whatever_they_weigh():
    assert resolve_shape(read("model.layers=50", "model.max_parameters=1000"), 4096).num_layers == 50


def test_heads_share_keys_evenly_or_not_at_all():
    assert resolve_shape(read(), 4096).num_kv_heads == 5
    assert resolve_shape(read("model.heads=6", "model.kv_heads=2"), 4096).num_kv_heads == 2
    with pytest.raises(InvalidValue, match="kv_heads is 2"):
        resolve_shape(read("model.kv_heads=2"), 4096)


def test_odd_head_dimension_is_refused():
    with pytest.raises(InvalidValue, match="head_dim is 31") as raised:
        resolve_shape(read("model.head_dim=31"), 4096)
    assert raised.value.next_step


# ── length ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("length", "num_windows", "expected"),
    [
        ("train.steps=17", 1000, 17),
        ("train.epochs=2", 64, 4),
        ("train.epochs=2", 65, 5),  # the last windows of the last epoch are read too
        ("train.epochs=0.5", 64, 1),
        ("train.epochs=0.001", 10, 1),
    ],
)
def test_steps_of_a_run_by_hand(length, num_windows, expected):
    assert resolve_num_steps(train(length), num_windows, None) == expected


def test_time_budget_becomes_steps_by_hand():
    # 100 s - 10 s of start - 4 validations of 2 s leave 82 s; steps take 0.5 s
    timed = train("train.time_budget_s=100")
    assert resolve_num_steps(timed, 1_000_000, Pace(start_s=10, step_s=0.5, validation_s=2)) == 164


@given(
    st.floats(1, 1e4),
    st.floats(0, 100),
    st.floats(1e-3, 10),
    st.floats(0, 20),
    st.integers(1, 100_000),
    st.sampled_from(["auto", 1, 7, 1000]),
)
def test_run_under_a_time_budget_ends_within_it_and_wastes_no_step(
    budget_s, start_s, step_s, validation_s, windows, every
):
    timed = train(f"train.time_budget_s={budget_s!r}", f"train.validate_every={every}")

    def seconds(num_steps):
        validate_every = resolve_training(timed, windows, num_steps).validate_every
        return start_s + num_steps * step_s + -(-num_steps // validate_every) * validation_s

    try:
        num_steps = resolve_num_steps(timed, windows, Pace(start_s, step_s, validation_s))
    except OutOfRange:
        assert start_s + step_s + NUM_VALIDATIONS * validation_s > budget_s * (1 - 1e-9)
    else:
        assert seconds(num_steps) <= budget_s * (1 + 1e-9)
        # What is left holds at most a step and the validations whose number was rounded.
        assert start_s + (num_steps + 1) * step_s + (num_steps + NUM_VALIDATIONS + 1) * validation_s > budget_s * (
            1 - 1e-9
        )


def test_time_budget_that_holds_no_step_says_what_takes_the_time():
    with pytest.raises(OutOfRange, match="does not hold one step") as raised:
        resolve_num_steps(train("train.time_budget_s=10"), 100, Pace(start_s=9.9, step_s=0.5, validation_s=0))
    assert "Start-up takes 9.9 s" in raised.value.why
    assert "0.50 s" in raised.value.why


def test_time_budget_without_a_measured_pace_is_a_fault_of_the_callers():
    with pytest.raises(ValueError, match="pace"):
        resolve_num_steps(train("train.time_budget_s=10"), 100, None)


# ── training ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_batch_that_does_not_divide_is_refused():
    assert resolve_training(train("train.batch_size=8", "train.accumulation=4"), 100, 10).accumulation == 4
    with pytest.raises(InvalidValue, match="accumulation is 3") as raised:
        resolve_training(train("train.batch_size=8", "train.accumulation=3"), 100, 10)
    assert raised.value.next_step


@pytest.mark.parametrize(
    ("num_windows", "num_steps", "every"),
    [
        (3200, 300, 75),  # three epochs of 100 steps: four times
        (320, 200, 10),  # twenty epochs of 10 steps: at the end of each
        (3200, 3, 1),
        (1, 1, 1),
    ],
)
def test_auto_validates_four_times_or_every_epoch(num_windows, num_steps, every):
    training = resolve_training(train(), num_windows, num_steps)
    assert training.validate_every == every
    assert training.checkpoint_every == every


def test_intervals_that_are_named_are_taken():
    training = resolve_training(train("train.validate_every=7", "train.checkpoint_every=3"), 3200, 300)
    assert (training.validate_every, training.checkpoint_every) == (7, 3)
    assert resolve_training(train("train.validate_every=7"), 3200, 300).checkpoint_every == 7


@pytest.mark.parametrize(("num_steps", "num_warmup"), [(1, 0), (9, 0), (10, 1), (300, 30), (600, 60), (10_000, 60)])
def test_auto_warm_up_is_a_tenth_of_the_run_and_at_most_60_steps(num_steps, num_warmup):
    assert resolve_training(train(), 3200, num_steps).schedule.num_warmup_steps == num_warmup


def test_warm_up_that_is_named_is_taken():
    assert resolve_training(train("train.schedule.warmup_steps=500"), 100, 10).schedule.num_warmup_steps == 500


def test_decay_is_a_share_of_the_run():
    assert resolve_training(train("train.schedule.decay_share=0.25"), 100, 200).schedule.num_decay_steps == 50


def test_step_schedule_says_how_often():
    asked = ["train.schedule.name=step", "train.schedule.step_every=10"]
    assert resolve_training(train(*asked), 100, 10).schedule.step_every == 10
    with pytest.raises(InvalidValue, match="step_every is 0"):
        resolve_training(train(asked[0]), 100, 10)


def test_everything_else_is_handed_on():
    asked = train(
        "train.label_smoothing=0.1",
        "train.dropout=0.2",
        "train.init_scale=0.5",
        "train.keep_last=7",
        "train.sample_prompts=[One, Two]",
        "train.sample_tokens=9",
        "train.early_stopping={metric: accuracy, patience: 4, min_delta: 0.5}",
    )
    training = resolve_training(asked, 100, 10)
    assert (training.label_smoothing, training.dropout, training.init_scale) == (0.1, 0.2, 0.5)
    assert (training.keep_last, training.sample_prompts, training.sample_tokens) == (7, ("One", "Two"), 9)
    assert training.early_stopping.model_dump() == {"metric": "accuracy", "patience": 4, "min_delta": 0.5}
    assert (training.num_steps, training.steps_per_epoch, training.batch_size) == (10, 4, 32)


@pytest.mark.parametrize(
    ("num_epochs", "dropped"), [(0.5, 0.0), (5, 0.0), (5.1, 0.1), (10, 0.1), (10.1, 0.2), (1000, 0.2)]
)
def test_more_is_dropped_of_a_text_that_is_read_more_often(num_epochs, dropped):
    num_windows = 320
    settings = train("train.batch_size=32")
    training = resolve_training(settings, num_windows, round(num_epochs * num_windows / settings.batch_size))
    assert training.dropout == dropped


def test_run_that_starts_from_a_model_drops_nothing_unless_told_so():
    assert resolve_training(train(), 32, 100, is_new=False).dropout == 0.0
    assert resolve_training(train("train.dropout=0.3"), 32, 100, is_new=False).dropout == 0.3


def test_dropout_can_be_switched_off():
    assert resolve_training(train("train.dropout=0"), 32, 100).dropout == 0.0


# ── optimizer ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_one_number_turns_both_rates():
    optimizer = resolve_optimizer(train("train.optimizer.learning_rate=8e-3"))
    assert optimizer.matrix_learning_rate == pytest.approx(0.02)
    assert resolve_optimizer(train("train.optimizer.learning_rate=4e-3")).matrix_learning_rate == pytest.approx(0.01)


def test_rate_of_the_matrices_can_be_named():
    assert resolve_optimizer(train("train.optimizer.matrix_learning_rate=0.5")).matrix_learning_rate == 0.5


def test_adamw_has_no_settings_of_muons():
    optimizer = resolve_optimizer(train("train.optimizer.name=adamw", "train.optimizer.matrix_learning_rate=0.5"))
    assert (optimizer.matrix_learning_rate, optimizer.matrix_weight_decay) == (0.0, 0.0)


# ── budgets and the whole ─────────────────────────────────────────────────────────────────────────────────────────────
def test_budgets_are_in_bytes_of_a_million_to_the_megabyte():
    budgets = resolve_budgets(read("budgets.model_file_mb=9.5", "budgets.training_peak_mb=null"))
    assert budgets.model_file_bytes == 9_500_000
    assert budgets.inference_rss_bytes == 400_000_000
    assert budgets.latency_p95_ms == 250
    assert budgets.training_peak_bytes is None


def build(*overrides):
    manifest = read(*overrides)
    token_set = TokenSet(
        dataset="a" * 64, tokenizer="b" * 64, tokenizer_fingerprint="c" * 64, vocab_size=500, dtype="uint16", splits={}
    )
    compute = Compute(framework="reference", device="cpu", dtype="float32", compile=False, num_threads=1)
    shape, training = resolve_shape(manifest, 500), resolve_training(manifest.train, 320, 10)
    return build_plan(manifest, token_set, shape, training, compute), token_set


def test_equal_manifests_give_one_plan_and_others_another():
    plan, token_set = build()
    assert plan.id == build()[0].id
    assert plan.token_set == token_set.id
    assert plan.parents() == {"token_set": token_set.id}
    assert build("seed=1")[0].id != plan.id
    assert build("budgets.latency_p95_ms=1")[0].id != plan.id
    assert build("train.optimizer.beta1=0.5")[0].id != plan.id


def test_what_the_run_does_not_depend_on_is_not_in_the_plan():
    assert build("name=other", "data.refresh=true")[0].id == build()[0].id


# ── and back ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("num_steps", [1, 7, 1234])
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["preset=quick", "train.keep_every=9", "train.stability.enabled=false"],
        ["train.stability.max_skips=3", "train.ema_decay=0.9", "train.watch_every=7"],
        ["train.optimizer.name=adamw", "train.schedule.decay_share=0.37"],
        ["train.optimizer.matrix_learning_rate=0.5", "train.schedule.warmup_steps=3", "train.accumulation=4"],
    ],
)
def test_a_settled_training_is_described_so_that_it_resolves_to_itself(overrides, num_steps):
    training = resolve_training(train(*overrides), 640, num_steps)
    manifest = parse_manifest(None, [], {"train": describe_training(training)})
    assert manifest.train.steps == num_steps
    assert resolve_training(manifest.train, 640, num_steps) == training


# ── stability, averaging, watching ────────────────────────────────────────────────────────────────────────────────────
def test_new_plans_have_the_ladder_unless_it_is_switched_off():
    assert resolve_training(train(), 100, 300).stability == Stability(
        outlier_sigmas=6, window=128, max_skips=8, rate_factor=0.5, max_rollbacks=2
    )
    assert resolve_training(train("train.stability.enabled=false"), 100, 300).stability is None


def test_more_skips_than_a_window_holds_are_refused():
    with pytest.raises(InvalidValue, match="max_skips"):
        resolve_training(train("train.stability.window=8", "train.stability.max_skips=9"), 100, 300)


@pytest.mark.parametrize(("num_steps", "every"), [(6, 25), (300, 25), (2500, 25), (2501, 26), (100_000, 1000)])
def test_gradients_are_looked_at_a_hundred_times_but_seldom_enough_to_cost_little(num_steps, every):
    assert resolve_training(train(), 100, num_steps).watch_every == every


@pytest.mark.parametrize("every", [0, 1, 7])
def test_watching_that_is_asked_for_is_done_as_asked(every):
    assert resolve_training(train(f"train.watch_every={every}"), 100, 300).watch_every == every


def test_no_average_of_the_weights_is_kept_unless_asked_for():
    assert resolve_training(train(), 100, 300).ema_decay == 0
    assert resolve_training(train("train.ema_decay=0.999"), 100, 300).ema_decay == 0.999
