"""PyTorch: float32 as it is, or bfloat16 compiled over float32 weights; bit-deterministic either way.

What runs where: `torch_network.py` is the forward pass and the loss, `torch_optimizer.py` the update, `torch_decoding.py` the
writing of text, and this file the protocol around them.
"""

import ctypes
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainwright.backends.initial import RAW, averaging_decay, check_weights, require_own, weight_names
from trainwright.backends.protocol import (
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
    count_within_segments,
)
from trainwright.backends.torch_decoding import TorchBatchDecoder, TorchDecoder
from trainwright.backends.torch_network import (
    CHUNK_ROWS,
    PLAIN,
    Arithmetic,
    HeadCrossEntropy,
    Parameters,
    Regions,
    Rotary,
    causal_bias,
    pack,
    run_layers,
    segment_bias,
    split_packed,
)
from trainwright.backends.torch_optimizer import TorchOptimizer, to_array
from trainwright.core.records import Compute, ModelShape, Shape, TrainingPlan
from trainwright.core.state import TrainingState, Weights

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SLICE_POSITIONS = 1024
"""Positions that go through the layers at one time on a processor."""


class TorchModel:
    """A model that scores and decodes."""

    def __init__(self, shape: ModelShape, weights: Weights, compute: Compute) -> None:
        check_weights(shape, weights)
        set_up(compute)
        self._shape, self._device = shape, compute.device
        self._parameters = pack(weights, shape, compute.device)
        self._scoring = Arithmetic(DTYPES[compute.dtype])
        self._regions = PLAIN
        self._rotary: dict[int, tuple[Rotary, Tensor]] = {}

    @torch.no_grad()
    def score(self, batch: Batch) -> Scores:
        """A trainer that was compiled scores with the layers it trains with."""
        parts = iter_slices(batch, self._device)
        losses, hits = zip(*(scored for part in parts for scored in self._iter_scored(part)), strict=True)
        size = batch.tokens_BT.shape
        return Scores(to_array(torch.cat(losses)).reshape(size), torch.cat(hits).cpu().numpy().reshape(size))

    def open_decoder(self) -> TorchDecoder:
        """A decoder with an empty past."""
        return TorchDecoder(self._parameters, self._shape, self._device)

    def open_batch_decoder(self) -> TorchBatchDecoder:
        """A decoder without sequences."""
        return TorchBatchDecoder(self._parameters, self._shape, self._device)

    @property
    def _is_compiled(self) -> bool:
        return self._regions is not PLAIN

    def _iter_scored(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
        """(loss, hit) of each chunk of positions."""
        rotary, bias = self._place(batch)
        tokens = self._to_device(batch.tokens_BT)
        # Layers that were compiled for training expect gradients to be wanted; without that they would be compiled anew.
        with torch.set_grad_enabled(self._is_compiled):
            hidden_ND = run_layers(self._parameters, tokens, rotary, bias, self._shape, self._scoring, self._regions)
        head_DV = self._parameters["embedding"].detach().to(hidden_ND.dtype).t()
        targets_N = self._to_device(batch.targets_BT).reshape(-1)
        for x, targets in zip(
            torch.split(hidden_ND.detach(), CHUNK_ROWS), torch.split(targets_N, CHUNK_ROWS), strict=True
        ):
            yield self._regions.score(x @ head_DV, targets.clone())

    def _place(self, batch: Batch) -> tuple[Rotary, Tensor]:
        """Where the batch's positions stand, and which of them see each other."""
        rotary, bias_TT = self._positions(batch.tokens_BT.shape[1])
        if batch.segments_BT is None:
            return rotary, bias_TT
        places_BT = torch.from_numpy(count_within_segments(batch.segments_BT)).to(self._device)
        return rotary.at(places_BT), segment_bias(bias_TT, self._to_device(batch.segments_BT))

    def _positions(self, num_positions: int) -> tuple[Rotary, Tensor]:
        if num_positions not in self._rotary:
            rotary = Rotary.build(self._shape, num_positions, self._device)
            self._rotary[num_positions] = (rotary, causal_bias(num_positions, self._device))
        return self._rotary[num_positions]

    def _to_device(self, ids_BT: NDArray[np.int32]) -> Tensor:
        return torch.from_numpy(ids_BT).to(self._device, torch.int64)


class TorchTrainer(TorchModel):
    """A model with its optimizer.

    `_trained` are the weights that are changed. Where no average is kept they are the model's own parameters.
    """

    def __init__(self, shape: ModelShape, weights: Weights, compute: Compute, training: TrainingPlan) -> None:
        super().__init__(shape, weights, compute)
        self._ema_decay = training.ema_decay
        self._trained = pack(weights, shape, self._device) if self._ema_decay else self._parameters
        # Averages want no gradient, but layers that were compiled for training expect weights that do.
        for tensor in (*self._trained.values(), *self._parameters.values()):
            tensor.requires_grad_()
        dtype = DTYPES[compute.dtype]
        self._arithmetic = Arithmetic(dtype, training.dropout, training.label_smoothing)
        self._scoring = replace(self._arithmetic, dropout=0.0)
        self._optimizer = TorchOptimizer(self._trained, shape, training, dtype)
        self._regions = Regions.compiled() if compute.compile else PLAIN

    def compute_gradients(self, micro_batches: Sequence[Batch], dropout_seed: int) -> Gradients:
        """Forward and backward over every micro-batch; the mean is over all of their targets."""
        num_targets = count_targets(micro_batches)
        for tensor in self._trained.values():
            tensor.grad = None
        torch.manual_seed(dropout_seed)
        parts = (part for batch in micro_batches for part in iter_slices(batch, self._device))
        sums = [self._backward(part, num_targets) for part in parts]
        return Gradients(
            nll_sum=sum(nll for nll, _ in sums),
            num_targets=num_targets,
            num_correct=sum(hits for _, hits in sums),
            norm=self._optimizer.measure_norm(),
        )

    @torch.no_grad()
    def apply_update(self, rates: Rates) -> None:
        """Clip and update; then the average, where one is kept."""
        self._optimizer.update(rates)
        if self._ema_decay:
            share = 1.0 - averaging_decay(self._ema_decay, self._optimizer.num_updates)
            torch._foreach_lerp_(list(self._parameters.values()), list(self._trained.values()), share)

    @torch.no_grad()
    def apply_watched_update(self, rates: Rates) -> dict[str, WeightAnatomy]:
        """`apply_update`, and what it did to each weight."""
        gradients = {name: tensor.grad for name, tensor in self._trained.items() if tensor.grad is not None}
        parts = split_packed(gradients, self._shape)
        octaves = torch.stack([count_octaves(gradient) for gradient in parts.values()]).tolist()
        gradient_norms = measure_norms(parts)  # before the update clips them in place
        before = {name: tensor.detach().clone() for name, tensor in self._trained.items()}
        weight_norms = measure_norms(split_packed(before, self._shape))
        self.apply_update(rates)
        changes = {name: tensor.sub_(self._trained[name]) for name, tensor in before.items()}
        update_norms = measure_norms(split_packed(changes, self._shape))
        counts = dict(zip(parts, octaves, strict=True))
        return {
            name: WeightAnatomy(gradient_norms[name], weight_norms[name], update_norms[name], tuple(counts[name]))
            for name in weight_names(self._shape)
        }

    def read_state(self) -> TrainingState:
        """Copies of everything."""
        optimizer = self._optimizer.read_state()
        if self._ema_decay:
            trained = split_packed(self._trained, self._shape)
            optimizer |= {RAW + name: to_array(tensor) for name, tensor in trained.items()}
        weights = {name: to_array(tensor) for name, tensor in split_packed(self._parameters, self._shape).items()}
        return TrainingState(weights, optimizer, self._optimizer.num_updates)

    @torch.no_grad()
    def load_state(self, state: TrainingState) -> None:
        """Become the trainer that `state` was read from."""
        check_weights(self._shape, state.weights)
        self._optimizer.load_state(state.optimizer, state.num_updates)
        for name, tensor in pack(state.weights, self._shape, self._device).items():
            self._parameters[name].copy_(tensor)
        if self._ema_decay:
            trained = {name: state.optimizer[RAW + name] for name in state.weights}
            for name, tensor in pack(trained, self._shape, self._device).items():
                self._trained[name].copy_(tensor)

    def _backward(self, batch: Batch, num_targets: int) -> tuple[float, int]:
        rotary, bias = self._place(batch)
        tokens = self._to_device(batch.tokens_BT)
        targets = self._to_device(batch.targets_BT).reshape(-1)
        hidden = run_layers(self._trained, tokens, rotary, bias, self._shape, self._arithmetic, self._regions)
        smoothing = self._arithmetic.label_smoothing
        objective, nll, hits = HeadCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden, self._trained["embedding"], targets, smoothing, self._regions
        )
        objective.backward(torch.tensor(1.0 / num_targets, device=self._device))
        return float(nll), int(hits)


class TorchBackend:
    """The PyTorch backend."""

    name: ClassVar[str] = "torch"
    capabilities: ClassVar[Capabilities] = Capabilities(
        devices=("cuda", "cpu"), dtypes=("float32", "bfloat16"), compiles=True, optimizers=("adamw", "muon")
    )

    def probe(self, device: str) -> Probe:
        """A matrix product and its gradient, on `device`."""
        try:
            x = torch.eye(8, device=device, requires_grad=True)
            (x @ x).sum().backward()  # type: ignore[no-untyped-call]
        except (RuntimeError, AssertionError) as error:  # "not compiled with CUDA" is an AssertionError
            reason = str(error).splitlines()[0]
            return Probe(False, torch.__version__, problem=reason, remedy="Choose compute.device=cpu.")
        is_cuda = torch.device(device).type == "cuda"
        return Probe(True, torch.__version__, torch.cuda.get_device_name(device) if is_cuda else device)

    def measure_peak(self, compute: Compute) -> float:
        """The fastest of three products of two square matrices, each side 1,024 on a CPU and 8,192 elsewhere.

        A CPU that is so slow in this dtype that the product would take a second is judged by one of side 256.
        """
        set_up(compute)
        if torch.device(compute.device).type != "cpu":
            return _time_product(8192, compute)
        small = _time_product(256, compute)
        return small if 2 * 1024**3 / small > 1.0 else _time_product(1024, compute)

    def open_model(self, shape: Shape, weights: Weights, compute: Compute) -> TorchModel:
        """A model that scores and decodes."""
        return TorchModel(require_own(shape, self.name), weights, compute)

    def open_trainer(self, shape: Shape, weights: Weights, compute: Compute, training: TrainingPlan) -> TorchTrainer:
        """A model with its optimizer, at update 0."""
        return TorchTrainer(require_own(shape, self.name), weights, compute, training)


def _time_product(size: int, compute: Compute) -> float:
    """FLOP/s of a product of two square matrices of that side, the fastest of three."""
    a = torch.ones(size, size, dtype=DTYPES[compute.dtype], device=compute.device)
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for an accelerator to be done
        seconds.append(time.perf_counter() - begun)
    return float(2 * size**3 / min(seconds))


def iter_slices(batch: Batch, device: str) -> Iterator[Batch]:
    """The batch in equal runs of rows of at most SLICE_POSITIONS positions (at least one row); whole on an accelerator.

    On a processor slices are no slower, and their activations need a fraction of the memory. They are equal because
    compiled code wants one shape.
    """
    num_rows, num_positions = batch.tokens_BT.shape
    most = max(1, SLICE_POSITIONS // num_positions) if torch.device(device).type == "cpu" else num_rows
    size = max(size for size in range(1, min(most, num_rows) + 1) if num_rows % size == 0)
    for first in range(0, num_rows, size):
        yield batch.rows(first, first + size)


def measure_norms(tensors: Parameters) -> dict[str, float]:
    """L2 norm of each tensor."""
    norms: list[float] = torch.stack(torch._foreach_norm(list(tensors.values()))).tolist()
    return dict(zip(tensors, norms, strict=True))


def count_octaves(gradient: Tensor) -> Tensor:
    """The histogram of `WeightAnatomy`: the exponent of an IEEE float32 is its octave."""
    exponents = (gradient.contiguous().view(torch.int32).reshape(-1) >> 23) & 0xFF
    return torch.bincount((exponents - 127 - LOWEST_OCTAVE).clamp_(0, NUM_OCTAVES - 1), minlength=NUM_OCTAVES)


def set_up(compute: Compute) -> None:
    """Process-wide settings that a plan's result or speed depends on."""
    torch.set_num_threads(compute.num_threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing here reads memory that it did not write
    if sys.platform == "linux":
        _keep_large_blocks()


def _keep_large_blocks() -> None:
    """Let glibc keep big temporaries instead of returning and faulting them in again at every step.

    In one arena: what one thread leaves behind, such as the bytes of a checkpoint, another one then uses again.
    """
    m_mmap_threshold, m_trim_threshold, m_arena_max = -3, -1, -8
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library: only slower
        return
    mallopt(m_arena_max, 1)
    mallopt(m_mmap_threshold, 1 << 30)
    mallopt(m_trim_threshold, (1 << 31) - 1)
