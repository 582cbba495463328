"""What a run is at one moment: its arrays, and where it stands. A checkpoint is these two, written down."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainwright.core.records import Frozen, added

Weights = Mapping[str, NDArray[np.float32]]
"""Name → array, names and shapes as in a Hugging Face Qwen3ForCausalLM checkpoint."""


@dataclass(frozen=True)
class TrainingState:
    """All that a trainer remembers: weights, optimizer arrays by name, and how many updates were applied.

    `weights` are those that are validated and handed out. Where an average of them is kept, they are the average, and the
    ones that go on being trained lie in `optimizer` under "raw.<name>".
    """

    weights: dict[str, NDArray[np.float32]]
    optimizer: dict[str, NDArray[Any]]
    num_updates: int


class Steadiness(Frozen):
    """What the stability ladder remembers.

    `losses` and `norms` are those of the last steps that were taken, the oldest first; `skipped_steps` the recent steps
    (0-based) that were not; `barred_steps` those that a rollback passes over for good. `rate_factor` multiplies every rate.
    """

    losses: tuple[float, ...] = ()
    norms: tuple[float, ...] = ()
    skipped_steps: tuple[int, ...] = ()
    barred_steps: tuple[int, ...] = ()
    num_rollbacks: int = 0
    rate_factor: float = 1.0


class Position(Frozen):
    """Where in a run a checkpoint stands, and what the loop needs beside the arrays to go on exactly.

    `scheduled_step` is that of the last checkpoint that the plan asked for (0: the start): where a rollback goes. One that
    was made because somebody stopped the run is no part of its story.
    """

    step: int
    num_tokens: int
    num_events: int
    best_step: int | None = None
    best_value: float | None = None
    num_validations_without_gain: int = 0
    scheduled_step: int = added(0)
    steadiness: Steadiness = added(Steadiness())

    @classmethod
    def start(cls) -> Self:
        """Before the first step."""
        return cls(step=0, num_tokens=0, num_events=0)
