"""What a run is at one moment: its arrays, and where it stands. A checkpoint is these two, written down."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainwright.core.records import Frozen

Weights = Mapping[str, NDArray[np.float32]]
"""Name → array, names and shapes as in a Hugging Face Qwen3ForCausalLM checkpoint."""


@dataclass(frozen=True)
class TrainingState:
    """All that a trainer remembers: weights, optimizer arrays by name, and how many updates were applied."""

    weights: dict[str, NDArray[np.float32]]
    optimizer: dict[str, NDArray[Any]]
    num_updates: int


class Position(Frozen):
    """Where in a run a checkpoint stands, and what the loop needs beside the arrays to go on exactly."""

    step: int
    num_tokens: int
    num_events: int
    best_step: int | None = None
    best_value: float | None = None
    num_validations_without_gain: int = 0

    @classmethod
    def start(cls) -> Self:
        """Before the first step."""
        return cls(step=0, num_tokens=0, num_events=0)
