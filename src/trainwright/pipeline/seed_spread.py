"""How far runs of one plan lie apart that differ in their seed alone: what training varies by."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trainwright.core.errors import InvalidValue
from trainwright.core.records import Checkpoint, Evaluation, Outcome, Plan, Report, Run
from trainwright.evaluate.figures import measure_all
from trainwright.evaluate.statistics import SeedSpread, summarise_seeds
from trainwright.evaluate.table import parse_table
from trainwright.pipeline.inspect import find_runs, outcome_of
from trainwright.pipeline.use import find_model
from trainwright.store.workspace import Workspace


@dataclass(frozen=True)
class Seeds:
    """Finished runs of one plan, {run: seed}, and their figures: of the report, and of evaluations all have in common."""

    seeds: dict[str, int]
    figures: dict[str, SeedSpread]

    def as_document(self) -> dict[str, Any]:
        """What `runs seeds --json` prints."""
        return {
            "runs": [{"run_id": run, "seed": seed} for run, seed in self.seeds.items()],
            "figures": {name: spread.model_dump(mode="json") for name, spread in self.figures.items()},
        }


def measure_seeds(ref: str, workspace: Workspace) -> Seeds:
    """The finished runs whose plans are that of `ref` but for the seed; of several runs of one plan, the newest.

    Raises InvalidValue where none is finished; what `find_model` raises.
    """
    plan = find_model(ref, workspace).prepared.plan
    finished = {
        run.id: (other.seed, outcome)
        for other in _iter_siblings(plan, workspace)
        for run, outcome in list(_iter_finished(other, workspace))[:1]
    }
    if not finished:
        raise InvalidValue(f"No run of {ref} is finished.", next_step="Finish it: trainwright resume")
    figures = [_read_figures(outcome, workspace) for _, outcome in finished.values()]
    shared = [name for name in figures[0] if all(name in found for found in figures)]
    return Seeds(
        {run: seed for run, (seed, _) in finished.items()},
        {name: summarise_seeds([found[name] for found in figures]) for name in shared},
    )


def _iter_siblings(plan: Plan, workspace: Workspace) -> Iterator[Plan]:
    for role, child in workspace.ledger.children(plan.token_set):
        other = workspace.ledger.get(child) if role == "token_set" else None
        if isinstance(other, Plan) and other.model_copy(update={"seed": plan.seed}).id == plan.id:
            yield other


def _iter_finished(plan: Plan, workspace: Workspace) -> Iterator[tuple[Run, Outcome]]:
    for run in find_runs(workspace, plan.id):
        outcome = outcome_of(run, workspace)
        if outcome is not None and outcome.status == "completed" and outcome.checkpoint is not None:
            yield run, outcome


def _read_figures(outcome: Outcome, workspace: Workspace) -> dict[str, float]:
    """Of the report by its own names; of an evaluation as `metric (what was asked)`."""
    report = workspace.ledger.get(outcome.report) if outcome.report else None
    figures = (
        {}
        if not isinstance(report, Report)
        else {name: measure.value for name, measure in report.metrics.items() if measure.value is not None}
    )
    assert outcome.checkpoint is not None
    for evaluation in _iter_evaluations(outcome.checkpoint, workspace):
        for name, estimate in measure_all(parse_table(workspace.objects.get(evaluation.table))).items():
            if estimate.value is not None:
                figures[f"{name} ({evaluation.evalset} {evaluation.prompts[:8]})"] = estimate.value
    return figures


def _iter_evaluations(checkpoint: str, workspace: Workspace) -> Iterator[Evaluation]:
    """In the order of putting, so that the newest of one kind has the last word."""
    if isinstance(workspace.ledger.get(checkpoint), Checkpoint):
        for role, child in workspace.ledger.children(checkpoint):
            record = workspace.ledger.get(child) if role == "checkpoint" else None
            if isinstance(record, Evaluation):
                yield record
