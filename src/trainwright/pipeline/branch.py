"""A run that goes on from another run's checkpoint, with other settings if wanted. It is a run of its own, with a plan of its
own that names the checkpoint: so the branch is in the lineage, and the checkpoint is never deleted.

Steps are counted on from the checkpoint's, so that with nothing changed the branch ends in the other run's very weights.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from trainwright.backends.catalogue import require_supported, require_working
from trainwright.backends.choice import carry_over
from trainwright.core.errors import Drift, InvalidValue, OutOfRange
from trainwright.core.manifest import Manifest, list_override_keys, parse_manifest
from trainwright.core.plan import describe_training, resolve_budgets, resolve_training
from trainwright.core.records import Compute, Plan, Start, TrainingPlan
from trainwright.pipeline.accounts import read_account, write_account
from trainwright.pipeline.drift import (
    FRAMEWORK,
    compare_environments,
    compare_frameworks,
    read_last_environment,
    read_run_environment,
    render_change,
    require_known_names,
)
from trainwright.pipeline.imported import require_runnable
from trainwright.pipeline.journal import Journal
from trainwright.pipeline.prepare import check_footprint, load_prepared
from trainwright.pipeline.publish import require_free
from trainwright.pipeline.run import Finished, Options, choose_folder, fulfil
from trainwright.pipeline.track import read_watch, write_watch
from trainwright.pipeline.use import TrainedModel, find_model
from trainwright.prerequisites import require_all
from trainwright.store.checkpoints import read_checkpoint
from trainwright.store.workspace import Workspace
from trainwright.watch.events import Sink

CHANGEABLE = ("name", "train.", "budgets.", "compute.framework")
FIXED = {
    "train.adapter": "The checkpoint holds what its run trained.",
    "train.allow_pickle": "Nothing is taken in.",
    "train.start": "The checkpoint that --from names is what it starts from.",
    "train.epochs": "The new total is given in steps.",
    "train.time_budget_s": "The new total is given in steps.",
    "train.batch_size": "It decides which text each step has read.",
    "train.max_seq_length": "It decides which text each step has read.",
    "train.packing": "It decides which text each step has read.",
    "train.init_scale": "The weights are there already.",
    "train.optimizer.name": "The checkpoint holds what the other optimizer remembers.",
}
"""Keys that a branch cannot change though they begin like those that it can, and why."""


def branch(
    ref: str, overrides: Sequence[str], workspace: Workspace, journal: Journal, sinks: list[Sink], options: Options
) -> Finished:
    """Train on from the checkpoint that `ref` names (RUN@STEP; a run's best without a step), then validate and publish.

    Raises UnknownRef, InvalidValue and OutOfRange for settings that a branch cannot have, CheckpointDamaged, and Drift where
    another framework is to go on and that is not allowed.
    """
    require_free(options.output_dir, workspace, overwrite=options.overwrite)
    with journal.phase("plan") as phase:
        source = find_model(ref, workspace)
        record = read_checkpoint(source.path).record
        parent = source.prepared.plan
        manifest, plan = build_branch_plan(parent, record.step, record.id, overrides)
        _require_framework(parent, plan, shlex.join(["--from", ref, *overrides]), options)
        require_all(check_footprint(plan.model, plan.training, workspace))
        workspace.ledger.put(record)
        workspace.ledger.put(plan)  # from here on the checkpoint is held
        read_checkpoint(source.path, expected=record)
        _announce_drift(source, plan, workspace, journal)
        phase.detail = f"from step {record.step:,} of run {source.run.id[:12]} to step {plan.training.num_steps:,}"
    prepared = load_prepared(workspace, plan)
    folder = choose_folder(prepared, manifest.name or source.run.name, workspace, journal, options)
    write_watch(folder, read_watch(source.folder))  # whoever followed the source follows what became of it
    write_account(
        folder.read_run().id, read_account(source.run.id, workspace), workspace
    )  # and whoever paid for it pays
    return fulfil(prepared, folder, workspace, journal, sinks, options)


def build_branch_plan(parent: Plan, step: int, checkpoint_id: str, overrides: Sequence[str]) -> tuple[Manifest, Plan]:
    """The plan of a branch, and the manifest as far as it matters (its name). What is not overridden is the parent's.

    Raises UnknownKey, InvalidValue, OutOfRange.
    """
    base = {"train": describe_training(parent.training)}
    before, wanted = (parse_manifest(None, given, base) for given in ([], overrides))
    for key in list_override_keys(overrides):
        _require_changeable(key)
    old, new = (_resolve(manifest, parent.training) for manifest in (before, wanted))
    training = TrainingPlan.model_validate(_carry_over(parent.training.model_dump(), old, new))
    old, new = (resolve_budgets(manifest).model_dump() for manifest in (before, wanted))
    budgets = _carry_over(parent.budgets.model_dump(), old, new)
    _require_possible(parent.training, training, step)
    start = Start(source=checkpoint_id, mode="continue")
    changes = {"training": training, "budgets": budgets, "start": start, "compute": _choose_compute(wanted, parent)}
    return wanted, parent.model_copy(update=changes)


def _choose_compute(manifest: Manifest, parent: Plan) -> Compute:
    """Where the run that it goes on from computed; in another framework, where one is named."""
    wanted = manifest.compute.framework
    if wanted in ("auto", parent.compute.framework):
        return parent.compute
    if not isinstance(wanted, str) or wanted == "auto":
        raise _refuse("compute.framework", "One framework goes on with what another one wrote.")
    require_runnable(parent.model, wanted)
    compute = carry_over(parent.compute, wanted)
    require_supported(compute, parent.training.optimizer, parent.model)
    require_working(wanted, compute.device)
    return compute


def _require_framework(parent: Plan, plan: Plan, words: str, options: Options) -> None:
    """Raises Drift where another framework is to go on than the one that wrote the checkpoint, and that is not allowed."""
    require_known_names(options.allow_drift)
    if compare_frameworks(parent, plan) and FRAMEWORK not in options.allow_drift:
        raise Drift(
            f"The checkpoint was written by {parent.compute.framework}, and {plan.compute.framework} is to go on.",
            why="Weights and what the optimizer remembers are taken over; what comes of them differs in the last digits.",
            next_step=f"Have it put on record: trainwright train {words} --allow-drift {FRAMEWORK}",
        )


def _resolve(manifest: Manifest, parent: TrainingPlan) -> dict[str, Any]:
    num_steps = manifest.train.steps
    if num_steps is None:
        raise _refuse("train.steps", "The new total is given in steps.")
    return resolve_training(manifest.train, parent.steps_per_epoch * parent.batch_size, num_steps).model_dump()


def _carry_over(parent: Mapping[str, Any], before: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The parent's values, but for those that the overrides change (a field that is not there holds its default)."""
    result = dict(parent)
    for key in before.keys() | wanted.keys():
        was, value, inherited = before.get(key), wanted.get(key), parent.get(key)
        if isinstance(value, Mapping) and isinstance(was, Mapping) and isinstance(inherited, Mapping):
            result[key] = _carry_over(inherited, was, value)
        elif key not in wanted:
            result.pop(key, None)
        elif value != was:
            result[key] = value
    return result


def _require_changeable(key: str) -> None:
    for fixed, why in FIXED.items():
        if key == fixed or key.startswith(f"{fixed}."):
            raise _refuse(key, why)
    if not key.startswith(CHANGEABLE):
        raise _refuse(key, "Data, tokenizer, model, seed and where it computes are those of the run it goes on from.")


def _require_possible(parent: TrainingPlan, training: TrainingPlan, step: int) -> None:
    if training.num_steps <= step:
        raise OutOfRange(
            f"train.steps is {training.num_steps:,}, and the checkpoint is that of step {step:,}.",
            why="Steps are counted from the beginning of the run that the branch goes on from.",
            next_step=f"Choose a train.steps of more than {step:,}, or an earlier checkpoint.",
        )
    if (parent.ema_decay > 0) != (training.ema_decay > 0):
        raise _refuse(
            "train.ema_decay", "The checkpoint holds an average of the weights, or none, as its run kept one."
        )


def _refuse(key: str, why: str) -> InvalidValue:
    return InvalidValue(
        f"{key} cannot be changed in a branch.",
        why=why,
        next_step="Leave it out; or begin a new run: trainwright run",
    )


def _announce_drift(source: TrainedModel, plan: Plan, workspace: Workspace, journal: Journal) -> None:
    """Name what keeps the branch from repeating the other run exactly. It is a run of its own, so nothing is refused."""
    changes = compare_environments(read_last_environment(source.folder, workspace), read_run_environment(plan), plan)
    for change in changes:
        if not change.exact:
            journal.screen.announce(f"{render_change(change)} since the run that this one goes on from")
