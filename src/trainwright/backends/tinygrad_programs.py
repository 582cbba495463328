"""What is compiled: one program each for gradients, norms, updates, scores and the next token, every one with fixed shapes.

A program takes all it works on as arguments, weights included, so that it is compiled once for every trainer and model of
these sizes in a process. Its results lie in buffers that its next call writes to: whoever calls, reads them at once.

Shapes: B rows, T positions, S positions of a decoder's memory, L layers, K key-value heads, E head dimension, D hidden,
V vocabulary.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tinygrad import Tensor, TinyJit, dtypes

from trainwright.backends.initial import EMBEDDING, decays, is_matrix, optimizer_state_shapes, weight_names
from trainwright.backends.reference_math import NEWTON_SCHULZ
from trainwright.backends.tinygrad_network import Past, Scene, judge, linear, run_layers
from trainwright.core.records import ModelShape, Optimizer

Program = Callable[..., Any]
"""A jitted function of tensors."""


class Sizes(NamedTuple):
    """What a program is compiled for: a model, a device with its threads, the rows and positions of a batch."""

    shape: ModelShape
    device: str
    num_threads: int
    rows: int = 1
    length: int = 1


@functools.cache
def gradient_program(sizes: Sizes, smoothing: float, drops: bool) -> Program:
    """(weights, totals, ids_3BT, rotary_2BTE, settings, masks) → nll_BT, hits_BT; `totals` are added to.

    `ids_3BT` are tokens, targets and segments. `settings` are what the sum of the objectives is multiplied by, and 1 where
    the totals so far are to be kept (0: they are replaced, whatever they are). `masks` [L, 2, B, T, D], where it `drops`.
    """
    names = weight_names(sizes.shape)

    def run(
        weights: list[Tensor],
        totals: list[Tensor],
        ids_3BT: Tensor,
        rotary_2BTE: Tensor,
        settings: Tensor,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        named = dict(zip(names, weights, strict=True))
        scene = _build_scene(ids_3BT, rotary_2BTE, masks if drops else None)
        hidden_BTD, _ = run_layers(named, sizes.shape, ids_3BT[0], scene)
        judged = judge(hidden_BTD, named[EMBEDDING], ids_3BT[1], smoothing)
        gradients = (judged.objective_BT.sum() * settings[0]).gradient(*weights)
        for total, gradient in zip(totals, gradients, strict=True):
            total.assign((settings[1] > 0).where(total, 0.0) + gradient)
        nll_BT, hits_BT = judged.nll_BT.contiguous(), judged.hits_BT.contiguous()
        Tensor.realize(*totals, nll_BT, hits_BT)
        return nll_BT, hits_BT

    return _compile(run)


@functools.cache
def score_program(sizes: Sizes) -> Program:
    """(weights, ids_3BT, rotary_2BTE) → nll_BT, hits_BT."""
    names = weight_names(sizes.shape)

    def run(weights: list[Tensor], ids_3BT: Tensor, rotary_2BTE: Tensor) -> tuple[Tensor, Tensor]:
        named = dict(zip(names, weights, strict=True))
        hidden_BTD, _ = run_layers(named, sizes.shape, ids_3BT[0], _build_scene(ids_3BT, rotary_2BTE, None))
        judged = judge(hidden_BTD, named[EMBEDDING], ids_3BT[1], smoothing=0.0)
        nll_BT, hits_BT = judged.nll_BT.contiguous(), judged.hits_BT.contiguous()
        Tensor.realize(nll_BT, hits_BT)
        return nll_BT, hits_BT

    return _compile(run)


@functools.cache
def decoding_program(sizes: Sizes, num_remembered: int) -> Program:
    """(weights, caches, tokens_1T, rotary_2TE, places_S, settings_2) → logits_V; `caches` [2, K, S, E] are written to.

    `places_S` says which of the T new positions belongs at place s of the memory, and is negative where none does.
    `settings_2` are how many positions were read before, and which of the T new ones the logits are of.
    """
    names = weight_names(sizes.shape)

    def run(
        weights: list[Tensor],
        caches: list[Tensor],
        tokens_1T: Tensor,
        rotary_2TE: Tensor,
        places_S: Tensor,
        settings_2: Tensor,
    ) -> Tensor:
        named = dict(zip(names, weights, strict=True))
        own_T = Tensor.arange(sizes.length, dtype=dtypes.int32) + settings_2[0]
        all_S = Tensor.arange(num_remembered, dtype=dtypes.int32)
        visible_1TS = (all_S.reshape(1, 1, -1) <= own_T.reshape(1, -1, 1)).expand(1, sizes.length, num_remembered)
        scene = Scene(
            rotary_2TE[0].reshape(1, 1, sizes.length, -1), rotary_2TE[1].reshape(1, 1, sizes.length, -1), visible_1TS
        )
        pasts = [Past(cache, places_S.maximum(0), places_S >= 0) for cache in caches]
        hidden_1TD, renewed = run_layers(named, sizes.shape, tokens_1T, scene, pasts)
        last_D = hidden_1TD[0][settings_2[1:2]]
        logits_V = linear(last_D, named[EMBEDDING]).reshape(-1).contiguous()
        logits_V.realize(*renewed)
        for cache, new in zip(caches, renewed, strict=True):
            cache.assign(new)
        Tensor.realize(*caches)
        return logits_V

    return _compile(run)


@functools.cache
def norm_program(sizes: Sizes) -> Program:
    """(totals) → the sum of squares of each [number of weights]."""
    names = weight_names(sizes.shape)

    def run(totals: list[Tensor]) -> Tensor:
        return Tensor.stack(*(total.square().sum() for _, total in zip(names, totals, strict=True))).realize()

    return _compile(run)


class Steps(NamedTuple):
    """The numbers of one update, in the order in which `update_program` takes them."""

    clip_factor: float
    learning_rate: float
    decay: float
    first_correction: float
    second_correction: float
    matrix_learning_rate: float
    matrix_decay: float
    averaging_share: float


@functools.cache
def update_program(sizes: Sizes, optimizer: Optimizer, is_averaged: bool) -> Program:
    """(weights, totals, remembered, averages, steps) → nothing; weights, what is remembered, and averages are written to.

    `remembered` are the optimizer's arrays in the order of `optimizer_state_shapes`. The formulas are those of
    `reference_math.py`.
    """
    names = weight_names(sizes.shape)
    remembered_names = tuple(optimizer_state_shapes(sizes.shape, optimizer.name))

    def run(
        weights: list[Tensor], totals: list[Tensor], remembered: list[Tensor], averages: list[Tensor], steps: Tensor
    ) -> Tensor:
        now = Steps(*(steps[i] for i in range(len(Steps._fields))))
        weight, state = dict(zip(names, weights, strict=True)), dict(zip(remembered_names, remembered, strict=True))
        gradient = {name: total * now.clip_factor for name, total in zip(names, totals, strict=True)}
        by_muon = [name for name in names if optimizer.name == "muon" and is_matrix(name)]
        for name in names:
            if name not in by_muon:
                _apply_adamw(name, weight, gradient, state, optimizer, now)
        _apply_muon(by_muon, weight, gradient, state, optimizer, now)
        if is_averaged:
            for average, trained in zip(averages, weights, strict=True):
                average.assign(average + now.averaging_share * (trained - average))
        done = (steps[0] + 0.0).contiguous()
        Tensor.realize(*weights, *remembered, *averages, done)
        return done

    return _compile(run)


def _apply_adamw(
    name: str,
    weight: dict[str, Tensor],
    gradient: dict[str, Tensor],
    state: dict[str, Tensor],
    optimizer: Optimizer,
    now: Steps,
) -> None:
    g, first, second = gradient[name], state[f"adamw.first.{name}"], state[f"adamw.second.{name}"]
    first.assign(optimizer.beta1 * first + (1 - optimizer.beta1) * g)
    second.assign(optimizer.beta2 * second + (1 - optimizer.beta2) * g * g)
    deviation = (second / now.second_correction).sqrt() + optimizer.epsilon
    kept = weight[name] * now.decay if decays(name) else weight[name]
    weight[name].assign(kept - now.learning_rate * (first / now.first_correction) / deviation)


def _apply_muon(
    names: Sequence[str],
    weight: dict[str, Tensor],
    gradient: dict[str, Tensor],
    state: dict[str, Tensor],
    optimizer: Optimizer,
    now: Steps,
) -> None:
    """Nesterov momentum, orthogonalised; matrices of equal sizes go through the iteration together."""
    by_size: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        by_size.setdefault(tuple(sorted(weight[name].shape)), []).append(name)
    for alike in by_size.values():
        lying = []
        for name in alike:
            momentum = state[f"muon.momentum.{name}"]
            momentum.assign(optimizer.matrix_momentum * momentum + gradient[name])
            ahead = gradient[name] + optimizer.matrix_momentum * momentum
            lying.append(ahead if ahead.shape[0] <= ahead.shape[1] else ahead.transpose(0, 1))
        directions = _orthogonalise(Tensor.stack(*lying).contiguous())
        for i, name in enumerate(alike):
            rows, columns = weight[name].shape
            direction = directions[i] if rows <= columns else directions[i].transpose(0, 1)
            stretch = max(1.0, rows / columns) ** 0.5
            weight[name].assign(weight[name] * now.matrix_decay - now.matrix_learning_rate * stretch * direction)


def _orthogonalise(x: Tensor, num_iterations: int = 5) -> Tensor:
    """Newton-Schulz of `reference_math.orthogonalize`, for [n, rows ≤ columns]."""
    a, b, c = NEWTON_SCHULZ
    x = (x / (x.square().sum((1, 2), keepdim=True).sqrt() + 1e-7)).contiguous()
    for _ in range(num_iterations):
        gram = (x @ x.transpose(1, 2)).contiguous()
        x = (a * x + (b * gram + c * (gram @ gram)) @ x).contiguous()
    return x


def _compile(run: Callable[..., Any]) -> Program:
    program: Program = TinyJit(run)
    return program


def _build_scene(ids_3BT: Tensor, rotary_2BTE: Tensor, masks: Tensor | None) -> Scene:
    """Causal, and within a segment."""
    segments_BT = ids_3BT[2]
    length = segments_BT.shape[1]
    places_T = Tensor.arange(length, dtype=dtypes.int32)
    visible_BTS = (segments_BT.unsqueeze(2) == segments_BT.unsqueeze(1)) & (
        places_T.unsqueeze(1) >= places_T.unsqueeze(0)
    ).unsqueeze(0)
    return Scene(rotary_2BTE[0].unsqueeze(1), rotary_2BTE[1].unsqueeze(1), visible_BTS, masks)
