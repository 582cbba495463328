"""Where a run stands."""

import pytest
from pydantic import ValidationError

from trainwright.core.state import Position


def test_a_run_starts_before_its_first_step():
    assert Position.start() == Position(
        step=0, num_tokens=0, num_events=0, best_step=None, best_value=None, num_validations_without_gain=0
    )


def test_position_survives_json():
    position = Position(
        step=7, num_tokens=70, num_events=9, best_step=5, best_value=0.1 + 0.2, num_validations_without_gain=1
    )
    assert Position.model_validate_json(position.model_dump_json()) == position


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_best_value_that_is_no_number_is_refused(value):
    with pytest.raises(ValidationError):
        Position(step=1, num_tokens=1, num_events=1, best_step=1, best_value=value)


def test_position_does_not_change():
    with pytest.raises(ValidationError):
        Position.start().step = 3
