"""The plan of a branch: the parent's, but for what was overridden."""

import pytest

from trainwright.core.errors import InvalidValue, OutOfRange, UnknownKey
from trainwright.core.records import Budgets, Compute, Plan, Stability, Start
from trainwright.pipeline.branch import build_branch_plan

SOURCE = "c" * 64


@pytest.fixture
def parent(training_plan, model_shape):
    return Plan(
        token_set="d" * 64,
        seed=5,
        model=model_shape,
        training=training_plan,
        compute=Compute(framework="reference", device="cpu", dtype="float32", compile=False, num_threads=1),
        budgets=Budgets(latency_p95_ms=70.0, inference_rss_bytes=None, model_file_bytes=1, training_peak_bytes=2),
    )


def build(parent, *overrides, step=4):
    return build_branch_plan(parent, step, SOURCE, overrides)[1]


def test_with_nothing_overridden_only_the_start_differs(parent):
    plan = build(parent)
    assert plan == parent.model_copy(update={"start": Start(source=SOURCE, mode="continue")})
    assert plan.id != parent.id
    assert plan.parents()["start"] == SOURCE


def test_what_no_manifest_could_say_is_inherited(parent):
    odd = parent.training.model_copy(
        update={
            "stability": Stability(outlier_sigmas=6, window=128, max_skips=3, rate_factor=0.5, max_rollbacks=2),
            "keep_every": 5,
            "steps_per_epoch": 7,
        }
    )
    parent = parent.model_copy(update={"training": odd})
    assert build(parent, "train.dropout=0.1").training == odd.model_copy(update={"dropout": 0.1})
    assert build(parent, "train.keep_every=0").training == odd.model_copy(update={"keep_every": 0})


def test_overridden_keys_and_what_follows_from_them(parent):
    training = build(parent, "train.steps=40", "train.optimizer.learning_rate=0.01", "train.keep_last=9").training
    assert (training.num_steps, training.keep_last) == (40, 9)
    assert training.optimizer == parent.training.optimizer.model_copy(update={"learning_rate": 0.01})
    assert training.validate_every == parent.training.validate_every


def test_budgets_and_the_name_can_change(parent):
    manifest, plan = build_branch_plan(parent, 4, SOURCE, ["budgets.model_file_mb=3", "name=other"])
    assert manifest.name == "other"
    assert plan.budgets == parent.budgets.model_copy(update={"model_file_bytes": 3_000_000})


@pytest.mark.parametrize(
    "override",
    [
        "seed=5",
        "preset=quick",
        "data.corpus=x",
        "model={layers: 1}",
        "compute.threads=2",
        "train.max_seq_length=64",
        "train.init_scale=0.1",
        "train.time_budget_s=9",
        "train.optimizer.name=adamw",
        "train.accumulation=3",
    ],
)
def test_what_a_branch_cannot_change_is_refused_even_at_its_old_value(parent, override):
    with pytest.raises(InvalidValue):
        build(parent, override)


def test_unknown_keys_and_steps_that_are_over_are_refused(parent):
    with pytest.raises(UnknownKey):
        build(parent, "train.stepz=3")
    with pytest.raises(OutOfRange, match="step 10"):
        build(parent, "train.steps=10", step=10)
