"""From a plan to a run: a run folder, a trainer, the loop, and checkpoints that it can go on from after any death."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from trainwright.backends.catalogue import open_backend
from trainwright.backends.protocol import Model, Trainer
from trainwright.core.errors import Interrupted, PlanMismatch, TrainwrightError
from trainwright.core.manifest import Manifest
from trainwright.core.records import Measure, Outcome, Plan, Run, TokenSet
from trainwright.core.seeds import derive_seed
from trainwright.core.state import Position, TrainingState
from trainwright.evaluate.generation import Decoding
from trainwright.evaluate.held_out import Likelihood, measure_batches, measure_likelihood
from trainwright.pipeline.asking import Asking, open_asking
from trainwright.pipeline.drift import keep_environment, read_run_environment
from trainwright.pipeline.journal import Journal
from trainwright.pipeline.prepare import Prepared
from trainwright.pipeline.spending import Guard
from trainwright.pipeline.start import read_clock, read_first_state, read_first_weights, take_over
from trainwright.store.checkpoint_writer import CheckpointWriter
from trainwright.store.run_folder import RunFolder, create_run_folder
from trainwright.store.shards import TokenReader, open_split
from trainwright.store.workspace import Workspace
from trainwright.train.batches import Batches, BatchSource
from trainwright.train.interruption import StopRequest, listen_for_stop
from trainwright.train.loop import LoopResult, Surroundings, train
from trainwright.train.samples import SampleBatches
from trainwright.train.telling import HeldOut
from trainwright.watch.events import EventLog, Sink, iter_events
from trainwright.watch.memory import PeakMemory, current_rss_bytes


@dataclass(frozen=True)
class Trained:
    """A run whose training is over. `training_peak` is the memory that training took beyond the framework, in bytes."""

    folder: RunFolder
    run: Run
    position: Position
    training_peak: Measure


def begin_run(prepared: Prepared, name: str, workspace: Workspace, manifest: Manifest | None = None) -> RunFolder:
    """A new run of a plan: its record, its folder, and what the machine looks like."""
    environment = read_run_environment(prepared.plan)
    run = Run(
        plan=prepared.plan.id,
        name=name,
        started_at=read_clock(),
        nonce=uuid.uuid4().hex,
        environment=keep_environment(environment, workspace),
    )
    folder = create_run_folder(workspace.runs, run, prepared.plan, environment, manifest)
    workspace.ledger.put(run)
    return folder


def execute(
    prepared: Prepared,
    folder: RunFolder,
    workspace: Workspace,
    journal: Journal,
    sinks: list[Sink],
    allow_drift: Collection[str] = (),
    guard: Guard | None = None,
) -> Trained:
    """Train, or go on training, in `folder` until the plan is fulfilled.

    The caller holds the run's lock. Raises, after a checkpoint, Interrupted where it was asked to stop, and BudgetReached
    where the `guard` stops it; and what `take_over` raises.
    """
    with journal.phase("training") as phase, listen_for_stop() as stop:
        run, plan = folder.read_run(), folder.read_plan()
        backend = open_backend(plan.compute.framework)  # imports the framework, which is not counted below
        with PeakMemory() as memory:
            weights = read_first_weights(plan, workspace)
            trainer = backend.open_trainer(plan.model, weights, plan.compute, plan.training)
            standing = take_over(folder, prepared, workspace, journal, allow_drift)
            start = standing.position
            with EventLog.open(folder.events_path, keep=start.num_events, sinks=sinks) as events:
                if start.num_events:
                    journal.screen.catch_up(iter_events(folder.events_path))
                else:
                    events.emit("run-started", _describe_start(plan, start))
                with _open_writer(prepared, folder, workspace, events) as writer:
                    if standing.state is not None:
                        _load(trainer, standing.state)
                        # Handed over again, so that whatever a killed process left undone behind it is done.
                        writer.save(standing.state, start)
                        writer.wait()
                    result = _train(prepared, workspace, trainer, events, writer, stop, guard, start, memory)
                if not result.interrupted:
                    events.emit("run-finished", {"status": "completed", "step": result.position.step})
        if result.interrupted:
            if guard is not None and guard.reached is not None and not stop.is_made:
                where = f"Stopped at step {result.position.step} of {plan.training.num_steps}; everything is saved"
                raise guard.complaint(where, run.id[:12])
            raise Interrupted(
                f"Stopped at step {result.position.step} of {plan.training.num_steps}; everything is saved.",
                why="A stop was asked for.",
                next_step=f"trainwright resume {run.id[:12]}",
            )
        phase.artefacts["run"] = run.id
        phase.detail = f"{result.position.step:,} steps{', stopped early' * result.stopped_early}"
    return Trained(folder, run, result.position, _training_peak(memory, start, result.position))


def record_failure(
    run: Run, error: TrainwrightError, workspace: Workspace, status: Literal["failed", "pruned"] = "failed"
) -> None:
    """Put on record that a run ended in an error, or was stopped because it was behind."""
    workspace.ledger.put(
        Outcome(run=run.id, status=status, checkpoint=None, report=None, error=f"{error.name}: {error.message}")
    )


def measure_split(model: Model, prepared: Prepared, reader: TokenReader, split: str) -> Likelihood:
    """How well `model` predicts a split of the plan's token set."""
    training, content = prepared.plan.training, prepared.token_set.splits[split]
    batch_size = training.batch_size // training.accumulation
    if training.packing == "samples":  # what is only read counts neither as tokens nor as bytes
        batches = _open_samples(prepared, reader).iter_all(batch_size)
        return measure_batches(model, batches, num_bytes=content.num_target_bytes or content.num_bytes)
    end = prepared.tokenizer.special_tokens.end
    return measure_likelihood(
        model,
        reader,
        num_bytes=content.num_bytes,
        seq_length=training.max_seq_length,
        batch_size=batch_size,
        first_context=0 if end is None else end,
    )


def write_samples(model: Model, asking: Asking, prepared: Prepared, seed: int) -> list[tuple[str, str]]:
    """(prompt, continuation) for each of the plan's fixed prompts."""
    training = prepared.plan.training
    decoding = Decoding(max_tokens=training.sample_tokens, seed=seed)
    samples = []
    for prompt in training.sample_prompts:
        ids = list(asking.iter_answer(model, asking.encode(prompt), decoding))
        samples.append((prompt, asking.finish(asking.tokenizer.decode(ids))))
    return samples


def _training_peak(memory: PeakMemory, start: Position, end: Position) -> Measure:
    """Memory that training took in this process, in bytes; a process that only found training finished has none to tell."""
    if start.step == end.step:
        return Measure(value=None, unit="bytes", why_not="training had ended before this process took over")
    return Measure(value=max(0, memory.peak_bytes - memory.baseline_bytes), unit="bytes")


def _load(trainer: Trainer, state: TrainingState) -> None:
    try:
        trainer.load_state(state)
    except ValueError as error:
        raise PlanMismatch(
            "The checkpoint's arrays are not those that the plan needs.",
            why=f"{error}.",
            next_step="Go on with the plan that wrote it, or with changes that leave model and optimizer as they are.",
        ) from error


def _open_writer(prepared: Prepared, folder: RunFolder, workspace: Workspace, events: EventLog) -> CheckpointWriter:
    return CheckpointWriter(
        folder.checkpoints_path,
        run_id=folder.read_run().id,
        fingerprint=prepared.token_set.tokenizer_fingerprint,
        training=prepared.plan.training,
        ledger=workspace.ledger,
        sync_events=events.sync,
    )


def _train(
    prepared: Prepared,
    workspace: Workspace,
    trainer: Trainer,
    events: EventLog,
    writer: CheckpointWriter,
    stop: StopRequest,
    guard: Guard | None,
    position: Position,
    memory: PeakMemory,
) -> LoopResult:
    plan = prepared.plan
    asking = open_asking(prepared, workspace)
    held_out = open_reader(prepared.token_set, "validation", workspace)
    batches = open_batches(prepared, open_reader(prepared.token_set, "train", workspace))

    def validate() -> HeldOut:
        likelihood = measure_split(trainer, prepared, held_out, "validation")
        return HeldOut(likelihood.val_loss, likelihood.perplexity, likelihood.bits_per_byte, likelihood.accuracy)

    def should_stop() -> bool:
        writer.require_well()
        return stop.is_made or (guard is not None and guard.is_spent())

    def read_scheduled(step: int) -> tuple[TrainingState, Position]:
        # First of all: where this one is damaged, a resume must fall back to an older one and make it again.
        writer.void_after(step)
        if step == 0:
            return read_first_state(plan, workspace), Position.start()
        return writer.read(step)

    around = Surroundings(
        events=events,
        validate=validate,
        write_samples=lambda step: write_samples(trainer, asking, prepared, derive_seed(plan.seed, "sample", step)),
        save=writer.save,
        read_scheduled=read_scheduled,
        should_stop=should_stop,
        read_memory=lambda: (current_rss_bytes(), memory.peak_bytes),
        peak_flops_per_s=speed.peak_flops_per_s if (speed := prepared.choice and prepared.choice.speed) else None,
    )
    return train(plan, trainer, batches, around, position)


def open_batches(prepared: Prepared, reader: TokenReader) -> Batches:
    """What the plan learns from, in the order in which it does."""
    plan = prepared.plan
    if plan.training.packing == "samples":
        return _open_samples(prepared, reader)
    return BatchSource(
        reader,
        seed=plan.seed,
        batch_size=plan.training.batch_size,
        accumulation=plan.training.accumulation,
        seq_length=plan.training.max_seq_length,
    )


def _open_samples(prepared: Prepared, reader: TokenReader) -> SampleBatches:
    plan = prepared.plan
    return SampleBatches(
        reader,
        seed=plan.seed,
        batch_size=plan.training.batch_size,
        accumulation=plan.training.accumulation,
        seq_length=plan.training.max_seq_length,
    )


def open_reader(token_set: TokenSet, split: str, workspace: Workspace) -> TokenReader:
    """A split's tokens, memory-mapped and verified."""
    return open_split(token_set.splits[split], token_set.dtype, workspace.objects)


def _describe_start(plan: Plan, start: Position) -> dict[str, Any]:
    return {
        "plan": plan.id,
        "num_steps": plan.training.num_steps,
        "num_parameters": plan.model.num_parameters,
        **({"from_step": start.step} if start.step else {}),
    }
