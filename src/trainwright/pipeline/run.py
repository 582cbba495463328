"""The whole job: prepare → execute → validate → publish. `trainwright run` and `trainwright resume` are these functions."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright.core.errors import (
    BudgetExceeded,
    NonFiniteLoss,
    NothingToResume,
    TrainingUnstable,
    TrialPruned,
    ValidationFailed,
    translate_write_errors,
)
from trainwright.core.manifest import Manifest
from trainwright.core.records import Check, Checkpoint, Outcome, Report, Run
from trainwright.pipeline.accounts import build_account, write_account
from trainwright.pipeline.alerts import follow_alerts
from trainwright.pipeline.drift import require_known_names
from trainwright.pipeline.execute import begin_run, execute, record_failure
from trainwright.pipeline.inspect import find_runs, find_unfinished, outcome_of
from trainwright.pipeline.journal import Journal
from trainwright.pipeline.prepare import Prepared, load_prepared, prepare
from trainwright.pipeline.publish import (
    describe_failures,
    list_artefacts,
    name_latest,
    record_outcome,
    require_free,
    write_choice,
    write_output_dir,
    write_run_files,
)
from trainwright.pipeline.spending import Guard, keep_account
from trainwright.pipeline.track import read_assignments, write_watch
from trainwright.pipeline.use import find_origin_of
from trainwright.pipeline.validate import failed_checks, read_best, validate
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace
from trainwright.watch.events import Sink
from trainwright.watch.trackers.process import follow_run

RUN_NOTES = "TRAINWRIGHT_RUN_NOTES"
"""The environment's name for a file to which the id of each run that is worked on is added, a line each."""


@dataclass(frozen=True)
class Options:
    """What a command asks for beside the manifest."""

    output_dir: Path | None = None
    overwrite: bool = False
    skip_corpus: bool = False
    skip_tokenizer: bool = False
    resume: bool = False
    retrain: bool = False
    allow_drift: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finished:
    """A run that is over: its records, where its files are, and how this command got there."""

    run: Run
    prepared: Prepared
    folder: RunFolder
    checkpoint: Checkpoint
    report: Report
    metrics: dict[str, Any]
    artefacts: dict[str, str]
    journal: Journal

    @property
    def failed_checks(self) -> list[Check]:
        """Rows of the validation table that did not pass."""
        return failed_checks(self.report)


def run(manifest: Manifest, workspace: Workspace, journal: Journal, sinks: list[Sink], options: Options) -> Finished:
    """Text to model. A plan that was already fulfilled here is not trained again, unless `retrain` asks for it."""
    require_known_names(options.allow_drift)
    require_free(options.output_dir, workspace, overwrite=options.overwrite)
    build_account(manifest.costs)  # what is wrong with the price file is said before anything is made
    prepared = prepare(
        manifest,
        workspace,
        journal,
        skip_corpus=options.skip_corpus,
        skip_tokenizer=options.skip_tokenizer,
        origin=find_origin_of(manifest, workspace),
    )
    return run_prepared(prepared, manifest, workspace, journal, sinks, options)


def run_prepared(
    prepared: Prepared, manifest: Manifest, workspace: Workspace, journal: Journal, sinks: list[Sink], options: Options
) -> Finished:
    """From the plan on: `run` once it has prepared, and a trial of a sweep, which puts its plan on record first."""
    account = build_account(manifest.costs)
    name = manifest.name or name_of(manifest.data.traces or manifest.data.corpus)
    folder = choose_folder(prepared, name, workspace, journal, options, manifest)
    if folder.read_manifest() != manifest:
        folder.write_manifest(manifest)
    write_watch(folder, manifest.watch)
    write_account(folder.read_run().id, account, workspace)
    finished = fulfil(prepared, folder, workspace, journal, sinks, options)
    if finished.run.name != name:  # fulfilled before, under another name: what was asked for has to be found by its own
        why = f"run {finished.run.id[:12]} fulfilled the same plan"
        name_latest(name, finished.checkpoint, workspace, why=why)
    return finished


def resume(run_id: str | None, workspace: Workspace, journal: Journal, sinks: list[Sink], options: Options) -> Finished:
    """Go on with a run that did not end; without an id, with the newest one in the workspace."""
    require_known_names(options.allow_drift)
    require_free(options.output_dir, workspace, overwrite=options.overwrite)
    if run_id is None:
        unfinished = find_unfinished(workspace)
        if not unfinished:
            raise NothingToResume(
                f"There is no unfinished run in {workspace.root}.",
                next_step="trainwright runs list shows what is there.",
            )
        run_id = unfinished[0].id
    folder = workspace.find_run_folder(run_id)
    return fulfil(load_prepared(workspace, folder.read_plan()), folder, workspace, journal, sinks, options)


def choose_folder(
    prepared: Prepared,
    name: str,
    workspace: Workspace,
    journal: Journal,
    options: Options,
    manifest: Manifest | None = None,
) -> RunFolder:
    """The run to work in: the one that fulfilled this plan, the newest unfinished one, or a new one."""
    runs = find_runs(workspace, plan_id=prepared.plan.id)
    unfinished = find_unfinished(workspace, prepared.plan.id)
    if options.resume:
        if unfinished:
            return workspace.find_run_folder(unfinished[0].id)
        journal.screen.announce("there is no unfinished run of this plan to resume")
    if not options.retrain:
        completed = [run for run in runs if (end := outcome_of(run, workspace)) and end.status == "completed"]
        if completed:
            return workspace.find_run_folder(completed[0].id)
    if unfinished and not options.resume:
        journal.screen.announce(
            f"an unfinished run of this plan is there ({unfinished[0].id[:12]}); --resume would go on with it"
        )
    folder = begin_run(prepared, name, workspace, manifest)
    write_choice(folder, prepared)
    return folder


def fulfil(
    prepared: Prepared, folder: RunFolder, workspace: Workspace, journal: Journal, sinks: list[Sink], options: Options
) -> Finished:
    """Train what is left, validate, publish; raises what the checks found only after everything is written."""
    run = folder.read_run()
    _note_run(run)
    end = outcome_of(run, workspace)
    if end is not None and end.status == "completed":
        finished = _reuse(prepared, folder, run, end, workspace, journal)
    else:
        with (
            folder.lock(),
            keep_account(folder, run, prepared.plan.compute.device, workspace, journal) as (meter, guard),
            follow_run(read_assignments(folder), journal.screen.announce),
            follow_alerts(folder, workspace, journal.screen.announce),
        ):
            finished = _finish(prepared, folder, run, workspace, journal, [*sinks, meter], options, guard)
    if options.output_dir is not None:
        path, _ = read_best(folder, finished.checkpoint.step)
        finished.artefacts.update(
            write_output_dir(prepared, folder, path, options.output_dir, workspace, overwrite=options.overwrite)
        )
    return finished


def _note_run(run: Run) -> None:
    """Tell whoever started this process which run it works on, from the first moment on."""
    if path := os.environ.get(RUN_NOTES):
        with translate_write_errors(Path(path)), Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{run.id}\n")


def _finish(
    prepared: Prepared,
    folder: RunFolder,
    run: Run,
    workspace: Workspace,
    journal: Journal,
    sinks: list[Sink],
    options: Options,
    guard: Guard,
) -> Finished:
    """Execute, validate, publish, as the one process that writes this run."""
    try:
        trained = execute(prepared, folder, workspace, journal, sinks, options.allow_drift, guard)
    except (NonFiniteLoss, TrainingUnstable) as error:
        record_failure(run, error, workspace)
        raise
    except TrialPruned as error:
        record_failure(run, error, workspace, status="pruned")
        raise
    report, checkpoint, path = validate(prepared, trained, workspace, journal)
    record_outcome(run, checkpoint, report, workspace)
    metrics = write_run_files(prepared, folder, checkpoint, report, workspace, journal)
    return Finished(run, prepared, folder, checkpoint, report, metrics, list_artefacts(folder, path), journal)


def require_passed(finished: Finished) -> None:
    """Raises ValidationFailed or BudgetExceeded, naming the rows, where a check of a finished run did not pass."""
    failed = finished.failed_checks
    if not failed:
        return
    is_quality = any(check.measured.unit == "nats/token" for check in failed)
    raise (ValidationFailed if is_quality else BudgetExceeded)(
        f"{len(failed)} of {len(finished.report.checks)} checks failed: {describe_failures(finished.report)}.",
        why=f"The run is complete and kept in {finished.folder.path}; its report shows every row.",
        next_step="Train longer, or a smaller model; or change the budget in the manifest (budgets.…=null for none).",
    )


def _reuse(
    prepared: Prepared, folder: RunFolder, run: Run, end: Outcome, workspace: Workspace, journal: Journal
) -> Finished:
    """A run that already fulfilled the plan, its checkpoint verified."""
    with journal.phase("training") as phase:
        phase.reuse()
        checkpoint = workspace.ledger.get(str(end.checkpoint))
        report = workspace.ledger.get(str(end.report))
        if not isinstance(checkpoint, Checkpoint) or not isinstance(report, Report):
            raise TypeError(f"outcome {end.id} does not name a checkpoint and a report")
        path, _ = read_best(folder, checkpoint.step)
        phase.detail = f"this plan was fulfilled by run {run.id[:12]}; --retrain trains it again"
    if all(path.exists() for path in (folder.metrics_path, folder.loss_path, folder.report_path)):
        metrics = _read_metrics(folder)
    else:  # the process that finished the run died while it wrote them
        metrics = write_run_files(prepared, folder, checkpoint, report, workspace, journal)
    return Finished(run, prepared, folder, checkpoint, report, metrics, list_artefacts(folder, path), journal)


def _read_metrics(folder: RunFolder) -> dict[str, Any]:
    import json

    document: dict[str, Any] = json.loads(folder.metrics_path.read_bytes())
    return document


def name_of(corpus: str) -> str:
    """A name for what is trained on `corpus`: "builtin:stories" → stories, "books/emma.txt" → emma."""
    last = corpus.rstrip("/*").replace(":", "/").rsplit("/", 1)[-1].split(".", 1)[0]
    # A run's name stands in a path and in a ref, which are ASCII.
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "-" for letter in last)
    kept = kept.strip("-_")
    return kept[:64] or "model"
