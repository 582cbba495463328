"""What a person takes away: metrics, report and plot in the run folder, a ref to the model, and plain files elsewhere."""

from pathlib import Path
from typing import Any

from trainwright.backends.choice import Choice
from trainwright.backends.measure import Speed
from trainwright.core.durable import write_file, write_folder
from trainwright.core.errors import InvalidValue, OutputExists
from trainwright.core.records import Checkpoint, ImportedModel, ImportedShape, Outcome, Report, Run
from trainwright.core.state import Weights
from trainwright.data.dataset import read_documents
from trainwright.data.jinja_source import build_jinja_source
from trainwright.data.trace_dataset import iter_documents
from trainwright.pipeline.imported import locate_base
from trainwright.pipeline.journal import Journal
from trainwright.pipeline.prepare import Prepared
from trainwright.pipeline.recall import typed
from trainwright.pipeline.rendering import open_template
from trainwright.pipeline.validate import MODEL_FILE, failed_checks
from trainwright.prerequisites import check_writable, require_all
from trainwright.store.checkpoints import read_weights
from trainwright.store.huggingface import replace_chat_template, write_huggingface_folder
from trainwright.store.lineage import render_tree, trace_lineage
from trainwright.store.model_folder import GENERATION_FILE, merge_adapter, render_adapter_files, render_model_files
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace
from trainwright.tokens.tokenizer import open_tokenizer
from trainwright.watch.events import iter_events
from trainwright.watch.metrics_file import build_training_metrics, write_training_metrics
from trainwright.watch.plots import write_loss_png
from trainwright.watch.report import Command, render_report


def require_free(output_dir: Path | None, workspace: Workspace, *, overwrite: bool) -> None:
    """Raises, before anything is begun, where the output folder cannot be made: OutputExists where something is there that
    may not be replaced, InvalidValue where replacing it would take the workspace along, NotWritable, DiskFull.
    """
    if output_dir is None:
        return
    target = output_dir.resolve()
    if target.exists() and not target.is_dir():
        raise OutputExists(
            f"{output_dir} is a file, not a folder.",
            why="Nothing of yours is overwritten unasked.",
            next_step="Choose another output folder.",
        )
    inside = target.is_relative_to(workspace.root.resolve())
    if inside or any(place.resolve().is_relative_to(target) for place in (Path.cwd(), workspace.root)):
        raise InvalidValue(
            f"{output_dir} cannot be the output folder.",
            why="It lies in the workspace."
            if inside
            else "It holds the current folder or the workspace, and is written as a whole.",
            next_step="Choose a folder of its own, for example: out",
        )
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise OutputExists(
            f"The output folder {output_dir} is there already and is not empty.",
            why="Nothing of yours is overwritten unasked.",
            next_step="Choose another output folder, or add --overwrite to replace it.",
        )
    require_all([check_writable(next(parent for parent in target.parents if parent.exists()))])


def record_outcome(run: Run, checkpoint: Checkpoint, report: Report, workspace: Workspace) -> Outcome:
    """Put the run's end on record, and let `name@latest` name its model."""
    outcome = Outcome(run=run.id, status="completed", checkpoint=checkpoint.id, report=report.id)
    workspace.ledger.put(outcome)
    name_latest(run.name, checkpoint, workspace, why=f"run {run.id[:12]} completed")
    return outcome


def name_latest(name: str, checkpoint: Checkpoint, workspace: Workspace, *, why: str) -> None:
    """Let `name@latest` name a checkpoint."""
    ref = f"{name}@latest"
    before = workspace.ledger.read_ref(ref)
    if before != checkpoint.id:
        workspace.ledger.move_ref(ref, checkpoint.id, expected=before, who="trainwright run", why=why)


def write_run_files(
    prepared: Prepared,
    folder: RunFolder,
    checkpoint: Checkpoint,
    report: Report,
    workspace: Workspace,
    journal: Journal,
) -> dict[str, Any]:
    """training_metrics.json, report.html and loss.png in the run folder. Returns the metrics document."""
    run, environment = folder.read_run(), folder.read_environment()
    events = list(iter_events(folder.events_path))
    metrics = build_training_metrics(
        run=run,
        plan=prepared.plan,
        environment=environment,
        events=events,
        phases=journal.phases,
        checks=report.checks,
        metrics=report.metrics,
    )
    write_training_metrics(folder.metrics_path, metrics)
    write_loss_png(folder.loss_path, events)
    html = render_report(
        run=run,
        plan=prepared.plan,
        status="completed",
        dataset=prepared.dataset,
        tokenizer=prepared.tokenizer,
        token_set=prepared.token_set,
        report=report,
        events=events,
        environment=environment,
        metrics=metrics,
        lineage=render_tree(trace_lineage(workspace.ledger, checkpoint.id)),
        choice=read_choice(folder),
        commands=_list_commands(run, prepared),
        attempts=folder.read_attempts(),
    )
    write_file(folder.report_path, html.encode())
    return metrics


def write_choice(folder: RunFolder, prepared: Prepared) -> None:
    """Keep how the compute was chosen beside the plan, for the report."""
    if prepared.choice is not None:
        write_file(_choice_path(folder), prepared.choice.model_dump_json(indent=2).encode())


def read_choice(folder: RunFolder) -> dict[str, Any] | None:
    """How the compute was chosen, as the report shows it; None where nothing was chosen."""
    path = _choice_path(folder)
    if not path.exists():
        return None
    return describe_choice(Choice.model_validate_json(path.read_bytes()))


def describe_choice(choice: Choice) -> dict[str, Any]:
    """How the compute was chosen, as a table: what was measured of each candidate, or why it was not taken."""
    speeds = list(choice.candidates)
    if choice.speed is None:  # there was nothing to compare it with
        speeds.insert(0, Speed(compute=choice.compute, problem=f"not measured: {choice.reason}"))
    candidates: list[dict[str, Any]] = [
        {
            "framework": speed.compute.framework,
            "dtype": speed.compute.dtype,
            "compiled": speed.compute.compile,
            "compilation_s": speed.compilation_s,
            "start_s": speed.start_s,
            "step_s": speed.step_s,
            "peak_rss_bytes": speed.peak_rss_bytes,
            "why_not": speed.problem,
            "chosen": speed.compute == choice.compute,
        }
        for speed in speeds
    ]
    candidates += [
        {"framework": other.framework, "why_not": other.problem, "chosen": False} for other in choice.passed_over
    ]
    return {"why": f"{choice.reason}, on {choice.device_name}", "candidates": candidates}


def export_huggingface(
    prepared: Prepared,
    checkpoint_path: Path,
    output_dir: Path,
    workspace: Workspace,
    *,
    overwrite: bool,
    adapter_alone: bool = False,
) -> list[Path]:
    """A folder that opens in `transformers` (an adapter alone: in `peft`): weights, configuration, tokenizer. Whole or not at
    all. Raises InvalidValue where an adapter is asked for and the model has none.
    """
    shape = prepared.plan.model
    if adapter_alone and (not isinstance(shape, ImportedShape) or shape.adapter is None):
        raise InvalidValue(
            "The model has no adapter.",
            why="All of its weights were trained.",
            next_step="Leave --adapter out to export the model.",
        )
    with write_folder(output_dir.resolve(), replace=overwrite) as folder:
        _write_model(prepared, checkpoint_path, folder, workspace, adapter_alone=adapter_alone)
    return sorted(output_dir.iterdir())


def write_output_dir(
    prepared: Prepared,
    folder: RunFolder,
    checkpoint_path: Path,
    output_dir: Path,
    workspace: Workspace,
    *,
    overwrite: bool,
) -> dict[str, str]:
    """The plain artefacts, whole or not at all: {name: path}."""
    require_free(output_dir, workspace, overwrite=overwrite)
    with write_folder(output_dir.resolve(), replace=overwrite) as target:
        _write_model(prepared, checkpoint_path, target, workspace)
        for path in (folder.metrics_path, folder.report_path, folder.loss_path):
            (target / path.name).write_bytes(path.read_bytes())
        if prepared.dataset.holds_traces:
            with (target / "traces.jsonl").open("wb") as traces:
                traces.writelines(iter_documents(prepared.dataset, None, workspace.objects))
        else:
            _write_corpus(prepared, target / "corpus.txt", workspace)
    return {path.name: str(path.resolve()) for path in sorted(output_dir.iterdir())}


def _write_corpus(prepared: Prepared, path: Path, workspace: Workspace) -> None:
    with path.open("w", encoding="utf-8") as corpus:
        for split in prepared.dataset.splits:
            for text in read_documents(prepared.dataset, split, workspace.objects):
                corpus.write(text if text.endswith("\n") else text + "\n")


def list_artefacts(folder: RunFolder, checkpoint_path: Path) -> dict[str, str]:
    """What a run left in its own folder: {name: path}."""
    paths = {
        MODEL_FILE: checkpoint_path / MODEL_FILE,
        "plan.json": folder.plan_path,
        "environment.json": folder.environment_path,
        "events.jsonl": folder.events_path,
        "training_metrics.json": folder.metrics_path,
        "report.html": folder.report_path,
        "loss.png": folder.loss_path,
    }
    return {name: str(path.resolve()) for name, path in paths.items() if path.exists()}


def describe_failures(report: Report) -> str:
    """The rows that failed, in one line."""
    return "; ".join(
        f"{check.name}: {check.measured.value:,.1f} {check.measured.unit}, limit {check.limit:,.1f}"
        if check.measured.value is not None and check.limit is not None
        else check.name
        for check in failed_checks(report)
    )


def _list_commands(run: Run, prepared: Prepared) -> list[Command]:
    """What to type to see, use and repeat this run."""
    return [
        Command(purpose="let it write", command=f'trainwright generate {run.name}@latest "…"'),
        Command(purpose="every figure of the run", command=f"trainwright runs show {run.id[:12]} --json"),
        Command(purpose="where it came from, re-hashed", command=f"trainwright lineage {run.id[:12]} --check"),
        Command(
            purpose="the same plan again: the same weights on this class of machine",
            command=f"trainwright run {'data.traces=' if prepared.dataset.holds_traces else '--corpus '}"
            f"{prepared.dataset.source} --retrain …",
        ),
    ]


def _write_model(
    prepared: Prepared, checkpoint_path: Path, folder: Path, workspace: Workspace, *, adapter_alone: bool = False
) -> None:
    shape = prepared.plan.model
    tokenizer_files = {name: workspace.objects.get(digest) for name, digest in prepared.tokenizer.files.items()}
    template = _build_chat_template(prepared, workspace)
    if template is not None:
        tokenizer_files = replace_chat_template(tokenizer_files, template)
    if isinstance(shape, ImportedShape):
        files = _render_imported(shape, checkpoint_path, workspace, adapter_alone=adapter_alone) | tokenizer_files
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return
    write_huggingface_folder(
        folder,
        shape=shape,
        weights=read_weights(checkpoint_path),
        tokenizer_files=tokenizer_files,
        special_tokens=prepared.tokenizer.special_tokens,
        max_seq_length=prepared.plan.training.max_seq_length,
    )


def _build_chat_template(prepared: Prepared, workspace: Workspace) -> str | None:
    """The builtin template that the model was taught with, as Jinja; None where it learnt text, or carries its template.

    None too where this version lays the template out otherwise than the one that taught it: better none than a wrong one.
    """
    rendering = prepared.token_set.rendering
    if rendering is None:
        return None
    system = None if rendering.system is None else workspace.objects.get(rendering.system).decode("utf-8")
    opened = open_tokenizer(prepared.tokenizer, workspace.objects)
    with open_template(rendering.template, prepared.tokenizer, opened, workspace.objects) as template:
        if template.digest != rendering.template_digest:
            return None
        return build_jinja_source(template, system)


def _render_imported(
    shape: ImportedShape, checkpoint_path: Path, workspace: Workspace, *, adapter_alone: bool
) -> dict[str, bytes]:
    """The files of a model that was made elsewhere, its adapter worked in; or those of the adapter."""
    base = typed(workspace.ledger.get(shape.base), ImportedModel)
    trained = read_weights(checkpoint_path)
    if adapter_alone and shape.adapter is not None:
        return render_adapter_files(shape.adapter, trained, base.name)
    weights: Weights = trained
    if shape.adapter is not None:
        weights = merge_adapter(locate_base(shape, workspace).read(), trained, shape.adapter)
    files = render_model_files(shape.config, weights)
    if GENERATION_FILE in base.files:
        files[GENERATION_FILE] = workspace.objects.get(base.files[GENERATION_FILE])
    return files


def _choice_path(folder: RunFolder) -> Path:
    return folder.path / "choice.json"
