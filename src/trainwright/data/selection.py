"""Choosing traces out of everything in the store: filter, order, drop duplicates, take as many as were asked for.

Every matching trace is looked at, never a window of recent ones. Of each, memory keeps its id and what orders it (about
50 bytes); contents are read again when their turn comes. Chance is a hash of (seed, id): the same seed and the same
traces give the same choice, in whatever order they were imported.
"""

import json
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainwright.core.errors import InvalidValue, NothingSelected
from trainwright.core.hashing import canonical_json, digest_bytes
from trainwright.core.seeds import derive_seed
from trainwright.core.traces import AnyTrace, Trace
from trainwright.data.near_duplicates import NearDuplicates
from trainwright.store.traces import StoredTrace, TraceStore

Strategy = Literal["latest", "random", "stratified", "top"]
Dedup = Literal["none", "exact", "near"]

WITHOUT_KEY = "(none)"
"""The stratum of traces that do not have the key."""

_FILTER = re.compile(r"([A-Za-z0-9_.\-]+)=(.*)", re.DOTALL)
_RANGE = re.compile(r"(-?[0-9.eE+-]*)\.\.(-?[0-9.eE+-]*)")
_MEASURES = ("kind", "trace_version", "num_steps", "num_messages", "num_characters")
_ID_BYTES = 32


@dataclass(frozen=True)
class Filter:
    """`field=value`, or `field=low..high` with either end left out, both ends included."""

    field: str
    value: str | None = None
    low: float | None = None
    high: float | None = None

    def matches(self, trace: AnyTrace) -> bool:
        """Whether the trace has that value there. A list matches where one of its members does."""
        found = read_field(trace, self.field)
        members = found if isinstance(found, list) else [found]
        return any(self._matches_one(member) for member in members)

    def _matches_one(self, found: Any) -> bool:
        if self.value is not None:
            return found is not None and render_value(found) == self.value
        if not isinstance(found, int | float) or isinstance(found, bool):
            return False
        return (self.low is None or found >= self.low) and (self.high is None or found <= self.high)

    def __str__(self) -> str:
        if self.value is not None:
            return f"{self.field}={self.value}"
        ends = ("" if end is None else f"{end:.15g}" for end in (self.low, self.high))
        return f"{self.field}={'..'.join(ends)}"


def parse_filter(text: str) -> Filter:
    """`meta.category=reasoning` or `num_steps=2..5`. Raises InvalidValue."""
    match = _FILTER.fullmatch(text)
    if match is None:
        raise InvalidValue(
            f"{text!r} is no filter.",
            why="A filter is FIELD=VALUE or FIELD=LOW..HIGH.",
            next_step="For example: --filter meta.category=reasoning --filter num_steps=2..5",
        )
    name, value = match.groups()
    require_field(name)
    bounds = _RANGE.fullmatch(value)
    if bounds is None or bounds.groups() == ("", ""):
        return Filter(name, value=value)
    try:
        low, high = (float(end) if end else None for end in bounds.groups())
    except ValueError:
        return Filter(name, value=value)
    return Filter(name, low=low, high=high)


def require_field(name: str) -> None:
    """Raises InvalidValue for what is no field of a trace that can be filtered or ordered by."""
    if not name.startswith("meta.") and name not in _MEASURES:
        raise InvalidValue(
            f"{name!r} is no field to select by.",
            why=f"Fields are meta.KEY (meta.A.B for what lies deeper), {', '.join(_MEASURES)}.",
            next_step=f"Did you mean meta.{name}?",
        )


def read_field(trace: AnyTrace, name: str) -> Any:
    """The value of a field, or None where the trace does not have it."""
    match name:
        case "kind":
            return trace.kind
        case "trace_version":
            return trace.trace_version if isinstance(trace, Trace) else None
        case "num_steps":
            return len(trace.steps) if isinstance(trace, Trace) else None
        case "num_messages":
            return None if isinstance(trace, Trace) else len(trace.messages)
        case "num_characters":
            return len(trace.text)
    value: Any = trace.meta
    for key in name.removeprefix("meta.").split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def render_value(value: Any) -> str:
    """A value of `meta` as a person types it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True)
class Selection:
    """What to take. `limit` None: all that match. `by` is a field, for `stratified` and `top`.

    latest      the last imported first
    random      by hash of (seed, id)
    stratified  like random, from each value of `by` in proportion to how many match (largest remainder)
    top         the greatest number in `by` first; those without one are left out
    """

    strategy: Strategy = "latest"
    by: str | None = None
    seed: int = 0
    limit: int | None = None
    filters: tuple[Filter, ...] = ()
    dedup: Dedup = "exact"

    def __post_init__(self) -> None:
        """Raises InvalidValue where strategy and `by` do not go together."""
        if self.strategy in ("stratified", "top") and self.by is None:
            raise InvalidValue(
                f"Selecting {self.strategy} needs a field.",
                why="Without one there is nothing to divide or order by.",
                next_step="Name it, for example: --by meta.category",
            )
        if self.by is not None:
            require_field(self.by)
            if self.strategy in ("latest", "random"):
                raise InvalidValue(
                    f"Selecting {self.strategy} takes no field.",
                    why=f"--by {self.by} is for stratified and top.",
                    next_step="Leave --by out, or choose --select stratified or top.",
                )

    def as_document(self) -> dict[str, Any]:
        """The selection for a recipe."""
        return {
            "select": self.strategy,
            "by": self.by,
            "seed": self.seed,
            "limit": self.limit,
            "filters": [str(one) for one in self.filters],
            "dedup": self.dedup,
        }


@dataclass
class Tally:
    """What a selection did, counted."""

    num_seen: int = 0
    num_matching: int = 0
    num_without_key: int = 0
    num_duplicates: int = 0
    num_near_duplicates: int = 0

    def as_document(self) -> dict[str, int]:
        """The counts, for a record's statistics."""
        return dict(vars(self))


@dataclass(frozen=True)
class Chosen:
    """A trace that was chosen, and the stratum it stands for (empty where there are none)."""

    stored: StoredTrace
    trace: AnyTrace
    stratum: str


def iter_chosen(store: TraceStore, selection: Selection, tally: Tally) -> Iterator[Chosen]:
    """The chosen traces in manifest order. `tally` is complete when the iterator is at its end.

    Raises NothingSelected where no trace matches.
    """
    candidates = _Candidates(selection)
    for stored in store.iter_all():
        candidates.consider(stored, tally)
    if not len(candidates):
        raise _nothing_selected(selection, tally)
    quotas = candidates.divide_limit()
    duplicates = _Duplicates(selection.dedup, tally)
    num_left = len(candidates) if selection.limit is None else selection.limit
    order = candidates.order
    for position, stored in zip(order, store.iter_ids(candidates.id_at(int(at)) for at in order), strict=True):
        if num_left == 0:
            return
        stratum = candidates.stratum_at(int(position))
        if quotas.get(stratum, 1) == 0:
            continue
        trace = stored.trace
        if duplicates.knows(trace):
            continue
        num_left -= 1
        if stratum in quotas:
            quotas[stratum] -= 1
        yield Chosen(stored, trace, stratum)


def allocate(total: int, sizes: Sequence[int]) -> list[int]:
    """`total` divided in proportion to `sizes`, in whole numbers that add up: the method of the largest remainder.

    None is given more than its size. Ties go to the first.
    """
    whole = sum(sizes)
    if total >= whole:
        return list(sizes)
    shares = [total * size // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda index: (-(total * sizes[index] % whole), index))
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares


@dataclass
class _Candidates:
    """Ids and ordering keys of the traces that match."""

    selection: Selection
    _ids: bytearray = field(default_factory=bytearray)
    _hashes: "array[int]" = field(default_factory=lambda: array("Q"))
    _numbers: "array[float]" = field(default_factory=lambda: array("d"))
    _strata: "array[int]" = field(default_factory=lambda: array("L"))
    _names: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._ids) // _ID_BYTES

    def consider(self, stored: StoredTrace, tally: Tally) -> None:
        """Take a trace in if it matches."""
        tally.num_seen += 1
        selection = self.selection
        trace = stored.trace if selection.filters or selection.by else None
        if trace is not None and not all(one.matches(trace) for one in selection.filters):
            return
        tally.num_matching += 1
        value = read_field(trace, selection.by) if trace is not None and selection.by else None
        if selection.by and value is None:
            tally.num_without_key += 1
        if selection.strategy == "top":
            if not isinstance(value, int | float) or isinstance(value, bool):
                return
            self._numbers.append(float(value))
        elif selection.strategy != "latest":
            self._hashes.append(derive_seed(selection.seed, "select", stored.id))
        self._ids += bytes.fromhex(stored.id)
        if selection.strategy == "stratified":
            name = WITHOUT_KEY if value is None else render_value(value)
            self._strata.append(self._names.setdefault(name, len(self._names)))

    @property
    def order(self) -> npt.NDArray[np.intp]:
        """Positions in the order in which they are to be taken. Equal keys: the first imported first."""
        if self.selection.strategy == "latest":
            return np.arange(len(self))[::-1]
        if self.selection.strategy == "top":
            return np.argsort(-np.frombuffer(self._numbers), kind="stable")
        return np.argsort(np.frombuffer(self._hashes, dtype=np.uint64), kind="stable")

    def id_at(self, position: int) -> str:
        """The id of the candidate at a position."""
        return self._ids[position * _ID_BYTES : (position + 1) * _ID_BYTES].hex()

    @cached_property
    def strata(self) -> list[str]:
        """The names of the strata, by number."""
        return list(self._names)

    def stratum_at(self, position: int) -> str:
        """The stratum of the candidate at a position; empty without strata."""
        return self.strata[self._strata[position]] if self._strata else ""

    def divide_limit(self) -> dict[str, int]:
        """How many each stratum may give; empty without strata or limit."""
        if not self._strata or self.selection.limit is None:
            return {}
        sizes = np.bincount(np.frombuffer(self._strata, dtype=np.dtype(f"u{self._strata.itemsize}")))
        by_name = sorted(self._names.items())
        shares = allocate(self.selection.limit, [int(sizes[index]) for _, index in by_name])
        return {name: share for (name, _), share in zip(by_name, shares, strict=True)}


class _Duplicates:
    """Whether something that says the same was taken already."""

    def __init__(self, dedup: Dedup, tally: Tally) -> None:
        self._dedup = dedup
        self._tally = tally
        self._exact: set[bytes] = set()
        self._near = NearDuplicates() if dedup == "near" else None

    def knows(self, trace: AnyTrace) -> bool:
        """True for a duplicate; otherwise the trace is remembered."""
        if self._dedup == "none":
            return False
        key = bytes.fromhex(digest_wording(trace))[:16]
        if key in self._exact:
            self._tally.num_duplicates += 1
            return True
        if self._near is not None and self._near.has_like(trace.text):
            self._tally.num_near_duplicates += 1
            return True
        self._exact.add(key)
        return False


def digest_wording(trace: AnyTrace) -> str:
    """What two traces share that say the same, whatever their meta, version, and the numbers and types of their steps."""
    if isinstance(trace, Trace):
        wording: list[Any] = [trace.prompt, *(step.content for step in trace.steps), trace.final_answer]
    else:
        wording = [[message.role, message.content] for message in trace.messages]
    return digest_bytes(canonical_json(wording))


def _nothing_selected(selection: Selection, tally: Tally) -> NothingSelected:
    filters = ", ".join(map(str, selection.filters)) or "no filter"
    if tally.num_seen == 0:
        why = "There is no trace in this workspace."
    elif tally.num_matching == 0:
        why = f"None of {tally.num_seen:,} traces matches {filters}."
    else:
        why = f"None of the {tally.num_matching:,} traces that match has a number in {selection.by}."
    return NothingSelected(
        "Nothing was selected, so nothing was built.",
        why=why,
        next_step="`trainwright traces stats` shows which keys and values there are.",
    )


def divide_splits(ids: Iterable[str], strata: Sequence[str], share: float, seed: int) -> list[bool]:
    """For each trace whether it is held out: the share of them (at least one, of two or more) with the smallest hashes.

    With strata, each gives in proportion to its size.
    """
    keys = np.array([derive_seed(seed, "split", trace_id) for trace_id in ids], dtype=np.uint64)
    num_held_out = min(len(keys) - 1, max(1, round(share * len(keys)))) if share > 0 else 0
    members: dict[str, list[int]] = {}
    for position, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(position)
    names = sorted(members)
    held_out = [False] * len(keys)
    for name, number in zip(names, allocate(num_held_out, [len(members[name]) for name in names]), strict=True):
        positions = np.array(members[name])
        for position in positions[np.argsort(keys[positions], kind="stable")][:number]:
            held_out[position] = True
    return held_out
