"""Where a run begins, and where a process that takes it over goes on: what changed since, which checkpoint is good."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainwright.backends.initial import build_first_state, build_initial_weights
from trainwright.core.errors import TokenizerMismatch, UnknownRef
from trainwright.core.records import Change, Checkpoint, Drift, ImportedShape, Plan, Run
from trainwright.core.state import Position, TrainingState
from trainwright.pipeline.drift import (
    breaks_plan,
    compare_environments,
    compare_frameworks,
    keep_environment,
    read_last_environment,
    read_run_environment,
    render_change,
    require_allowed,
)
from trainwright.pipeline.imported import build_adapter_weights, locate_base, read_model_weights
from trainwright.pipeline.journal import Journal
from trainwright.pipeline.prepare import Prepared
from trainwright.pipeline.recall import typed
from trainwright.store.checkpoints import locate_checkpoint, read_checkpoint, read_newest_good
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace


@dataclass(frozen=True)
class Standing:
    """Where a run stands: its position, and the arrays to go on from (None: at the plan's own first weights)."""

    position: Position
    state: TrainingState | None


def read_first_weights(plan: Plan, workspace: Workspace) -> dict[str, NDArray[np.float32]]:
    """The weights that a run of `plan` begins with: drawn from its seed, or those of another run's checkpoint, or those of a
    model that was made elsewhere.

    Raises UnknownRef, CheckpointDamaged where that checkpoint is not here or not whole.
    """
    if plan.start is not None and plan.start.mode == "weights":
        path, record = _find_source(plan, workspace)
        return read_model_weights(plan.model, path, workspace, expected=record)
    if isinstance(plan.model, ImportedShape):
        base = locate_base(plan.model, workspace).read()
        adapter = plan.model.adapter
        return base if adapter is None else base | build_adapter_weights(base, adapter, plan.seed)
    return build_initial_weights(plan.model, plan.seed, plan.training.init_scale)


def read_first_state(plan: Plan, workspace: Workspace) -> TrainingState:
    """All that a trainer remembers before the first update of a run that begins at step 0. Raises like `read_first_weights`."""
    return build_first_state(plan.model, plan.training, read_first_weights(plan, workspace))


def read_start(plan: Plan, workspace: Workspace) -> Standing:
    """Before the first step; or, for a plan that continues another run, at the step of the checkpoint it continues.

    What was best, and how long ago, was the other run's: a run's best checkpoint is one of its own. Raises like
    `read_first_weights`.
    """
    if plan.start is None or plan.start.mode == "weights":
        return Standing(Position.start(), None)
    path, record = _find_source(plan, workspace)
    content = read_checkpoint(path, expected=record)
    found = content.position
    position = Position(
        step=found.step,
        num_tokens=found.num_tokens,
        num_events=0,
        scheduled_step=found.step,
        steadiness=found.steadiness,
    )
    return Standing(position, content.state)


def take_over(
    folder: RunFolder, prepared: Prepared, workspace: Workspace, journal: Journal, allowed: Collection[str]
) -> Standing:
    """Find out where the run stands, and put on record that this process goes on with it.

    Raises Drift where something that can change its results did change and is not `allowed`; NoGoodCheckpoint;
    TokenizerMismatch.
    """
    run, plan = folder.read_run(), prepared.plan
    environment = read_run_environment(plan)
    changes = compare_environments(read_last_environment(folder, workspace), environment, plan)
    changes += _compare_with_source(folder, plan, workspace)
    for change in changes:
        effect = "" if change.exact else ", which can change results"
        journal.screen.announce(f"{render_change(change)}{effect}")
    require_allowed([change for change in changes if breaks_plan(change)], allowed, run)
    standing = _find_standing(folder, prepared, workspace, journal)
    attempt = {
        "at": read_clock(),
        "from_step": standing.position.step,
        "process": os.getpid(),
        "environment": keep_environment(environment, workspace),
        "changes": [change.model_dump() for change in changes],
    }
    if drift := _build_drift(run.id, standing.position.step, changes):
        workspace.ledger.put(drift)
        attempt["drift"] = drift.model_dump(mode="json")
    folder.append_attempt(attempt)
    return standing


def read_clock() -> str:
    """Now, as records and attempts note it. Nothing is decided by it: clocks step back."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _compare_with_source(folder: RunFolder, plan: Plan, workspace: Workspace) -> tuple[Change, ...]:
    """As a branch is begun: whether another framework wrote the checkpoint that it goes on from. That was allowed already."""
    if plan.start is None or plan.start.mode == "weights" or folder.read_attempts():
        return ()
    _, record = _find_source(plan, workspace)
    source = typed(workspace.ledger.get(record.run), Run)
    return compare_frameworks(typed(workspace.ledger.get(source.plan), Plan), plan)


def _build_drift(run_id: str, step: int, changes: Collection[Change]) -> Drift | None:
    inexact = tuple(change for change in changes if not change.exact)
    return Drift(run=run_id, step=step, at=read_clock(), changes=inexact) if inexact else None


def _find_standing(folder: RunFolder, prepared: Prepared, workspace: Workspace, journal: Journal) -> Standing:
    """The newest good checkpoint; where there never was one, where the plan starts."""
    content, problems = read_newest_good(folder.checkpoints_path)
    for problem in problems:
        said = f"the checkpoint of step {problem.step} is damaged and was set aside as {problem.set_aside.name}"
        journal.screen.announce(f"{said}: {problem.error.message} {problem.error.why}")
        folder.append_attempt(
            {"at": read_clock(), "problem": said, "why": f"{problem.error.message} {problem.error.why}"}
        )
    if content is None:
        standing = read_start(prepared.plan, workspace)
        if standing.state is not None:
            journal.screen.announce(f"starting from step {standing.position.step:,} of another run")
        return standing
    if content.fingerprint != prepared.token_set.tokenizer_fingerprint:
        raise TokenizerMismatch(
            "The checkpoint was trained with another tokenizer than the token set was made with.",
            why=f"{content.fingerprint[:12]} is not {prepared.token_set.tokenizer_fingerprint[:12]}.",
            next_step="Resume in the workspace in which the run was begun.",
        )
    journal.screen.announce(f"going on from the checkpoint at step {content.position.step:,}")
    return Standing(content.position, content.state)


def _find_source(plan: Plan, workspace: Workspace) -> tuple[Path, Checkpoint]:
    if plan.start is None:
        raise ValueError("the plan starts from nothing")
    record = workspace.ledger.get(plan.start.source)
    if not isinstance(record, Checkpoint):
        raise UnknownRef(f"The plan starts from {plan.start.source[:12]}, which is a {record.kind}, not a checkpoint.")
    return locate_checkpoint(workspace.find_run_folder(record.run).checkpoints_path, record), record
