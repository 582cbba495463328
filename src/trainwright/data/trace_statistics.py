"""Counts and distributions of traces, in one pass: memory grows by a few bytes a trace."""

from array import array
from collections import Counter
from typing import Any

from trainwright.core.traces import AnyTrace, Trace

MAX_KEY_VALUES = 50
"""A meta key with more different values than this is counted, its values are not."""
MAX_KEYS = 200


class TraceStatistics:
    """Add traces, then ask for the document."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._num_steps = array("I")
        self._num_messages = array("I")
        self._num_characters = array("I")
        self._num_tokens = array("I")
        self._step_types: Counter[str] = Counter()
        self._meta: dict[str, Counter[str] | int] = {}

    def add(self, trace: AnyTrace, num_tokens: int | None = None) -> None:
        """Count one trace."""
        self._kinds[trace.kind] += 1
        self._num_characters.append(len(trace.text))
        if num_tokens is not None:
            self._num_tokens.append(num_tokens)
        if isinstance(trace, Trace):
            self._num_steps.append(len(trace.steps))
            self._step_types.update(step.type for step in trace.steps)
        else:
            self._num_messages.append(len(trace.messages))
        for key, value in (trace.meta or {}).items():
            self._count_meta(key, value)

    def as_document(self) -> dict[str, Any]:
        """{num_traces, num_conversations, num_steps, num_messages, num_characters, step_types, meta}.

        A distribution is {min, mean, p50, p95, max}, or null where nothing was counted. `meta` is {key: {value: count}},
        or {key: {"num": count}} where its values are too many to list or no plain values.
        """
        document = {
            "num_traces": self._kinds["trace"],
            "num_conversations": self._kinds["conversation"],
            "num_steps": _describe(self._num_steps),
            "num_messages": _describe(self._num_messages),
            "num_characters": _describe(self._num_characters),
            "step_types": dict(self._step_types.most_common(MAX_KEY_VALUES)),
            "meta": {key: _describe_key(values) for key, values in sorted(self._meta.items())},
        }
        if self._num_tokens:
            document["num_tokens"] = _describe(self._num_tokens)
        return document

    def _count_meta(self, key: str, value: Any) -> None:
        if key not in self._meta and len(self._meta) >= MAX_KEYS:
            return
        values = self._meta.setdefault(key, Counter())
        if isinstance(values, int):
            self._meta[key] = values + 1
        elif isinstance(value, str | bool | int | float):
            values[value if isinstance(value, str) else str(value).lower()] += 1
            if len(values) > MAX_KEY_VALUES:
                self._meta[key] = values.total()
        else:
            self._meta[key] = values.total() + 1


def _describe(values: "array[int]") -> dict[str, float] | None:
    import numpy as np  # not needed to import traces, and slow to load

    if not values:
        return None
    numbers = np.frombuffer(values, dtype=np.dtype(f"u{values.itemsize}"))
    # Percentiles are values that really occur, so that the same traces give the same digits on every machine.
    p50, p95 = (int(value) for value in np.percentile(numbers, [50, 95], method="inverted_cdf"))
    mean = int(numbers.sum(dtype=np.uint64)) / len(numbers)
    return {"min": int(numbers.min()), "mean": round(mean, 3), "p50": p50, "p95": p95, "max": int(numbers.max())}


def _describe_key(values: Counter[str] | int) -> dict[str, int]:
    if isinstance(values, int):
        return {"num": values}
    return dict(sorted(values.items(), key=lambda item: (-item[1], item[0])))
