"""From a candidate and a policy to a decision: its evaluations found, compared with the baseline's, judged gate by gate.

Nothing is evaluated here. What a gate needs has to be on record (`trainwright evaluate REF --suite NAME`); what is not there
makes the gate fail, and the gate says what is missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainwright.core.errors import (
    EvaluationError,
    GateRefused,
    InvalidValue,
    ObjectDamaged,
    ObjectMissing,
    TraceForgotten,
)
from trainwright.core.records import (
    Checkpoint,
    Condition,
    Decision,
    Estimate,
    Gate,
    GateResult,
    ItemScore,
    Policy,
    Release,
    Stage,
    Verdict,
)
from trainwright.evaluate.comparability import require_same_items, require_same_metrics, require_same_prompts
from trainwright.evaluate.comparison import EDGE
from trainwright.evaluate.contamination import Overlap, find_overlap
from trainwright.evaluate.figures import (
    bounds,
    count_missing,
    direction,
    measure,
    measure_difference,
    spread,
)
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.statistics import count_items_to_settle
from trainwright.pipeline.evaluate import Evaluated
from trainwright.pipeline.on_record import OnRecord
from trainwright.pipeline.training_text import find_training_text
from trainwright.pipeline.use import find_checkpoint
from trainwright.release.gates import NOTHING_MISSING, Evidence, Missing, combine, judge_gate, refuse_gate
from trainwright.release.registry import read_current
from trainwright.store.ledger import read_clock
from trainwright.store.workspace import Workspace

NUM_NAMED = 5
SEED = 0
"""Of every bootstrap: equal tables give equal intervals."""


def decide(
    name: str, stage: Stage, ref: str, policy: Policy, workspace: Workspace, *, who: str, dry_run: bool = False
) -> Decision:
    """Judge the checkpoint that `ref` names for a stage of `name`. The decision is on record unless `dry_run`.

    Raises InvalidValue for a policy of another stage, and what `find_checkpoint` raises. It does not raise where a gate
    refuses: see `require_passed`.
    """
    if policy.stage != stage:
        raise InvalidValue(
            f"The policy {policy.name} is for {policy.stage}, not for {stage}.",
            next_step="Name the policy of that stage with --policy.",
        )
    candidate = OnRecord(find_checkpoint(ref, workspace), workspace, "the candidate")
    current = read_current(name, policy.stage, workspace.ledger)
    baseline = _find_baseline(policy, current, workspace)
    court = _Court(policy, candidate, baseline, is_first=policy.baseline == "current" and current is None)
    gates = tuple(result for gate in policy.gates for result in court.judge(gate))
    judged = {found.record.id: found.record for found in court.list_judged()}
    verdict = _find_verdict(candidate.checkpoint, workspace)
    conditions = tuple(_check_conditions(policy, candidate, court.list_items(), verdict, workspace))
    decision = Decision(
        name=name,
        stage=policy.stage,
        policy=policy.id,
        checkpoint=candidate.checkpoint.id,
        replaces=None if current is None else current.id,
        baseline=None if baseline is None else baseline.checkpoint.id,
        verdict=None if verdict is None else verdict.id,
        evaluations=tuple(judged),
        all_evaluations=tuple(found.id for found in candidate.evaluations),
        outcome=combine(gates, conditions),
        gates=gates,
        conditions=conditions,
        at=read_clock(),
        who=who,
    )
    if not dry_run:
        workspace.ledger.put(policy)
        workspace.ledger.put(decision)
    return decision


def require_passed(decision: Decision) -> None:
    """Raises GateRefused where the decision is not a pass, naming what did not."""
    if decision.outcome == "pass":
        return
    refused = [
        f"{result.gate.suite} {result.gate.metric}{f' ({result.part})' if result.part else ''}: {result.outcome}, {result.why}"
        for result in decision.gates
        if result.outcome != "pass"
    ] + [f"{one.name}: {one.outcome}, {one.why}" for one in decision.conditions if one.outcome != "pass"]
    needed = max((result.items_to_settle or 0 for result in decision.gates), default=0)
    advice = f" About {needed:,} items would settle what is inconclusive." if needed else ""
    raise GateRefused(
        f"{decision.name} may not stand at {decision.stage}: {decision.outcome}.",
        why="; ".join(refused) + ".",
        next_step=f"Mend the model, or evaluate what is missing, and ask again.{advice}",
    )


def _find_baseline(policy: Policy, current: Release | None, workspace: Workspace) -> OnRecord | None:
    if policy.baseline == "none":
        return None
    if policy.baseline != "current":
        return OnRecord(find_checkpoint(policy.baseline, workspace), workspace, "the baseline")
    if current is None:
        return None
    record = workspace.ledger.get(current.checkpoint)
    assert isinstance(record, Checkpoint)
    return OnRecord(record, workspace, "the baseline")


@dataclass(frozen=True)
class _Pair:
    """The tables that a gate is about; the second is None where there is nothing to compare with."""

    candidate: list[ItemScore]
    baseline: list[ItemScore] | None


class _Court:
    """Brings the figures of each gate together. `is_first`: nothing stands at the stage yet."""

    def __init__(self, policy: Policy, candidate: OnRecord, baseline: OnRecord | None, *, is_first: bool) -> None:
        self._policy, self._candidate, self._baseline, self._is_first = policy, candidate, baseline, is_first
        self._judged: dict[str, Evaluated] = {}

    def list_items(self) -> list[EvalItem]:
        """Every item that was judged by, once. Two evalsets may call different ones by one id."""
        return list({item.model_dump_json(): item for found in self._judged.values() for item in found.items}.values())

    def list_judged(self) -> list[Evaluated]:
        """The evaluations that were used, candidate's and baseline's."""
        return list(self._judged.values())

    def judge(self, gate: Gate) -> Iterator[GateResult]:
        """One result, or one for each value of the slice that the gate asks for."""
        try:
            better = direction(gate.metric)
            tables = self._find_tables(gate)
        except (EvaluationError, ObjectMissing, ObjectDamaged, TraceForgotten) as error:
            yield refuse_gate(gate, f"{error.message} {error.why}".strip())
            return
        except ValueError as error:  # no such metric
            yield refuse_gate(gate, str(error))
            return
        for part, pair in _divide(gate, tables):
            yield self._judge_part(gate, part, pair, better)

    def _judge_part(self, gate: Gate, part: str, pair: _Pair, better: Literal["higher", "lower", "zero"]) -> GateResult:
        if not pair.candidate:
            return refuse_gate(gate, f"no item has the slice {gate.by}", part)
        alpha, compares = 2 * self._policy.alpha, gate.kind in ("non_inferior", "superior")
        candidate = measure(gate.metric, pair.candidate, alpha, cluster=gate.cluster, seed=SEED)
        baseline = difference = None
        if compares and pair.baseline is not None:
            baseline = measure(gate.metric, pair.baseline, alpha, cluster=gate.cluster, seed=SEED)
            difference = measure_difference(
                gate.metric, pair.baseline, pair.candidate, alpha, cluster=gate.cluster, seed=SEED
            )
        evidence = Evidence(
            candidate=candidate,
            better=better,
            part=part,
            baseline=baseline,
            difference=difference,
            spread=spread(
                gate.metric, pair.candidate, pair.baseline if compares else None, cluster=gate.cluster, seed=SEED
            ),
            edge=_find_edge(gate.metric, candidate, baseline),
            is_first=compares and self._is_first,
            missing=Missing(*count_missing(gate.metric, pair.candidate)),
            baseline_missing=NOTHING_MISSING
            if pair.baseline is None
            else Missing(*count_missing(gate.metric, pair.baseline)),
            identical=pair.baseline is not None and _summarise(pair.candidate) == _summarise(pair.baseline),
        )
        return judge_gate(gate, evidence, self._settle)

    def _settle(self, spread: float, distance: float) -> int | None:
        return count_items_to_settle(spread, distance, self._policy.alpha)

    def _find_tables(self, gate: Gate) -> _Pair:
        """The candidate's table, and the baseline's of the same items asked in the same words.

        Raises EvaluationError where there is none, or the two cannot be compared.
        """
        candidate = self._require(self._candidate, gate)
        if gate.kind not in ("non_inferior", "superior") or self._baseline is None:
            return _Pair(candidate.rows, None)
        baseline = self._require(self._baseline, gate)
        require_same_items(*(_describe_items(one) for one in (baseline, candidate)))
        require_same_prompts(*(_describe_prompts(one) for one in (baseline, candidate)))
        require_same_metrics(baseline.record, candidate.record)
        if baseline.record.settings != candidate.record.settings:
            raise EvaluationError("The two were asked in other ways.", why="Their decoding settings are not equal.")
        return _Pair(candidate.rows, baseline.rows)

    def _require(self, side: OnRecord, gate: Gate) -> Evaluated:
        evaluated = side.require(gate)
        self._judged[evaluated.record.id] = evaluated
        return evaluated


def _divide(gate: Gate, tables: _Pair) -> Iterator[tuple[str, _Pair]]:
    """The tables by the values of the slice that the gate asks for; items without one are a part of their own."""
    if gate.by is None:
        yield "", tables
        return
    found = {row.slices.get(gate.by) for rows in (tables.candidate, tables.baseline or ()) for row in rows}
    values = sorted(value for value in found if value is not None)
    if not values:
        yield "", _Pair([], None)
        return
    for value in [*values, *([None] if None in found else [])]:
        candidate, baseline = (
            None if rows is None else [row for row in rows if row.slices.get(str(gate.by)) == value]
            for rows in (tables.candidate, tables.baseline)
        )
        yield f"{gate.by}={value}" if value is not None else f"no {gate.by}", _Pair(candidate or [], baseline)


def _find_edge(metric: str, candidate: Estimate, baseline: Estimate | None) -> Literal["floor", "ceiling"] | None:
    limits = bounds(metric)
    if limits is None or baseline is None or candidate.value is None or baseline.value is None:
        return None
    low, high = limits
    shares = [(value - low) / (high - low) for value in (candidate.value, baseline.value)]
    return "floor" if max(shares) <= EDGE else "ceiling" if min(shares) >= 1 - EDGE else None


def _summarise(rows: list[ItemScore]) -> set[tuple[object, ...]]:
    return {(row.item_id, row.metric, row.output, row.answer, row.score, row.status) for row in rows}


def _describe_items(found: Evaluated) -> dict[str, dict[str, object]]:
    return {item.id: item.model_dump(mode="json", exclude={"id"}) for item in found.items}


def _describe_prompts(found: Evaluated) -> dict[str, str]:
    return dict(zip((item.id for item in found.items), found.prompts, strict=True))


# ── conditions ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _check_conditions(
    policy: Policy, candidate: OnRecord, items: list[EvalItem], verdict: Verdict | None, workspace: Workspace
) -> Iterator[Condition]:
    if policy.max_overlap is not None or policy.canaries:
        yield _check_contamination(policy, candidate.checkpoint, items, workspace)
    if policy.require_verdict:
        yield _check_verdict(verdict, candidate.checkpoint)


def _check_contamination(
    policy: Policy, checkpoint: Checkpoint, items: list[EvalItem], workspace: Workspace
) -> Condition:
    if not items and policy.max_overlap is not None:
        return Condition(name="contamination", outcome="fail", why="no item was judged, so none was looked for")
    text = find_training_text(checkpoint, workspace)
    try:
        overlap = find_overlap(items, text.iter_texts(workspace), policy.canaries)
    except (ObjectMissing, ObjectDamaged, TraceForgotten, InvalidValue) as error:
        return Condition(name="contamination", outcome="fail", why=f"not all training text is there: {error.message}")
    is_clean = not overlap.canaries and (policy.max_overlap is None or overlap.share <= policy.max_overlap)
    why = _describe_overlap(overlap, policy)
    if text.imported:
        names = ", ".join(model.name for model in text.imported)
        why += f"; what {names} was trained on before is not on record, and was not looked at"
    return Condition(name="contamination", outcome="pass" if is_clean else "fail", why=why)


def _describe_overlap(overlap: Overlap, policy: Policy) -> str:
    if overlap.canaries:
        return f"the training text holds {len(overlap.canaries)} of the texts that must not be in it: {overlap.canaries[0]!r}"
    named = ", ".join(overlap.found[:NUM_NAMED]) + (" …" if len(overlap.found) > NUM_NAMED else "")
    found = (
        f"{len(overlap.found)} of {overlap.num_items} items stand in the training text{f' ({named})' if named else ''}"
    )
    limit = "" if policy.max_overlap is None else f"; {policy.max_overlap:.0%} may"
    return found + limit


def _find_verdict(checkpoint: Checkpoint, workspace: Workspace) -> Verdict | None:
    """The newest verdict about the candidate's run; one that it differs stands until that step came out the same."""
    ledger = workspace.ledger
    children = [ledger.get(child) for role, child in ledger.children(checkpoint.run) if role == "run"]
    verdicts = sorted((record for record in children if isinstance(record, Verdict)), key=lambda verdict: verdict.at)
    standing = [
        verdict
        for number, verdict in enumerate(verdicts)
        if verdict.status == "differs" and not any(_clears(later, verdict) for later in verdicts[number + 1 :])
    ]
    found = standing or verdicts
    return found[-1] if found else None


def _clears(later: Verdict, verdict: Verdict) -> bool:
    """Whether a later verdict computed again, and found right, what an earlier one says is different."""
    if later.status != "verified":
        return False
    if verdict.difference is None:
        return later.share >= 1
    return any(interval.first_step < verdict.difference.step <= interval.last_step for interval in later.intervals)


def _check_verdict(verdict: Verdict | None, checkpoint: Checkpoint) -> Condition:
    if verdict is None:
        why = f"the run was not computed again: trainwright verify {checkpoint.run[:12]}"
        return Condition(name="verdict", outcome="fail", why=why)
    is_good = verdict.status == "verified"
    why = f"{verdict.status}, {verdict.share:.0%} of the steps computed again on {verdict.at[:10]}"
    return Condition(name="verdict", outcome="pass" if is_good else "fail", why=why)
