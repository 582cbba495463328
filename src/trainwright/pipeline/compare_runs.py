"""Runs side by side: what was set differently, what came of it, and which of their numbers may be compared at all."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from trainwright.core.errors import InvalidValue
from trainwright.core.records import DatasetVersion, Plan, Tokenizer, TokenSet
from trainwright.pipeline.inspect import RunState, find_run, read_state
from trainwright.store.workspace import Workspace
from trainwright.watch.comparison import Comparison, Contestant, Difference, Metric
from trainwright.watch.events import iter_events
from trainwright.watch.trackers.protocol import flatten

METRICS = {
    "bits_per_byte": "bits/byte",
    "val_loss": "nats/token",
    "perplexity": "per token",
    "accuracy": "share of tokens",
    "final_train_loss": "nats/token",
    "best_val_loss": "nats/token",
    "total_training_time_s": "s",
}
PER_TOKEN = frozenset({"val_loss", "perplexity", "accuracy", "final_train_loss", "best_val_loss"})
"""What counts tokens, and so means something else with another tokenizer."""

HELD_OUT = frozenset({"bits_per_byte", "val_loss", "perplexity", "accuracy", "best_val_loss"})

UNIMPORTANT = {"kind", "semantics"}


@dataclass(frozen=True)
class _Side:
    """One run with what is compared of it."""

    state: RunState
    plan: Plan
    token_set: TokenSet
    dataset: DatasetVersion
    tokenizer: Tokenizer
    environment: dict[str, Any]
    final_metrics: dict[str, Any]

    @property
    def held_out(self) -> str:
        """The digest of its held-out documents."""
        return self.dataset.splits["validation"].documents

    @property
    def configuration(self) -> dict[str, Any]:
        """Dotted keys: what was asked of the data and of the tokenizer, and the plan."""
        data = {"source": self.dataset.source, **self.dataset.recipe}
        tokenizer = {"algorithm": self.tokenizer.algorithm, **self.tokenizer.settings}
        return flatten({"data": data, "tokenizer": tokenizer, **self.plan.model_dump(mode="json", exclude=UNIMPORTANT)})


def compare_runs(refs: Sequence[str], workspace: Workspace) -> Comparison:
    """Compare two or more runs. Raises InvalidValue for fewer, UnknownRef, AmbiguousRef, RunDamaged, EventsDamaged."""
    runs = {run.id: run for run in (find_run(ref, workspace) for ref in refs)}
    if len(runs) < 2:
        raise InvalidValue(
            "A comparison takes two runs or more.",
            why=f"{', '.join(refs)} name{'s' if len(refs) == 1 else ''} {len(runs)}.",
            next_step="`trainwright runs list` shows what there is.",
        )
    sides = [_read_side(read_state(run, workspace), workspace) for run in runs.values()]
    same_tokens = _agree(sides, lambda side: side.token_set.tokenizer_fingerprint)
    same_text = _agree(sides, lambda side: side.held_out)
    return Comparison(
        contestants=[_describe_contestant(side) for side in sides],
        configuration=_compare_documents([side.configuration for side in sides]),
        environment=_compare_documents([flatten(side.environment) for side in sides]),
        metrics=_compare_metrics(sides, same_tokens=same_tokens, same_text=same_text),
        notes=_list_notes(same_tokens=same_tokens, same_text=same_text),
        same_tokens=same_tokens,
    )


def _read_side(state: RunState, workspace: Workspace) -> _Side:
    plan = state.folder.read_plan()
    token_set = workspace.ledger.get(plan.token_set)
    if not isinstance(token_set, TokenSet):
        raise TypeError(f"plan {plan.id} does not name a token set")
    dataset, tokenizer = workspace.ledger.get(token_set.dataset), workspace.ledger.get(token_set.tokenizer)
    if not isinstance(dataset, DatasetVersion) or not isinstance(tokenizer, Tokenizer):
        raise TypeError(f"token set {token_set.id} does not name a dataset and a tokenizer")
    metrics_path = state.folder.metrics_path
    metrics = json.loads(metrics_path.read_bytes())["final_metrics"] if metrics_path.exists() else {}
    return _Side(state, plan, token_set, dataset, tokenizer, state.folder.read_environment(), metrics)


def _agree(sides: Sequence[_Side], what: Callable[[_Side], str]) -> bool:
    return all(what(one) == what(other) for one, other in pairwise(sides))


def _describe_contestant(side: _Side) -> Contestant:
    run, path = side.state.run, side.state.folder.events_path
    return Contestant(
        run_id=run.id,
        label=f"{run.name} {run.id[:8]}",
        status=side.state.status,
        step=side.state.step,
        num_steps=side.state.num_steps,
        events=list(iter_events(path)) if path.exists() else [],
    )


def _compare_documents(documents: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """The keys whose values are not the same everywhere; a key that one lacks has None there."""
    keys = dict.fromkeys(key for document in documents for key in document)
    rows = [Difference(key, [document.get(key) for document in documents]) for key in keys]
    return [row for row in rows if any(one != other for one, other in pairwise(row.values))]


def _compare_metrics(sides: Sequence[_Side], *, same_tokens: bool, same_text: bool) -> list[Metric]:
    metrics = []
    for name, unit in METRICS.items():
        reasons = []
        if name in PER_TOKEN and not same_tokens:
            reasons.append("the tokenizers differ")
        if name in HELD_OUT and not same_text:
            reasons.append("the held-out texts differ")
        values = [side.final_metrics.get(name) for side in sides]
        metrics.append(Metric(name, unit, values, why_not=", and ".join(reasons)))
    return metrics


def _list_notes(*, same_tokens: bool, same_text: bool) -> list[str]:
    notes = []
    if not same_tokens:
        notes.append(
            "The tokenizers differ: losses, perplexity and accuracy count other tokens; compare bits per byte."
        )
    if not same_text:
        notes.append("The held-out texts differ: no held-out number of one run can be held against the other's.")
    return notes
