"""From a checkpoint to a report: read back from disk, measured again, used by a fresh process, held against its budgets."""

from collections.abc import Iterator
from pathlib import Path

from trainwright.backends.catalogue import open_backend
from trainwright.core.errors import NoGoodCheckpoint
from trainwright.core.records import Check, Checkpoint, Measure, Report, Sample
from trainwright.core.seeds import derive_seed
from trainwright.data.dataset import read_documents
from trainwright.data.trace_dataset import iter_traces
from trainwright.evaluate.checks import check_budgets, check_likelihood
from trainwright.evaluate.held_out import Likelihood
from trainwright.evaluate.inference import InferenceCost, measure_inference
from trainwright.pipeline.asking import Asking, open_asking
from trainwright.pipeline.execute import Trained, measure_split, open_reader, write_samples
from trainwright.pipeline.imported import locate_base
from trainwright.pipeline.journal import Journal
from trainwright.pipeline.prepare import Prepared
from trainwright.pipeline.samples import read_prompt
from trainwright.store.checkpoints import CheckpointContent, list_checkpoints, read_checkpoint
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace

NUM_PROMPTS = 100
PROMPT_TOKENS = 16
MODEL_FILE = "model.safetensors"


def validate(
    prepared: Prepared, trained: Trained, workspace: Workspace, journal: Journal
) -> tuple[Report, Checkpoint, Path]:
    """Judge the run's best checkpoint. Returns the report, the checkpoint's record and its folder."""
    plan = prepared.plan
    with journal.phase("validation") as phase:
        path, content = read_best(trained.folder, trained.position.best_step)
        base = locate_base(plan.model, workspace)
        weights = base.read() | content.state.weights
        model = open_backend(plan.compute.framework).open_model(plan.model, weights, plan.compute.plain())
        asking = open_asking(prepared, workspace)
        likelihood = measure_split(
            model, prepared, open_reader(prepared.token_set, "validation", workspace), "validation"
        )
        samples = write_samples(model, asking, prepared, derive_seed(plan.seed, "report"))
        prompts = list(_iter_prompts(prepared, asking, workspace))
        cost = measure_inference(path, plan.model, plan.compute, prompts, base=base.paths, left_out=base.left_out)
        checks = (
            *check_likelihood(likelihood, plan.model),
            *check_budgets(plan.budgets, cost, (path / MODEL_FILE).stat().st_size, trained.training_peak),
        )
        report = Report(
            checkpoint=content.record.id,
            token_set=prepared.token_set.id,
            split="validation",
            metrics={**likelihood_metrics(likelihood), **_cost_metrics(cost)},
            checks=checks,
            samples=tuple(Sample(prompt=prompt, text=text) for prompt, text in samples),
        )
        workspace.ledger.put(report)
        phase.artefacts |= {"checkpoint": content.record.id, "report": report.id}
        failed = failed_checks(report)
        phase.detail = f"{likelihood.bits_per_byte:.3f} bits per byte on held-out text" + (
            f", {len(failed)} of {len(checks)} checks failed" if failed else f", {len(checks)} checks passed"
        )
    return report, content.record, path


def read_best(folder: RunFolder, best_step: int | None) -> tuple[Path, CheckpointContent]:
    """The checkpoint with the best validation, verified; the newest where the run never validated.

    Raises NoGoodCheckpoint where it is not there (never another one in its place), CheckpointDamaged.
    """
    checkpoints = dict(list_checkpoints(folder.checkpoints_path))
    step = max(checkpoints, default=None) if best_step is None else best_step
    if step is None or step not in checkpoints:
        raise NoGoodCheckpoint(
            f"The run in {folder.path} has no checkpoint{'' if step is None else f' of its best step, {step}'}.",
            why="It was stopped before its first one, or it was removed, or set aside because it was damaged.",
            next_step="Train the plan again: trainwright run --retrain, with the same manifest.",
        )
    return checkpoints[step], read_checkpoint(checkpoints[step])


def failed_checks(report: Report) -> list[Check]:
    """The rows that did not pass."""
    return [check for check in report.checks if check.passed is False]


def likelihood_metrics(likelihood: Likelihood) -> dict[str, Measure]:
    """Held-out figures as measures with units."""
    return {
        "val_loss": Measure(value=likelihood.val_loss, unit="nats/token"),
        "perplexity": _finite(likelihood.perplexity, "per token"),
        "bits_per_byte": Measure(value=likelihood.bits_per_byte, unit="bits/byte"),
        "accuracy": Measure(value=likelihood.accuracy, unit="share of tokens"),
        "num_tokens": Measure(value=likelihood.num_tokens, unit="tokens"),
        "num_bytes": Measure(value=likelihood.num_bytes, unit="bytes"),
    }


def _cost_metrics(cost: InferenceCost) -> dict[str, Measure]:
    return {
        "inference_prompts": Measure(value=len(cost.latencies_s), unit="prompts"),
        "inference_latency_p50": Measure(value=cost.latency_ms(50), unit="ms"),
        "inference_latency_p95": Measure(value=cost.latency_ms(95), unit="ms"),
        "inference_tokens_per_s": Measure(value=cost.tokens_per_s, unit="tokens/s"),
        "inference_rss": Measure(value=cost.rss_bytes, unit="bytes"),
        "inference_peak_rss": Measure(value=cost.peak_rss_bytes, unit="bytes"),
        "inference_load": Measure(value=cost.load_s, unit="s"),
    }


def _finite(value: float, unit: str) -> Measure:
    if value == float("inf"):
        return Measure(value=None, unit=unit, why_not="it overflows")
    return Measure(value=value, unit=unit)


def _iter_prompts(prepared: Prepared, asking: Asking, workspace: Workspace) -> Iterator[list[int]]:
    """100 prompts: the beginnings of held-out documents, or, where they are fewer, of evenly spaced places in them."""
    if prepared.dataset.holds_traces:
        texts = [read_prompt(trace) for trace in iter_traces(prepared.dataset, "validation", workspace.objects)]
    else:
        texts = list(read_documents(prepared.dataset, "validation", workspace.objects))
    num_each = -(-NUM_PROMPTS // len(texts))
    count = 0
    for text in texts:
        for part in range(num_each):
            if count == NUM_PROMPTS:
                return
            piece = text[part * len(text) // num_each :][: PROMPT_TOKENS * 16]
            yield asking.encode(piece)[:PROMPT_TOKENS]
            count += 1
