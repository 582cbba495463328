"""A sweep file says what it means, or is refused with what is wrong and what was probably meant."""

import pytest
import yaml

from trainwright.core.errors import InvalidValue, ManifestNotFound, OutOfRange, UnknownKey
from trainwright.sweep.sweep_file import list_grid_values, read_sweep_file

RATE = "train.optimizer.learning_rate"
START = {"search_space": {RATE: [0.001, 0.01]}, "sampler": "grid"}


@pytest.fixture
def read(tmp_path):
    def read_one(overrides=(), **document):
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(START | document, sort_keys=False))
        return read_sweep_file(path, overrides)

    return read_one


def test_dimensions_are_whole_numbers_numbers_or_choices(read):
    search = read(
        sampler="random",
        trials=3,
        search_space={
            "train.batch_size": [8, "16"],
            "model.layers": {"low": 1, "high": 4},
            RATE: {"low": "1e-4", "high": 0.1, "log": True},  # YAML reads 1e-4 as text
            "train.dropout": {"low": 0.0, "high": 0.3, "step": 0.1},
        },
    )
    assert [one.kind for one in search.space] == ["categorical", "int", "float", "float"]
    assert search.space[2].low == 1e-4
    assert list_grid_values(search.space[3]) == [0.0, 0.1, 0.2, 0.3]
    assert (search.objective.metric, search.objective.direction) == ("bits_per_byte", "minimize")
    assert (search.num_trials, search.num_seeds, search.pruning) == (3, 1, None)


def test_a_grid_has_as_many_trials_as_points(read):
    search = read(search_space={RATE: [0.001, 0.01], "model.layers": {"low": 1, "high": 3}})
    assert search.num_trials == 6
    with pytest.raises(InvalidValue, match="5 trials of a grid that has 2 points"):
        read(trials=5)
    with pytest.raises(InvalidValue, match="cannot be put on a grid"):
        read(search_space={RATE: {"low": 0.1, "high": 0.5}})


def test_the_manifest_is_found_beside_the_file_and_overrides_win(read, tmp_path):
    (tmp_path / "base.yaml").write_text("name: base\nseed: 5\n")
    search = read(manifest="base.yaml", overrides=["seed=7"])
    assert (search.name, search.base.seed, search.document) == ("base", 7, {"name": "base", "seed": 5})
    assert len(read(manifest={"name": "n" * 64}).name) == 56  # so that trials can be named after it
    with pytest.raises(ManifestNotFound):
        read(manifest="none.yaml")


def test_a_wrong_key_of_the_manifest_names_the_nearest(read):
    with pytest.raises(UnknownKey) as error:
        read(search_space={"train.optimizer.learning_rat": [1, 2]})
    assert error.value.why == f"Did you mean {RATE}?"
    with pytest.raises(UnknownKey, match="batch_sizes"):
        read(manifest={"train": {"batch_sizes": 3}})
    with pytest.raises(InvalidValue, match="is a section"):
        read(search_space={"train.optimizer": [1, 2]})


def test_a_wrong_key_of_the_file_names_the_nearest(read):
    with pytest.raises(UnknownKey) as error:
        read(trails=3)
    assert error.value.why == "Did you mean trials?"
    with pytest.raises(UnknownKey) as error:
        read(search_space={RATE: {"low": 1, "hihg": 2}})
    assert error.value.why == "Did you mean high?"


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "searches nothing"),
        ({RATE: []}, "needs `values`"),
        ({RATE: {"low": 1}}, "needs `values`"),
        ({RATE: [0.1, 0.1]}, "a value twice"),
        ({RATE: {"values": [1], "low": 1, "high": 2}}, "not both"),
        ({RATE: {"low": 2, "high": 1}}, "must be less than high"),
        ({RATE: {"low": 0, "high": 1, "log": True}}, "above 0"),
        ({RATE: {"low": 0.1, "high": 1.0, "step": 0.2}}, "whole number of steps"),
        ({RATE: {"low": 0.1, "high": 1.0, "step": 0.1, "log": True}}, "exclude each other"),
        ({RATE: {"low": 0.1, "high": 1.0, "step": 0}}, "more than 0"),
        ({"data.corpus": ["a.txt", "b.txt"]}, "cannot be searched"),
        ({"seed": [1, 2]}, "cannot be searched"),
        ({"finetune.train.steps": [1, 2]}, "cannot be searched"),
    ],
)
def test_a_space_that_means_nothing_is_refused(read, space, said):
    with pytest.raises(InvalidValue, match=said):
        read(search_space=space)


def test_figures_of_other_tokenizers_are_not_compared_by_the_token(read):
    space = {"tokenizer.vocab_size": [300, 400]}
    assert read(search_space=space).num_trials == 2
    with pytest.raises(InvalidValue, match="cannot be searched by val_loss"):
        read(search_space=space, objective={"metric": "val_loss"})


@pytest.mark.parametrize(
    ("document", "error", "said"),
    [
        ({"sampler": "tpe"}, InvalidValue, "how many trials"),
        ({"objective": {"metric": "loss"}}, InvalidValue, "objective.metric"),
        ({"seeds": 0}, InvalidValue, "seeds"),
        ({"manifest": {"train": {"batch_size": 0}}}, OutOfRange, "train.batch_size"),
        ({"manifest": {"costs": {"limits": {"hours": 1}}}}, InvalidValue, "costs.limits"),
        ({"manifest": {"finetune": {"data": {"traces": "builtin:arithmetic"}}}}, InvalidValue, "finetune"),
        ({"limits": {"hours": -1}}, InvalidValue, "limits.hours"),
    ],
)
def test_what_cannot_be_a_sweep_is_refused(read, document, error, said):
    with pytest.raises(error, match=said):
        read(**document)
