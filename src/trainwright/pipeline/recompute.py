"""Computing steps of a run again, in a process of its own that starts from nothing but plan and data.

Run as a module it is that process: one JSON request on standard input; on standard output, a line of JSON for each thing
that was found. It writes into its scratch folder alone.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from trainwright.backends.catalogue import open_backend
from trainwright.backends.protocol import Trainer
from trainwright.core.errors import TrainingError, TrainwrightError
from trainwright.core.hashing import Digest, digest_bytes
from trainwright.core.records import Checkpoint, Difference, Frozen, Interval, Plan, Run
from trainwright.core.state import Position, TrainingState
from trainwright.pipeline.drift import compare_environments, keep_environment, read_run_environment, render_change
from trainwright.pipeline.execute import measure_split, open_batches, open_reader
from trainwright.pipeline.prepare import Prepared, load_prepared
from trainwright.pipeline.start import read_first_state, read_first_weights, read_start
from trainwright.store.checkpoints import (
    CONTENT_FILES,
    CheckpointContent,
    checkpoint_path,
    read_checkpoint,
    render_checkpoint,
)
from trainwright.store.differences import find_first_difference, read_raw_files
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace, open_workspace
from trainwright.train.loop import Surroundings, train
from trainwright.train.telling import HeldOut
from trainwright.watch.events import Event, EventLog, iter_events, render_event

NUM_OPENING_EVENTS = 1
"""Events before the first step: `run-started`."""


class Request(Frozen):
    """What is to be computed again. `damaged` are steps whose stored files are to be compared with what comes out."""

    workspace: str
    run: Digest
    scratch: str
    stretches: tuple[Interval, ...]
    damaged: tuple[int, ...]


class Finding(Frozen):
    """One thing that came of it.

    `environment`: where this is, as the digest of an object. `obstacle`: why nothing, or nothing more, can be computed.
    `step`: the first step of a stretch is done, `agreed`: a checkpoint came out as recorded. `different`: it did not.
    `done`: all of the request was looked at.
    """

    kind: Literal["environment", "obstacle", "agreed", "different", "done"]
    step: int = 0
    environment: str = ""
    why: str = ""
    difference: Difference | None = None


Tell = Callable[[Finding], None]


def read_recorded(run: Run, workspace: Workspace) -> dict[int, list[Checkpoint]]:
    """{step: its records, the one that counts last}. A step that was computed again after a rollback has several."""
    recorded: dict[int, list[Checkpoint]] = {}
    for role, child in workspace.ledger.children(run.id):
        record = workspace.ledger.get(child) if role == "run" else None
        if isinstance(record, Checkpoint):
            recorded.setdefault(record.step, []).append(record)
    return recorded


def first_step_of(plan: Plan, workspace: Workspace) -> int:
    """Where a run of `plan` begins: at the step of the checkpoint that it continues, else at 0. Raises UnknownRef."""
    if plan.start is None or plan.start.mode == "weights":
        return 0
    source = workspace.ledger.get(plan.start.source)
    return source.step if isinstance(source, Checkpoint) else 0


def recompute(request: Request, tell: Tell) -> None:
    """Compute every stretch, compare at every checkpoint, and stop at the first that differs."""
    with open_workspace(Path(request.workspace)) as workspace:
        folder = workspace.find_run_folder(request.run)
        plan = folder.read_plan()
        environment = read_run_environment(plan)
        tell(Finding(kind="environment", environment=keep_environment(environment, workspace)))
        changes = compare_environments(folder.read_environment(), environment, plan)
        inexact = [change for change in changes if not change.exact]
        for change in inexact:
            tell(Finding(kind="obstacle", why=render_change(change)))
        if inexact:
            return
        original = Original.read(folder, workspace, request.damaged)
        weights = read_first_weights(plan, workspace)
        backend = open_backend(plan.compute.framework)
        trainer = backend.open_trainer(plan.model, weights, plan.compute, plan.training)
        if all(Replay(original, stretch, request, trainer, tell).compute() for stretch in request.stretches):
            tell(Finding(kind="done"))


@dataclass(frozen=True)
class Original:
    """The run as it is on record: what it was made from, what it said, what it saved. `damaged` as in the request."""

    run: Run
    prepared: Prepared
    folder: RunFolder
    workspace: Workspace
    recorded: Mapping[int, Sequence[Checkpoint]]
    events: Sequence[Event]
    damaged: tuple[int, ...]

    @property
    def first_step(self) -> int:
        """Where the run begins: that of the checkpoint which it continues, else 0."""
        return first_step_of(self.prepared.plan, self.workspace)

    @classmethod
    def read(cls, folder: RunFolder, workspace: Workspace, damaged: tuple[int, ...]) -> Self:
        """Raises UnknownRef, ObjectMissing, ObjectDamaged, RunDamaged, EventsDamaged."""
        run = folder.read_run()
        prepared = load_prepared(workspace, folder.read_plan())
        events = list(iter_events(folder.events_path))
        return cls(run, prepared, folder, workspace, read_recorded(run, workspace), events, damaged)

    def read_stored(self, step: int) -> CheckpointContent:
        """A kept checkpoint, verified against its record. Raises CheckpointDamaged."""
        return read_checkpoint(self.path_of(step), expected=self.recorded[step][-1])

    def path_of(self, step: int) -> Path:
        """Where the checkpoint of a step lies, if it is kept."""
        return checkpoint_path(self.folder.checkpoints_path, step)


class Replay:
    """One stretch of a run, computed again. The loop is told to save, and what it would save is compared instead."""

    def __init__(self, original: Original, stretch: Interval, request: Request, trainer: Trainer, tell: Tell) -> None:
        self._original, self._stretch, self._trainer, self._tell = original, stretch, trainer, tell
        self._plan = original.prepared.plan
        self._scratch = Path(request.scratch) / f"events-{stretch.first_step}.jsonl"
        self._said = SaidBefore(original.events, stretch.first_step)
        self._scheduled: tuple[TrainingState, Position] | None = None
        self._saved_step = -1
        self._has_come_to_the_end = self._has_differed = False

    def compute(self) -> bool:
        """False where something differs, which was then told."""
        position = self._go_to_the_beginning()
        descriptor = os.open(self._scratch, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        num_events = position.num_events or NUM_OPENING_EVENTS
        with EventLog(self._scratch, descriptor, num_events, sinks=[self._said]) as events:
            reader = open_reader(self._original.prepared.token_set, "train", self._original.workspace)
            batches = open_batches(self._original.prepared, reader)
            try:
                train(self._plan, self._trainer, batches, self._surround(events), position)
            except TrainingError as error:
                self._differ(self._said.step + 1, f"{error.message} {error.why}")
        if not self._has_come_to_the_end:
            self._differ(self._stretch.last_step, f"Computed again, training ended at step {self._said.step}.")
        if self._said.strange_step is not None:
            self._differ(self._said.strange_step, self._said.why, cause="events")
        return not self._has_differed

    def read_scheduled(self, step: int) -> tuple[TrainingState, Position]:
        """What a rollback goes back to: the last scheduled checkpoint of this stretch, or one that is stored."""
        if self._scheduled is not None and self._scheduled[1].step == step:
            return self._scheduled
        if step == 0:
            return read_first_state(self._plan, self._original.workspace), Position.start()
        content = self._original.read_stored(step)
        return content.state, content.position

    # ── what the loop is surrounded with ──────────────────────────────────────────────────────────────────────────────
    def _go_to_the_beginning(self) -> Position:
        """Bring the trainer to where the stretch begins: the run's own beginning, or a stored checkpoint."""
        first_step = self._stretch.first_step
        if first_step == self._original.first_step:
            start = read_start(self._plan, self._original.workspace)
            state, position = start.state, start.position
        else:
            content = self._original.read_stored(first_step)
            state, position = content.state, content.position
        if state is not None:
            self._trainer.load_state(state)
            self._scheduled = (state, position)
        return position

    def _surround(self, events: EventLog) -> Surroundings:
        prepared = self._original.prepared
        held_out = open_reader(prepared.token_set, "validation", self._original.workspace)

        def validate() -> HeldOut:
            likelihood = measure_split(self._trainer, prepared, held_out, "validation")
            return HeldOut(likelihood.val_loss, likelihood.perplexity, likelihood.bits_per_byte, likelihood.accuracy)

        return Surroundings(
            events=events,
            validate=validate,
            # Samples change nothing; they are only counted, because a checkpoint counts the events before it.
            write_samples=lambda _step: [(prompt, "") for prompt in self._plan.training.sample_prompts],
            save=self._compare,
            read_scheduled=self.read_scheduled,
            should_stop=self._should_stop,
        )

    def _should_stop(self) -> bool:
        """At the end of the stretch; where no checkpoint is due there, being stopped makes the loop save one."""
        is_unsaved_end = self._said.step >= self._stretch.last_step and self._saved_step != self._said.step
        return self._has_come_to_the_end or self._has_differed or is_unsaved_end

    # ── what is compared ──────────────────────────────────────────────────────────────────────────────────────────────
    def _compare(self, state: TrainingState, position: Position) -> None:
        record, files = render_checkpoint(
            run_id=self._original.run.id,
            fingerprint=self._original.prepared.token_set.tokenizer_fingerprint,
            state=state,
            position=position,
        )
        step = self._saved_step = position.step
        if self._said.is_scheduled and self._plan.training.stability is not None:
            self._scheduled = (state, position)
        known = self._original.recorded.get(step, ())
        are_equal = [_has_content_of(candidate, record) for candidate in known]
        # An earlier record of a step is that of one which a rollback went behind: then the one that counts comes later.
        goes_behind = any(are_equal) and self._said.num_events < self._said.counted.get(step, 0)
        if known and not are_equal[-1] and not goes_behind:
            self._differ_at_checkpoint(step, files)
        elif known and are_equal[-1] and not self._has_come_to_the_end:
            self._agree(step, files)

    def _agree(self, step: int, files: dict[str, bytes]) -> None:
        if step not in self._original.damaged:
            self._has_come_to_the_end = step == self._stretch.last_step
            self._tell(Finding(kind="agreed", step=step))
            return
        tensor, where = find_first_difference(files, read_raw_files(self._original.path_of(step)))
        why = (
            "Computed again it has the digests that were recorded, so its stored file was changed after it was written"
        )
        self._differ(step, f"{why}: {where or 'the manifest'}.", tensor, cause="stored")

    def _differ_at_checkpoint(self, step: int, files: dict[str, bytes]) -> None:
        path, record, tensor = self._original.path_of(step), self._original.recorded[step][-1], ""
        if path.is_dir() and step not in self._original.damaged:
            tensor, where = find_first_difference(read_raw_files(path), files)
        else:
            names = [name for name in CONTENT_FILES if record.files.get(name) != digest_bytes(files[name])]
            where = f"{' and '.join(names)}. Its files are not kept whole, so no tensor can be named"
        earlier = f" {self._said.why}" if self._said.why else ""
        self._differ(step, f"Computed again it differs in {where}.{earlier}", tensor)

    def _differ(
        self, step: int, why: str, tensor: str = "", cause: Literal["computed", "stored", "events"] = "computed"
    ) -> None:
        if not self._has_differed:
            self._has_differed = self._has_come_to_the_end = True
            difference = Difference(step=step, tensor=tensor, cause=cause)
            self._tell(Finding(kind="different", why=why, difference=difference))


class SaidBefore:
    """A sink that holds each event against the one of the same number that the run wrote."""

    def __init__(self, recorded: Sequence[Event], step: int) -> None:
        self._recorded = recorded
        self.counted = {event["step"]: event["seq"] + 1 for event in recorded if event["kind"] == "checkpoint"}
        """{step: events up to its last checkpoint}."""
        self.step = step
        """Where the loop is."""
        self.num_events = 0
        self.is_scheduled = False
        """Whether the last event said that a checkpoint comes."""
        self.strange_step: int | None = None
        """The first step that said something else."""
        self.why = ""

    def emit(self, event: Event) -> None:
        """Compare one event. The texts of samples were not written again."""
        self.step = int(event["to_step"] if "to_step" in event else event.get("step", self.step))
        self.num_events = event["seq"] + 1
        self.is_scheduled = event["kind"] == "checkpoint"
        if self.strange_step is not None:
            return
        seq = event["seq"]
        recorded = self._recorded[seq] if seq < len(self._recorded) else {"kind": "none", "timing": {}}
        if _facts_of(recorded) != _facts_of(event):
            self.strange_step = self.step
            self.why = _describe_events(recorded, event)


def _has_content_of(record: Checkpoint, other: Checkpoint) -> bool:
    """Equal in all but the manifest, which says in which format it was written."""
    return all(record.files.get(name) == other.files.get(name) for name in CONTENT_FILES)


def _facts_of(event: Event) -> bytes:
    """What two equal events have in common, as bytes, so that NaN equals NaN."""
    left_out = {"timing", "text"} if event["kind"] == "sample" else {"timing"}
    return render_event({**{key: value for key, value in event.items() if key not in left_out}, "timing": {}})


def _describe_events(recorded: Event, event: Event) -> str:
    if recorded["kind"] != event["kind"]:
        return f"Event {event['seq']} on record is {recorded['kind']}; computed again it is {event['kind']}."
    before, now = json.loads(_facts_of(recorded)), json.loads(_facts_of(event))
    name = next(key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key))
    where = f"The {name} of the {event['kind']} event at step {event.get('step')}"
    return f"{where} is {before.get(name)} on record; computed again it is {now.get(name)}."


def _write_line(finding: Finding) -> None:
    sys.stdout.write(finding.model_dump_json() + "\n")
    sys.stdout.flush()


def _main() -> None:
    request = Request.model_validate_json(sys.stdin.read())
    try:
        recompute(request, _write_line)
    except TrainwrightError as error:
        _write_line(Finding(kind="obstacle", why=f"{error.message} {error.why}".strip()))


if __name__ == "__main__":
    _main()
