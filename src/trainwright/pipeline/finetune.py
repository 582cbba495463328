"""Everything that one manifest asks for: a run, the fine-tuning that follows it, and what that changed.

    run ─→ checkpoint ─start→ fine-tuning ─→ checkpoint ─→ held-out problems, before and after → delta report

Each of these is recalled where nothing it depends on has changed, so the same command, or `trainwright resume`, goes on from
wherever it was killed: within a run, between the two, or while the model was being asked.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainwright.core.errors import NothingToResume, UnknownRef
from trainwright.core.manifest import Manifest
from trainwright.core.records import Evaluation, Plan, Start
from trainwright.pipeline.inspect import find_runs, find_unfinished, outcome_of
from trainwright.pipeline.journal import Journal
from trainwright.pipeline.origin import Origin
from trainwright.pipeline.prepare import Prepared, prepare
from trainwright.pipeline.run import Finished, Options, resume, run
from trainwright.pipeline.use import find_origin_of
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace
from trainwright.watch.events import Sink

if TYPE_CHECKING:
    from trainwright.evaluate.comparison import Comparison


@dataclass(frozen=True)
class Completed:
    """The runs of a manifest, in order, and how the last one's model compares with the one it started from."""

    runs: tuple[Finished, ...]
    comparison: "Comparison | None"
    evaluation: Evaluation | None

    @property
    def last(self) -> Finished:
        """The run whose model this was all for."""
        return self.runs[-1]


def run_manifest(
    manifest: Manifest, workspace: Workspace, journal: Journal, sinks: list[Sink], options: Options
) -> Completed:
    """All that a manifest asks for. What was done before is not done again."""
    first = run(manifest, workspace, journal, sinks, _options_of(manifest, options))
    return _go_on((first,), manifest, workspace, journal, sinks, options)


def resume_manifest(
    run_id: str | None, workspace: Workspace, journal: Journal, sinks: list[Sink], options: Options
) -> Completed:
    """Go on with a run that did not end, and with all that its manifest asks for after it.

    Without an id: with the newest run that did not end, else with the newest whose manifest asks for more than was done.
    Raises NothingToResume.
    """
    if run_id is None and not find_unfinished(workspace):
        run_id = _find_unfollowed(workspace)
        if run_id is None:
            raise NothingToResume(
                f"There is no unfinished run in {workspace.root}.",
                next_step="trainwright runs list shows what is there.",
            )
    finished = resume(run_id, workspace, journal, sinks, options)
    manifest = finished.folder.read_manifest()
    if manifest is None:
        return Completed((finished,), None, None)
    return _go_on((finished,), manifest, workspace, journal, sinks, options)


def _go_on(
    done: tuple[Finished, ...],
    manifest: Manifest,
    workspace: Workspace,
    journal: Journal,
    sinks: list[Sink],
    options: Options,
) -> Completed:
    """What comes after a run: its evaluation, or the fine-tuning and that one's evaluation."""
    if manifest.finetune is None:
        return _evaluate(done, manifest, workspace, journal)
    first = done[-1]
    tuned = _name_after(manifest.finetune, first, manifest.name or first.run.name)
    again = Journal(journal.screen)
    after = run(tuned, workspace, again, sinks, _options_of(tuned, options))
    return _evaluate((*done, after), tuned, workspace, again)


def _name_after(tuned: Manifest, first: Finished, name: str) -> Manifest:
    """The second run's manifest, with its start, and a name if it has none."""
    train = tuned.train.model_copy(update={"start": first.checkpoint.id})
    return tuned.model_copy(update={"train": train, "name": tuned.name or f"{name[:58]}-tuned"})


def _options_of(manifest: Manifest, options: Options) -> Options:
    """Plain artefacts are those of the last run; whatever a run skips, the fine-tuning has data of its own."""
    if manifest.finetune is not None:
        return replace(options, output_dir=None)
    return options if manifest.data.traces is None else replace(options, skip_corpus=False, skip_tokenizer=False)


def _evaluate(done: tuple[Finished, ...], manifest: Manifest, workspace: Workspace, journal: Journal) -> Completed:
    """What a fine-tuning changed, where its samples are such that it can be asked."""
    after = done[-1]
    if manifest.evaluate.items == 0 or not after.prepared.dataset.holds_traces:
        return Completed(done, None, None)
    from trainwright.pipeline.before_after import ask_before_and_after  # statistics and reports, for this alone

    return Completed(done, *ask_before_and_after(after, manifest.evaluate, workspace, journal))


# ── planning ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Planned:
    """A plan with what it stands on, and what of it cannot be known yet: {key: why}. With any of that it has no id."""

    prepared: Prepared
    unknown: dict[str, str]


def plan_manifest(manifest: Manifest, workspace: Workspace, journal: Journal) -> tuple[Planned, ...]:
    """The plans of all that a manifest asks for, in order; the second as far as it can be settled now."""
    first = Planned(prepare(manifest, workspace, journal, origin=find_origin_of(manifest, workspace)), {})
    if manifest.finetune is None:
        return (first,)
    return first, _plan_tuned(manifest.finetune, first.prepared, workspace, Journal(journal.screen))


def _plan_tuned(tuned: Manifest, first: Prepared, workspace: Workspace, journal: Journal) -> Planned:
    """The fine-tuning's plan. Only which weights it begins with depends on how the first run ends."""
    source = _find_end(first.plan.id, workspace)
    start = None if source is None else Start(source=source, mode="weights")
    origin = Origin(first.plan.model, first.tokenizer, start)
    prepared = prepare(tuned, workspace, journal, origin=origin, is_final=source is not None)
    if source is not None:
        return Planned(prepared, {})
    why = "It is the checkpoint that the first run ends in, and that has not run."
    return Planned(prepared, {"start": why, "plan_id": "It is the digest of the plan, and start is a part of it."})


def _find_end(plan_id: str, workspace: Workspace) -> str | None:
    """The checkpoint that a run of the plan ended in; None where none has ended."""
    for run_record in find_runs(workspace, plan_id):
        end = outcome_of(run_record, workspace)
        if end is not None and end.status == "completed" and end.checkpoint is not None:
            return end.checkpoint
    return None


# ── resuming ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def _find_unfollowed(workspace: Workspace) -> str | None:
    """The newest run that ended, and whose manifest asks for more than was done: a fine-tuning, or a comparison."""
    for run_record in find_runs(workspace):
        end = outcome_of(run_record, workspace)
        folder = _folder_of(run_record.id, workspace)
        manifest = None if folder is None else folder.read_manifest()
        if end is None or end.status != "completed" or end.checkpoint is None or folder is None or manifest is None:
            continue
        if manifest.finetune is not None:
            if not _was_followed(end.checkpoint, workspace):
                return run_record.id
        elif manifest.data.traces is not None and _lacks_comparison(folder, manifest):
            return run_record.id
    return None


def _folder_of(run_id: str, workspace: Workspace) -> RunFolder | None:
    try:
        return workspace.find_run_folder(run_id)
    except UnknownRef:  # it was removed
        return None


def _lacks_comparison(folder: RunFolder, manifest: Manifest) -> bool:
    from trainwright.pipeline.before_after import lacks_comparison

    return lacks_comparison(folder, manifest.evaluate)


def _was_followed(checkpoint: str, workspace: Workspace) -> bool:
    """Whether a run that starts from the checkpoint has ended."""
    for role, child_id in workspace.ledger.children(checkpoint):
        child = workspace.ledger.get(child_id) if role == "start" else None
        if isinstance(child, Plan):
            ends = [outcome_of(run_record, workspace) for run_record in find_runs(workspace, child.id)]
            if any(end is not None and end.status == "completed" for end in ends):
                return True
    return False
