"""tinygrad, in float32. Every computation is a program that is compiled once for its sizes, so batches have few sizes.

What runs where: `tinygrad_compiler.py` finds a C compiler, `tinygrad_network.py` is the forward pass and the loss,
`tinygrad_programs.py` what is compiled, and this file the protocol around them. Nothing here draws random numbers but
numpy, from the step's seed: there is no generator whose state a checkpoint would have to hold.

Shapes: B rows, T positions, S positions of a decoder's memory, L layers, K key-value heads, E head dimension, D hidden,
V vocabulary.
"""

import ctypes.util
import functools
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trainwright.backends.initial import (
    RAW,
    averaging_decay,
    check_optimizer_state,
    check_weights,
    optimizer_state_shapes,
    require_own,
    weight_names,
)
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
from trainwright.backends.reference_math import build_rotation, clip_factor, l2_norm
from trainwright.backends.tinygrad_compiler import REMEDY, find_compiler, set_compiler
from trainwright.core.errors import UnsupportedPlan
from trainwright.core.records import Compute, ModelShape, Shape, TrainingPlan
from trainwright.core.state import TrainingState, Weights

COMPILER = find_compiler()
if COMPILER is not None:
    set_compiler(COMPILER)


from tinygrad import Tensor  # noqa: E402  # reads its settings from the environment as it is imported
from tinygrad.helpers import BEAM, DEV, NUM_CPU_THREADS, PARALLEL  # noqa: E402

from trainwright.backends.tinygrad_programs import (  # noqa: E402
    Sizes,
    Steps,
    decoding_program,
    gradient_program,
    norm_program,
    score_program,
    update_program,
)

PROBING_TIMEOUT_S = 120.0
DEVICES = {"cuda": "CUDA", "metal": "METAL", "cpu": "CPU"}
"""What tinygrad calls the devices of a plan."""

FIRST_REMEMBERED = 64
"""Positions that a decoder has room for at first; where they are used up, their number is doubled."""

READ_AT_ONCE = 32
"""Positions that a decoder reads in one go; fewer are padded to it, but for a single one."""

SHORTEST_SCORED = 16


class TinygradDecoder:
    """Writes one sequence; keys and values of what it has read stay on the device."""

    def __init__(self, model: "TinygradModel") -> None:
        self._model = model
        self._num_read = 0
        self._caches = self._new_caches(FIRST_REMEMBERED)

    def feed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Read tokens; logits [V] for the next one. Raises ValueError for no token, or an unknown id."""
        tokens_1T = np.array([tokens], dtype=np.int32)
        require_valid_batch(Batch(tokens_1T, np.full_like(tokens_1T, IGNORED)), self._model.shape)
        length = 1 if len(tokens) == 1 else READ_AT_ONCE
        pieces = [tokens_1T[:, first : first + length] for first in range(0, len(tokens), length)]
        return [self._read(piece_1T, length) for piece_1T in pieces][-1]

    def _read(self, tokens_1T: NDArray[np.int32], length: int) -> NDArray[np.float32]:
        model, num_new = self._model, tokens_1T.shape[1]
        self._make_room(self._num_read + num_new)
        num_remembered = self._caches[0].shape[2]
        places_S = np.arange(num_remembered, dtype=np.int32) - self._num_read
        places_S[places_S >= num_new] = -1
        padded_1T = np.pad(tokens_1T, ((0, 0), (0, length - num_new)))
        program = decoding_program(model.sizes(1, length), num_remembered)
        logits_V = program(
            model.list_handed_out(),
            self._caches,
            model.to_device(padded_1T),
            model.to_device(np.stack(_build_rotary(model.shape, self._num_read, length))),
            model.to_device(np.maximum(places_S, -1)),
            model.to_device(np.array([self._num_read, num_new - 1], np.int32)),
        )
        self._num_read += num_new
        return _to_array(logits_V)

    def _make_room(self, num_positions: int) -> None:
        size = before = int(self._caches[0].shape[2])
        while size < num_positions:
            size *= 2
        if size > before:
            grown = self._new_caches(size)
            room = ((0, 0), (0, 0), (0, size - before), (0, 0))
            for i, cache in enumerate(self._caches):
                grown[i] = self._model.to_device(np.pad(_to_array(cache), room))
            self._caches = grown

    def _new_caches(self, num_positions: int) -> list[Tensor]:
        shape = self._model.shape
        size = (2, shape.num_kv_heads, num_positions, shape.head_dim)
        return [self._model.to_device(np.zeros(size, np.float32)) for _ in range(shape.num_layers)]


class TinygradModel:
    """A model that scores and decodes. Weights are tensors by their standard names, in the names' own order."""

    def __init__(self, shape: ModelShape, weights: Weights, compute: Compute) -> None:
        check_weights(shape, weights)
        set_up(compute)
        self.shape, self._compute = shape, compute
        self._device = name_device(compute.device)
        self._weights = self._load(weight_names(shape), weights)

    def score(self, batch: Batch) -> Scores:
        """How likely each target is; of equal logits each ranks first. Raises ValueError for a bad batch."""
        require_valid_batch(batch, self.shape)
        rows, length = batch.tokens_BT.shape
        padded = pad_batch(batch, *self._choose_size(rows, length))
        program = score_program(self.sizes(*padded.tokens_BT.shape))
        nll_BT, hits_BT = program(self.list_handed_out(), *self._place(padded))
        return Scores(_to_array(nll_BT)[:rows, :length].copy(), hits_BT.numpy()[:rows, :length].copy())

    def open_decoder(self) -> TinygradDecoder:
        """A decoder with an empty past. It reads this model's weights as they are at each `feed`."""
        return TinygradDecoder(self)

    def list_handed_out(self) -> list[Tensor]:
        """The weights that are scored and written with, in the order of `weight_names`."""
        return list(self._weights.values())

    def sizes(self, rows: int = 1, length: int = 1) -> Sizes:
        """What a program for that many rows and positions is compiled for."""
        return Sizes(self.shape, self._device, self._compute.num_threads, rows, length)

    def to_device(self, array: NDArray[Any]) -> Tensor:
        """A copy on the device."""
        return Tensor(np.ascontiguousarray(array), device=self._device).realize()

    def _load(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> dict[str, Tensor]:
        return {name: self.to_device(np.asarray(arrays[prefix + name], np.float32)) for name in names}

    def _choose_size(self, rows: int, length: int) -> tuple[int, int]:
        """Rows and positions that a batch is padded to: powers of two, so that there are few of them."""
        return next_power(rows, 1), next_power(length, SHORTEST_SCORED)

    def _place(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Tokens, targets and segments [3, B, T], and cosine and sine of where each position stands [2, B, T, E]."""
        length = batch.tokens_BT.shape[1]
        segments_BT = np.zeros_like(batch.tokens_BT) if batch.segments_BT is None else batch.segments_BT
        places_BT = count_within_segments(segments_BT)
        rotary_2BTE = np.stack([table_TE[places_BT] for table_TE in _build_rotary(self.shape, 0, length)])
        ids_3BT = np.stack([batch.tokens_BT, batch.targets_BT, segments_BT]).astype(np.int32)
        return self.to_device(ids_3BT), self.to_device(rotary_2BTE)


class TinygradTrainer(TinygradModel):
    """A model with its optimizer.

    `_trained` are the weights that are changed. Where no average is kept they are the model's own: the very same dict.
    """

    def __init__(self, shape: ModelShape, weights: Weights, compute: Compute, training: TrainingPlan) -> None:
        super().__init__(shape, weights, compute)
        self.training, self.num_updates = training, 0
        names = weight_names(shape)
        self._trained = self._load(names, weights) if training.ema_decay else self._weights
        self._totals = {
            name: self.to_device(np.zeros(tensor.shape, np.float32)) for name, tensor in self._trained.items()
        }
        self._remembered = {
            name: self.to_device(np.zeros(size, np.float32))
            for name, size in optimizer_state_shapes(shape, training.optimizer.name).items()
        }
        self._norm: float | None = None

    def compute_gradients(self, micro_batches: Sequence[Batch], dropout_seed: int) -> Gradients:
        """Forward and backward over every micro-batch; the mean is over all of their targets.

        Raises ValueError where there is no target at all, or for a batch that does not fit the model.
        """
        for batch in micro_batches:
            require_valid_batch(batch, self.shape)
        num_targets = count_targets(micro_batches)
        dropout = Dropout(self.training.dropout, dropout_seed)
        nll_sum, num_correct = 0.0, 0
        for number, batch in enumerate(micro_batches):
            nll_BT, hits_BT = self._backward(batch, num_targets, dropout, keeps=number > 0)
            nll_sum += float(nll_BT.sum(dtype=np.float64))
            num_correct += int(np.count_nonzero(hits_BT))
        squares = _to_array(norm_program(self.sizes())(list(self._totals.values())))
        self._norm = float(np.sqrt(squares.sum(dtype=np.float64)))
        return Gradients(nll_sum, num_targets, num_correct, self._norm)

    def apply_update(self, rates: Rates) -> None:
        """Clip and update; then the average, where one is kept. The gradients are then used up.

        Raises InternalError without a `compute_gradients` before it.
        """
        optimizer, norm = self.training.optimizer, require_norm(self._norm)
        self.num_updates += 1
        steps = Steps(
            clip_factor=clip_factor(norm, optimizer.clip_norm),
            learning_rate=rates.learning_rate,
            decay=1.0 - rates.learning_rate * optimizer.weight_decay,
            first_correction=1.0 - optimizer.beta1**self.num_updates,
            second_correction=1.0 - optimizer.beta2**self.num_updates,
            matrix_learning_rate=rates.matrix_learning_rate,
            matrix_decay=1.0 - rates.matrix_learning_rate * optimizer.matrix_weight_decay,
            averaging_share=1.0 - averaging_decay(self.training.ema_decay, self.num_updates),
        )
        is_averaged = self.training.ema_decay > 0
        update_program(self.sizes(), optimizer, is_averaged)(
            list(self._trained.values()),
            list(self._totals.values()),
            list(self._remembered.values()),
            self.list_handed_out() if is_averaged else [],
            self.to_device(np.array(steps, np.float32)),
        )
        self._norm = None

    def apply_watched_update(self, rates: Rates) -> dict[str, WeightAnatomy]:
        """`apply_update`, and what it did to each weight."""
        require_norm(self._norm)
        before = {name: _to_array(tensor) for name, tensor in self._trained.items()}
        gradients = {name: _to_array(tensor) for name, tensor in self._totals.items()}
        self.apply_update(rates)
        return {
            name: WeightAnatomy(
                gradient_norm=l2_norm([gradients[name]]),
                weight_norm=l2_norm([before[name]]),
                update_norm=l2_norm([_to_array(tensor) - before[name]]),
                octaves=count_octaves(gradients[name]),
            )
            for name, tensor in self._trained.items()
        }

    def read_state(self) -> TrainingState:
        """Copies of the weights, the optimizer's arrays and the number of updates, in float32 and standard names."""
        raw = {RAW + name: tensor for name, tensor in self._trained.items()} if self.training.ema_decay else {}
        return TrainingState(
            weights={name: _to_array(tensor) for name, tensor in self._weights.items()},
            optimizer={name: _to_array(tensor) for name, tensor in (self._remembered | raw).items()},
            num_updates=self.num_updates,
        )

    def load_state(self, state: TrainingState) -> None:
        """Become the trainer that `state` was read from. Raises ValueError; then nothing has changed."""
        check_weights(self.shape, state.weights)
        training = self.training
        is_averaged = training.ema_decay > 0
        check_optimizer_state(self.shape, training.optimizer.name, state.optimizer, is_averaged=is_averaged)
        names = weight_names(self.shape)
        self._weights = self._load(names, state.weights)
        self._trained = self._load(names, state.optimizer, RAW) if is_averaged else self._weights
        self._remembered = self._load(tuple(self._remembered), state.optimizer)
        self.num_updates = state.num_updates
        self._norm = None

    def _choose_size(self, rows: int, length: int) -> tuple[int, int]:
        """The size of a micro-batch of the plan, for all that fits into it: one size for training and for validation."""
        most_rows = self.training.batch_size // self.training.accumulation
        if rows <= most_rows and length <= self.training.max_seq_length:
            return most_rows, self.training.max_seq_length
        return super()._choose_size(rows, length)

    def _backward(
        self, batch: Batch, num_targets: int, dropout: Dropout, *, keeps: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        size = self._choose_size(*batch.tokens_BT.shape)
        program = gradient_program(self.sizes(*size), self.training.label_smoothing, dropout.rate > 0)
        nll_BT, hits_BT = program(
            list(self._trained.values()),
            list(self._totals.values()),
            *self._place(pad_batch(batch, *size)),
            self.to_device(np.array([1.0 / num_targets, float(keeps)], np.float32)),
            self._draw_masks(dropout, batch.tokens_BT.shape, size) if dropout.rate else None,
        )
        return _to_array(nll_BT), hits_BT.numpy()

    def _draw_masks(self, dropout: Dropout, drawn: tuple[int, ...], size: tuple[int, int]) -> Tensor:
        """The reference's masks [L, 2, B, T, D], drawn for the batch as it came, with ones where it is padded."""
        hidden = self.shape.hidden_size
        masks = np.ones((self.shape.num_layers, 2, *size, hidden), np.float32)
        like = np.empty((*drawn, hidden), np.float32)
        for layer in range(self.shape.num_layers):
            for place, branch in enumerate(("attention", "feed-forward")):
                masks[layer, place, : drawn[0], : drawn[1]] = dropout.draw(like, layer, branch)
        return self.to_device(masks)


class TinygradBackend:
    """The tinygrad backend."""

    name: ClassVar[str] = "tinygrad"
    capabilities: ClassVar[Capabilities] = Capabilities(
        devices=tuple(DEVICES), dtypes=("float32",), compiles=False, optimizers=("adamw", "muon"), most_threads=1
    )

    def probe(self, device: str) -> Probe:
        """A matrix product and its gradient, on `device`, in a process of its own: a broken device can take one along."""
        version = metadata.version("tinygrad")
        problem, remedy = _find_obstacle(device)
        if problem:
            return Probe(False, version, problem=problem, remedy=remedy)
        problem = _try_kernel(device, os.environ.get("CC", ""))
        if problem:
            remedy = REMEDY if device == "cpu" else "Choose compute.device=cpu."
            return Probe(False, version, problem=problem, remedy=remedy)
        compiler = "" if COMPILER is None else f", {COMPILER.version}"
        return Probe(True, version, f"{platform.machine()} CPU{compiler}" if device == "cpu" else device)

    def measure_peak(self, compute: Compute) -> float:
        """The fastest of three products of two square matrices, each side 512 on a CPU and 4,096 elsewhere."""
        set_up(compute)
        size = 512 if compute.device == "cpu" else 4096
        a = Tensor(np.ones((size, size), np.float32), device=name_device(compute.device)).realize()
        seconds = []
        for _ in range(4):  # the first one compiles
            begun = time.perf_counter()
            (a @ a).numpy()
            seconds.append(time.perf_counter() - begun)
        return float(2 * size**3 / min(seconds[1:]))

    def open_model(self, shape: Shape, weights: Weights, compute: Compute) -> TinygradModel:
        """A model that scores and decodes. Raises UnsupportedPlan, and ValueError for weights that do not fit."""
        return TinygradModel(require_own(shape, self.name), weights, compute)

    def open_trainer(self, shape: Shape, weights: Weights, compute: Compute, training: TrainingPlan) -> TinygradTrainer:
        """A model with its optimizer, at update 0. Raises UnsupportedPlan; ValueError for weights that do not fit."""
        return TinygradTrainer(require_own(shape, self.name), weights, compute, training)


def set_up(compute: Compute) -> None:
    """Process-wide settings that a plan's result depends on. Raises UnsupportedPlan for what is not float32."""
    if compute.dtype != "float32" or compute.compile:
        raise UnsupportedPlan(
            f"The tinygrad backend cannot run the plan's dtype {compute.dtype}, compile {str(compute.compile).lower()}.",
            why="It computes in float32, and always compiles: there is nothing to switch on.",
            next_step="Set compute.dtype=float32 compute.compile=false, or another framework.",
        )
    DEV.value = "CPU:CLANG" if compute.device == "cpu" else name_device(compute.device)
    BEAM.value = 0  # kernels found by timing them would be others each time
    PARALLEL.value = 0
    NUM_CPU_THREADS.value = compute.num_threads


def name_device(device: str) -> str:
    """tinygrad's name of a plan's device: "cuda:1" is "CUDA:1"."""
    kind, colon, number = device.partition(":")
    return DEVICES.get(kind, kind.upper()) + colon + number


def _find_obstacle(device: str) -> tuple[str, str]:
    """What stands in the way on `device` and the command that mends it, as far as that can be seen without running anything."""
    kind = device.partition(":")[0]
    if kind not in DEVICES:
        return f"The tinygrad backend has no device {device!r}.", f"Choose one of {', '.join(DEVICES)}."
    if kind == "metal" and sys.platform != "darwin":
        return "Metal is there on macOS alone.", "Choose compute.device=cpu."
    if kind == "cuda" and ctypes.util.find_library("cuda") is None:
        return "The NVIDIA driver's library (libcuda) is not there.", "Choose compute.device=cpu."
    if COMPILER is None:
        return "tinygrad compiles its kernels with clang, and no clang was found (nor the package ziglang).", REMEDY
    return "", ""


@functools.cache
def _try_kernel(device: str, _compiler: str) -> str:
    """What goes wrong where another process runs a kernel; nothing, where it runs. Tried once: a process asks several times."""
    words = [sys.executable, "-m", "trainwright.backends.tinygrad", device]
    try:
        finished = subprocess.run(words, capture_output=True, text=True, timeout=PROBING_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"A small matrix product was not done after {PROBING_TIMEOUT_S:.0f} s."
    lines = [line.strip() for line in finished.stderr.splitlines() if line.strip()]
    if finished.returncode == 0:
        return ""
    return lines[-1][:300] if lines else f"The process ended with {finished.returncode}."


def _run_kernel(device: str) -> None:
    set_up(Compute(framework="tinygrad", device=device, dtype="float32", compile=False, num_threads=1))
    try:
        x = Tensor(np.full((8, 8), 0.5, np.float32), device=name_device(device)).realize()
        gradient = (x @ x).sum().gradient(x)[0].numpy()
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"{error.cmd[0]} cannot compile tinygrad's kernels: exit status {error.returncode}."
        ) from error
    if not np.array_equal(gradient, np.full((8, 8), 8.0, np.float32)):
        raise SystemExit("A small matrix product has a gradient that is wrong.")


def _build_rotary(shape: ModelShape, first: int, length: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cosine and sine [T, E] of the positions from `first` on."""
    return build_rotation(first, length, shape.head_dim, shape.rope_theta, np.float32)


def _to_array(tensor: Tensor) -> NDArray[np.float32]:
    return np.array(tensor.numpy(), dtype=np.float32)


if __name__ == "__main__":
    _run_kernel(sys.argv[1])
