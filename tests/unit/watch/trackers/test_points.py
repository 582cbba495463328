"""From events to what trackers show."""

from trainwright.watch.trackers.points import build_points, describe_plan
from trainwright.watch.trackers.protocol import flatten


def points_of(events, kind):
    seqs = {event["seq"] for event in events if event["kind"] == kind}
    return [point for point in build_points(events) if point.seq in seqs]


def test_every_number_of_a_step_goes_under_its_own_name(events):
    point = points_of(events, "step")[0]
    assert point.step == 1
    assert set(point.values) == {
        "train/epoch", "train/loss", "train/accuracy", "train/gradient_norm", "train/learning_rate", "train/num_tokens",
        "time/step_s", "time/elapsed_s", "time/tokens_per_s",
    }  # fmt: skip
    assert point.values["train/loss"] == next(event["loss"] for event in events if event["kind"] == "step")


def test_validation_and_sample_are_told(events):
    validation = points_of(events, "validation")[0]
    assert validation.step == 20
    assert {"validation/val_loss", "validation/bits_per_byte"} <= set(validation.values)
    assert points_of(events, "sample")[0].texts == {
        "sample/Once upon a time": "Once upon a time there was a fox. (20)",
    }


def test_layers_come_with_histograms(eventful):
    point = points_of(eventful, "anatomy")[0]
    assert point.values["layers/layer 0/update_ratio"] == 1 / 10 / 100
    histogram = point.histograms["layers/layer 0/gradients"]
    assert histogram.counts == (1, 10, 100, 10)
    assert histogram.edges == (2**-10, 2**-9, 2**-8, 2**-7, 2**-6)


def test_rollback_says_from_where_nothing_counts(eventful):
    (point,) = points_of(eventful, "rollback")
    assert (point.step, point.undone_from) == (25, 21)
    assert points_of(eventful, "skip")[0].texts == {"skip": "gradient norm"}


def test_group_without_gradients_has_no_histogram(anatomy):
    event = anatomy(1)
    event["groups"][0] |= {"octaves": [], "first_octave": 0, "update_ratio": None}
    (point,) = build_points([event])
    assert "layers/embedding/gradients" not in point.histograms
    assert "layers/embedding/update_ratio" not in point.values


def test_what_has_no_step_is_no_point(events):
    assert points_of(events, "run-started") == []


def test_plan_is_told_by_dotted_keys():
    plan = {"seed": 1, "training": {"optimizer": {"name": "muon"}, "sample_prompts": ["a", "b"]}}
    assert flatten(plan) == {"seed": 1, "training.optimizer.name": "muon", "training.sample_prompts": ["a", "b"]}
    assert "| training.optimizer.name | muon |" in describe_plan(plan)
