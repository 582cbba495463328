"""What a framework must do to train and run our model. One backend is one file that fulfils this.

    backend.open_trainer(shape, weights, compute, training) -> Trainer   to train
    backend.open_model(shape, weights, compute)             -> Model     to score and to write text

A model that can write several sequences at a time is `Batching` as well; `batching.py` lets the others write them in turn.

Shapes: B rows of a batch, T positions, V vocabulary. All arrays that cross this line are numpy; weights cross it in
float32 under the names of a Hugging Face Qwen3 model (see `initial.py` for the list).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trainwright.core.errors import InternalError
from trainwright.core.records import Compute, Shape, TrainingPlan
from trainwright.core.state import TrainingState, Weights

LOWEST_OCTAVE = -32
NUM_OCTAVES = 40
"""Histograms of gradients have a bin for each power of two from 2^-32 to 2^7."""

IGNORED = -1
"""A target that is not counted: not in the loss, not in any metric, not in a gradient."""


@dataclass(frozen=True)
class Batch:
    """Token ids and, for each position, the id to predict there (or IGNORED). Both int32 [B, T].

    `segments_BT`, int32, numbers the samples that share a row, from 0 upwards: a position sees those of its own segment
    alone, and rotary positions count from the segment's first token. Padding is a segment of its own without a target.
    None: a row is one segment.
    """

    tokens_BT: NDArray[np.int32]
    targets_BT: NDArray[np.int32]
    segments_BT: NDArray[np.int32] | None = None

    @property
    def num_targets(self) -> int:
        """Positions that count."""
        return int(np.count_nonzero(self.targets_BT != IGNORED))

    def rows(self, first: int, stop: int) -> "Batch":
        """The rows first … stop-1, as a batch of views."""
        segments_BT = None if self.segments_BT is None else self.segments_BT[first:stop]
        return Batch(self.tokens_BT[first:stop], self.targets_BT[first:stop], segments_BT)


def count_targets(micro_batches: Sequence[Batch]) -> int:
    """Targets of a global batch, over which its loss is a mean. Raises ValueError where there is none."""
    num_targets = sum(batch.num_targets for batch in micro_batches)
    if num_targets == 0:
        raise ValueError("the micro-batches hold no target")
    return num_targets


def count_within_segments(segments_BT: NDArray[np.int32]) -> NDArray[np.int64]:
    """For each position, how many of its own segment lie before it in its row: where rotary positions count from."""
    places_T = np.arange(segments_BT.shape[1])
    begins_BT = np.diff(segments_BT, axis=1, prepend=-1) != 0
    return np.asarray(places_T - np.maximum.accumulate(np.where(begins_BT, places_T, 0), axis=1))


@dataclass(frozen=True)
class Gradients:
    """What one global batch said, before anything is changed.

    `nll_sum` is in nats, summed over `num_targets` targets, without label smoothing. `norm` is the L2 norm of the
    gradient of the mean objective over all weights, before clipping. `num_correct` counts the targets that no other token
    outranked (of equal logits, which bfloat16 often gives, a backend may count each).
    """

    nll_sum: float
    num_targets: int
    num_correct: int
    norm: float

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood per target, nats."""
        return self.nll_sum / self.num_targets

    @property
    def is_finite(self) -> bool:
        """False where the loss or the norm is NaN or infinite."""
        return bool(np.isfinite(self.nll_sum) and np.isfinite(self.norm))


def require_norm(norm: float | None) -> float:
    """The gradients' norm that an update clips by. Raises InternalError where none was computed since the last update."""
    if norm is None:
        raise InternalError(
            "There are no gradients.",
            why="compute_gradients comes before each apply_update.",
            next_step="Report this.",
        )
    return norm


@dataclass(frozen=True)
class Rates:
    """The learning rates of one update: for AdamW's weights and for Muon's matrices."""

    learning_rate: float
    matrix_learning_rate: float


@dataclass(frozen=True)
class WeightAnatomy:
    """What one update did to one weight: L2 norms of its gradient (before clipping), of itself (before), of its change.

    `octaves[i]` counts the gradient's elements g with 2^(LOWEST_OCTAVE + i) <= |g| < 2^(LOWEST_OCTAVE + i + 1). What is
    smaller counts in the first, zero too; what is larger in the last, as does what is not finite.
    """

    gradient_norm: float
    weight_norm: float
    update_norm: float
    octaves: tuple[int, ...]


@dataclass(frozen=True)
class Scores:
    """Per position: negative log-likelihood of the target in nats (0 where ignored) and whether it ranked first."""

    nll_BT: NDArray[np.float32]
    correct_BT: NDArray[np.bool_]


class Decoder(Protocol):
    """Writes one sequence, remembering keys and values of what it has read."""

    def feed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Read `tokens` (at least one) after all that was read before; return the logits [V] for what comes next."""


class BatchDecoder(Protocol):
    """Writes several sequences at a time, each at a place of its own, remembering what each has read.

    What it says of a sequence is what a `Decoder` would say that has it alone, but for rounding: products over several rows
    may add up in another order. A sequence does not depend on which others are beside it in any other way.
    """

    def join(self, tokens: Sequence[int]) -> tuple[int, NDArray[np.float32]]:
        """A new sequence, which reads `tokens` (at least one): (its number, the logits [V] for what comes next)."""

    def feed(self, numbers: Sequence[int], tokens_N: Sequence[int]) -> NDArray[np.float32]:
        """A token for each of these sequences (each once, at least one); the logits [N, V] for what comes next.

        Those that are not named stay where they are. Raises KeyError for one that is not there; then nothing was read.
        """

    def leave(self, number: int) -> None:
        """Forget a sequence. Raises KeyError for one that is not there."""


class Model(Protocol):
    """Weights ready to be used."""

    def score(self, batch: Batch) -> Scores:
        """How likely each target is. Changes nothing."""

    def open_decoder(self) -> Decoder:
        """A decoder with an empty past."""


@runtime_checkable
class Batching(Protocol):
    """What a model offers besides, where its backend can write several sequences for little more than the price of one."""

    def open_batch_decoder(self) -> BatchDecoder:
        """A decoder without sequences. It reads the model's weights as they are at each call."""


class Trainer(Model, Protocol):
    """A model that can be changed, in two halves so that the loop can look before it lets anything change.

    Where the plan has an `ema_decay`, the model that is scored, decoded and handed out is the moving average of the
    weights that are trained (see `averaging_decay` in `initial.py`).
    """

    def compute_gradients(self, micro_batches: Sequence[Batch], dropout_seed: int) -> Gradients:
        """Gradients of the mean objective over *all* targets of the micro-batches (so 1×8 = 2×4 = 8×1).

        Replaces the gradients of the call before. The weights stay as they are.
        """

    def apply_update(self, rates: Rates) -> None:
        """Clip to the optimizer's `clip_norm` and update the weights from the last gradients."""

    def apply_watched_update(self, rates: Rates) -> dict[str, WeightAnatomy]:
        """`apply_update`, bit for bit, and what it did to each of the weights that are trained, in `weight_names` order.

        It costs some passes over the weights: asked for now and then, never in every step.
        """

    def read_state(self) -> TrainingState:
        """Copies of everything, in float32 and standard names; `load_state` of it gives exactly this trainer."""

    def load_state(self, state: TrainingState) -> None:
        """Become the trainer that `state` was read from. Raises ValueError where names or shapes differ."""


@dataclass(frozen=True)
class Capabilities:
    """What a backend can be asked for in a plan. `most_threads` is None where it takes as many as there are cores."""

    devices: tuple[str, ...]
    dtypes: tuple[str, ...]
    compiles: bool
    optimizers: tuple[str, ...]
    most_threads: int | None = None


@dataclass(frozen=True)
class Probe:
    """What came of running one real kernel on one device: `works`, or `problem` and the command that mends it."""

    works: bool
    version: str = ""
    device_name: str = ""
    problem: str = ""
    remedy: str = ""


class Backend(Protocol):
    """A framework."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]

    def probe(self, device: str) -> Probe:
        """Import the framework and run a real kernel on `device`. Never raises for a missing or broken framework."""

    def measure_peak(self, compute: Compute) -> float:
        """Floating-point operations per second of a large matrix product, in the dtype and with the threads of `compute`.

        A smaller product will do where a large one would take a second or more.
        """

    def open_model(self, shape: Shape, weights: Weights, compute: Compute) -> Model:
        """A model that only scores and decodes. Raises UnsupportedPlan for a kind of model that it cannot run."""

    def open_trainer(self, shape: Shape, weights: Weights, compute: Compute, training: TrainingPlan) -> Trainer:
        """A model with its optimizer, at update 0."""
