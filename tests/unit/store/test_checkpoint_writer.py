"""Writing beside the training: order, durability, what is kept, and whose error it is."""

import threading

import pytest

from trainwright.core.errors import DiskFull, ImmutableRecord
from trainwright.core.records import Checkpoint, Start
from trainwright.core.state import Position, Steadiness
from trainwright.store import checkpoint_writer
from trainwright.store.checkpoint_writer import CheckpointWriter
from trainwright.store.checkpoints import held_path, list_checkpoints, list_held, locate_checkpoint, read_checkpoint
from trainwright.store.ledger import MemoryLedger
from trainwright.store.objects import MemoryObjects


class Scene:
    """A run in a ledger, and a writer of its checkpoints."""

    def __init__(self, folder, make_state, make_history):
        self.folder, self.make_state = folder, make_state
        self.history = make_history(MemoryObjects())
        self.ledger = MemoryLedger()
        for record in self.history.records():
            self.ledger.put(record)
        self.synced = []

    def open(self, **training):
        plan = self.history.plan.training.model_copy(update={"keep_last": 1} | training)
        return CheckpointWriter(
            self.folder,
            run_id=self.history.run.id,
            fingerprint="b" * 64,
            training=plan,
            ledger=self.ledger,
            sync_events=lambda: self.synced.append([step for step, _ in list_checkpoints(self.folder)]),
        )

    def save(self, writer, step, seed=None, **position):
        where = Position(step=step, num_tokens=step, num_events=step, **position)
        writer.save(self.make_state(step if seed is None else seed), where)

    def record_of(self, step) -> Checkpoint:
        return read_checkpoint(dict(list_checkpoints(self.folder))[step]).record

    @property
    def kept(self):
        return [step for step, _ in list_checkpoints(self.folder)]


@pytest.fixture
def scene(tmp_path, make_state, make_history):
    return Scene(tmp_path / "checkpoints", make_state, make_history)


def test_what_was_handed_over_is_durable_and_on_record_when_the_block_ends(scene):
    with scene.open(keep_last=9) as writer:
        for step in (1, 2, 3):
            scene.save(writer, step)
    assert scene.kept == [1, 2, 3]
    assert scene.synced == [[], [1], [1, 2]]  # the events first
    for step in scene.kept:
        assert scene.ledger.get(scene.record_of(step).id) == scene.record_of(step)


def test_training_goes_on_while_one_is_written_and_the_next_one_waits(scene, monkeypatch):
    go_on, begun = threading.Event(), threading.Event()
    write = checkpoint_writer.write_checkpoint

    def write_slowly(*arguments, **options):
        begun.set()
        assert go_on.wait(60)
        return write(*arguments, **options)

    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", write_slowly)
    with scene.open() as writer:
        scene.save(writer, 1)  # returns although nothing is written yet
        assert begun.wait(60)
        writer.require_well()
        assert scene.kept == []
        assert scene.ledger.children(scene.history.run.id) == []
        threading.Timer(0.05, go_on.set).start()
        scene.save(writer, 2)
        assert 1 in scene.kept


def test_what_could_not_be_written_is_raised_where_the_loop_can_meet_it(scene, monkeypatch):
    def refuse(*_, **__):
        raise DiskFull("No room.")

    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", refuse)
    for meet in (lambda writer: scene.save(writer, 2), lambda writer: writer.wait(), lambda writer: None):
        with pytest.raises(DiskFull), scene.open() as writer:  # noqa: PT012 - the block's end raises too
            scene.save(writer, 1)
            meet(writer)
    with scene.open() as writer:
        scene.save(writer, 1)
        writer._in_flight.exception()
        with pytest.raises(DiskFull):
            writer.require_well()
    assert scene.ledger.children(scene.history.run.id) == []


def test_the_newest_is_written_though_the_block_ends_in_an_error(scene):
    with pytest.raises(KeyboardInterrupt), scene.open() as writer:  # noqa: PT012
        scene.save(writer, 1)
        raise KeyboardInterrupt
    assert scene.kept == [1]


def test_last_best_every_nth_and_the_way_back_are_kept(scene):
    with scene.open(keep_last=2, keep_every=4) as writer:
        for step in range(1, 11):
            scene.save(writer, step, best_step=3, scheduled_step=5)
        writer.wait()
        assert scene.kept == [3, 4, 5, 8, 9, 10]
        scene.save(writer, 11, best_step=10, scheduled_step=10)
        writer.wait()
        assert scene.kept == [4, 8, 10, 11]


def test_what_a_ref_or_a_plan_stands_on_is_kept(scene):
    with scene.open() as writer:
        for step in (1, 2, 3):
            scene.save(writer, step)
            writer.wait()
            record = scene.record_of(step)
            if step == 1:
                scene.ledger.move_ref("hello@production", record.id, expected=None, who="test", why="promoted")
            if step == 2:
                scene.ledger.put(
                    scene.history.plan.model_copy(update={"start": Start(source=record.id, mode="continue")})
                )
        scene.save(writer, 4)
    assert scene.kept == [1, 2, 4]
    with scene.open() as writer:  # another process knows it too
        scene.save(writer, 5)
    assert scene.kept == [1, 2, 5]


def test_a_step_computed_again_after_a_rollback_leaves_what_something_stands_on(scene):
    with scene.open(keep_last=9) as writer:
        scene.save(writer, 2)
        writer.wait()
        held = scene.record_of(2)
        scene.ledger.move_ref("hello@production", held.id, expected=None, who="test", why="promoted")
        for rollbacks in (1, 2):  # the second is held by nobody
            scene.save(writer, 2, seed=7 + rollbacks, steadiness=Steadiness(num_rollbacks=rollbacks))
            writer.wait()
    assert list_held(scene.folder) == [held_path(scene.folder, held)]
    assert read_checkpoint(locate_checkpoint(scene.folder, held), expected=held).state.num_updates == 2
    now = scene.record_of(2)
    assert locate_checkpoint(scene.folder, now) == scene.folder / "step-00000002"
    assert read_checkpoint(locate_checkpoint(scene.folder, now)).state.num_updates == 9


def test_a_step_computed_again_after_a_rollback_replaces_the_one_before_it(scene):
    with scene.open(keep_last=9) as writer:
        scene.save(writer, 1)
        scene.save(writer, 2)
        scene.save(writer, 2, seed=7, steadiness=Steadiness(num_rollbacks=1))
        writer.wait()
        assert read_checkpoint(scene.folder / "step-00000002").state.num_updates == 7
        scene.save(writer, 2, seed=8, steadiness=Steadiness(num_rollbacks=1))
        with pytest.raises(ImmutableRecord):
            writer.wait()
