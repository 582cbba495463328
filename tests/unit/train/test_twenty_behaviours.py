"""Twenty things that training must do, each under its own name, on each backend.

Other modules try harder to break each of them; this one is where a reader finds all of them together.
"""

import io
import json
from collections import Counter

import numpy as np
import pytest

from trainwright.backends.catalogue import open_backend
from trainwright.backends.protocol import Rates
from trainwright.core.errors import CheckpointDamaged, TrainwrightTooOld
from trainwright.core.state import Position
from trainwright.store.checkpoints import (
    MANIFEST_FILE,
    MODEL_FILE,
    checkpoint_path,
    read_checkpoint,
    read_newest_good,
    write_checkpoint,
)
from trainwright.train.loop import rates_at
from trainwright.watch.events import EventLog, iter_events
from trainwright.watch.metrics_file import build_epoch_history
from trainwright.watch.progress import ConsoleProgress, make_console

RATES = Rates(3e-3, 0.02)
RUN_ID = "b" * 64


@pytest.fixture
def world(build_world):
    return build_world()


@pytest.fixture
def trainer(world):
    return world.trainer


@pytest.fixture
def micro_batches(world):
    return world.open_batches().micro_batches_at(0)


@pytest.fixture
def save(tmp_path):
    def write(state, step):
        position = Position(step=step, num_tokens=32 * step, num_events=step)
        write_checkpoint(tmp_path, run_id=RUN_ID, fingerprint="c" * 64, state=state, position=position)
        return checkpoint_path(tmp_path, step)

    return write


# ── passes and steps ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_simple_forward_pass(trainer, micro_batches):
    scores = trainer.score(micro_batches[0])
    assert scores.nll_BT.shape == (2, 8)
    assert scores.nll_BT.mean() == pytest.approx(np.log(17), abs=0.05)  # a new model knows nothing


def test_simple_backward_pass(trainer, micro_batches):
    gradients = trainer.compute_gradients(micro_batches, dropout_seed=0)
    assert gradients.is_finite
    assert gradients.norm > 0


def test_forward_and_backward_together(build_world):
    """The gradient is the slope of the loss: a short way along it, the loss falls by what it says."""
    world = build_world(dropout=0.0)
    trainer, batches = world.trainer, world.open_batches().micro_batches_at(0)
    for _ in range(3):  # away from the zeros of the start
        trainer.compute_gradients(batches, 0)
        trainer.apply_update(RATES)
    loss = trainer.compute_gradients(batches, 0).loss
    assert np.mean([trainer.score(batch).nll_BT.mean(dtype=np.float64) for batch in batches]) == pytest.approx(
        loss, rel=1e-5
    )
    trainer.apply_update(Rates(1e-4, 1e-4))
    assert trainer.compute_gradients(batches, 0).loss < loss


def test_single_training_step(trainer, micro_batches):
    before = trainer.read_state()
    trainer.compute_gradients(micro_batches, dropout_seed=0)
    trainer.apply_update(RATES)
    after = trainer.read_state()
    assert (before.num_updates, after.num_updates) == (0, 1)
    assert not np.array_equal(before.weights["model.norm.weight"], after.weights["model.norm.weight"])


def test_multiple_steps(build_world):
    world = build_world(num_steps=60, dropout=0.0, validate_every=60, checkpoint_every=60)
    world.go()
    losses = [facts["loss"] for facts in world.facts("step")]
    assert len(losses) == 60
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_complete_epoch(build_world):
    """19 windows in batches of 4: every window of the epoch is read, and none twice."""
    world = build_world(num_steps=5)
    batches = world.open_batches()
    rows = [row.tobytes() for step in range(5) for batch in batches.micro_batches_at(step) for row in batch.tokens_BT]
    assert batches.num_windows == 19
    world.go()
    assert world.facts("step")[-1]["epoch"] == pytest.approx(20 / 19)
    assert Counter(rows[:19]).most_common(1)[0][1] <= 2  # the text repeats itself every 17 tokens


def test_multi_epoch(build_world):
    world = build_world()
    world.go()
    epochs = [facts["epoch"] for facts in world.facts("step")]
    assert epochs == [pytest.approx(step * 4 / 19) for step in range(1, 25)]
    batches = world.open_batches()
    first, second = (batches.micro_batches_at(step)[0].tokens_BT for step in (0, 19))  # the same place, 4 epochs later
    assert not np.array_equal(first, second)


# ── checkpoints ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_save_checkpoint(world, save):
    world.go()
    path = save(world.trainer.read_state(), 24)
    assert {file.name for file in path.iterdir()} == {
        "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json",
    }  # fmt: skip
    assert (path.parent / "latest").read_text().strip() == path.name


def test_load_checkpoint(world, build_world, save, require_same_state):
    world.go()
    state = world.trainer.read_state()
    content = read_checkpoint(save(state, 24))
    fresh = build_world().trainer
    fresh.load_state(content.state)
    require_same_state(fresh.read_state(), state)
    assert content.position.step == 24


def test_resume_training(build_world, require_same_state):
    whole, stopped = build_world(), build_world()
    whole.go()
    stopped.stop_after = 11
    assert stopped.go().interrupted
    stopped.stop_after = None
    stopped.resume()
    require_same_state(stopped.trainer.read_state(), whole.trainer.read_state())
    assert stopped.told() == whole.told()


def test_checkpoint_versioning(trainer, save):
    path = save(trainer.read_state(), 4)
    manifest = json.loads((path / MANIFEST_FILE).read_bytes())
    (path / MANIFEST_FILE).write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(TrainwrightTooOld, match="newer"):
        read_checkpoint(path)


def test_checkpoint_corruption_handling(trainer, micro_batches, save, require_same_state):
    good = trainer.read_state()
    save(good, 4)
    trainer.compute_gradients(micro_batches, 0)
    trainer.apply_update(RATES)
    path = save(trainer.read_state(), 8)
    data = bytearray((path / MODEL_FILE).read_bytes())
    data[-1] ^= 1
    (path / MODEL_FILE).write_bytes(data)
    with pytest.raises(CheckpointDamaged, match=MODEL_FILE):
        read_checkpoint(path)
    content, (problem,) = read_newest_good(path.parent)
    assert content is not None
    require_same_state(content.state, good)
    assert problem.step == 8
    assert problem.set_aside.exists()


# ── measures ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def learnt(build_world):
    """A model that has learnt a little, and what it predicts: (trainer, batch, predictions)."""
    world = build_world(num_steps=40, dropout=0.0)
    world.go()
    batch = world.open_batches().micro_batches_at(1)[0]
    model = open_backend(world.plan.compute.framework).open_model(
        world.plan.model, world.trainer.read_state().weights, world.plan.compute
    )
    predictions = np.empty_like(batch.targets_BT)
    for row, tokens in enumerate(batch.tokens_BT):
        decoder = model.open_decoder()
        predictions[row] = [np.argmax(decoder.feed([int(token)])) for token in tokens]
    return world.trainer, batch, predictions


def test_accuracy(learnt):
    trainer, batch, predictions = learnt
    correct = trainer.score(batch).correct_BT
    np.testing.assert_array_equal(correct, predictions == batch.targets_BT)
    assert correct.mean() > 2 / 17


def test_perplexity(world):
    world.go()
    for facts in world.facts("step"):
        assert facts["perplexity"] == pytest.approx(np.exp(facts["loss"]))
    for facts in world.facts("validation"):
        assert facts["perplexity"] == pytest.approx(np.exp(facts["val_loss"]))


def macro_f1(targets, guesses):
    """The mean over all classes of 2·TP / (2·TP + FP + FN)."""
    scores = []
    for token in np.union1d(targets, guesses):
        is_target, is_guess = targets == token, guesses == token
        scores.append(2 * np.count_nonzero(is_target & is_guess) / (is_target.sum() + is_guess.sum()))
    return np.mean(scores)


def test_f1(learnt, build_world):
    """Of the next token over the whole vocabulary; what was learnt raises it."""
    assert macro_f1(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    _, batch, predictions = learnt
    untrained = np.full_like(batch.targets_BT, batch.targets_BT[0, 0])
    assert macro_f1(batch.targets_BT, predictions) > macro_f1(batch.targets_BT, untrained)
    assert macro_f1(batch.targets_BT, batch.targets_BT) == 1


# ── what is told ──────────────────────────────────────────────────────────────────────────────────────────────────────
def write_stream(world, path):
    with EventLog.open(path) as log:
        for kind, facts, timing in world.events.events:
            log.emit(kind, facts, timing)


def test_metrics_logging(world, tmp_path):
    world.go()
    write_stream(world, tmp_path / "events.jsonl")
    events = list(iter_events(tmp_path / "events.jsonl"))
    assert [event["seq"] for event in events] == list(range(len(events)))
    steps = [event for event in events if event["kind"] == "step"]
    assert [event["loss"] for event in steps] == [facts["loss"] for facts in world.facts("step")]
    parts = steps[-1]["timing"]
    assert parts["data_s"] + parts["compute_s"] + parts["update_s"] <= parts["step_s"]
    assert parts["samples_per_s"] * 8 == pytest.approx(parts["tokens_per_s"])


def test_metrics_aggregation(world, tmp_path):
    world.go()
    write_stream(world, tmp_path / "events.jsonl")
    rows = build_epoch_history(iter_events(tmp_path / "events.jsonl"))
    losses = [facts["loss"] for facts in world.facts("step")]
    assert [row["step"] for row in rows] == [6, 12, 18, 24]
    means = [pytest.approx(np.mean(losses[first : first + 6])) for first in range(0, 24, 6)]
    assert [row["train_loss"] for row in rows] == means


def test_progress_tracking(world):
    said = io.StringIO()
    progress = ConsoleProgress(make_console(said), every_s=0.0)
    progress.emit({"kind": "run-started", "plan": "p" * 64, "num_steps": 24, "num_parameters": 1, "timing": {}})
    world.go()
    for kind, facts, timing in world.events.events:
        progress.emit({"kind": kind, **facts, "timing": timing})
    lines = said.getvalue().splitlines()
    assert sum(line.startswith("step ") for line in lines) == 24
    assert any(line.startswith("step 24/24") for line in lines)
    assert "left" in next(line for line in lines if line.startswith("step 12/24"))


def test_gradient_monitoring(world):
    world.go()
    assert all(facts["gradient_norm"] > 0 for facts in world.facts("step"))
    anatomies = world.facts("anatomy")
    assert [facts["step"] for facts in anatomies] == [7, 14, 21]
    norms = {facts["step"]: facts["gradient_norm"] for facts in world.facts("step")}
    for facts in anatomies:
        assert [group["name"] for group in facts["groups"]] == ["embedding", "layer 0", "norm"]
        total = np.sqrt(sum(group["gradient_norm"] ** 2 for group in facts["groups"]))
        assert total == pytest.approx(norms[facts["step"]], rel=1e-4)
        assert facts["flags"] == []
        assert all(sum(group["octaves"]) > 0 and group["update_ratio"] > 0 for group in facts["groups"])


def test_learning_rate_tracking(world):
    world.go()
    told = [facts["learning_rate"] for facts in world.facts("step")]
    assert told == [rates_at(world.plan.training, step).learning_rate for step in range(24)]
    assert told[0] == 1.5e-3 < told[1] == 3e-3
