"""How well a model predicts a whole text: the sums from which perplexity and bits per byte of any set of texts follow.

    perplexity = exp(Σ text_nats / Σ text_tokens)        bits per byte = Σ text_nats / (ln 2 · Σ text_bytes)

A text is cut into windows as a held-out split is (`held_out.py`): every token is predicted once, from what stands before it in
its own window; the first one from the end token, as the first token of any document is.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trainwright.backends.protocol import Model
from trainwright.core.records import ItemScore
from trainwright.evaluate.held_out import measure_likelihood
from trainwright.evaluate.items import EvalItem


class _Tokens:
    """The token ids of one text, by position."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = np.asarray(ids, np.int32)

    @property
    def num_tokens(self) -> int:
        return len(self._ids)

    def read(self, start: int, stop: int) -> NDArray[np.int32]:
        return self._ids[start:stop]


def score_text(
    item: EvalItem, model: Model, encode: Callable[[str], Sequence[int]], *, window: int, first_context: int
) -> list[ItemScore]:
    """The three rows of one text. `window`: how many tokens are read at once."""
    text = item.prompt
    tokens, num_bytes = _Tokens(encode(text)), len(text.encode("utf-8"))
    found = measure_likelihood(
        model,
        tokens,
        num_bytes=num_bytes,
        seq_length=min(window, tokens.num_tokens),
        batch_size=1,
        first_context=first_context,
    )
    return [
        _make_row(item, "text_nats", found.nll_sum),
        _make_row(item, "text_tokens", float(tokens.num_tokens)),
        _make_row(item, "text_bytes", float(num_bytes)),
    ]


def _make_row(item: EvalItem, metric: str, score: float) -> ItemScore:
    is_finite = bool(np.isfinite(score))
    return ItemScore(
        item_id=item.id,
        cluster_id=item.cluster_id,
        slices=item.slices,
        metric=metric,
        score=score if is_finite else None,
        output=None,
        answer=None,
        target=None,
        status="scored" if is_finite else "error",
        why="" if is_finite else "the model's log-probability is not finite",
    )
