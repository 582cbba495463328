"""Writing checkpoints beside the training: one thread, one checkpoint at a time, in the order in which they were handed over.

The loop hands over a copy of its state and trains on. Its event stream is made durable first, then the checkpoint, then the
ledger hears of it, and only then are older ones deleted: whatever moment the process dies at, what is there is whole, and
the ledger names nothing that is not.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from trainwright.core.records import Checkpoint, TrainingPlan
from trainwright.core.state import Position, TrainingState
from trainwright.store.checkpoints import (
    checkpoint_path,
    list_checkpoints,
    read_checkpoint,
    retain,
    void_after,
    write_checkpoint,
)
from trainwright.store.ledger import Ledger


class CheckpointWriter:
    """The writer of one run's checkpoints. Use it in a `with` block: what was handed over is durable when the block ends.

    `sync_events` returns once every event so far is durable: a checkpoint counts the events before it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        run_id: str,
        fingerprint: str,
        training: TrainingPlan,
        ledger: Ledger,
        sync_events: Callable[[], None],
    ) -> None:
        self._folder, self._run_id, self._fingerprint = folder, run_id, fingerprint
        self._training, self._ledger, self._sync_events = training, ledger, sync_events
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._in_flight: Future[None] | None = None
        self._ids = _read_ids(ledger, run_id)

    def save(self, state: TrainingState, position: Position) -> None:
        """Hand over a checkpoint, which must be a copy that nobody changes. Waits for the one before to be durable.

        Raises what writing that one raised: DiskFull, NotWritable, ImmutableRecord, CheckpointDamaged, LedgerUnavailable.
        """
        self.wait()
        self._in_flight = self._pool.submit(self._write, state, position)

    def wait(self) -> None:
        """Return once everything that was handed over is durable; raises like `save`."""
        in_flight, self._in_flight = self._in_flight, None
        if in_flight is not None:
            in_flight.result()

    def void_after(self, step: int) -> None:
        """Delete the checkpoints after `step`, to which the run is rolled back; raises like `save`."""
        self.wait()
        void_after(self._folder, step, self._is_held)

    def read(self, step: int) -> tuple[TrainingState, Position]:
        """What was handed over at `step`, read back and verified. Raises CheckpointDamaged, and like `save`."""
        self.wait()
        content = read_checkpoint(checkpoint_path(self._folder, step))
        return content.state, content.position

    def require_well(self) -> None:
        """Raises like `save`, as soon as it is known, without waiting."""
        if self._in_flight is not None and self._in_flight.done():
            self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.wait()
        finally:  # where the block already fails, its own error is the one to tell; the write is still finished
            self._pool.shutdown(wait=True)

    def _write(self, state: TrainingState, position: Position) -> None:
        self._sync_events()
        checkpoint = write_checkpoint(
            self._folder,
            run_id=self._run_id,
            fingerprint=self._fingerprint,
            state=state,
            position=position,
            is_held=self._is_held,
        )
        self._ids[position.step] = self._ledger.put(checkpoint)
        retain(self._folder, self._training.keep_last, self._choose_kept(position), self._is_held)

    def _choose_kept(self, position: Position) -> set[int]:
        """Steps that are kept beside the last ones: this one, the best, the one a rollback would go to, every n-th."""
        kept = {position.step, position.scheduled_step}
        if position.best_step is not None:
            kept.add(position.best_step)
        if every := self._training.keep_every:
            kept |= {step for step, _ in list_checkpoints(self._folder) if step % every == 0}
        return kept

    def _is_held(self, step: int) -> bool:
        """Whether something else stands on the checkpoint: a plan that starts there, a ref to it or to what came of it."""
        checkpoint_id = self._ids.get(step)
        named = {ref.record_id for ref in self._ledger.refs()}
        return checkpoint_id is not None and _stands_on(self._ledger, checkpoint_id, named)


def _read_ids(ledger: Ledger, run_id: str) -> dict[int, str]:
    """{step: id} of the checkpoints that a run already has, the newest record of a step counting."""
    records = (ledger.get(child) for role, child in ledger.children(run_id) if role == "run")
    return {record.step: record.id for record in records if isinstance(record, Checkpoint)}


def _stands_on(ledger: Ledger, record_id: str, named: set[str]) -> bool:
    if record_id in named:
        return True
    return any(role == "start" or _stands_on(ledger, child, named) for role, child in ledger.children(record_id))
