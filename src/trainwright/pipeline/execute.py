"""From a plan to a run: a run folder, a trainer, the loop, and checkpoints that it can go on from after any death."""

import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trainwright.backends.catalogue import open_backend
from trainwright.backends.initial import build_initial_state, build_initial_weights
from trainwright.backends.protocol import Model, Trainer
from trainwright.core.errors import Interrupted, TokenizerMismatch, TrainwrightError
from trainwright.core.hashing import canonical_json
from trainwright.core.records import Measure, Outcome, Plan, Run, TokenSet
from trainwright.core.seeds import derive_seed
from trainwright.core.state import Position, TrainingState
from trainwright.evaluate.generation import Decoding, iter_generated
from trainwright.evaluate.held_out import Likelihood, measure_likelihood
from trainwright.pipeline.journal import Journal
from trainwright.pipeline.prepare import Prepared
from trainwright.store.checkpoints import (
    checkpoint_path,
    read_checkpoint,
    read_newest_good,
    retain,
    void_after,
    write_checkpoint,
)
from trainwright.store.run_folder import RunFolder, create_run_folder
from trainwright.store.shards import TokenReader, open_split
from trainwright.store.workspace import Workspace
from trainwright.tokens.protocol import TextTokenizer
from trainwright.tokens.tokenizer import open_tokenizer
from trainwright.train.batches import BatchSource
from trainwright.train.interruption import StopRequest, listen_for_stop
from trainwright.train.loop import LoopResult, Surroundings, train
from trainwright.train.telling import HeldOut
from trainwright.watch.environment import read_environment
from trainwright.watch.events import EventLog, Sink, iter_events
from trainwright.watch.memory import PeakMemory, current_rss_bytes

PACKAGES = ("trainwright", "torch", "numpy", "sentencepiece", "tokenizers", "safetensors", "pydantic", "sqlalchemy")


@dataclass(frozen=True)
class Trained:
    """A run whose training is over. `training_peak` is the memory that training took beyond the framework, in bytes."""

    folder: RunFolder
    run: Run
    position: Position
    training_peak: Measure


def begin_run(prepared: Prepared, name: str, workspace: Workspace) -> RunFolder:
    """A new run of a plan: its record, its folder, and what the machine looks like."""
    environment = read_environment(PACKAGES)
    run = Run(
        plan=prepared.plan.id,
        name=name,
        started_at=_now(),
        nonce=uuid.uuid4().hex,
        environment=workspace.objects.put(canonical_json(environment)),
    )
    folder = create_run_folder(workspace.runs, run, prepared.plan, environment)
    workspace.ledger.put(run)
    return folder


def execute(
    prepared: Prepared, folder: RunFolder, workspace: Workspace, journal: Journal, sinks: list[Sink]
) -> Trained:
    """Train, or go on training, in `folder` until the plan is fulfilled.

    The caller holds the run's lock. Raises Interrupted, after a checkpoint, where it was asked to stop.
    """
    with journal.phase("training") as phase, listen_for_stop() as stop:
        run, plan = folder.read_run(), folder.read_plan()
        backend = open_backend(plan.compute.framework)  # imports the framework, which is not counted below
        with PeakMemory() as memory:
            weights = build_initial_weights(plan.model, plan.seed, plan.training.init_scale)
            trainer = backend.open_trainer(plan.model, weights, plan.compute, plan.training)
            start = _go_on(folder, trainer, prepared, journal)
            with EventLog.open(folder.events_path, keep=start.num_events, sinks=sinks) as events:
                if start.num_events:
                    journal.screen.catch_up(iter_events(folder.events_path))
                else:
                    events.emit("run-started", _describe_start(plan))
                result = _train(prepared, folder, workspace, trainer, events, stop, start, memory)
                if not result.interrupted:
                    events.emit("run-finished", {"status": "completed", "step": result.position.step})
        if result.interrupted:
            raise Interrupted(
                f"Stopped at step {result.position.step} of {plan.training.num_steps}; everything is saved.",
                why="A stop was asked for.",
                next_step=f"trainwright resume {run.id[:12]}",
            )
        phase.artefacts["run"] = run.id
        phase.detail = f"{result.position.step:,} steps{', stopped early' * result.stopped_early}"
    return Trained(folder, run, result.position, _training_peak(memory, start, result.position))


def record_failure(run: Run, error: TrainwrightError, workspace: Workspace) -> None:
    """Put on record that a run ended in an error."""
    workspace.ledger.put(
        Outcome(run=run.id, status="failed", checkpoint=None, report=None, error=f"{error.name}: {error.message}")
    )


def measure_split(model: Model, prepared: Prepared, reader: TokenReader, split: str) -> Likelihood:
    """How well `model` predicts a split of the plan's token set."""
    training = prepared.plan.training
    end = prepared.tokenizer.special_tokens.end
    return measure_likelihood(
        model,
        reader,
        num_bytes=prepared.token_set.splits[split].num_bytes,
        seq_length=training.max_seq_length,
        batch_size=training.batch_size // training.accumulation,
        first_context=0 if end is None else end,
    )


def write_samples(model: Model, tokenizer: TextTokenizer, prepared: Prepared, seed: int) -> list[tuple[str, str]]:
    """(prompt, continuation) for each of the plan's fixed prompts."""
    training = prepared.plan.training
    end = prepared.tokenizer.special_tokens.end
    decoding = Decoding(max_tokens=training.sample_tokens, seed=seed)
    samples = []
    for prompt in training.sample_prompts:
        ids = list(iter_generated(model, encode_prompt(tokenizer, prepared, prompt), decoding, end))
        samples.append((prompt, tokenizer.decode(ids)))
    return samples


def encode_prompt(tokenizer: TextTokenizer, prepared: Prepared, prompt: str) -> list[int]:
    """A prompt as it stands in training: after the end of the document before it."""
    end = prepared.tokenizer.special_tokens.end
    return [*([] if end is None else [end]), *tokenizer.encode(prompt)] or [0]


def _training_peak(memory: PeakMemory, start: Position, end: Position) -> Measure:
    """Memory that training took in this process, in bytes; a process that only found training finished has none to tell."""
    if start.step == end.step:
        return Measure(value=None, unit="bytes", why_not="training had ended before this process took over")
    return Measure(value=max(0, memory.peak_bytes - memory.baseline_bytes), unit="bytes")


def _go_on(folder: RunFolder, trainer: Trainer, prepared: Prepared, journal: Journal) -> Position:
    """Bring the trainer to the newest good checkpoint, or leave it at the start where none was ever written."""
    content, problems = read_newest_good(folder.checkpoints_path)
    for problem in problems:
        said = f"the checkpoint of step {problem.step} is damaged and was set aside as {problem.set_aside.name}"
        journal.screen.announce(f"{said}: {problem.error.why}")
        folder.append_attempt({"at": _now(), "problem": said, "why": problem.error.why})
    folder.append_attempt({"at": _now(), "from_step": content.position.step if content else 0, "process": os.getpid()})
    if content is None:
        return Position.start()
    if content.fingerprint != prepared.token_set.tokenizer_fingerprint:
        raise TokenizerMismatch(
            "The checkpoint was trained with another tokenizer than the token set was made with.",
            why=f"{content.fingerprint[:12]} is not {prepared.token_set.tokenizer_fingerprint[:12]}.",
            next_step="Resume in the workspace in which the run was begun.",
        )
    trainer.load_state(content.state)
    journal.screen.announce(f"going on from the checkpoint at step {content.position.step:,}")
    return content.position


def _train(
    prepared: Prepared,
    folder: RunFolder,
    workspace: Workspace,
    trainer: Trainer,
    events: EventLog,
    stop: StopRequest,
    position: Position,
    memory: PeakMemory,
) -> LoopResult:
    plan = prepared.plan
    training = plan.training
    tokenizer = open_tokenizer(prepared.tokenizer, workspace.objects)
    held_out = open_reader(prepared.token_set, "validation", workspace)
    batches = BatchSource(
        open_reader(prepared.token_set, "train", workspace),
        seed=plan.seed,
        batch_size=training.batch_size,
        accumulation=training.accumulation,
        seq_length=training.max_seq_length,
    )

    def validate() -> HeldOut:
        likelihood = measure_split(trainer, prepared, held_out, "validation")
        return HeldOut(likelihood.val_loss, likelihood.perplexity, likelihood.bits_per_byte, likelihood.accuracy)

    def save(state: TrainingState, position: Position) -> str:
        events.sync()
        checkpoint = write_checkpoint(
            folder.checkpoints_path,
            run_id=folder.read_run().id,
            fingerprint=prepared.token_set.tokenizer_fingerprint,
            state=state,
            position=position,
        )
        workspace.ledger.put(checkpoint)
        # A rollback may come to ask for the scheduled one, however many interruptions left newer ones.
        kept = {step for step in (position.best_step, position.scheduled_step) if step}
        retain(folder.checkpoints_path, training.keep_last, kept)
        return checkpoint.weights

    def read_scheduled(step: int) -> tuple[TrainingState, Position]:
        # First of all: where this one is damaged, a resume must fall back to an older one and make it again.
        void_after(folder.checkpoints_path, step)
        if step == 0:
            return build_initial_state(plan.model, training, plan.seed), Position.start()
        content = read_checkpoint(checkpoint_path(folder.checkpoints_path, step))
        return content.state, content.position

    around = Surroundings(
        events=events,
        validate=validate,
        write_samples=lambda step: write_samples(trainer, tokenizer, prepared, derive_seed(plan.seed, "sample", step)),
        save=save,
        read_scheduled=read_scheduled,
        should_stop=lambda: stop.is_made,
        read_memory=lambda: (current_rss_bytes(), memory.peak_bytes),
        peak_flops_per_s=speed.peak_flops_per_s if (speed := prepared.choice and prepared.choice.speed) else None,
    )
    return train(plan, trainer, batches, around, position)


def open_reader(token_set: TokenSet, split: str, workspace: Workspace) -> TokenReader:
    """A split's tokens, memory-mapped and verified."""
    return open_split(token_set.splits[split], token_set.dtype, workspace.objects)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _describe_start(plan: Plan) -> dict[str, Any]:
    return {
        "plan": plan.id,
        "num_steps": plan.training.num_steps,
        "num_parameters": plan.model.num_parameters,
    }
