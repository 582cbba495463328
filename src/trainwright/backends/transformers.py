"""Causal language models of the Hugging Face `transformers` library, trained whole or through a LoRA adapter (`peft`).

`transformers_network.py` builds the module and runs it; this file is the protocol around it. Our own decoder is a Qwen3 and
can be trained here too, which is how this backend is held against the reference. AdamW alone; nothing is compiled.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from trainwright.backends.initial import RAW, averaging_decay, check_weights, is_trained, weight_names
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
)
from trainwright.backends.torch import DTYPES, TorchBackend, count_octaves, iter_slices, measure_norms, set_up
from trainwright.backends.torch_optimizer import to_array
from trainwright.backends.transformers_network import (
    Dropping,
    build_module,
    find_cache_name,
    load_weights,
    name_parameters,
    run_module,
)
from trainwright.core.errors import UnsupportedPlan
from trainwright.core.records import Compute, ModelShape, Shape, TrainingPlan
from trainwright.core.state import TrainingState, Weights


class TransformersDecoder:
    """Writes one sequence; the model's own cache keeps what was read. Computes in float32."""

    def __init__(self, model: "TransformersModel") -> None:
        self._model = model
        self._cache = transformers.DynamicCache()

    @torch.no_grad()
    def feed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Read tokens; logits [V] for the next one."""
        ids = torch.tensor([list(tokens)], device=self._model.device)
        with self._model.in_use():
            logits: Tensor = self._model.module(
                input_ids=ids, use_cache=True, **{self._model.cache_name: self._cache}
            ).logits
        return to_array(logits[0, -1].float())


class TransformersModel:
    """A model that scores and decodes."""

    def __init__(self, shape: Shape, weights: Weights, compute: Compute) -> None:
        if isinstance(shape, ModelShape):
            check_weights(shape, weights)
        set_up(compute)
        self.shape, self.device = shape, compute.device
        self.module = build_module(shape)
        load_weights(self.module, weights)
        self.module.to(compute.device)
        self.cache_name = find_cache_name(self.module)
        self._parameters = name_parameters(self.module)
        self._dtype = DTYPES[compute.dtype]
        for parameter in self._parameters.values():
            parameter.requires_grad_(False)

    def in_use(self) -> "_InUse":
        """The weights that are handed out, in the module for as long as the block lasts."""
        return _InUse({}, {})

    @torch.no_grad()
    def score(self, batch: Batch) -> Scores:
        """How likely each target is."""
        with self.in_use():
            losses, hits = zip(*(self._score(part) for part in iter_slices(batch, self.device)), strict=True)
        return Scores(to_array(torch.cat(losses)), torch.cat(hits).cpu().numpy())

    def open_decoder(self) -> TransformersDecoder:
        """A decoder with an empty past."""
        return TransformersDecoder(self)

    def _score(self, batch: Batch) -> tuple[Tensor, Tensor]:
        logits_BTV = run_module(self.module, batch, self.device, self._dtype)
        targets_BT = torch.from_numpy(batch.targets_BT).to(self.device, torch.int64)
        counts = targets_BT != IGNORED
        target_logit = logits_BTV.gather(2, targets_BT.clamp_min(0).unsqueeze(2)).squeeze(2)
        loss = logits_BTV.logsumexp(2) - target_logit
        return torch.where(counts, loss, 0.0), (logits_BTV.argmax(2) == targets_BT) & counts


class _InUse:
    """Puts other values into parameters while a block lasts."""

    def __init__(self, parameters: dict[str, torch.nn.Parameter], values: dict[str, Tensor]) -> None:
        self._parameters, self._values = parameters, values

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()

    def _swap(self) -> None:
        for name, value in self._values.items():
            parameter = self._parameters[name]
            parameter.data, self._values[name] = value, parameter.data


class TransformersTrainer(TransformersModel):
    """A model with AdamW over the weights that are trained.

    Where an average is kept, the module holds what is trained, and the average takes its place while it is used.
    """

    def __init__(self, shape: Shape, weights: Weights, compute: Compute, training: TrainingPlan) -> None:
        super().__init__(shape, weights, compute)
        self._training = training
        names = weight_names(shape) if isinstance(shape, ModelShape) else tuple(self._parameters)
        self._trained = {name: self._parameters[name] for name in names if is_trained(name, shape)}
        for parameter in self._trained.values():
            parameter.requires_grad_(True)
        self._average: dict[str, Tensor] = {}
        if training.ema_decay:
            self._average = {name: tensor.detach().clone() for name, tensor in self._trained.items()}
        self._dropping = Dropping(self.module, training.dropout)
        self._adamw = self._open_adamw()
        self._norm = 0.0
        self._num_updates = 0

    def _open_adamw(self) -> torch.optim.AdamW:
        settings = self._training.optimizer
        groups = [
            {
                "params": [tensor for tensor in self._trained.values() if (tensor.dim() > 1) == is_decayed],
                "weight_decay": settings.weight_decay if is_decayed else 0.0,
            }
            for is_decayed in (True, False)
        ]
        return torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=0.0,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            fused=True,
        )

    def in_use(self) -> _InUse:
        """The average, where one is kept."""
        return _InUse(self._trained, self._average)

    def compute_gradients(self, micro_batches: Sequence[Batch], dropout_seed: int) -> Gradients:
        """Forward and backward over every micro-batch; the mean is over all of their targets."""
        num_targets = count_targets(micro_batches)
        for tensor in self._trained.values():
            tensor.grad = None
        torch.manual_seed(dropout_seed)
        with self._dropping:
            parts = [part for batch in micro_batches for part in iter_slices(batch, self.device) if part.num_targets]
            sums = [self._backward(part, num_targets) for part in parts]
        self._norm = float(torch.stack(torch._foreach_norm(self._gradients())).norm())
        return Gradients(
            nll_sum=sum(nll for nll, _ in sums),
            num_targets=num_targets,
            num_correct=sum(hits for _, hits in sums),
            norm=self._norm,
        )

    def _backward(self, batch: Batch, num_targets: int) -> tuple[float, int]:
        """Objective (1-s)·NLL + s·mean over V of -log p, summed over the part's targets and divided by all of them."""
        smoothing = self._training.label_smoothing
        targets_BT = torch.from_numpy(batch.targets_BT).to(self.device, torch.int64)
        counts_BT = targets_BT != IGNORED
        logits_NV = run_module(self.module, batch, self.device, self._dtype)[counts_BT]
        targets_N = targets_BT[counts_BT]
        log_p_NV = logits_NV.log_softmax(1)
        nll_N = -log_p_NV.gather(1, targets_N.unsqueeze(1)).squeeze(1)
        objective = (1 - smoothing) * nll_N - smoothing * log_p_NV.mean(1)
        (objective.sum() / num_targets).backward()  # type: ignore[no-untyped-call]
        return float(nll_N.detach().double().sum()), int((logits_NV.argmax(1) == targets_N).sum())

    def _gradients(self) -> list[Tensor]:
        for tensor in self._trained.values():
            if tensor.grad is None:
                tensor.grad = torch.zeros_like(tensor)
        return [tensor.grad for tensor in self._trained.values() if tensor.grad is not None]

    @torch.no_grad()
    def apply_update(self, rates: Rates) -> None:
        """Clip and update; then the average, where one is kept."""
        limit = self._training.optimizer.clip_norm
        if limit:
            torch._foreach_mul_(self._gradients(), min(1.0, limit / (self._norm + 1e-6)))
        for group in self._adamw.param_groups:
            group["lr"] = rates.learning_rate
        self._adamw.step()
        self._num_updates += 1
        if self._average:
            share = 1.0 - averaging_decay(self._training.ema_decay, self._num_updates)
            torch._foreach_lerp_(list(self._average.values()), list(self._trained.values()), share)

    @torch.no_grad()
    def apply_watched_update(self, rates: Rates) -> dict[str, WeightAnatomy]:
        """`apply_update`, and what it did to each weight."""
        gradients = dict(zip(self._trained, self._gradients(), strict=True))
        octaves = {name: count_octaves(gradient).tolist() for name, gradient in gradients.items()}
        gradient_norms = measure_norms(gradients)  # before the update clips them in place
        before = {name: tensor.detach().clone() for name, tensor in self._trained.items()}
        weight_norms = measure_norms(before)
        self.apply_update(rates)
        update_norms = measure_norms({name: tensor.sub_(self._trained[name]) for name, tensor in before.items()})
        return {
            name: WeightAnatomy(gradient_norms[name], weight_norms[name], update_norms[name], tuple(octaves[name]))
            for name in self._trained
        }

    def read_state(self) -> TrainingState:
        """Copies of all that is trained, and of what the optimizer remembers of it."""
        optimizer: dict[str, NDArray[Any]] = {}
        for name, tensor in self._trained.items():
            state = self._adamw.state.get(tensor)
            for prefix, key in (("adamw.first.", "exp_avg"), ("adamw.second.", "exp_avg_sq")):
                optimizer[prefix + name] = to_array(state[key] if state else torch.zeros_like(tensor))
        if self._average:
            optimizer |= {RAW + name: to_array(tensor) for name, tensor in self._trained.items()}
        weights = {name: to_array(tensor) for name, tensor in (self._average or self._trained).items()}
        return TrainingState(weights, optimizer, self._num_updates)

    @torch.no_grad()
    def load_state(self, state: TrainingState) -> None:
        """Become the trainer that `state` was read from. Raises ValueError; then nothing has changed."""
        _require_like("weight", self._trained, state.weights)
        expected = {prefix + name: tensor for name, tensor in self._trained.items() for prefix in self._prefixes}
        _require_like("optimizer array", expected, state.optimizer)
        for name, tensor in self._trained.items():
            handed_out = torch.tensor(state.weights[name], device=self.device)
            if self._average:
                self._average[name].copy_(handed_out)
                tensor.copy_(torch.tensor(state.optimizer[RAW + name], device=self.device))
            else:
                tensor.copy_(handed_out)
            self._adamw.state[tensor] = {
                "step": torch.tensor(float(state.num_updates), device=self.device),
                "exp_avg": torch.tensor(state.optimizer[f"adamw.first.{name}"], device=self.device),
                "exp_avg_sq": torch.tensor(state.optimizer[f"adamw.second.{name}"], device=self.device),
            }
        self._num_updates = state.num_updates

    @property
    def _prefixes(self) -> tuple[str, ...]:
        return ("adamw.first.", "adamw.second.", *((RAW,) if self._average else ()))


def _require_like(what: str, expected: Mapping[str, Any], given: Mapping[str, NDArray[Any]]) -> None:
    for name, tensor in expected.items():
        if name not in given:
            raise ValueError(f"the {what} {name} is missing")
        if tuple(given[name].shape) != tuple(tensor.shape):
            raise ValueError(f"the {what} {name} has shape {tuple(given[name].shape)}, not {tuple(tensor.shape)}")
    for name in given:
        if name not in expected:
            raise ValueError(f"the {what} {name} does not belong to the model")


class TransformersBackend:
    """Hugging Face causal language models."""

    name: ClassVar[str] = "transformers"
    capabilities: ClassVar[Capabilities] = Capabilities(
        devices=("cuda", "cpu"), dtypes=("float32", "bfloat16"), compiles=False, optimizers=("adamw",)
    )

    def probe(self, device: str) -> Probe:
        """What torch can do on `device`."""
        found = TorchBackend().probe(device)
        version = f"{transformers.__version__} on torch {found.version}"
        return Probe(found.works, version, found.device_name, found.problem, found.remedy)

    def measure_peak(self, compute: Compute) -> float:
        """As the torch backend measures it."""
        return TorchBackend().measure_peak(compute)

    def open_model(self, shape: Shape, weights: Weights, compute: Compute) -> TransformersModel:
        """A model that scores and decodes."""
        return TransformersModel(shape, weights, compute)

    def open_trainer(
        self, shape: Shape, weights: Weights, compute: Compute, training: TrainingPlan
    ) -> TransformersTrainer:
        """A model with its optimizer, at update 0. Raises UnsupportedPlan for another one than AdamW."""
        if training.optimizer.name not in self.capabilities.optimizers:
            raise UnsupportedPlan(
                f"The transformers backend cannot train with {training.optimizer.name}.",
                why="It has AdamW alone.",
                next_step="Set train.optimizer.name=adamw.",
            )
        return TransformersTrainer(shape, weights, compute, training)


def describe_weights(shape: Shape) -> tuple[dict[str, tuple[int, ...]], frozenset[str]]:
    """{name: shape} of every weight of a model without its adapter's, and other names of tied ones, which may be left out.

    Nothing is loaded. Raises ValueError for a configuration that `transformers` cannot build.
    """
    from trainwright.backends.transformers_network import list_tied_names

    with torch.device("meta"):
        module = build_module(shape)
    return {name: tuple(tensor.shape) for name, tensor in name_parameters(module).items()}, list_tied_names(module)


def iter_pickled(path: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The tensors of a `pytorch_model.bin`, in float32, read by torch's restricted unpickler. Raises ValueError."""
    import pickle

    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} holds more than tensors, or is damaged: {str(error).splitlines()[0]}") from error
    for name, tensor in tensors.items():
        yield name, to_array(tensor.float())
