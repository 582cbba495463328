"""What can be drawn of a run."""

from trainwright.watch.curves import MAX_GROUPS, build_charts, describe_layers, pick_groups, read_layer_curves


def charts(events):
    return {chart.name: chart for chart in build_charts(events)}


def test_run_without_a_look_into_its_layers_has_three_charts(events):
    assert list(charts(events)) == ["loss", "learning_rate", "gradient_norm"]
    assert set(charts(events)["loss"].curves) == {"training", "smoothed", "validation"}


def test_layers_have_charts_of_their_own(eventful):
    found = charts(eventful)
    assert list(found)[3:] == ["layers_gradient_norm", "layers_update_ratio"]
    assert list(found["layers_gradient_norm"].curves) == ["embedding", "layer 0", "layer 1", "norm"]
    assert found["layers_gradient_norm"].curves["embedding"].values[0] == 2.0 / 10


def test_after_a_rollback_the_later_values_count(eventful):
    training = charts(eventful)["loss"].curves["training"]
    assert training.steps == tuple(range(1, 61))
    first = next(event["loss"] for event in eventful if event["kind"] == "step" and event["step"] == 22)
    assert training.values[21] == first + 0.5


def test_ratio_that_does_not_exist_is_no_point(anatomy):
    none = anatomy(1)
    none["groups"][0]["update_ratio"] = None
    curves = read_layer_curves([none, anatomy(2)], "update_ratio")
    assert curves["embedding"].steps == (2,)
    assert curves["norm"].steps == (1, 2)


def test_of_many_groups_the_first_and_the_last_are_among_those_that_are_drawn():
    names = ["embedding", *(f"layer {index}" for index in range(40)), "norm"]
    picked = pick_groups(names)
    assert len(picked) == MAX_GROUPS
    assert (picked[0], picked[-1]) == ("embedding", "norm")
    assert pick_groups(names[:3]) == names[:3]


def test_newest_look_into_the_layers_is_described(eventful, events):
    layers = describe_layers(eventful)
    assert layers is not None
    assert layers["step"] == 60
    assert [group["name"] for group in layers["groups"]] == ["embedding", "layer 0", "layer 1", "norm"]
    assert describe_layers(events) is None
