"""START HERE. The loop of a sweep: what is next → values → plan → trial on record → run → outcome on record.

What is next follows from what is on record alone, so a process that dies anywhere loses nothing: its successor finds the
trial, goes on with its run (or finds that it ended), and proposes what would have been proposed. A trial is on record before
its run begins; values that give no plan are on record with their error.
"""

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trainwright.core.errors import (
    BudgetReached,
    Drift,
    Interrupted,
    InvalidValue,
    MemoryShort,
    NonFiniteLoss,
    OutOfRange,
    RunDamaged,
    SourceTooShort,
    TrainingUnstable,
    TrainwrightError,
    TrialPruned,
    UnknownKey,
    UnknownRef,
    UnsupportedPlan,
    VocabularyTooLarge,
    VocabularyTooSmall,
)
from trainwright.core.manifest import LimitsSection, Manifest, parse_manifest
from trainwright.core.records import Plan, Report, Run, Sweep, Trial, TrialOutcome
from trainwright.pipeline.inspect import find_runs, find_unfinished, outcome_of
from trainwright.pipeline.journal import Journal, Screen
from trainwright.pipeline.prepare import Prepared, load_prepared, prepare, prepare_data
from trainwright.pipeline.run import Options, run_prepared
from trainwright.pipeline.use import find_origin_of
from trainwright.store.workspace import Workspace
from trainwright.sweep.folder import SweepFolder
from trainwright.sweep.proposals import import_optuna, name_sampler, propose
from trainwright.sweep.pruning import Pruner
from trainwright.sweep.record import (
    TrialState,
    find_own_run,
    iter_runs,
    list_own_runs,
    list_standings,
    measure_spent,
    read_trials,
)
from trainwright.sweep.sweep_file import Search
from trainwright.watch.events import Sink, is_finite_number, iter_events, leave_out_undone

IMPOSSIBLE: dict[type[TrainwrightError], str] = {
    **dict.fromkeys((UnknownKey, InvalidValue, OutOfRange, UnsupportedPlan, MemoryShort), ""),
    **dict.fromkeys((VocabularyTooLarge, VocabularyTooSmall), "tokenizer."),
    SourceTooShort: "train.",
}
"""What a trial's own values can be the reason of, so that there is no plan: where a key that begins like this is searched.

Anything else stops the sweep, to be resumed.
"""

UNSOUND = (NonFiniteLoss, TrainingUnstable, TrialPruned)
"""What ends a trial's run for good, with an outcome on record."""


@dataclass(frozen=True)
class Hands:
    """Whom a sweep works with: the workspace, the screen, who hears of events, and what drift was allowed."""

    workspace: Workspace
    screen: Screen
    sinks: tuple[Sink, ...] = ()
    allow_drift: tuple[str, ...] = ()


def begin_sweep(search: Search, hands: Hands) -> Sweep:
    """Put a sweep on record, with the data that it is about. The same search of the same data is the sweep that is there.

    Raises PackageMissing for a sampler that is not there, InvalidValue, and what preparing data raises.
    """
    workspace, journal = hands.workspace, Journal(hands.screen)
    if search.sampler != "grid":
        import_optuna()
    dataset = prepare_data(search.base, workspace, journal)
    origin = find_origin_of(search.base, workspace)
    # A ref may move while the sweep goes on: all trials start from what it names now.
    pinned = [f'train.start="{origin.start.source}"'] if origin is not None and origin.start is not None else []
    sweep = Sweep(
        name=search.name,
        dataset=dataset.id,
        manifest=search.document,
        overrides=(*search.overrides, *pinned),
        space=search.space,
        sampler=search.sampler,
        num_trials=search.num_trials,
        num_seeds=search.num_seeds,
        objective=search.objective,
        pruning=search.pruning,
        seed=search.seed,
    )
    if search.num_seeds > 1:
        require_same_data(sweep, hands)
    workspace.ledger.put(sweep)
    return sweep


def require_same_data(sweep: Sweep, hands: Hands) -> None:
    """Raises InvalidValue where another seed would divide the data in another way (as it does traces of no version)."""
    base = parse_manifest(None, sweep.overrides, copy.deepcopy(sweep.manifest))
    if base.data.traces is None:
        return
    other = prepare_data(base.model_copy(update={"seed": base.seed + 1}), hands.workspace, Journal(hands.screen))
    if other.id != sweep.dataset:
        raise InvalidValue(
            "The traces of this sweep are divided by the seed, so runs with other seeds have other held-out traces.",
            why=f"data.traces is {base.data.traces}, which is no version.",
            next_step="Build a version and name it: trainwright data build NAME@v1",
        )


def carry_out(sweep: Sweep, hands: Hands) -> None:
    """Do what is left of the sweep.

    Raises SweepBusy; Interrupted and BudgetReached, both to be resumed; Drift where the data is no longer what it was; and
    whatever keeps a run from being trained that its values are not the reason of.
    """
    with SweepFolder(sweep.id, hands.workspace).lock(), _own_endings(sweep, hands):
        while True:
            states = read_trials(sweep, hands.workspace)
            following = find_next(sweep, states)
            if following is None:
                return
            _take_turn(sweep, states, *following, hands)


def confirm(sweep: Sweep, number: int, num_runs: int, hands: Hands) -> None:
    """Run a trial with `num_runs` seeds that took no part in choosing it; those that it was run with already are kept.

    Raises as `carry_out`; InvalidValue for a number that no completed trial has.
    """
    state = next((one for one in read_trials(sweep, hands.workspace) if one.number == number), None)
    if state is None or state.status != "completed":
        raise InvalidValue(
            f"Trial {number} of the sweep {sweep.name} cannot be confirmed.",
            why="It is not on record." if state is None else f"It is {state.status}.",
            next_step=f"trainwright sweep show {sweep.id[:12]} lists the trials.",
        )
    require_same_data(sweep, hands)
    with SweepFolder(sweep.id, hands.workspace).lock(), _own_endings(sweep, hands):
        for repeat in range(sweep.num_seeds, sweep.num_seeds + num_runs):
            states = read_trials(sweep, hands.workspace)
            state = next(one for one in states if one.number == number)
            if not any(run.trial.repeat == repeat and run.outcome is not None for run in state.confirming):
                _take_turn(sweep, states, number, repeat, hands)


def find_next(sweep: Sweep, states: Sequence[TrialState]) -> tuple[int, int] | None:
    """(number of the trial, repeat) of what is to be run next; None where nothing is left."""
    for state in states:
        if state.status == "unfinished":
            return state.number, len(state.outcomes)
    return (len(states) + 1, 0) if len(states) < sweep.num_trials else None


# ── one run ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _take_turn(sweep: Sweep, states: Sequence[TrialState], number: int, repeat: int, hands: Hands) -> None:
    """One run, from its values to its outcome on record."""
    ledger = hands.workspace.ledger
    _require_budget(sweep, states, hands)
    known = next(
        (run.trial for run in iter_runs(states) if run.trial.number == number and run.trial.repeat == repeat), None
    )
    if known is not None and known.plan is not None:
        plan = ledger.get(known.plan)
        assert isinstance(plan, Plan)
        trial, prepared, journal = known, load_prepared(hands.workspace, plan), Journal(hands.screen)
        hands.screen.announce(_describe(sweep, trial))
    else:
        values = _find_values(sweep, states, number)
        planned = _plan(sweep, states, number, repeat, values, hands)
        if planned is None:
            return
        trial, prepared, journal = planned
        states = read_trials(sweep, hands.workspace)
    outcome = _settle(sweep, trial, prepared, states, journal, hands)
    ledger.put(outcome)
    said = f"{sweep.objective.metric} {outcome.value:.4f}" if outcome.status == "completed" else outcome.error
    hands.screen.announce(f"trial {number}: {said}")


def _find_values(sweep: Sweep, states: Sequence[TrialState], number: int) -> dict[str, Any]:
    known = next((state for state in states if state.number == number), None)
    if known is not None:
        return known.values
    return propose(sweep, [state.as_ended() for state in states if state.number < number])


def _plan(
    sweep: Sweep, states: Sequence[TrialState], number: int, repeat: int, values: dict[str, Any], hands: Hands
) -> tuple[Trial, Prepared, Journal] | None:
    """Put a trial on record with its plan; None where its values give none, which is then on record as its outcome."""
    workspace, journal = hands.workspace, Journal(hands.screen)
    base = parse_manifest(None, sweep.overrides, copy.deepcopy(sweep.manifest))
    trial = Trial(
        sweep=sweep.id,
        number=number,
        repeat=repeat,
        values=values,
        seed=base.seed + repeat,
        proposed_by=name_sampler(sweep),
        plan=None,
        reused=None,
    )
    hands.screen.announce(_describe(sweep, trial))
    try:
        manifest = build_manifest(sweep, trial)
        origin = find_origin_of(manifest, workspace)
        prepared = prepare(manifest, workspace, journal, origin=origin)
    except tuple(IMPOSSIBLE) as error:
        if not any(one.key.startswith(IMPOSSIBLE[type(error)]) for one in sweep.space):
            raise
        hands.screen.announce(f"trial {number}: {error.name}: {error.message}")
        # The outcome first: a trial on record without a plan would not say why.
        workspace.ledger.put(_build_failure(trial, error))
        workspace.ledger.put(trial)
        return None
    if prepared.dataset.id != sweep.dataset:
        raise Drift(
            f"The data of the sweep {sweep.name} is not what it was when the sweep was begun.",
            why=f"It was dataset {sweep.dataset[:12]}, and is {prepared.dataset.id[:12]} now.",
            next_step="Put the text back as it was, or begin a new sweep: trainwright sweep run",
        )
    planned = trial.model_copy(
        update={"plan": prepared.plan.id, "reused": _find_reusable(prepared.plan, states, workspace)}
    )
    workspace.ledger.put(planned)
    return planned, prepared, journal


def build_manifest(sweep: Sweep, trial: Trial) -> Manifest:
    """The manifest of a trial's run. Raises UnknownKey, InvalidValue, OutOfRange."""
    asked = trial.values | {"seed": trial.seed, "name": f"{sweep.name}-{trial.number}"}
    overrides = [f"{key}={json.dumps(value)}" for key, value in asked.items()]
    return parse_manifest(None, [*sweep.overrides, *overrides], copy.deepcopy(sweep.manifest))


def _find_reusable(plan: Plan, states: Sequence[TrialState], workspace: Workspace) -> str | None:
    """A run that tells what this plan gives: one that fulfilled it, or that ended in another way for an earlier trial."""
    for run in find_runs(workspace, plan.id):
        end = outcome_of(run, workspace)
        if end is not None and end.status == "completed":
            return run.id
    earlier = (run.outcome for run in iter_runs(states) if run.trial.plan == plan.id and run.outcome is not None)
    return next((outcome.run for outcome in earlier), None)


def _settle(
    sweep: Sweep, trial: Trial, prepared: Prepared, states: Sequence[TrialState], journal: Journal, hands: Hands
) -> TrialOutcome:
    """What comes of a trial: of the run that it reuses, of its own that has ended, or of the one that is trained now."""
    workspace = hands.workspace
    if trial.reused is not None:
        run = workspace.ledger.get(trial.reused)
        assert isinstance(run, Run)
        return conclude(sweep, trial, run, workspace)
    own = find_own_run(trial, workspace)
    if own is not None and outcome_of(own, workspace) is not None:
        return conclude(sweep, trial, own, workspace)
    return conclude(sweep, trial, _train(sweep, trial, prepared, states, journal, hands), workspace)


def _train(
    sweep: Sweep, trial: Trial, prepared: Prepared, states: Sequence[TrialState], journal: Journal, hands: Hands
) -> Run:
    """Train the trial's run to its end, as `trainwright run --resume` would."""
    workspace = hands.workspace
    unfinished = find_unfinished(workspace, trial.plan)
    manifest = build_manifest(sweep, trial)
    costs = manifest.costs.model_copy(update={"limits": _share_out(sweep, trial, states, workspace)})
    manifest = manifest.model_copy(update={"costs": costs})
    sinks = [*hands.sinks]
    if sweep.pruning is not None and trial.repeat == 0:
        known = read_validations(unfinished[0], sweep.objective.metric, workspace) if unfinished else {}
        others = [state.validations for state in states if state.number < trial.number]
        num_steps = prepared.plan.training.num_steps
        sinks.append(Pruner(sweep.pruning, sweep.objective, others, known, num_steps))
    options = Options(resume=bool(unfinished), allow_drift=hands.allow_drift)
    try:
        return run_prepared(prepared, manifest, workspace, journal, sinks, options).run
    except UNSOUND:
        return (unfinished or find_runs(workspace, trial.plan))[0]


def conclude(sweep: Sweep, trial: Trial, run: Run, workspace: Workspace) -> TrialOutcome:
    """The outcome of a trial whose run has ended, from what that run left on record."""
    end, metric = outcome_of(run, workspace), sweep.objective.metric
    assert end is not None, "the run has not ended"
    validations = tuple(sorted(read_validations(run, metric, workspace).items()))
    status, error, value, step = end.status, end.error, None, None
    if status == "completed":
        report = workspace.ledger.get(str(end.report))
        measure = report.metrics.get(metric) if isinstance(report, Report) else None
        value = None if measure is None else measure.value
        if value is None:
            why = "its report does not have it" if measure is None else measure.why_not
            status, error = "failed", f"objective-missing: The run has no {metric}: {why}"
    elif status == "pruned" and validations:
        step, value = validations[-1]
    return TrialOutcome(
        trial=trial.id,
        status=status,
        run=run.id,
        report=end.report,
        value=value,
        step=step,
        validations=validations,
        error=error,
    )


def _build_failure(trial: Trial, error: TrainwrightError) -> TrialOutcome:
    return TrialOutcome(
        trial=trial.id,
        status="failed",
        run=None,
        report=None,
        value=None,
        step=None,
        validations=(),
        error=f"{error.name}: {error.message}",
    )


def read_validations(run: Run, metric: str, workspace: Workspace) -> dict[int, float]:
    """{step: objective} of a run's validations, those that a rollback undid left out; empty where its folder is gone."""
    try:
        path = workspace.find_run_folder(run.id).events_path
    except (UnknownRef, RunDamaged):
        return {}
    events = leave_out_undone(iter_events(path)) if path.exists() else []
    return {
        event["step"]: float(event[metric])
        for event in events
        if event["kind"] == "validation" and is_finite_number(event.get(metric))
    }


def _describe(sweep: Sweep, trial: Trial) -> str:
    shown = ((one.key, trial.values[one.key]) for one in sweep.space)
    values = ", ".join(f"{key} {f'{value:.4g}' if isinstance(value, float) else value}" for key, value in shown)
    seed = f", seed {trial.seed}" if sweep.num_seeds > 1 or trial.repeat else ""
    return f"trial {trial.number} of {sweep.num_trials}: {values}{seed}"


# ── what it may spend ─────────────────────────────────────────────────────────────────────────────────────────────────
def _require_budget(sweep: Sweep, states: Sequence[TrialState], hands: Hands) -> None:
    """Raises BudgetReached where nothing is left of a limit."""
    limits = SweepFolder(sweep.id, hands.workspace).read_limits()
    if limits == LimitsSection():
        return
    spent = measure_spent(list(list_own_runs(states, hands.workspace)), hands.workspace)
    for standing in list_standings(limits, spent):
        if standing.is_reached:
            what, unit = standing.budget.what, standing.spent.unit or standing.budget.what
            raise BudgetReached(
                f"The limit of the sweep {sweep.name} is reached: {standing.spent.value:,.4g} of "
                f"{standing.budget.limit:,.4g} {unit} are spent.",
                why="A limit on what its runs may spend together was set.",
                next_step=f"trainwright sweep resume {sweep.id[:12]} --{what.replace('_', '-')} N, with a higher one",
            )


def _share_out(sweep: Sweep, trial: Trial, states: Sequence[TrialState], workspace: Workspace) -> LimitsSection:
    """What this trial's run may spend: all that the other runs of the sweep left."""
    limits = SweepFolder(sweep.id, workspace).read_limits()
    if limits == LimitsSection():
        return limits
    runs = list_own_runs(states, workspace)
    others = measure_spent([run for run, plan in runs.items() if plan != trial.plan], workspace)
    left: dict[str, Any] = {}
    for standing in list_standings(limits, others):
        # Where what is spent is not known, the run itself refuses to begin, and says why.
        rest = standing.budget.limit - (standing.spent.value or 0)
        left[standing.budget.what] = int(rest) if standing.budget.what == "tokens" else rest
    return LimitsSection(**left)


@contextmanager
def _own_endings(sweep: Sweep, hands: Hands) -> Iterator[None]:
    """Say of a stop what it means for the sweep, and how to go on with it."""
    resume = f"trainwright sweep resume {sweep.id[:12]}"
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        states = read_trials(sweep, hands.workspace)
        num_ended = sum(state.status != "unfinished" for state in states)
        raise Interrupted(
            f"The sweep {sweep.name} was stopped after {num_ended} of {sweep.num_trials} trials; everything is saved.",
            why="A stop was asked for.",
            next_step=resume,
        ) from None
    except BudgetReached as error:
        _require_budget(sweep, read_trials(sweep, hands.workspace), hands)
        # Not the sweep's own limit, but that of the project which its runs belong to.
        raise BudgetReached(error.message, why=error.why, next_step=f"Raise it, and go on: {resume}") from None
