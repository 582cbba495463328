"""AdamW (fused) and Muon over packed parameters, with one gradient norm and one clip for both.

State crosses to other backends under standard names, so what is packed here is split on the way out.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainwright.backends.initial import check_optimizer_state, decays, is_matrix
from trainwright.backends.protocol import Rates
from trainwright.backends.torch_network import Parameters, packed_names, split_packed
from trainwright.core.records import ModelShape, TrainingPlan

# Keller Jordan's quintic Newton-Schulz coefficients (kellerjordan.github.io/posts/muon).
QUINTIC = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5


class TorchOptimizer:
    """Updates `parameters` in place from their `.grad`."""

    def __init__(self, parameters: Parameters, shape: ModelShape, training: TrainingPlan, dtype: torch.dtype) -> None:
        settings = training.optimizer
        self._parameters, self._shape, self._settings = parameters, shape, settings
        self._is_averaged = training.ema_decay > 0
        self._dtype = dtype
        names = packed_names(shape)
        by_muon = settings.name == "muon"
        self._matrices = [name for name, parts in names.items() if by_muon and is_matrix(parts[0])]
        self._others = [name for name in names if name not in self._matrices]
        self._momentum = {name: torch.zeros_like(parameters[name], requires_grad=False) for name in self._matrices}
        self._adamw = torch.optim.AdamW(
            [
                {
                    "params": [parameters[name] for name in self._others if decays(names[name][0]) == decayed],
                    "weight_decay": settings.weight_decay if decayed else 0.0,
                }
                for decayed in (True, False)
            ],
            lr=0.0,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            fused=True,
        )
        self._gradient_norm = torch.zeros(())
        self.num_updates = 0

    @torch.no_grad()
    def measure_norm(self) -> float:
        """L2 norm over all gradients."""
        norms = torch._foreach_norm(self._gradients(list(self._parameters)))
        self._gradient_norm = torch.linalg.vector_norm(torch.stack(norms))
        return float(self._gradient_norm)

    @torch.no_grad()
    def update(self, rates: Rates) -> None:
        """Clip by the norm last measured, then one step of both optimizers."""
        if self._settings.clip_norm:
            gradients = self._gradients(list(self._parameters))
            torch._foreach_mul_(gradients, (self._settings.clip_norm / (self._gradient_norm + 1e-6)).clamp(max=1.0))
        for group in self._adamw.param_groups:
            group["lr"] = rates.learning_rate
        self._adamw.step()
        if self._matrices:
            self._update_matrices(rates.matrix_learning_rate)
        self.num_updates += 1

    def _update_matrices(self, rate: float) -> None:
        """Muon: Nesterov momentum, orthogonalised; equal shapes go through the iteration together."""
        gradients = self._gradients(self._matrices)
        momenta = list(self._momentum.values())
        torch._foreach_mul_(momenta, self._settings.matrix_momentum)
        torch._foreach_add_(momenta, gradients)
        ahead = torch._foreach_add(gradients, momenta, alpha=self._settings.matrix_momentum)
        directions = split_packed(dict(zip(self._matrices, ahead, strict=True)), self._shape)
        weights = split_packed({name: self._parameters[name] for name in self._matrices}, self._shape)
        by_size: dict[tuple[int, ...], list[str]] = {}
        for name, direction in directions.items():
            by_size.setdefault(tuple(sorted(direction.shape)), []).append(name)
        decay = 1 - rate * self._settings.matrix_weight_decay
        for names in by_size.values():
            lying = [_lay_down(directions[name]) for name in names]
            for name, flat in zip(names, orthogonalise(torch.stack(lying), self._dtype), strict=True):
                weight = weights[name]
                rows, columns = weight.shape
                step = flat if rows <= columns else flat.mT
                weight.mul_(decay).add_(step, alpha=-rate * max(1.0, rows / columns) ** 0.5)

    def _gradients(self, names: list[str]) -> list[Tensor]:
        gradients = [self._parameters[name].grad for name in names]
        return [gradient for gradient in gradients if gradient is not None]

    def read_state(self) -> dict[str, NDArray[Any]]:
        """Copies of all moments and momenta under standard names."""
        moments: dict[str, Parameters] = {"adamw.first.": {}, "adamw.second.": {}, "muon.momentum.": self._momentum}
        for name in self._others:
            state = self._adamw.state.get(self._parameters[name])
            zeros = torch.zeros_like(self._parameters[name], requires_grad=False)
            moments["adamw.first."][name] = state["exp_avg"] if state else zeros
            moments["adamw.second."][name] = state["exp_avg_sq"] if state else zeros
        return {
            prefix + name: to_array(tensor)
            for prefix, tensors in moments.items()
            for name, tensor in split_packed(tensors, self._shape).items()
        }

    @torch.no_grad()
    def load_state(self, arrays: dict[str, NDArray[Any]], num_updates: int) -> None:
        """Become the optimizer that the state was read from. Raises ValueError where names or shapes differ."""
        check_optimizer_state(self._shape, self._settings.name, arrays, is_averaged=self._is_averaged)
        names = packed_names(self._shape)

        def gather(prefix: str, name: str) -> Tensor:
            parts = [torch.tensor(np.asarray(arrays[prefix + part])) for part in names[name]]
            return torch.cat(parts).to(self._parameters[name])

        for name in self._matrices:
            self._momentum[name].copy_(gather("muon.momentum.", name))
        for name in self._others:
            self._adamw.state[self._parameters[name]] = {
                "step": torch.tensor(float(num_updates), device=self._parameters[name].device),
                "exp_avg": gather("adamw.first.", name),
                "exp_avg_sq": gather("adamw.second.", name),
            }
        self.num_updates = num_updates


def orthogonalise(lying: Tensor, dtype: torch.dtype) -> Tensor:
    """Newton-Schulz towards the nearest semi-orthogonal matrices, [n, rows ≤ columns], computed in `dtype`."""
    a, b, c = QUINTIC
    x: Tensor = (lying / (lying.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(dtype)
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.float()


def to_array(tensor: Tensor) -> NDArray[np.float32]:
    """A float32 copy in numpy."""
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float32, copy=True)


def _lay_down(matrix: Tensor) -> Tensor:
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
