"""Where the time of a step goes."""

from trainwright.core.records import ModelShape
from trainwright.train.timing import Clock, flops_per_token

SHAPE = ModelShape(
    vocab_size=10, hidden_size=4, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=2, intermediate_size=8
)


def test_arithmetic_of_a_token_is_six_for_each_weight_and_attention():
    assert flops_per_token(SHAPE, 0) == 6 * SHAPE.num_parameters
    assert flops_per_token(SHAPE, 16) - flops_per_token(SHAPE, 0) == 6 * 2 * 16 * 2 * 2


def test_parts_of_a_step_are_told_by_it_and_what_lies_between_by_the_next_one():
    clock = Clock()
    clock.begin_step()
    (item,) = clock.waiting(["batch"])
    assert item == "batch"
    with clock.part("compute_s"):
        pass
    with clock.part("update_s"):
        pass
    first = clock.lap()
    with clock.part("validation_s"):
        pass
    clock.begin_step()
    second, third = clock.lap(), clock.lap()
    assert set(first) == {"step_s", "elapsed_s", "data_s", "compute_s", "update_s", "validation_s", "checkpoint_s"}
    assert 0 < first["data_s"] + first["compute_s"] + first["update_s"] <= first["step_s"] <= first["elapsed_s"]
    assert first["validation_s"] == 0 < second["validation_s"]
    assert second["compute_s"] == third["validation_s"] == 0
