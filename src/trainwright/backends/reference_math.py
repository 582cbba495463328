"""The pieces of the decoder as formulas, each followed by its gradient, by hand, in numpy.

`f(x, …)` computes; `f_backward(dy, …)` takes the gradient of the objective with respect to `f`'s result and returns it
with respect to `f`'s arguments. Every gradient here is checked against finite differences and against autograd.

Shapes, as suffixes: N positions of any batch, B rows, T positions being computed, S positions visible (those, and what
a decoder read before), D hidden, K key-value heads, G query heads that share one of them, E head dimension,
I intermediate, V vocabulary. Functions keep the dtype they are given: float32 to train, float64 where gradients are
checked.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


# ── linear map ────────────────────────────────────────────────────────────────────────────────────────────────────────
def linear(x: Array, weight: Array) -> Array:
    """y = x Wᵀ over the last axis; `weight` is [out, in]."""
    rows = x.reshape(-1, x.shape[-1])
    return (rows @ weight.T).reshape(*x.shape[:-1], weight.shape[0])


def linear_backward(dy: Array, x: Array, weight: Array) -> tuple[Array, Array]:
    """(dx, dW) = (dy W, dyᵀ x), the second summed over all positions."""
    rows, d_rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    return (d_rows @ weight).reshape(x.shape), d_rows.T @ rows


# ── embedding ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def embedding_backward(dx_NTD: Array, tokens_NT: Integers, vocab_size: int) -> Array:
    """The gradient of x = W[tokens]: each row of W gets the sum over the positions that looked it up.

    Positions are sorted by token and summed run by run, in a fixed order, so that the result is the same every time.
    """
    tokens = tokens_NT.reshape(-1)
    dx_ND = dx_NTD.reshape(tokens.size, -1)
    order = np.argsort(tokens, kind="stable")
    seen, run_starts = np.unique(tokens[order], return_index=True)
    d_weight_VD = np.zeros((vocab_size, dx_ND.shape[1]), dtype=dx_ND.dtype)
    d_weight_VD[seen] = np.add.reduceat(dx_ND[order], run_starts, axis=0)
    return d_weight_VD


# ── RMSNorm ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def rms_norm(x: Array, weight: Array, epsilon: float) -> tuple[Array, Array]:
    """y = w · x / sqrt(mean(x²) + ε) over the last axis; returns (y, 1/sqrt(…)).

    Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", equation 4.
    """
    inverse_rms = 1.0 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon)
    return weight * (x * inverse_rms), inverse_rms


def rms_norm_backward(dy: Array, x: Array, weight: Array, inverse_rms: Array) -> tuple[Array, Array]:
    """(dx, dw), with x̂ = x/rms: dw = Σ dy·x̂ and dx = (g − x̂ · mean(g·x̂)) / rms, where g = w·dy."""
    normed = x * inverse_rms
    g = weight * dy
    dx = inverse_rms * (g - normed * np.mean(g * normed, axis=-1, keepdims=True))
    return dx, (dy * normed).reshape(-1, x.shape[-1]).sum(axis=0)


# ── rotary positions ──────────────────────────────────────────────────────────────────────────────────────────────────
class Rotation(NamedTuple):
    """Cosine and sine of every position's angles: [T, E], or [B, 1, T, E] where rows count their positions differently."""

    cos_TE: Array
    sin_TE: Array

    def reversed(self) -> "Rotation":
        """The rotation by the opposite angles: the transpose, hence the gradient."""
        return Rotation(self.cos_TE, -self.sin_TE)


def build_rotation(
    first: int, num_positions: int, head_dim: int, theta: float, dtype: type[np.floating[Any]]
) -> Rotation:
    """Angle p·θ^(−2i/E) for position p and pair i. Pair i is (i, i + E/2), as in Hugging Face's `rotate_half`.

    Su et al. 2021, "RoFormer", section 3.2.2.
    """
    frequencies = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    angles = np.outer(np.arange(first, first + num_positions, dtype=np.float64), frequencies)
    angles_TE = np.concatenate([angles, angles], axis=1)
    return Rotation(np.cos(angles_TE).astype(dtype), np.sin(angles_TE).astype(dtype))


def rotation_at(rotation: Rotation, places_BT: Integers) -> Rotation:
    """The rotation [B, 1, T, E] of rows whose positions are `places_BT`, looked up in one over positions 0, 1, 2, …"""
    return Rotation(rotation.cos_TE[places_BT][:, None], rotation.sin_TE[places_BT][:, None])


def rotate(x: Array, rotation: Rotation) -> Array:
    """Turn every pair of x [..., T, E] by its position's angle: (a cos − b sin, b cos + a sin).

    Its gradient is the same turn backwards: `rotate(dy, rotation.reversed())`.
    """
    half = x.shape[-1] // 2
    turned = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    return x * rotation.cos_TE + turned * rotation.sin_TE


# ── attention ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def attend(
    q_BKGTE: Array, k_BKSE: Array, v_BKSE: Array, elsewhere_BTS: NDArray[np.bool_] | None = None
) -> tuple[Array, Array]:
    """softmax(q kᵀ / √E) v, each position seeing itself and what lies before it; returns (y_BKGTE, probabilities).

    Where `elsewhere_BTS` is true, a query does not see the key either. The T queries are the last T of the S positions.
    Vaswani et al. 2017, "Attention Is All You Need", equation 1; that G query heads share one key-value head: Ainslie et
    al. 2023, "GQA".
    """
    T, S, E = q_BKGTE.shape[-2], k_BKSE.shape[-2], q_BKGTE.shape[-1]
    scores = (q_BKGTE @ k_BKSE[:, :, None].swapaxes(-1, -2)) * E**-0.5
    is_future_TS = np.arange(S) > np.arange(S - T, S)[:, None]
    scores[..., is_future_TS] = -np.inf
    if elsewhere_BTS is not None:
        np.copyto(scores, -np.inf, where=elsewhere_BTS[:, None, None])
    probabilities = softmax(scores)
    return probabilities @ v_BKSE[:, :, None], probabilities


def attend_backward(
    dy_BKGTE: Array, q_BKGTE: Array, k_BKSE: Array, v_BKSE: Array, probabilities: Array
) -> tuple[Array, Array, Array]:
    """(dq, dk, dv), with P the probabilities and S the scores.

        dv = Pᵀ dy      dP = dy vᵀ      dS = P·(dP − Σ dP·P)      dq = dS k/√E      dk = dSᵀ q/√E

    Keys and values collect from the G query heads they serve.
    """
    scale = q_BKGTE.shape[-1] ** -0.5
    dv_BKSE = (probabilities.swapaxes(-1, -2) @ dy_BKGTE).sum(axis=2)
    d_probabilities = dy_BKGTE @ v_BKSE[:, :, None].swapaxes(-1, -2)
    d_probabilities -= np.sum(d_probabilities * probabilities, axis=-1, keepdims=True)
    d_scores = d_probabilities * probabilities * scale
    dq_BKGTE = d_scores @ k_BKSE[:, :, None]
    dk_BKSE = (d_scores.swapaxes(-1, -2) @ q_BKGTE).sum(axis=2)
    return dq_BKGTE, dk_BKSE, dv_BKSE


def softmax(scores: Array) -> Array:
    """exp(s) / Σ exp(s) over the last axis, the maximum subtracted first so that nothing overflows."""
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


# ── SwiGLU ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def swiglu(gate: Array, up: Array) -> Array:
    """silu(gate) · up, with silu(z) = z·σ(z). Shazeer 2020, "GLU Variants Improve Transformer", equation 6."""
    return gate * sigmoid(gate) * up


def swiglu_backward(dy: Array, gate: Array, up: Array) -> tuple[Array, Array]:
    """(d gate, d up): silu′(z) = σ(z)·(1 + z·(1 − σ(z)))."""
    s = sigmoid(gate)
    return dy * up * s * (1.0 + gate * (1.0 - s)), dy * gate * s


def sigmoid(z: Array) -> Array:
    """1/(1 + exp(−z)), written with tanh because that cannot overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


# ── cross-entropy ─────────────────────────────────────────────────────────────────────────────────────────────────────
def log_softmax(logits_NV: Array) -> Array:
    """z − log Σ exp(z) over the last axis."""
    shifted = logits_NV - logits_NV.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def smoothed_cross_entropy(log_p_NV: Array, targets_N: Integers, smoothing: float) -> tuple[Array, Array]:
    """(nll_N, objective_N): −log p[target], and (1 − s)·nll + s · mean over the vocabulary of −log p.

    Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7 (label smoothing).
    """
    nll_N = -log_p_NV[np.arange(targets_N.size), targets_N]
    return nll_N, (1.0 - smoothing) * nll_N - smoothing * log_p_NV.mean(axis=-1)


def smoothed_cross_entropy_backward(log_p_NV: Array, targets_N: Integers, smoothing: float) -> Array:
    """The gradient of Σ objective_N with respect to the logits: p − (1 − s)·onehot(target) − s/V."""
    d_logits_NV = np.exp(log_p_NV)
    d_logits_NV -= smoothing / log_p_NV.shape[-1]
    d_logits_NV[np.arange(targets_N.size), targets_N] -= 1.0 - smoothing
    return d_logits_NV


# ── optimizers ────────────────────────────────────────────────────────────────────────────────────────────────────────
def l2_norm(arrays: list[Array]) -> float:
    """sqrt(Σ x²) over all elements of all arrays, summed in float64."""
    return float(np.sqrt(sum(float(np.sum(np.square(array, dtype=np.float64))) for array in arrays)))


def clip_factor(norm: float, limit: float) -> float:
    """What gradients of that norm are multiplied with: min(1, limit/(norm + 1e-6)), or 1 where `limit` is 0.

    Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", algorithm 1; the 1e-6 is torch's.
    """
    return min(1.0, limit / (norm + 1e-6)) if limit > 0 else 1.0


class AdamW(NamedTuple):
    """The constants of one AdamW update; `step` counts from 1."""

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    step: int

    def update(self, weight: Array, gradient: Array, first: Array, second: Array) -> tuple[Array, Array, Array]:
        """(weight, first, second) after the update.

            m ← β₁m + (1−β₁)g        v ← β₂v + (1−β₂)g²
            w ← (1 − η·λ)·w − η · m/(1−β₁ᵗ) / (sqrt(v/(1−β₂ᵗ)) + ε)

        Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2; η·λ as in `torch.optim.AdamW`.
        """
        first = self.beta1 * first + (1.0 - self.beta1) * gradient
        second = self.beta2 * second + (1.0 - self.beta2) * gradient * gradient
        mean = first / (1.0 - self.beta1**self.step)
        deviation = np.sqrt(second / (1.0 - self.beta2**self.step))
        decayed = (1.0 - self.learning_rate * self.weight_decay) * weight
        return decayed - self.learning_rate * mean / (deviation + self.epsilon), first, second


class Muon(NamedTuple):
    """The constants of one Muon update: Jordan et al. 2024, "Muon: An optimizer for hidden layers"."""

    learning_rate: float
    momentum: float
    weight_decay: float

    def update(self, weight: Array, gradient: Array, buffer: Array) -> tuple[Array, Array]:
        """(weight, buffer) after the update of one [rows, columns] matrix.

        b ← μb + g        u = orthogonalize(g + μb) · sqrt(max(1, rows/columns))        w ← (1 − η·λ)·w − η·u
        """
        rows, columns = weight.shape
        buffer = self.momentum * buffer + gradient
        direction = orthogonalize(gradient + self.momentum * buffer)
        stretch = max(1.0, rows / columns) ** 0.5
        decayed = (1.0 - self.learning_rate * self.weight_decay) * weight
        return decayed - self.learning_rate * stretch * direction, buffer


NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Jordan's coefficients: in five iterations they bring singular values near 1 (0.7 to 1.2), not exactly to it."""


def orthogonalize(matrix: Array, num_iterations: int = 5) -> Array:
    """About U Vᵀ, where the matrix is U S Vᵀ: X ← aX + (bA + cA²)X with A = XXᵀ, from X = M/(‖M‖ + 1e-7).

    The shorter side is made the rows, so that A is small. A zero matrix stays zero.
    """
    a, b, c = NEWTON_SCHULZ
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (float(np.linalg.norm(x)) + 1e-7)
    for _ in range(num_iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if is_tall else x
