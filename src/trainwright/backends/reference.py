"""The reference backend: the model, its gradients and its optimizers in plain numpy. It is the specification.

`reference_math.py` has the formulas, `reference_layers.py` the decoder made of them, this file the trainer around it.
Other backends are right where they agree with it. It runs on one CPU, in float32.

Shapes: B rows, T positions, D hidden, V vocabulary, N the positions of a batch that have a target.
"""

import platform
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from trainwright.backends.initial import (
    EMBEDDING,
    FINAL_NORM,
    RAW,
    averaging_decay,
    check_optimizer_state,
    check_weights,
    decays,
    is_matrix,
    optimizer_state_shapes,
    require_own,
    weight_names,
)
from trainwright.backends.protocol import (
    IGNORED,
    LOWEST_OCTAVE,
    NUM_OCTAVES,
    Batch,
    Capabilities,
    Gradients,
    Probe,
    Rates,
    Scores,
    WeightAnatomy,
    count_targets,
)
from trainwright.backends.reference_layers import (
    NO_DROPOUT,
    Dropout,
    Past,
    compute_micro_batch,
    layers_of,
    place_batch,
    require_valid_batch,
)
from trainwright.backends.reference_math import (
    AdamW,
    Array,
    Muon,
    Rotation,
    build_rotation,
    clip_factor,
    l2_norm,
    linear,
    log_softmax,
    rms_norm,
    smoothed_cross_entropy,
)
from trainwright.core.errors import InternalError, UnsupportedPlan
from trainwright.core.records import Compute, ModelShape, Optimizer, Shape, TrainingPlan
from trainwright.core.state import TrainingState, Weights

FloatType = type[np.floating[Any]]

# A number that is not finite is a finding (`Gradients.is_finite`), not a warning on somebody's terminal.
non_finite_is_a_value = np.errstate(over="ignore", invalid="ignore", divide="ignore")


# ── what the protocol asks for ────────────────────────────────────────────────────────────────────────────────────────
class ReferenceModel:
    """Weights ready to be used. `dtype` is float32 but for the tests of the gradients."""

    def __init__(self, shape: ModelShape, weights: Weights, dtype: FloatType = np.float32) -> None:
        check_weights(shape, weights)
        self.shape = shape
        self.dtype = dtype
        # In the names' own order, whatever the order given: sums over all weights then have the same last bits.
        self._weights: dict[str, Array] = {name: np.array(weights[name], dtype=dtype) for name in weight_names(shape)}

    @non_finite_is_a_value
    def score(self, batch: Batch) -> Scores:
        """How likely each target is; of equal logits the lowest id ranks first. Raises ValueError for a bad batch."""
        require_valid_batch(batch, self.shape)
        counts_BT = batch.targets_BT != IGNORED
        rotation, elsewhere_BTT = place_batch(batch, self.shape, self.dtype)
        hidden_BTD, _ = self._hidden(batch.tokens_BT, rotation, [None] * self.shape.num_layers, elsewhere_BTT)
        targets_N = batch.targets_BT[counts_BT]
        logits_NV = linear(hidden_BTD[counts_BT], self._weights[EMBEDDING])
        nll_BT = np.zeros(batch.targets_BT.shape, dtype=np.float32)
        correct_BT = np.zeros(batch.targets_BT.shape, dtype=np.bool_)
        nll_BT[counts_BT], _ = smoothed_cross_entropy(log_softmax(logits_NV), targets_N, smoothing=0.0)
        correct_BT[counts_BT] = logits_NV.argmax(axis=-1) == targets_N
        return Scores(nll_BT, correct_BT)

    def open_decoder(self) -> "ReferenceDecoder":
        """A decoder with an empty past. It reads this model's weights as they are at each `feed`."""
        return ReferenceDecoder(self)

    def open_batch_decoder(self) -> "ReferenceBatchDecoder":
        """A decoder without sequences. It reads this model's weights as they are at each call."""
        return ReferenceBatchDecoder(self)

    def _hidden(
        self,
        tokens_BT: NDArray[Any],
        rotation: Rotation,
        pasts: Sequence[Past | None],
        elsewhere_BTT: NDArray[np.bool_] | None = None,
    ) -> tuple[Array, list[Past]]:
        """The normed hidden state of positions that stand where `rotation` says, and what each layer has seen by then."""
        w, shape = self._weights, self.shape
        x_BTD = w[EMBEDDING][tokens_BT]
        seen: list[Past] = []
        for layer, past in zip(layers_of(w, shape), pasts, strict=True):
            x_BTD, trace = layer.forward(x_BTD, rotation, NO_DROPOUT, past, elsewhere_BTT)
            seen.append(trace.attention.seen)
        return rms_norm(x_BTD, w[FINAL_NORM], shape.norm_epsilon)[0], seen


class ReferenceDecoder:
    """Writes one sequence, remembering keys and values of what it has read."""

    def __init__(self, model: ReferenceModel) -> None:
        self._model = model
        self._num_read = 0
        self._pasts: list[Past] | None = None

    @non_finite_is_a_value
    def feed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Read `tokens`; return the logits [V] of what comes next. Raises ValueError for no token, or an unknown id."""
        tokens_BT = np.array([tokens], dtype=np.int32)
        require_valid_batch(Batch(tokens_BT, np.full_like(tokens_BT, IGNORED)), self._model.shape)
        shape = self._model.shape
        rotation = build_rotation(self._num_read, len(tokens), shape.head_dim, shape.rope_theta, self._model.dtype)
        hidden_BTD, self._pasts = self._model._hidden(tokens_BT, rotation, self._pasts or [None] * shape.num_layers)
        self._num_read += len(tokens)
        logits_V = linear(hidden_BTD[0, -1], self._model._weights[EMBEDDING])
        return np.asarray(logits_V, dtype=np.float32)


class ReferenceBatchDecoder:
    """Writes several sequences: one product with each weight for all of them, attention of each to its own past.

    What a sequence has read stays a decoder of its own. For the length of a call their pasts are stacked, the shorter ones
    padded in front with keys that no query sees; each query stands at its own sequence's position.
    """

    def __init__(self, model: ReferenceModel) -> None:
        self._model = model
        self._decoders: dict[int, ReferenceDecoder] = {}
        self._next = 0

    def join(self, tokens: Sequence[int]) -> tuple[int, NDArray[np.float32]]:
        """A new sequence: (its number, logits [V]). Raises ValueError for no token, or an unknown id."""
        decoder = ReferenceDecoder(self._model)
        logits_V = decoder.feed(tokens)
        number, self._next = self._next, self._next + 1
        self._decoders[number] = decoder
        return number, logits_V

    @non_finite_is_a_value
    def feed(self, numbers: Sequence[int], tokens_N: Sequence[int]) -> NDArray[np.float32]:
        """A token for each of these; logits [N, V]. Raises KeyError, and ValueError for an unknown id."""
        decoders = [self._decoders[number] for number in numbers]
        tokens_N1 = np.array(tokens_N, dtype=np.int32)[:, None]
        require_valid_batch(Batch(tokens_N1, np.full_like(tokens_N1, IGNORED)), self._model.shape)
        num_read_N = np.array([decoder._num_read for decoder in decoders])
        longest = int(num_read_N.max())
        is_padding_NS = np.arange(longest + 1) < longest - num_read_N[:, None]
        pasts = [
            _stack_pasts(layer, longest) for layer in zip(*(decoder._pasts or () for decoder in decoders), strict=True)
        ]
        hidden_N1D, seen = self._model._hidden(tokens_N1, self._rotate(num_read_N), pasts, is_padding_NS[:, None])
        for row, decoder in enumerate(decoders):
            first = longest - decoder._num_read
            decoder._pasts = [
                Past(past.k_BKSE[row : row + 1, :, first:].copy(), past.v_BKSE[row : row + 1, :, first:].copy())
                for past in seen
            ]
            decoder._num_read += 1
        return np.asarray(linear(hidden_N1D[:, 0], self._model._weights[EMBEDDING]), dtype=np.float32)

    def leave(self, number: int) -> None:
        """Forget a sequence. Raises KeyError."""
        del self._decoders[number]

    def _rotate(self, places_N: NDArray[Any]) -> Rotation:
        """The rotation [N, 1, 1, E] of rows that stand at `places_N`."""
        shape = self._model.shape
        each = [
            build_rotation(int(place), 1, shape.head_dim, shape.rope_theta, self._model.dtype) for place in places_N
        ]
        cos_N1E, sin_N1E = (np.stack(part) for part in zip(*each, strict=True))
        return Rotation(cos_N1E[:, None], sin_N1E[:, None])


def _stack_pasts(pasts: Sequence[Past], longest: int) -> Past:
    """Pasts of one row each as one of N rows, padded in front to `longest` positions."""
    _, K, _, E = pasts[0].k_BKSE.shape
    stacked = Past(*(np.zeros((len(pasts), K, longest, E), pasts[0].k_BKSE.dtype) for _ in range(2)))
    for row, past in enumerate(pasts):
        first = longest - past.k_BKSE.shape[2]
        stacked.k_BKSE[row, :, first:], stacked.v_BKSE[row, :, first:] = past.k_BKSE[0], past.v_BKSE[0]
    return stacked


class ReferenceTrainer(ReferenceModel):
    """A model that can be changed: gradients first, then, where the loop wants it, the update.

    `_trained` are the weights that are changed. Where no average is kept they are the model's own: the very same dict.
    """

    def __init__(
        self, shape: ModelShape, weights: Weights, training: TrainingPlan, dtype: FloatType = np.float32
    ) -> None:
        super().__init__(shape, weights, dtype)
        self.training = training
        self.num_updates = 0
        self._optimizer_state: dict[str, Array] = {
            name: np.zeros(size, dtype=dtype)
            for name, size in optimizer_state_shapes(shape, training.optimizer.name).items()
        }
        self._trained = dict(self._weights) if training.ema_decay else self._weights
        self._gradients: dict[str, Array] | None = None
        self._gradient_norm = 0.0

    @property
    def gradients(self) -> dict[str, Array]:
        """The last global batch's gradient by weight name, before clipping. Raises InternalError if there is none."""
        if self._gradients is None:
            raise InternalError(
                "There are no gradients.",
                why="compute_gradients comes before each apply_update.",
                next_step="Report this.",
            )
        return self._gradients

    @non_finite_is_a_value
    def compute_gradients(self, micro_batches: Sequence[Batch], dropout_seed: int) -> Gradients:
        """Gradients of the mean objective over all targets of the micro-batches. The weights stay as they are.

        Raises ValueError where there is no target at all, or for a batch that does not fit the model.
        """
        for batch in micro_batches:
            require_valid_batch(batch, self.shape)
        num_targets = count_targets(micro_batches)
        dropout = Dropout(self.training.dropout, dropout_seed)
        total: dict[str, Array] = {name: np.zeros_like(array) for name, array in self._trained.items()}
        nll_sum, num_correct = 0.0, 0
        for batch in micro_batches:
            result = compute_micro_batch(
                self._trained, self.shape, batch, num_targets, self.training.label_smoothing, dropout
            )
            nll_sum += result.nll_sum
            num_correct += result.num_correct
            for name, gradient in result.gradients.items():
                total[name] += gradient
        self._gradients = total
        self._gradient_norm = l2_norm(list(total.values()))
        return Gradients(nll_sum, num_targets, num_correct, self._gradient_norm)

    def apply_update(self, rates: Rates) -> None:
        """Clip to the optimizer's `clip_norm` and update the weights; the gradients are then used up.

        Raises InternalError without a `compute_gradients` before it.
        """
        gradients = self.gradients
        optimizer = self.training.optimizer
        factor = clip_factor(self._gradient_norm, optimizer.clip_norm)
        self.num_updates += 1
        for name, gradient in gradients.items():
            if optimizer.name == "muon" and is_matrix(name):
                self._update_by_muon(name, factor * gradient, optimizer, rates)
            else:
                self._update_by_adamw(name, factor * gradient, optimizer, rates)
        if self.training.ema_decay:
            self._update_average()
        self._gradients = None

    def apply_watched_update(self, rates: Rates) -> dict[str, WeightAnatomy]:
        """`apply_update`, and what it did to each weight."""
        before, gradients = dict(self._trained), self.gradients  # an update replaces arrays and writes into none
        self.apply_update(rates)
        return {
            name: WeightAnatomy(
                gradient_norm=l2_norm([gradient]),
                weight_norm=l2_norm([before[name]]),
                update_norm=l2_norm([self._trained[name] - before[name]]),
                octaves=count_octaves(gradient),
            )
            for name, gradient in gradients.items()
        }

    def _update_average(self) -> None:
        """average ← average + (1 − d)·(weight − average)."""
        share = 1.0 - averaging_decay(self.training.ema_decay, self.num_updates)
        for name, weight in self._trained.items():
            average = self._weights[name]
            self._weights[name] = (average + share * (weight - average)).astype(self.dtype)

    def _update_by_muon(self, name: str, gradient: Array, optimizer: Optimizer, rates: Rates) -> None:
        muon = Muon(rates.matrix_learning_rate, optimizer.matrix_momentum, optimizer.matrix_weight_decay)
        momentum = f"muon.momentum.{name}"
        self._trained[name], self._optimizer_state[momentum] = muon.update(
            self._trained[name], gradient, self._optimizer_state[momentum]
        )

    def _update_by_adamw(self, name: str, gradient: Array, optimizer: Optimizer, rates: Rates) -> None:
        adamw = AdamW(
            learning_rate=rates.learning_rate,
            beta1=optimizer.beta1,
            beta2=optimizer.beta2,
            epsilon=optimizer.epsilon,
            weight_decay=optimizer.weight_decay if decays(name) else 0.0,
            step=self.num_updates,
        )
        first, second = f"adamw.first.{name}", f"adamw.second.{name}"
        self._trained[name], self._optimizer_state[first], self._optimizer_state[second] = adamw.update(
            self._trained[name], gradient, self._optimizer_state[first], self._optimizer_state[second]
        )

    def read_state(self) -> TrainingState:
        """Copies of the weights, the optimizer's arrays and the number of updates, in float32 and standard names."""
        raw = {RAW + name: array for name, array in self._trained.items()} if self.training.ema_decay else {}
        return TrainingState(
            weights={name: array.astype(np.float32) for name, array in self._weights.items()},
            optimizer={name: array.astype(np.float32) for name, array in (self._optimizer_state | raw).items()},
            num_updates=self.num_updates,
        )

    def load_state(self, state: TrainingState) -> None:
        """Become the trainer that `state` was read from.

        Raises ValueError where names or shapes differ; then nothing has changed.
        """
        check_weights(self.shape, state.weights)
        training = self.training
        is_averaged = training.ema_decay > 0
        check_optimizer_state(self.shape, training.optimizer.name, state.optimizer, is_averaged=is_averaged)
        self._weights = {name: np.array(state.weights[name], dtype=self.dtype) for name in self._weights}
        self._optimizer_state = {
            name: np.array(state.optimizer[name], dtype=self.dtype) for name in self._optimizer_state
        }
        self._trained = self._weights
        if self.training.ema_decay:
            self._trained = {name: np.array(state.optimizer[RAW + name], dtype=self.dtype) for name in self._weights}
        self.num_updates = state.num_updates
        self._gradients = None


def count_octaves(gradient: Array) -> tuple[int, ...]:
    """The histogram of `WeightAnatomy`: the exponent of an IEEE float32 is its octave."""
    exponents = (np.ascontiguousarray(gradient, np.float32).view(np.int32).reshape(-1) >> 23) & 0xFF
    bins = np.clip(exponents - 127 - LOWEST_OCTAVE, 0, NUM_OCTAVES - 1)
    return tuple(np.bincount(bins, minlength=NUM_OCTAVES).tolist())


class ReferenceBackend:
    """numpy on one CPU."""

    name: ClassVar[str] = "reference"
    capabilities: ClassVar[Capabilities] = Capabilities(
        devices=("cpu",), dtypes=("float32",), compiles=False, optimizers=("adamw", "muon")
    )

    def probe(self, device: str) -> Probe:
        """Multiply two small matrices and look at the result."""
        if device not in self.capabilities.devices:
            return Probe(
                works=False,
                version=np.__version__,
                problem=f"The reference backend has no device {device!r}; it runs on the CPU.",
                remedy="trainwright run compute.framework=reference compute.device=cpu",
            )
        product = np.full((8, 16), 0.5, np.float32) @ np.full((16, 4), 2.0, np.float32)
        if not np.array_equal(product, np.full((8, 4), 16.0, np.float32)):
            return Probe(
                works=False,
                version=np.__version__,
                problem="numpy multiplied two small matrices and the result is wrong.",
                remedy="pip install --force-reinstall numpy",
            )
        return Probe(works=True, version=np.__version__, device_name=f"{platform.machine()} CPU")

    def measure_peak(self, compute: Compute) -> float:
        """The fastest of three products of two matrices of 1,024 x 1,024."""
        self._set_up(compute)
        size = 1024
        a = np.ones((size, size), np.float32)
        seconds = []
        for _ in range(3):
            begun = time.perf_counter()
            a @ a
            seconds.append(time.perf_counter() - begun)
        return float(2 * size**3 / min(seconds))

    def open_model(self, shape: Shape, weights: Weights, compute: Compute) -> ReferenceModel:
        """A model that only scores and decodes. Raises UnsupportedPlan, and ValueError for weights that do not fit."""
        self._set_up(compute)
        return ReferenceModel(require_own(shape, self.name), weights)

    def open_trainer(
        self, shape: Shape, weights: Weights, compute: Compute, training: TrainingPlan
    ) -> ReferenceTrainer:
        """A model with its optimizer, at update 0. Raises UnsupportedPlan; ValueError for weights that do not fit."""
        self._set_up(compute)
        return ReferenceTrainer(require_own(shape, self.name), weights, training)

    def _set_up(self, compute: Compute) -> None:
        """Refuse what numpy cannot do, and give its matrix products the plan's number of threads, for the whole process."""
        asked = f"device {compute.device}, dtype {compute.dtype}, compile {str(compute.compile).lower()}"
        can = self.capabilities
        if compute.device not in can.devices or compute.dtype not in can.dtypes or compute.compile:
            raise UnsupportedPlan(
                f"The reference backend cannot run the plan's {asked}.",
                why="It is plain numpy: device cpu, dtype float32, nothing compiled.",
                next_step="Set compute.device=cpu compute.dtype=float32 compute.compile=false, or another framework.",
            )
        threadpool_limits(limits=compute.num_threads, user_api="blas")
