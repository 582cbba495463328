"""AdamW and Muon as one optax transformation: it gathers the gradients of micro-batches, and updates once it is told rates.

Tunix's training step hands gradients over after each micro-batch, and knows nothing of rates: these calls gather, and move
nothing. What is remembered lies under standard names in the standard layout, so that it crosses to other backends as it is.
AdamW is optax's; the formula of Muon is that of `reference_math.py`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from trainwright.backends.initial import is_matrix
from trainwright.backends.reference_math import NEWTON_SCHULZ
from trainwright.backends.tunix_library import Place, list_paths
from trainwright.core.records import Optimizer

Arrays = dict[str, Any]

TOTALS, COUNT, FIRST, SECOND, MOMENTUM = "totals", "count", "first", "second", "momentum"


def build_transformation(places: Mapping[str, Place], settings: Optimizer) -> Any:
    """Of the weights at `places`. `update(…, rates={clip_factor, learning_rate, matrix_learning_rate})` updates; without, it
    gathers.
    """
    names = {tuple(map(str, place.path)): name for name, place in places.items()}
    by_muon = [name for name in places if settings.name == "muon" and is_matrix(name)]
    by_adamw = [name for name in places if name not in by_muon]
    adam = optax.scale_by_adam(b1=settings.beta1, b2=settings.beta2, eps=settings.epsilon)

    def to_standard(tree: Any) -> Arrays:
        found = zip(list_paths(tree), jax.tree.leaves(tree), strict=True)
        return {names[path]: places[names[path]].to_standard(array) for path, array in found}

    def to_library(arrays: Arrays, like: Any) -> Any:
        leaves, form = jax.tree.flatten(like)
        ordered = [names[path] for path in list_paths(like)]
        return jax.tree.unflatten(
            form,
            [places[name].to_library(arrays[name], leaf.shape) for name, leaf in zip(ordered, leaves, strict=True)],
        )

    def zeros(names: Iterable[str]) -> Arrays:  # an array each: the step gives them away
        return {name: jnp.asarray(np.zeros(places[name].size, np.float32)) for name in names}

    def init(_params: Any) -> dict[str, Any]:
        return {
            TOTALS: zeros(places),
            COUNT: jnp.asarray(np.zeros((), np.int32)),
            FIRST: zeros(by_adamw),
            SECOND: zeros(by_adamw),
            MOMENTUM: zeros(by_muon),
        }

    def update(
        gradients: Any, state: dict[str, Any], params: Any, *, rates: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        if rates is None:
            totals = jax.tree.map(jnp.add, state[TOTALS], to_standard(gradients))
            return jax.tree.map(jnp.zeros_like, gradients), {**state, TOTALS: totals}
        weights = to_standard(params)
        clipped = {name: total * rates["clip_factor"] for name, total in state[TOTALS].items()}
        moves, remembered = move_by_adamw({name: clipped[name] for name in by_adamw}, weights, state, rates)
        more, momentum = _move_by_muon({name: clipped[name] for name in by_muon}, weights, state, settings, rates)
        cleared = jax.tree.map(jnp.zeros_like, state[TOTALS])
        return to_library(moves | more, params), {TOTALS: cleared, **remembered, MOMENTUM: momentum}

    def move_by_adamw(
        gradients: Arrays, weights: Arrays, state: dict[str, Any], rates: Mapping[str, Any]
    ) -> tuple[Arrays, dict[str, Any]]:
        before = optax.ScaleByAdamState(state[COUNT], state[FIRST], state[SECOND])
        directions, after = adam.update(gradients, before)
        for name, direction in directions.items():
            if len(places[name].size) > 1:  # matrices and the embedding decay, norms do not
                directions[name] = direction + settings.weight_decay * weights[name]
        moves = {name: -rates["learning_rate"] * direction for name, direction in directions.items()}
        return moves, {COUNT: after.count, FIRST: after.mu, SECOND: after.nu}

    return optax.GradientTransformationExtraArgs(init, update)


def _move_by_muon(
    gradients: Arrays, weights: Arrays, state: dict[str, Any], settings: Optimizer, rates: Mapping[str, Any]
) -> tuple[Arrays, Arrays]:
    """Nesterov momentum, orthogonalised; (what is added to the weights, the momenta)."""
    factor = settings.matrix_momentum
    momentum = {name: factor * state[MOMENTUM][name] + gradient for name, gradient in gradients.items()}
    ahead = {name: gradient + factor * momentum[name] for name, gradient in gradients.items()}
    moves = {}
    for name, direction in _orthogonalise_all(ahead).items():
        rows, columns = direction.shape
        stretched = max(1.0, rows / columns) ** 0.5 * direction
        moves[name] = -rates["matrix_learning_rate"] * (stretched + settings.matrix_weight_decay * weights[name])
    return moves, momentum


def _orthogonalise_all(matrices: Arrays) -> Arrays:
    """Each matrix's nearest semi-orthogonal one, by Newton-Schulz; those of equal sizes go through the iteration together."""
    by_size: dict[tuple[int, ...], list[str]] = {}
    for name, matrix in matrices.items():
        by_size.setdefault(tuple(sorted(matrix.shape)), []).append(name)
    found: Arrays = {}
    for names in by_size.values():
        lying = jnp.stack([_lay_down(matrices[name]) for name in names])
        for name, flat in zip(names, _orthogonalise(lying), strict=True):
            found[name] = flat if flat.shape == matrices[name].shape else flat.T
    return found


def _lay_down(matrix: Any) -> Any:
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T


def _orthogonalise(x: Any, num_iterations: int = 5) -> Any:
    """Newton-Schulz of `reference_math.orthogonalize`, for [n, rows ≤ columns]."""
    a, b, c = NEWTON_SCHULZ
    x = x / (jnp.sqrt(jnp.sum(jnp.square(x), (1, 2), keepdims=True)) + 1e-7)
    for _ in range(num_iterations):
        gram = x @ x.swapaxes(1, 2)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x
