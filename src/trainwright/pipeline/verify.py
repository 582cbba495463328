"""Whether a run comes out the same again: all of its steps, or a sample of them, computed anew from plan and data.

    what is stored        every checkpoint that is kept, hashed and held against its record
    what is computed      the steps between two recorded checkpoints, in a process of its own (`recompute.py`)
    what comes of it      a Verdict, on record beside the run

A checkpoint has its digests on record even after retention deleted its files, so an interval may end at any of them; it
begins where the run begins, where a kept checkpoint lies, or where the interval before it ended.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from trainwright.core.errors import (
    CannotVerify,
    CheckpointDamaged,
    RunBusy,
    UnknownRef,
    VerificationFailed,
)
from trainwright.core.hashing import canonical_json, digest_json
from trainwright.core.records import Checkpoint, Difference, Drift, Interval, Plan, Run, TokenSet, Verdict
from trainwright.pipeline.drift import PACKAGES, breaks_plan
from trainwright.pipeline.inspect import find_run
from trainwright.pipeline.journal import Journal
from trainwright.pipeline.recompute import Finding, Request, first_step_of, read_recorded
from trainwright.store.checkpoints import list_checkpoints, require_intact
from trainwright.store.lineage import check_objects
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace
from trainwright.watch.environment import NUMERIC_VARIABLES, read_environment
from trainwright.watch.events import iter_events

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**28), "MALLOC_TRIM_THRESHOLD_": str(2**29)}
"""Memory that a step lets go of stays with the process (glibc reads these); by default it was given back and fetched anew in
every step, which bench/verify_cost.py shows."""

Found = Literal["agrees", "differs", "not drawn", "not reached", "after drift"]


@dataclass(frozen=True)
class Row:
    """What was found about the steps between two recorded checkpoints."""

    first_step: int
    last_step: int
    found: Found
    why: str = ""


@dataclass(frozen=True)
class Verification:
    """A verdict, and what it stands on: every interval of the run. `num_steps` is how far the run's records go."""

    run: Run
    verdict: Verdict
    num_steps: int
    rows: tuple[Row, ...]

    def as_document(self) -> dict[str, Any]:
        """What `verify --json` prints."""
        verdict = self.verdict
        return {
            "run_id": self.run.id,
            "verdict_id": verdict.id,
            "status": verdict.status,
            "why": verdict.why,
            "share": verdict.share,
            "num_steps": self.num_steps,
            "difference": verdict.difference.model_dump(mode="json") if verdict.difference else None,
            "intervals": [
                {"first_step": row.first_step, "last_step": row.last_step, "found": row.found, "why": row.why}
                for row in self.rows
            ],
        }


def verify(ref: str, workspace: Workspace, journal: Journal, *, sample: float | None, seed: int) -> Verification:
    """Compute a run again, or about the share `sample` of its steps, drawn by `seed`, and put a verdict on record.

    Raises RunBusy while the run is being written, and what reading its folder raises (RunDamaged, PlanMismatch,
    EventsDamaged): what is not known cannot be verified.
    """
    run = find_run(ref, workspace)
    folder = workspace.find_run_folder(run.id)
    if folder.is_locked():
        raise RunBusy(
            f"The run in {folder.path} is being written by another process.",
            why="What is not finished cannot be compared.",
            next_step="Wait until it ends, or stop it; a run that was stopped can be verified up to its last checkpoint.",
        )
    with journal.phase("verification") as phase:
        history = _read_history(run, folder, workspace)
        obstacles = list(_iter_obstacles(history, workspace))
        chosen = choose(history, sample, seed) if not obstacles else ()
        computed = Progress(obstacles)
        if chosen:
            _compute(history, chosen, workspace, journal, computed)
        verification = _judge(history, chosen, computed, workspace)
        workspace.ledger.put(verification.verdict)
        phase.detail = verification.verdict.status
    return verification


def require_verified(verification: Verification) -> None:
    """Raises VerificationFailed or CannotVerify where the verdict is not `verified`."""
    verdict, run_id = verification.verdict, verification.run.id[:12]
    if verdict.status == "verified":
        return
    if verdict.difference is None:
        raise CannotVerify(
            f"Whether run {run_id} comes out the same again cannot be told here.",
            why=verdict.why,
            next_step="Verify it on a machine like the one in its environment.json, with the same packages and the data.",
        )
    where = f"{verdict.difference.tensor} " * bool(verdict.difference.tensor)
    raise VerificationFailed(
        f"Run {run_id} differs at step {verdict.difference.step}: {where}is not what was recorded."
        if where
        else f"Run {run_id} differs at step {verdict.difference.step}.",
        why=verdict.why,
        next_step="Do not trust what is stored from that step on; train the plan again: trainwright run --retrain"
        if verdict.difference.cause == "computed"
        else "Restore the file from a copy, or train the plan again: trainwright run --retrain",
    )


# ── what is on record ─────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class History:
    """A run's checkpoints. `steps` are those whose records count, ascending, without the beginning; `kept` those whose
    files are there, of which `damaged` {step: why} are not what they were."""

    run: Run
    plan: Plan | None
    folder: RunFolder
    steps: tuple[int, ...]
    kept: frozenset[int]
    damaged: Mapping[int, str]
    drifts: tuple[Drift, ...]
    first_step: int = 0

    @property
    def intervals(self) -> list[Interval]:
        """From one recorded checkpoint to the next, the beginning of the run counting as one."""
        return [Interval(first_step=first, last_step=last) for first, last in pairwise((self.first_step, *self.steps))]

    @property
    def exact_until(self) -> int:
        """The last step before something changed that can change results."""
        inexact = [drift.step for drift in self.drifts if any(map(breaks_plan, drift.changes))]
        return min(inexact, default=self.num_steps)

    @property
    def num_steps(self) -> int:
        """How far the records go."""
        return max(self.steps, default=self.first_step)


def _read_history(run: Run, folder: RunFolder, workspace: Workspace) -> History:
    plan = None if _has_unknown_semantics(folder, run) else folder.read_plan()
    folder.read_environment()
    recorded = read_recorded(run, workspace)
    kept = {step for step, _ in list_checkpoints(folder.checkpoints_path)} & recorded.keys()
    children = (workspace.ledger.get(child) for role, child in workspace.ledger.children(run.id) if role == "run")
    first_step = 0 if plan is None else first_step_of(plan, workspace)
    counted = _steps_that_count(folder, recorded.keys(), kept)
    return History(
        run=run,
        plan=plan,
        folder=folder,
        steps=tuple(sorted(step for step in counted if step > first_step)),
        kept=frozenset(kept),
        damaged=dict(_iter_damaged(folder, recorded)),
        drifts=tuple(child for child in children if isinstance(child, Drift)),
        first_step=first_step,
    )


def _has_unknown_semantics(folder: RunFolder, run: Run) -> bool:
    """Whether plan.json is the run's plan, but means something that this version does not know."""
    try:
        document = json.loads(folder.plan_path.read_bytes())
        semantics = document["semantics"]
        is_the_plan = digest_json(document) == run.plan
    except (OSError, ValueError, LookupError, TypeError):
        return False  # reading it as a plan says what is wrong
    return is_the_plan and semantics not in (1,)


def _steps_that_count(folder: RunFolder, recorded: Collection[int], kept: Collection[int]) -> set[int]:
    """Recorded checkpoints that belong to the run's story as its events tell it.

    Not among them: what a rollback went behind, and what was saved only because somebody stopped the run, unless that is
    still kept.
    """
    scheduled: set[int] = set()
    unscheduled = set(kept)
    for event in iter_events(folder.events_path):
        if event["kind"] == "checkpoint":
            scheduled.add(event["step"])
        elif event["kind"] == "rollback":
            scheduled = {step for step in scheduled if step <= event["to_step"]}
            unscheduled = {step for step in unscheduled if not event["to_step"] < step <= event["step"]}
    return (scheduled | unscheduled) & set(recorded)


def _iter_damaged(folder: RunFolder, recorded: Mapping[int, Sequence[Checkpoint]]) -> Iterator[tuple[int, str]]:
    for step, path in list_checkpoints(folder.checkpoints_path):
        if step in recorded:
            try:
                require_intact(path, expected=recorded[step][-1])
            except CheckpointDamaged as error:
                yield step, f"{error.message} {error.why}"


def _iter_obstacles(history: History, workspace: Workspace) -> Iterator[str]:
    """Why nothing can be computed again, as far as that can be seen without the framework."""
    if history.plan is None:
        yield "the plan has a meaning that this version of Trainwright does not know"
        return
    if not history.steps:
        yield "the run has no checkpoint on record to compare with"
    try:
        token_set = workspace.ledger.get(history.plan.token_set)
    except UnknownRef as error:
        yield f"{error.message} {error.why}"
        return
    if isinstance(token_set, TokenSet):
        for finding in check_objects(workspace.objects, token_set):
            yield f"{finding.name} is {finding.problem}: {finding.why}"


# ── what is computed again ────────────────────────────────────────────────────────────────────────────────────────────
def choose(history: History, sample: float | None, seed: int) -> tuple[Interval, ...]:
    """The intervals to compute: all, or as many as the sample allows; and those that lead to a damaged checkpoint."""
    exact = [interval for interval in history.intervals if interval.last_step <= history.exact_until]
    chosen = set(exact if sample is None else _draw(history, exact, sample, seed))
    starts = {history.first_step} | (history.kept - history.damaged.keys())
    for damaged in sorted(history.damaged.keys() & {interval.last_step for interval in exact})[:1]:
        start = max(step for step in starts if step < damaged)
        chosen |= {interval for interval in exact if start <= interval.first_step < damaged}
    return tuple(sorted(chosen, key=lambda interval: interval.first_step))


def _draw(history: History, exact: Sequence[Interval], sample: float, seed: int) -> Iterator[Interval]:
    """Intervals that begin where something is kept, in an order drawn by the seed, while they fit into the share.

    The shortest, where not one fits: a sample is never empty.
    """
    starts = {history.first_step} | (history.kept - history.damaged.keys())
    reachable = [interval for interval in exact if interval.first_step in starts]
    random.Random(seed).shuffle(reachable)
    left = sample * (history.num_steps - history.first_step) + 1e-9
    if all(_length(interval) > left for interval in reachable):
        yield from sorted(reachable, key=_length)[:1]
        return
    for interval in reachable:
        if _length(interval) <= left:
            left -= _length(interval)
            yield interval


def _length(interval: Interval) -> int:
    return interval.last_step - interval.first_step


def _join(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    """Intervals that follow each other become one stretch, which is computed in one go."""
    stretches: list[Interval] = []
    for interval in intervals:
        if stretches and stretches[-1].last_step == interval.first_step:
            interval = Interval(first_step=stretches.pop().first_step, last_step=interval.last_step)
        stretches.append(interval)
    return tuple(stretches)


class Progress:
    """What the process that computes has found so far."""

    def __init__(self, obstacles: list[str]) -> None:
        self.obstacles = obstacles
        self.agreed: set[int] = set()
        self.different: Finding | None = None
        self.environment = ""
        self.is_done = False

    def take(self, finding: Finding) -> None:
        """Keep one finding."""
        match finding.kind:
            case "environment":
                self.environment = finding.environment
            case "obstacle":
                self.obstacles.append(finding.why)
            case "agreed":
                self.agreed.add(finding.step)
            case "different":
                self.different = finding
            case "done":
                self.is_done = True


def _compute(
    history: History, chosen: Sequence[Interval], workspace: Workspace, journal: Journal, computed: Progress
) -> None:
    """Have it computed by a process that begins with the environment variables of the run, and nothing else of ours."""
    total = sum(map(_length, chosen))
    with tempfile.TemporaryDirectory(prefix="trainwright-verify-") as scratch:
        request = Request(
            workspace=str(workspace.root),
            run=history.run.id,
            scratch=scratch,
            stretches=_join(chosen),
            damaged=tuple(sorted(history.damaged)),
        )
        complaints = Path(scratch) / "stderr"
        with (
            complaints.open("wb") as stderr,
            subprocess.Popen(
                [sys.executable, "-m", "trainwright.pipeline.recompute"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=_variables_of(history.folder),
                text=True,
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(request.model_dump_json())
                process.stdin.close()
                for line in process.stdout:
                    if line.startswith('{"kind":'):  # a framework may greet on lines of its own
                        computed.take(Finding.model_validate_json(line))
                        done = sum(_length(interval) for interval in chosen if interval.last_step in computed.agreed)
                        journal.screen.show_progress("steps computed again:", done, total)
            except BaseException:
                process.kill()
                raise
        if not (computed.is_done or computed.different or computed.obstacles):
            said = complaints.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            why = said[-1] if said else "it said nothing"
            computed.obstacles.append(f"the process that computes ended with exit code {process.returncode} ({why})")


def _variables_of(folder: RunFolder) -> dict[str, str]:
    """This process's environment variables, but those that change how numbers are computed as they were for the run."""
    here = {name: value for name, value in os.environ.items() if not name.startswith(NUMERIC_VARIABLES)}
    variables: dict[str, str] = folder.read_environment()["variables"]
    return ALLOCATOR | here | variables


# ── what comes of it ──────────────────────────────────────────────────────────────────────────────────────────────────
def _judge(history: History, chosen: Sequence[Interval], computed: Progress, workspace: Workspace) -> Verification:
    difference, why_different = _find_difference(history, computed)
    rows = tuple(iter_rows(history, chosen, computed, difference))
    again = tuple(
        Interval(first_step=row.first_step, last_step=row.last_step)
        for row in rows
        if row.found in ("agrees", "differs") and any(row.first_step == interval.first_step for interval in chosen)
    )
    num_done = history.num_steps - history.first_step
    share = sum(map(_length, again)) / num_done if num_done else 0.0
    reasons = list(computed.obstacles)
    if history.exact_until < history.num_steps:
        names = sorted({change.name for drift in history.drifts for change in drift.changes if breaks_plan(change)})
        reasons.append(
            f"after step {history.exact_until} the run went on with another {', '.join(names)}, which was allowed"
        )
    status: Literal["verified", "differs", "cannot-verify"] = "verified"
    why = f"{share:.0%} of the steps were computed again, and every checkpoint came out as it was recorded."
    if difference is not None:
        status, why = "differs", why_different
    elif reasons:
        status, why = "cannot-verify", f"{'; '.join(reasons)}."
    verdict = Verdict(
        run=history.run.id,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        status=status,
        intervals=_join(again),
        share=share,
        difference=difference,
        why=why,
        environment=computed.environment or workspace.objects.put(canonical_json(read_environment(PACKAGES))),
    )
    return Verification(history.run, verdict, history.num_steps, rows)


def _find_difference(history: History, computed: Progress) -> tuple[Difference | None, str]:
    """What was computed and differs; else the first stored checkpoint that does not have its recorded digests."""
    also = "".join(f" Step {step} as stored: {why}" for step, why in sorted(history.damaged.items()))
    if computed.different is not None:
        return computed.different.difference, computed.different.why + also
    if history.damaged:
        why = f"No tensor can be named, because the steps before it were not computed again.{also}"
        if computed.obstacles:
            why += f" They could not be: {'; '.join(computed.obstacles)}."
        return Difference(step=min(history.damaged), tensor="", cause="stored"), why
    return None, ""


def iter_rows(
    history: History, chosen: Sequence[Interval], computed: Progress, difference: Difference | None
) -> Iterator[Row]:
    """What is to be said of each interval."""
    is_over = False
    for interval in history.intervals:
        first, last = interval.first_step, interval.last_step
        is_chosen = interval in chosen
        if difference is not None and first < difference.step <= last:
            is_over = True
            yield Row(first, last, "differs", difference.tensor or difference.cause)
        elif last > history.exact_until:
            yield Row(first, last, "after drift")
        elif last in computed.agreed and is_chosen:
            yield Row(first, last, "agrees")
        elif is_chosen or (is_over and not computed.obstacles):
            yield Row(first, last, "not reached")
        elif computed.obstacles:
            yield Row(first, last, "not reached", computed.obstacles[0])
        else:
            yield Row(first, last, "not drawn")
