"""Writing with the PyTorch decoder: one sequence, or several at a time.

Of several, each weight is read once for all, and attention is one call for many. A sequence's keys and values lie on a
*shelf*, beside those of all others that have room for as many positions; one that is full moves to the shelf of twice the
room. So nothing is padded to more than twice what it is, however long its neighbours are, and a step takes as many attention
calls as there are shelves in use. A row sees its own positions alone: a bias hides the room that it has not filled yet.

Shapes: L layers, R rows of a shelf, N sequences of a step, H query heads, K key-value heads, S positions, E head dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trainwright.backends.torch_network import (
    Parameters,
    Rotary,
    attend_causally,
    causal_bias,
    finish_layer,
    layer_weights,
    project_heads,
    rms_norm,
)
from trainwright.backends.torch_optimizer import to_array
from trainwright.core.records import ModelShape

FIRST_POSITIONS = 64
FIRST_ROWS = 4


# ── one sequence ──────────────────────────────────────────────────────────────────────────────────────────────────────
class TorchDecoder:
    """Key-value cache of one sequence, grown by doubling; computes in float32."""

    def __init__(self, parameters: Parameters, shape: ModelShape, device: str) -> None:
        self._parameters, self._shape, self._device = parameters, shape, device
        self._num_read = 0
        self._keys = [self._new_cache(FIRST_POSITIONS) for _ in range(shape.num_layers)]
        self._values = [self._new_cache(FIRST_POSITIONS) for _ in range(shape.num_layers)]

    @torch.no_grad()
    def feed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Read tokens; logits [V] for the next one."""
        p, shape = self._parameters, self._shape
        start, stop = self._num_read, self._num_read + len(tokens)
        rotary = Rotary.build(shape, len(tokens), self._device, first=start)
        x_BTD = F.embedding(torch.tensor([list(tokens)], device=self._device), p["embedding"])
        for layer in range(shape.num_layers):
            w = layer_weights(p, layer)
            q, k, v = project_heads(w, x_BTD, rotary, shape, torch.float32)
            keys, values = self._remember(layer, k, v, start, stop)
            x_BTD = finish_layer(w, x_BTD, _attend_to_past(q, keys, values), shape, torch.float32)
        self._num_read = stop
        last_D = rms_norm(x_BTD[0, -1], p["norm"], shape.norm_epsilon)
        return to_array(p["embedding"] @ last_D)

    def read_memory(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values [K, S, E] of what was read."""
        return self._keys[layer][0, :, : self._num_read], self._values[layer][0, :, : self._num_read]

    def _remember(self, layer: int, k: Tensor, v: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
        if stop > self._keys[layer].shape[2]:
            for cache in (self._keys, self._values):
                grown = self._new_cache(max(stop, 2 * cache[layer].shape[2]))
                grown[:, :, :start] = cache[layer][:, :, :start]
                cache[layer] = grown
        self._keys[layer][:, :, start:stop] = k
        self._values[layer][:, :, start:stop] = v
        return self._keys[layer][:, :, :stop], self._values[layer][:, :, :stop]

    def _new_cache(self, num_positions: int) -> Tensor:
        return torch.zeros(1, self._shape.num_kv_heads, num_positions, self._shape.head_dim, device=self._device)


def _attend_to_past(q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor) -> Tensor:
    """Attention of the last T of S positions."""
    num_new, num_all = q_BHTE.shape[2], k_BKSE.shape[2]
    if num_new == num_all:
        return attend_causally(q_BHTE, k_BKSE, v_BKSE, causal_bias(num_all, str(q_BHTE.device)))
    mask = None
    if num_new > 1:
        mask = torch.ones(num_new, num_all, dtype=torch.bool, device=q_BHTE.device).tril(num_all - num_new)
    return F.scaled_dot_product_attention(
        q_BHTE, k_BKSE, v_BKSE, attn_mask=mask, enable_gqa=k_BKSE.shape[1] != q_BHTE.shape[1]
    )


# ── several sequences ─────────────────────────────────────────────────────────────────────────────────────────────────
class Shelf:
    """Keys and values [L, R, K, S, E] of sequences that have room for S positions each. The first rows are in use."""

    def __init__(self, shape: ModelShape, num_positions: int, device: str) -> None:
        self.num_positions = num_positions
        self.seats: list[Seat] = []
        size = (shape.num_layers, FIRST_ROWS, shape.num_kv_heads, num_positions, shape.head_dim)
        self.keys, self.values = torch.zeros(size, device=device), torch.zeros(size, device=device)

    def take_in(self, seat: "Seat", memory: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Put what a sequence remembers, (keys, values) [K, S, E] of each layer, into a row of its own."""
        row = len(self.seats)
        if row == self.keys.shape[1]:
            self.keys, self.values = (torch.cat([one, torch.zeros_like(one)], 1) for one in (self.keys, self.values))
        for layer, parts in enumerate(memory):
            for cache, part_KSE in zip((self.keys, self.values), parts, strict=True):
                cache[layer, row, :, : seat.num_read] = part_KSE
                cache[layer, row, :, seat.num_read :] = 0  # what somebody else left there, hidden or not
        seat.shelf, seat.row = self, row
        self.seats.append(seat)

    def let_go(self, seat: "Seat") -> list[tuple[Tensor, Tensor]]:
        """What a sequence remembers; the last row takes its place."""
        read = (slice(None), seat.row, slice(None), slice(seat.num_read))
        memory = list(zip(self.keys[read].clone(), self.values[read].clone(), strict=True))
        last = self.seats.pop()
        if last is not seat:
            for cache in (self.keys, self.values):
                cache[:, seat.row] = cache[:, last.row]
            self.seats[seat.row], last.row = last, seat.row
        return memory


@dataclass(eq=False)
class Seat:
    """Where a sequence lies, and how much it has read."""

    num_read: int
    shelf: Shelf
    row: int = -1


class Neighbours:
    """Sequences on one shelf that take a step together. All of them read their next position in every layer."""

    def __init__(self, shelf: Shelf, seats: Sequence[Seat]) -> None:
        rows, places = [seat.row for seat in seats], [seat.num_read for seat in seats]
        device = shelf.keys.device
        self._shelf, self.num_rows = shelf, len(rows)
        self._rows_N, self._places_N = torch.tensor(rows, device=device), torch.tensor(places, device=device)
        self._num_seen = max(places) + 1
        is_room_NS = torch.arange(self._num_seen, device=device) > self._places_N[:, None]
        self._bias_N11S = torch.zeros(is_room_NS.shape, device=device).masked_fill(is_room_NS, float("-inf"))[
            :, None, None
        ]
        self._is_front = rows == list(range(len(rows)))

    def attend(self, layer: int, q_NH1E: Tensor, k_NK1E: Tensor, v_NK1E: Tensor) -> Tensor:
        """Remember a key and a value for each, and attend to all that it has read."""
        keys, values = self._shelf.keys[layer], self._shelf.values[layer]
        keys[self._rows_N, :, self._places_N] = k_NK1E[:, :, 0]
        values[self._rows_N, :, self._places_N] = v_NK1E[:, :, 0]
        is_grouped = k_NK1E.shape[1] != q_NH1E.shape[1]
        return F.scaled_dot_product_attention(
            q_NH1E, self._take(keys), self._take(values), attn_mask=self._bias_N11S, enable_gqa=is_grouped
        )

    def _take(self, cache_RKSE: Tensor) -> Tensor:
        # A view where nobody on the shelf sits this step out, which is how it mostly is.
        rows = slice(self.num_rows) if self._is_front else self._rows_N
        return cache_RKSE[rows, :, : self._num_seen]


class TorchBatchDecoder:
    """Writes several sequences; computes in float32."""

    def __init__(self, parameters: Parameters, shape: ModelShape, device: str) -> None:
        self._parameters, self._shape, self._device = parameters, shape, device
        self._shelves: dict[int, Shelf] = {}
        self._seats: dict[int, Seat] = {}
        self._next = 0

    @torch.no_grad()
    def join(self, tokens: Sequence[int]) -> tuple[int, NDArray[np.float32]]:
        """A new sequence: (its number, logits [V])."""
        decoder = TorchDecoder(self._parameters, self._shape, self._device)
        logits_V = decoder.feed(tokens)
        shelf = self._find_shelf(len(tokens))
        seat = Seat(len(tokens), shelf)
        shelf.take_in(seat, [decoder.read_memory(layer) for layer in range(self._shape.num_layers)])
        number, self._next = self._next, self._next + 1
        self._seats[number] = seat
        return number, logits_V

    @torch.no_grad()
    def feed(self, numbers: Sequence[int], tokens_N: Sequence[int]) -> NDArray[np.float32]:
        """A token for each of these; logits [N, V]."""
        p, shape = self._parameters, self._shape
        seats = [self._seats[number] for number in numbers]
        for seat in seats:
            self._make_room(seat)
        order = sorted(range(len(seats)), key=lambda i: (seats[i].shelf.num_positions, seats[i].row))
        ordered = [seats[i] for i in order]
        groups = [Neighbours(shelf, list(some)) for shelf, some in groupby(ordered, lambda seat: seat.shelf)]
        sizes = [group.num_rows for group in groups]
        angles = Rotary.build_at(shape, [seat.num_read for seat in ordered], self._device)
        rotary = Rotary(angles.cos_TE[:, None, None], angles.sin_TE[:, None, None])
        tokens_N1 = torch.tensor([[tokens_N[i]] for i in order], device=self._device)
        x_N1D = F.embedding(tokens_N1, p["embedding"])
        for layer in range(shape.num_layers):
            w = layer_weights(p, layer)
            parts = zip(
                *(torch.split(one, sizes) for one in project_heads(w, x_N1D, rotary, shape, torch.float32)), strict=True
            )
            attended = [group.attend(layer, *part) for group, part in zip(groups, parts, strict=True)]
            x_N1D = finish_layer(w, x_N1D, torch.cat(attended), shape, torch.float32)
        for seat in seats:
            seat.num_read += 1
        logits_NV = rms_norm(x_N1D[:, 0], p["norm"], shape.norm_epsilon) @ p["embedding"].t()
        return to_array(logits_NV)[np.argsort(order)]

    def leave(self, number: int) -> None:
        """Forget a sequence."""
        seat = self._seats.pop(number)
        seat.shelf.let_go(seat)
        if not seat.shelf.seats:
            del self._shelves[seat.shelf.num_positions]

    def _make_room(self, seat: Seat) -> None:
        if seat.num_read == seat.shelf.num_positions:
            left = seat.shelf
            memory = left.let_go(seat)
            self._find_shelf(seat.num_read + 1).take_in(seat, memory)
            if not left.seats:
                del self._shelves[left.num_positions]

    def _find_shelf(self, num_positions: int) -> Shelf:
        """The shelf of the least room that is enough."""
        size = FIRST_POSITIONS
        while size < num_positions:
            size *= 2
        if size not in self._shelves:
            self._shelves[size] = Shelf(self._shape, size, self._device)
        return self._shelves[size]
