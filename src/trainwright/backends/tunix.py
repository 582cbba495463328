"""Google's Tunix on JAX: its Qwen3 (our own decoder) and its Gemma 3, trained whole or through LoRA, in float32.

What runs where: `tunix_library.py` is all that is asked of Tunix, `tunix_optimizer.py` the update, and this file the protocol
around them. Every computation is compiled once for its sizes, so batches have few sizes. Nothing here draws random numbers
but numpy, from the step's seed: there is no generator whose state a checkpoint would have to hold.

On a processor it computes on one thread: JAX settles their number once in a process, and results depend on it.

Shapes: B rows, T positions, S positions of a decoder's memory, L layers, D hidden, V vocabulary.
"""

import functools
import platform
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from trainwright.backends.initial import EMBEDDING, RAW, averaging_decay, is_trained
from trainwright.backends.padding import next_power, pad_batch
from trainwright.backends.protocol import (
    IGNORED,
    Batch,
    Capabilities,
    Gradients,
    Probe,
    Rates,
    Scores,
    WeightAnatomy,
    count_targets,
    count_within_segments,
    require_norm,
)
from trainwright.backends.reference import count_octaves
from trainwright.backends.reference_layers import Dropout, require_valid_batch
from trainwright.backends.reference_math import clip_factor, l2_norm
from trainwright.backends.tunix_library import DISTRIBUTION, Network, Steps, describe, dropping, quiet
from trainwright.core.errors import UnsupportedPlan
from trainwright.core.records import Compute, ImportedShape, Shape, TrainingPlan
from trainwright.core.state import TrainingState, Weights

with quiet():
    import jax
    import jax.numpy as jnp

from trainwright.backends.tunix_optimizer import (
    COUNT,
    FIRST,
    MOMENTUM,
    SECOND,
    TOTALS,
    build_transformation,
)

DEVICES = ("cuda", "tpu", "cpu")

FIRST_REMEMBERED = 64
"""Positions that a decoder has room for at least; where they are used up, their number is doubled."""

SHORTEST_SCORED = 16

STATE_PREFIXES = {FIRST: "adamw.first.", SECOND: "adamw.second.", MOMENTUM: "muon.momentum."}
"""Under what names an optimizer's arrays stand in a checkpoint."""

Values = dict[str, Any]
"""Weights by name, in Tunix's layout, on the device."""

_SHAPES: TypeAdapter[Shape] = TypeAdapter(Shape)


# ── what is compiled ─────────────────────────────────────────────────────────────────────────────────────────────────
class Placed(NamedTuple):
    """A batch on the device: all [B, T]."""

    tokens_BT: Any
    targets_BT: Any
    segments_BT: Any
    places_BT: Any


class Judged(NamedTuple):
    """Per position, 0 where no target counts: negative log-likelihood in nats, training objective, whether it ranked first."""

    nll_BT: Any
    objective_BT: Any
    hits_BT: Any


def judge(logits_BTV: Any, targets_BT: Any, smoothing: float) -> Judged:
    """Objective (1-s)·NLL + s·mean over V of -log p (Szegedy et al. 2016, arXiv:1512.00567)."""
    counts_BT = targets_BT != IGNORED
    log_total_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    target_BT = jnp.take_along_axis(logits_BTV, jnp.maximum(targets_BT, 0)[..., None], axis=-1)[..., 0]
    nll_BT = log_total_BT - target_BT
    objective_BT = nll_BT
    if smoothing:
        objective_BT = (1 - smoothing) * nll_BT + smoothing * (log_total_BT - logits_BTV.mean(-1))
    hits_BT = (target_BT >= logits_BTV.max(-1)) & counts_BT
    return Judged(jnp.where(counts_BT, nll_BT, 0.0), jnp.where(counts_BT, objective_BT, 0.0), hits_BT)


def see_within_segments(segments_BT: Any) -> Any:
    """Which position sees which [B, T, T]: those of its segment, up to itself."""
    length = segments_BT.shape[1]
    causal_TT = jnp.tril(jnp.ones((length, length), jnp.bool_))
    return (segments_BT[:, :, None] == segments_BT[:, None, :]) & causal_TT


class Programs:
    """What is compiled for models of one shape, whatever their weights."""

    def __init__(self, shape: Shape) -> None:
        self.network = Network(shape)
        self.score = jax.jit(self._score)
        self.decode = jax.jit(self._decode, donate_argnames=("cache",))

    def _score(self, values: Values, placed: Placed) -> tuple[Any, Any]:
        logits_BTV, _ = self.network.run(
            self.network.fill(values), placed.tokens_BT, placed.places_BT, see_within_segments(placed.segments_BT)
        )
        judged = judge(logits_BTV, placed.targets_BT, 0.0)
        return judged.nll_BT, judged.hits_BT

    def _decode(self, values: Values, cache: Any, tokens_1T: Any, first: Any, last: Any) -> tuple[Any, Any]:
        """Logits [V] of the `last` of the new positions, which begin at `first`, and the renewed cache."""
        num_remembered = cache["layer_0"]["k"].shape[1]
        places_1T = first + jnp.arange(tokens_1T.shape[1])[None]
        visible_1TS = jnp.arange(num_remembered)[None, None] <= places_1T[..., None]
        begun = {name: {**layer, "end_index": first[None]} for name, layer in cache.items()}
        logits_1TV, renewed = self.network.run(self.network.fill(values), tokens_1T, places_1T, visible_1TS, begun)
        kept = {name: {part: layer[part] for part in ("k", "v")} for name, layer in renewed.items()}
        return logits_1TV[0, last], kept


def open_programs(shape: Shape) -> Programs:
    """Those of the shape, made once in a process."""
    return _open_programs(shape.model_dump_json())


@functools.lru_cache(maxsize=8)
def _open_programs(shape_json: str) -> Programs:
    shape: Shape = _SHAPES.validate_json(shape_json)
    return Programs(shape)


def _square(totals: Values) -> Values:
    return {name: jnp.sum(jnp.square(total)) for name, total in totals.items()}


def _move_towards(average: Values, trained: Values, share: Any) -> Values:
    return {name: value + share * (trained[name] - value) for name, value in average.items()}


measure_squares, average_weights = jax.jit(_square), jax.jit(_move_towards)


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class TunixDecoder:
    """Writes one sequence; Tunix's cache keeps what was read.

    Tunix reads several positions at once only into an empty cache: more than one after others are read with all before them.
    """

    def __init__(self, model: "TunixModel") -> None:
        self._model = model
        self._read: list[int] = []
        self._cache: Any = None

    def feed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Read tokens; logits [V] for the next one. Raises ValueError for no token, or an unknown id."""
        tokens_1T = np.array([tokens], dtype=np.int32)
        require_valid_batch(Batch(tokens_1T, np.full_like(tokens_1T, IGNORED)), self._model.shape)
        first = len(self._read)
        self._read += map(int, tokens)
        if first and len(tokens) > 1:
            first, tokens_1T = 0, np.array([self._read], dtype=np.int32)
        self._make_room(first)
        num_new = tokens_1T.shape[1]
        length = 1 if num_new == 1 else next_power(num_new, SHORTEST_SCORED)
        padded_1T = np.pad(tokens_1T, ((0, 0), (0, length - num_new)))
        with self._model.on_device():
            logits_V, self._cache = self._model.programs.decode(
                self._model.handed_out(), self._cache, padded_1T, np.int32(first), np.int32(num_new - 1)
            )
        return np.array(logits_V, np.float32)

    def _make_room(self, first: int) -> None:
        """A cache with room for all that was read and is to be; an empty one where it is read from the start."""
        size = next_power(len(self._read), FIRST_REMEMBERED)
        with self._model.on_device():
            if first == 0:
                self._cache = self._model.programs.network.build_cache(size)
                return
            more = size - self._cache["layer_0"]["k"].shape[1]
            if more:
                self._cache = jax.tree.map(lambda part: jnp.pad(part, ((0, 0), (0, more), (0, 0), (0, 0))), self._cache)


class TunixModel:
    """A model that scores and decodes. Weights are arrays by their standard names, in Tunix's layout."""

    def __init__(self, shape: Shape, weights: Weights, compute: Compute) -> None:
        set_up(compute)
        self.shape, self._device = shape, find_device(compute.device)
        self.programs = open_programs(shape)
        self.network = self.programs.network
        require_like("weight", {name: place.size for name, place in self.network.places.items()}, weights)
        self._values = self.load(self.network.places, weights)

    def on_device(self) -> Any:
        """Where arrays that are made in the block lie."""
        return jax.default_device(self._device)

    def load(self, names: Any, arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> Values:
        """Copies on the device, in Tunix's layout."""
        places, shapes = self.network.places, self.network.shapes
        return {
            name: jax.device_put(
                np.array(places[name].to_library(np.asarray(arrays[prefix + name], np.float32), shapes[name])),
                self._device,
            )
            for name in names
        }

    def handed_out(self) -> Values:
        """The weights that are scored and written with."""
        return self._values

    def score(self, batch: Batch) -> Scores:
        """How likely each target is; of equal logits each ranks first. Raises ValueError for a bad batch."""
        require_valid_batch(batch, self.shape)
        rows, length = batch.tokens_BT.shape
        nll_BT, hits_BT = self.programs.score(
            self.handed_out(), self.place(pad_batch(batch, *self.choose_size(rows, length)))
        )
        return Scores(np.array(nll_BT, np.float32)[:rows, :length], np.array(hits_BT)[:rows, :length])

    def open_decoder(self) -> TunixDecoder:
        """A decoder with an empty past. It reads this model's weights as they are at each `feed`."""
        return TunixDecoder(self)

    def choose_size(self, rows: int, length: int) -> tuple[int, int]:
        """Rows and positions that a batch is padded to: powers of two, so that there are few of them."""
        return next_power(rows, 1), next_power(length, SHORTEST_SCORED)

    def place(self, batch: Batch) -> Placed:
        """The batch, and where each of its positions stands."""
        segments_BT = np.zeros_like(batch.tokens_BT) if batch.segments_BT is None else batch.segments_BT
        places_BT = count_within_segments(segments_BT).astype(np.int32)
        arrays = (batch.tokens_BT, batch.targets_BT, segments_BT.astype(np.int32), places_BT)
        return Placed(*(jax.device_put(np.array(array), self._device) for array in arrays))


class TunixTrainer(TunixModel):
    """A model with its optimizer, around Tunix's training step.

    Where an average is kept, it is what is handed out; the module holds what is trained.
    """

    def __init__(self, shape: Shape, weights: Weights, compute: Compute, training: TrainingPlan) -> None:
        super().__init__(shape, weights, compute)
        self.training, self.num_updates = training, 0
        self._training_network = Network(shape, drops=True) if training.dropout else self.network
        self._trained_names = [name for name in self.network.places if is_trained(name, shape)]
        places = {name: self.network.places[name] for name in self._trained_names}
        with self.on_device():
            self._steps = Steps(
                self._training_network.fill(self._values),
                build_transformation(places, training.optimizer),
                self._loss,
            )
        self._norm: float | None = None
        self._has_totals = False

    def _loss(self, module: Any, placed: Placed, scale: Any, masks: Any = None) -> tuple[Any, tuple[Any, Any]]:
        """The sum of the objectives, multiplied by `scale`; and what each position's target costs."""
        with dropping(masks):
            logits_BTV, _ = self._training_network.run(
                module, placed.tokens_BT, placed.places_BT, see_within_segments(placed.segments_BT)
            )
        judged = judge(logits_BTV, placed.targets_BT, self.training.label_smoothing)
        return judged.objective_BT.sum() * scale, (judged.nll_BT, judged.hits_BT)

    def compute_gradients(self, micro_batches: Sequence[Batch], dropout_seed: int) -> Gradients:
        """Forward and backward over every micro-batch; the mean is over all of their targets.

        Raises ValueError where there is no target at all, or for a batch that does not fit the model.
        """
        for batch in micro_batches:
            require_valid_batch(batch, self.shape)
        num_targets = count_targets(micro_batches)
        if self._has_totals:  # those of a step that was passed over
            self._write(
                TOTALS, {name: np.zeros(self.network.places[name].size, np.float32) for name in self._trained_names}
            )
        self._has_totals = True
        dropout = Dropout(self.training.dropout, dropout_seed)
        nll_sum, num_correct = 0.0, 0
        for batch in micro_batches:
            nll_BT, hits_BT = self._backward(batch, num_targets, dropout)
            nll_sum += float(np.sum(np.asarray(nll_BT), dtype=np.float64))
            num_correct += int(np.count_nonzero(hits_BT))
        squares = measure_squares(self._remembered(TOTALS))
        self._norm = float(np.sqrt(sum(float(square) for square in squares.values())))
        return Gradients(nll_sum, num_targets, num_correct, self._norm)

    def apply_update(self, rates: Rates) -> None:
        """Clip and update; then the average, where one is kept. The gradients are then used up.

        Raises InternalError without a `compute_gradients` before it.
        """
        factor = clip_factor(require_norm(self._norm), self.training.optimizer.clip_norm)
        self._steps.update(
            {
                "clip_factor": np.float32(factor),
                "learning_rate": np.float32(rates.learning_rate),
                "matrix_learning_rate": np.float32(rates.matrix_learning_rate),
            }
        )
        self.num_updates += 1
        self._norm, self._has_totals = None, False
        trained = self._trained()
        if self.training.ema_decay:
            share = 1.0 - averaging_decay(self.training.ema_decay, self.num_updates)
            trained = average_weights({name: self._values[name] for name in trained}, trained, np.float32(share))
        self._values = self._values | trained

    def apply_watched_update(self, rates: Rates) -> dict[str, WeightAnatomy]:
        """`apply_update`, and what it did to each weight."""
        require_norm(self._norm)
        before = self._read(self._trained())
        gradients = {name: np.array(total) for name, total in self._remembered(TOTALS).items()}
        self.apply_update(rates)
        after = self._read(self._trained())
        return {
            name: WeightAnatomy(
                gradient_norm=l2_norm([gradients[name]]),
                weight_norm=l2_norm([before[name]]),
                update_norm=l2_norm([after[name] - before[name]]),
                octaves=count_octaves(gradients[name]),
            )
            for name in self._trained_names
        }

    def read_state(self) -> TrainingState:
        """Copies of what is trained, the optimizer's arrays and the number of updates, in float32 and standard names."""
        optimizer = {
            prefix + name: np.array(array, np.float32)
            for part, prefix in STATE_PREFIXES.items()
            for name, array in self._remembered(part).items()
        }
        if self.training.ema_decay:
            optimizer |= {RAW + name: array for name, array in self._read(self._trained()).items()}
        weights = self._read({name: self._values[name] for name in self._trained_names})
        return TrainingState(weights, optimizer, self.num_updates)

    def load_state(self, state: TrainingState) -> None:
        """Become the trainer that `state` was read from. Raises ValueError; then nothing has changed."""
        sizes = {name: self.network.places[name].size for name in self._trained_names}
        require_like("weight", sizes, state.weights)
        prefixed = {
            prefix + name: sizes[name] for part, prefix in STATE_PREFIXES.items() for name in self._remembered(part)
        }
        raw = {RAW + name: size for name, size in sizes.items()} if self.training.ema_decay else {}
        require_like("optimizer array", prefixed | raw, state.optimizer)
        handed_out = self.load(self._trained_names, state.weights)
        trained = self.load(self._trained_names, state.optimizer, RAW) if raw else handed_out
        self._values = self._values | handed_out
        with quiet():
            for name, value in trained.items():
                self.network.places[name].find(self._steps.module).value = value
        for part, prefix in STATE_PREFIXES.items():
            self._write(part, {name: state.optimizer[prefix + name] for name in self._remembered(part)})
        self._write(TOTALS, {name: np.zeros(size, np.float32) for name, size in sizes.items()})
        with quiet():
            self._steps.find_state()[COUNT].value = jax.device_put(np.int32(state.num_updates), self._device)
        self.num_updates = state.num_updates
        self._norm, self._has_totals = None, False

    def choose_size(self, rows: int, length: int) -> tuple[int, int]:
        """The size of a micro-batch of the plan, for all that fits into it: one size for training and for validation."""
        most_rows = self.training.batch_size // self.training.accumulation
        if rows <= most_rows and length <= self.training.max_seq_length:
            return most_rows, self.training.max_seq_length
        return super().choose_size(rows, length)

    def _backward(self, batch: Batch, num_targets: int, dropout: Dropout) -> tuple[Any, Any]:
        size = self.choose_size(*batch.tokens_BT.shape)
        inputs: dict[str, Any] = {"placed": self.place(pad_batch(batch, *size)), "scale": np.float32(1.0 / num_targets)}
        if dropout.rate:
            inputs["masks"] = self._draw_masks(dropout, batch.tokens_BT.shape, size)
        with self.on_device():
            said: tuple[Any, Any] = self._steps.take(inputs)
        return said

    def _draw_masks(self, dropout: Dropout, drawn: tuple[int, ...], size: tuple[int, int]) -> NDArray[np.float32]:
        """The reference's masks [L, 2, B, T, D], drawn for the batch as it came, with ones where it is padded."""
        hidden, num_layers = self.network.places[EMBEDDING].size[1], self.network.family.num_layers
        masks = np.ones((num_layers, 2, *size, hidden), np.float32)
        like = np.empty((*drawn, hidden), np.float32)
        for layer in range(num_layers):
            for place, branch in enumerate(("attention", "feed-forward")):
                masks[layer, place, : drawn[0], : drawn[1]] = dropout.draw(like, layer, branch)
        return masks

    def _trained(self) -> Values:
        with quiet():
            return {name: self.network.places[name].find(self._steps.module).value for name in self._trained_names}

    def _read(self, values: Values) -> dict[str, NDArray[np.float32]]:
        """Copies in the standard layout."""
        return {
            name: np.array(self.network.places[name].to_standard(np.asarray(value)), np.float32, order="C")
            for name, value in values.items()
        }

    def _remembered(self, part: str) -> Values:
        """A part of what the optimizer remembers, by weight."""
        with quiet():
            return {name: variable.value for name, variable in self._steps.find_state()[part].items()}

    def _write(self, part: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        variables = self._steps.find_state()[part]
        with quiet():
            for name, array in arrays.items():
                variables[name].value = jax.device_put(np.array(array, np.float32), self._device)


# ── the backend ──────────────────────────────────────────────────────────────────────────────────────────────────────
class TunixBackend:
    """The Tunix backend."""

    name: ClassVar[str] = "tunix"
    capabilities: ClassVar[Capabilities] = Capabilities(
        devices=DEVICES, dtypes=("float32",), compiles=False, optimizers=("adamw", "muon"), most_threads=1
    )

    def probe(self, device: str) -> Probe:
        """A matrix product and its gradient, on `device`."""
        version = f"{metadata.version(DISTRIBUTION)} on jax {jax.__version__}"
        try:
            place = find_device(device)
            x = jax.device_put(np.full((8, 8), 0.5, np.float32), place)
            gradient = np.asarray(jax.grad(lambda x: (x @ x).sum())(x))
        except (RuntimeError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            return Probe(False, version, problem=reason, remedy="Choose compute.device=cpu.")
        if not np.array_equal(gradient, np.full((8, 8), 8.0, np.float32)):
            problem = "A small matrix product has a gradient that is wrong."
            return Probe(False, version, problem=problem, remedy="Choose compute.device=cpu.")
        return Probe(True, version, f"{platform.machine()} CPU" if device == "cpu" else str(place.device_kind))

    def measure_peak(self, compute: Compute) -> float:
        """The fastest of three products of two square matrices, each side 1,024 on a CPU and 8,192 elsewhere."""
        set_up(compute)
        size = 1024 if compute.device == "cpu" else 8192
        a = jax.device_put(np.ones((size, size), np.float32), find_device(compute.device))
        multiply = jax.jit(jnp.matmul)
        seconds = []
        for _ in range(4):  # the first one compiles
            begun = time.perf_counter()
            multiply(a, a).block_until_ready()
            seconds.append(time.perf_counter() - begun)
        return float(2 * size**3 / min(seconds[1:]))

    def open_model(self, shape: Shape, weights: Weights, compute: Compute) -> TunixModel:
        """A model that scores and decodes. Raises UnsupportedPlan, and ValueError for weights that do not fit."""
        return TunixModel(shape, weights, compute)

    def open_trainer(self, shape: Shape, weights: Weights, compute: Compute, training: TrainingPlan) -> TunixTrainer:
        """A model with its optimizer, at update 0. Raises UnsupportedPlan; ValueError for weights that do not fit."""
        if isinstance(shape, ImportedShape) and training.optimizer.name != "adamw":
            raise UnsupportedPlan(
                f"The tunix backend cannot train a model in the Hugging Face format with {training.optimizer.name}.",
                why="Those are trained with AdamW alone.",
                next_step="Set train.optimizer.name=adamw.",
            )
        return TunixTrainer(shape, weights, compute, training)


def describe_weights(shape: ImportedShape) -> tuple[dict[str, tuple[int, ...]], frozenset[str]]:
    """{name: size} of every weight of a model without its adapter's, and other names of tied ones, which may be left out.

    Raises ValueError for a configuration that lacks something, UnsupportedPlan for one that Tunix cannot have.
    """
    places = describe(shape).places
    tied = frozenset() if "lm_head.weight" in places else frozenset({"lm_head.weight"})
    return {name: place.size for name, place in places.items()}, tied


def set_up(compute: Compute) -> None:
    """Process-wide settings that a plan's result depends on. Raises UnsupportedPlan for what is not float32."""
    if compute.dtype != "float32" or compute.compile:
        raise UnsupportedPlan(
            f"The tunix backend cannot run the plan's dtype {compute.dtype}, compile {str(compute.compile).lower()}.",
            why="It computes in float32, and always compiles: there is nothing to switch on.",
            next_step="Set compute.dtype=float32 compute.compile=false, or another framework.",
        )
    jax.config.update("jax_default_matmul_precision", "highest")


def find_device(device: str) -> Any:
    """JAX's device for a plan's: "cuda:1" is the second one. Raises RuntimeError, ValueError where it is not there."""
    kind, _, number = device.partition(":")
    found = jax.devices(kind)
    index = int(number or 0)
    if index >= len(found):
        raise RuntimeError(f"There are {len(found)} devices of the kind {kind}, counted from 0.")
    return found[index]


def require_like(what: str, expected: Mapping[str, tuple[int, ...]], given: Mapping[str, NDArray[Any]]) -> None:
    """Raise ValueError naming the first array that is missing, has another shape, or does not belong."""
    for name, size in expected.items():
        if name not in given:
            raise ValueError(f"the {what} {name} is missing")
        if tuple(given[name].shape) != size:
            raise ValueError(f"the {what} {name} has shape {tuple(given[name].shape)}, not {size}")
    for name in given:
        if name not in expected:
            raise ValueError(f"the {what} {name} does not belong to the model")
