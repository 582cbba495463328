import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from trainwright.core.errors import CheckpointDamaged, DiskFull, ImmutableRecord, NoGoodCheckpoint, TrainwrightTooOld
from trainwright.core.hashing import canonical_json, digest_bytes, digest_file
from trainwright.core.state import Position, TrainingState
from trainwright.store import checkpoints
from trainwright.store.checkpoints import (
    CONTENT_FILES,
    list_checkpoints,
    read_checkpoint,
    read_newest_good,
    read_weights,
    retain,
    write_checkpoint,
)

RUN, FINGERPRINT = "a" * 64, "b" * 64
ALL_FILES = (*CONTENT_FILES, "manifest.json")


@pytest.fixture
def write(tmp_path, make_state):
    def write_step(step: int, seed: int | None = None):
        position = Position(step=step, num_tokens=step * 64, num_events=step + 1, best_step=1, best_value=0.1)
        state = make_state(step if seed is None else seed)
        return write_checkpoint(tmp_path, run_id=RUN, fingerprint=FINGERPRINT, state=state, position=position)

    return write_step


def flip_bit(path: Path, offset: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path, write, make_state) -> None:
    record = write(100)
    content = read_checkpoint(tmp_path / "step-00000100", expected=record)
    state = make_state(100)
    assert content.record == record
    assert content.fingerprint == FINGERPRINT
    assert content.position == Position(step=100, num_tokens=6400, num_events=101, best_step=1, best_value=0.1)
    assert content.state.num_updates == 100
    for found, original in ((content.state.weights, state.weights), (content.state.optimizer, state.optimizer)):
        assert found.keys() == original.keys()
        for name, array in original.items():
            assert found[name].dtype == array.dtype
            assert found[name].tobytes() == array.tobytes()
            assert found[name].flags.writeable
    assert (record.run, record.step, record.num_tokens) == (RUN, 100, 6400)


def test_the_record_names_every_file_by_its_digest(tmp_path, write) -> None:
    record = write(1)
    folder = tmp_path / "step-00000001"
    assert record.files == {path.name: digest_file(path) for path in folder.iterdir()}
    assert set(record.files) == set(ALL_FILES)
    assert record.weights == record.files["model.safetensors"]
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest == {"format": 2, "files": {name: record.files[name] for name in CONTENT_FILES}}
    assert (tmp_path / "latest").read_text() == "step-00000001\n"


def test_equal_states_give_equal_bytes(tmp_path, make_state) -> None:
    state = make_state(1)
    turned = TrainingState(
        dict(reversed(state.weights.items())),
        {name: np.asfortranarray(array) for name, array in reversed(state.optimizer.items())},
        state.num_updates,
    )
    position = Position(step=1, num_tokens=1, num_events=1)
    records = [
        write_checkpoint(tmp_path / name, run_id=RUN, fingerprint=FINGERPRINT, state=given, position=position)
        for name, given in (("one", state), ("two", turned))
    ]
    assert records[0] == records[1]


def test_arrays_of_any_layout_keep_their_values(tmp_path) -> None:
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    optimizer = {"turned": base.T, "strided": base[::2, ::3], "scalar": np.float64(2.5).reshape(()), "none": base[:0]}
    state = TrainingState({"w": base.T}, optimizer, 0)
    write_checkpoint(tmp_path, run_id=RUN, fingerprint=FINGERPRINT, state=state, position=Position.start())
    content = read_checkpoint(tmp_path / "step-00000000")
    np.testing.assert_array_equal(content.state.weights["w"], base.T)
    for name, array in optimizer.items():
        np.testing.assert_array_equal(content.state.optimizer[name], array, strict=True)


def test_other_tools_read_the_weights(tmp_path, write, make_state) -> None:
    write(1)
    loaded = safetensors.numpy.load_file(tmp_path / "step-00000001" / "model.safetensors")
    np.testing.assert_array_equal(loaded["model.norm.weight"], make_state(1).weights["model.norm.weight"])


def test_an_optimizer_that_remembers_nothing_is_fine(tmp_path, make_state) -> None:
    state = TrainingState(make_state().weights, {}, 0)
    write_checkpoint(tmp_path, run_id=RUN, fingerprint=FINGERPRINT, state=state, position=Position.start())
    assert read_checkpoint(tmp_path / "step-00000000").state.optimizer == {}


def test_weights_of_another_type_are_refused(tmp_path) -> None:
    state = TrainingState({"w": np.zeros(2)}, {}, 0)  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="w is float64"):
        write_checkpoint(tmp_path, run_id=RUN, fingerprint=FINGERPRINT, state=state, position=Position.start())
    assert list_checkpoints(tmp_path) == []


def test_weights_alone_are_read_and_verified(tmp_path, write, make_state) -> None:
    record = write(1)
    path = tmp_path / "step-00000001"
    flip_bit(path / "optimizer.safetensors")  # not needed for the weights
    weights = read_weights(path, expected=record)
    np.testing.assert_array_equal(weights["model.norm.weight"], make_state(1).weights["model.norm.weight"])
    flip_bit(path / "model.safetensors")
    with pytest.raises(CheckpointDamaged, match=r"model\.safetensors"):
        read_weights(path)


@pytest.mark.parametrize("name", ALL_FILES)
@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "remove", "folder"])
def test_damage_to_any_file_is_named(tmp_path, write, name, harm) -> None:
    write(1)
    path = tmp_path / "step-00000001" / name
    if harm == "flip":
        flip_bit(path, offset=len(path.read_bytes()) // 2)
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif harm == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
        if harm == "folder":
            path.mkdir()
    with pytest.raises(CheckpointDamaged) as caught:
        read_checkpoint(tmp_path / "step-00000001")
    assert caught.value.message.endswith(f": {name}.") or name == "manifest.json"


def test_every_byte_of_the_manifest_counts(tmp_path, write) -> None:
    record = write(1)
    path = tmp_path / "step-00000001" / "manifest.json"
    original = path.read_bytes()
    for offset in range(len(original)):
        data = bytearray(original)
        data[offset] ^= 1 << offset % 7
        path.write_bytes(data)
        with pytest.raises((CheckpointDamaged, TrainwrightTooOld)):
            checkpoints.require_intact(path.parent)
        with pytest.raises(CheckpointDamaged):
            checkpoints.require_intact(path.parent, expected=record)


def test_nothing_is_parsed_before_its_digest_is_verified(tmp_path, write, monkeypatch) -> None:
    write(1)
    flip_bit(tmp_path / "step-00000001" / "state.json")
    parsed = []
    monkeypatch.setattr(safetensors.numpy, "load", lambda data: parsed.append(data))
    monkeypatch.setattr(checkpoints, "_parse_state", lambda *_: parsed.append("state"))
    with pytest.raises(CheckpointDamaged):
        read_checkpoint(tmp_path / "step-00000001")
    assert parsed == []


def test_another_checkpoint_in_its_place_is_not_taken(tmp_path, write) -> None:
    record = write(1)
    write(2)
    with pytest.raises(CheckpointDamaged):
        read_checkpoint(tmp_path / "step-00000002", expected=record)


def test_a_newer_format_asks_for_a_newer_trainwright(tmp_path, write) -> None:
    write(1)
    write(2)
    path = tmp_path / "step-00000002" / "manifest.json"
    path.write_bytes(canonical_json({"format": 3, "parts": []}))
    for read in (read_checkpoint, read_weights):
        with pytest.raises(TrainwrightTooOld, match="newer Trainwright"):
            read(path.parent)
    with pytest.raises(TrainwrightTooOld):  # never passed over for an older one
        read_newest_good(tmp_path)
    assert path.exists()


@pytest.mark.parametrize(
    "harm",
    [
        lambda manifest: canonical_json({"format": 1, "files": {"../../secret": "0" * 64}}),
        lambda manifest: canonical_json(manifest | {"files": manifest["files"] | {"more": "0" * 64}}),
        lambda manifest: canonical_json(manifest | {"files": list(manifest["files"])}),
        lambda manifest: canonical_json(manifest | {"format": True}),
        lambda manifest: canonical_json(manifest | {"format": 0}),
        lambda manifest: json.dumps(manifest, indent=1).encode(),
        lambda manifest: canonical_json(manifest)[:-1] + b',"x":NaN}',
        lambda manifest: b"[]",
        lambda manifest: b"\xff",
    ],
)
def test_a_manifest_that_is_not_as_it_was_written_is_damaged(tmp_path, write, harm) -> None:
    write(1)
    path = tmp_path / "step-00000001" / "manifest.json"
    path.write_bytes(harm(json.loads(path.read_bytes())))
    with pytest.raises(CheckpointDamaged, match="manifest"):
        read_checkpoint(path.parent)


def test_checkpoints_are_listed_by_step(tmp_path, write) -> None:
    for step in (20, 3, 100_000_000, 0):
        write(step)
    (tmp_path / "step-latest").mkdir()
    assert [step for step, _ in list_checkpoints(tmp_path)] == [0, 3, 20, 100_000_000]
    assert list_checkpoints(tmp_path / "absent") == []


def test_the_newest_good_one_is_used_and_damaged_ones_are_set_aside(tmp_path, write) -> None:
    for step in (1, 2, 3, 4):
        write(step)
    flip_bit(tmp_path / "step-00000004" / "model.safetensors")
    (tmp_path / "step-00000003" / "manifest.json").unlink()
    content, problems = read_newest_good(tmp_path)
    assert content is not None
    assert content.position.step == 2
    assert [problem.step for problem in problems] == [4, 3]
    assert "model.safetensors" in problems[0].error.message
    assert problems[0].set_aside == tmp_path / "damaged-step-00000004"
    assert [step for step, _ in list_checkpoints(tmp_path)] == [1, 2]
    assert read_newest_good(tmp_path)[1] == []


def test_no_checkpoint_yet_is_no_problem(tmp_path) -> None:
    assert read_newest_good(tmp_path) == (None, [])
    assert read_newest_good(tmp_path / "absent") == (None, [])


def test_all_damaged_is_an_error_and_stays_one(tmp_path, write) -> None:
    for step in (1, 2):
        write(step)
        flip_bit(tmp_path / f"step-{step:08d}" / "state.json")
    for _ in range(2):  # the second time, they are set aside already: still never a fresh start
        with pytest.raises(NoGoodCheckpoint, match=str(tmp_path)):
            read_newest_good(tmp_path)


def test_writing_a_step_again_with_equal_content_is_fine(tmp_path, write) -> None:
    first = write(5)
    before = (tmp_path / "step-00000005" / "model.safetensors").stat().st_mtime_ns
    assert write(5) == first
    assert (tmp_path / "step-00000005" / "model.safetensors").stat().st_mtime_ns == before


def test_writing_a_step_again_with_other_content_is_refused(tmp_path, write) -> None:
    first = write(5)
    with pytest.raises(ImmutableRecord, match="other content"):
        write(5, seed=6)
    assert read_checkpoint(tmp_path / "step-00000005").record == first


def test_writing_over_a_damaged_step_sets_it_aside(tmp_path, write) -> None:
    first = write(5)
    for name in ("damaged-step-00000005", "damaged-step-00000005-2"):
        flip_bit(tmp_path / "step-00000005" / "model.safetensors")
        assert write(5) == first
        assert (tmp_path / name / "model.safetensors").exists()
    assert read_checkpoint(tmp_path / "step-00000005").record == first


def test_retention_keeps_the_last_and_the_named(tmp_path, write) -> None:
    for step in range(1, 7):
        write(step)
    deleted = retain(tmp_path, keep_last=2, keep_steps={1, 5, 99})
    assert [path.name for path in deleted] == ["step-00000002", "step-00000003", "step-00000004"]
    assert [step for step, _ in list_checkpoints(tmp_path)] == [1, 5, 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "latest",
        "step-00000001",
        "step-00000005",
        "step-00000006",
    ]
    assert retain(tmp_path, keep_last=9) == []
    with pytest.raises(ValueError, match="never deleted"):
        retain(tmp_path, keep_last=0)


def test_retention_deletes_nothing_while_the_newest_is_damaged(tmp_path, write) -> None:
    for step in (1, 2, 3):
        write(step)
    flip_bit(tmp_path / "step-00000003" / "optimizer.safetensors")
    with pytest.raises(CheckpointDamaged):
        retain(tmp_path, keep_last=1)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [1, 2, 3]


def test_a_checkpoint_retired_while_it_is_read_is_not_called_damaged(tmp_path, write, monkeypatch) -> None:
    write(1)
    write(2)
    original = checkpoints.read_checkpoint

    def vanish_first(path, **options):
        if path.name == "step-00000002":
            path.rename(path.with_name(".gone.tmp"))
        return original(path, **options)

    monkeypatch.setattr(checkpoints, "read_checkpoint", vanish_first)
    content, problems = read_newest_good(tmp_path)
    assert content is not None
    assert content.position.step == 1
    assert problems == []


def test_the_next_writer_removes_what_killed_ones_left(tmp_path, write) -> None:
    for name in (".step-00000001.ab12.tmp", ".step-00000001.retired.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".latest.xy.tmp").write_bytes(b"st")
    (tmp_path / ".mine").write_bytes(b"kept")
    write(2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine", "latest", "step-00000002"]


WRITER = """
import sys
from pathlib import Path
import numpy as np
from trainwright.core.state import Position, TrainingState
from trainwright.store.checkpoints import retain, write_checkpoint
folder, step = Path(sys.argv[1]), 0
print("ready", flush=True)
while True:
    step += 1
    state = TrainingState({"w": np.full(50_000, step, np.float32)}, {"m": np.zeros(50_000)}, step)
    position = Position(step=step, num_tokens=step, num_events=step)
    write_checkpoint(folder, run_id="a" * 64, fingerprint="b" * 64, state=state, position=position)
    retain(folder, keep_last=2)
"""


@pytest.mark.parametrize("delay_s", [0.02, 0.05, 0.11])
def test_a_writer_killed_at_any_instant_leaves_only_whole_checkpoints(tmp_path, write, delay_s) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    time.sleep(delay_s)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    listed = list_checkpoints(tmp_path)
    content, problems = read_newest_good(tmp_path)
    assert problems == []
    if listed:
        assert content is not None
        assert content.position.step == listed[-1][0]
        assert set(content.state.weights["w"].tolist()) == {float(content.position.step)}
    write(100_000)
    assert not list(tmp_path.glob(".*.tmp"))


def test_no_room_is_disk_full_and_the_older_one_stays(tmp_path, write, make_state, monkeypatch) -> None:
    write(1)
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
import numpy as np
from trainwright.core.errors import DiskFull
from trainwright.core.state import Position, TrainingState
from trainwright.store.checkpoints import write_checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
state = TrainingState({{"w": np.zeros(50_000, np.float32)}}, {{}}, 2)
position = Position(step=2, num_tokens=2, num_events=2)
try:
    write_checkpoint(Path({str(tmp_path)!r}), run_id="a" * 64, fingerprint="b" * 64, state=state, position=position)
except DiskFull as error:
    print(error.name)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == DiskFull.name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000001"]
    assert (tmp_path / "latest").read_text() == "step-00000001\n"


def test_the_digest_of_known_weights_does_not_drift(tmp_path) -> None:
    state = TrainingState({"b": np.arange(3, dtype=np.float32), "a": np.ones((2, 2), np.float32)}, {}, 0)
    record = write_checkpoint(tmp_path, run_id=RUN, fingerprint=FINGERPRINT, state=state, position=Position.start())
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "F32", "shape": [3], "data_offsets": [16, 28]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = np.ones(4, np.float32).tobytes() + np.arange(3, dtype=np.float32).tobytes()
    assert record.weights == digest_bytes(len(text).to_bytes(8, "little") + text + data)


def test_one_that_turns_out_to_be_held_comes_back(tmp_path, write) -> None:
    for step in (1, 2, 3):
        write(step)
    asked: list[int] = []

    def is_held(step: int) -> bool:  # somebody says so just after he was first asked
        asked.append(step)
        return step == 1 and asked.count(1) > 1

    assert retain(tmp_path, keep_last=1, is_held=is_held) == [tmp_path / "step-00000002"]
    assert [step for step, _ in list_checkpoints(tmp_path)] == [1, 3]


def test_one_that_a_killed_process_had_only_hidden_comes_back(tmp_path, write) -> None:
    write(1)
    (tmp_path / "step-00000001").rename(tmp_path / ".step-00000001.hidden.tmp")
    write(2)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [1, 2]
    read_checkpoint(tmp_path / "step-00000001")


GOLDEN = Path(__file__).parents[2] / "golden"


def test_format_1_is_read(tmp_path) -> None:
    content = read_checkpoint(GOLDEN / "checkpoint-format-1" / "step-00000007")
    assert content.position == Position(
        step=7, num_tokens=896, num_events=12, best_step=6, best_value=2.5, num_validations_without_gain=1
    )
    assert content.record.id == "f990de17c82e1f8460c115b5ec1857f9bb374d61275343b9b4c40232d7d49ebe"
    np.testing.assert_array_equal(content.state.weights["model.norm.weight"], np.arange(4, dtype=np.float32) / 4)
    assert content.state.optimizer.keys() == {"adamw.first.model.norm.weight", "adamw.second.model.norm.weight"}
    assert content.state.num_updates == 7


def test_a_step_that_is_there_in_an_older_format_is_not_written_again(tmp_path) -> None:
    shutil.copytree(GOLDEN / "checkpoint-format-1", tmp_path / "copy")
    content = read_checkpoint(tmp_path / "copy" / "step-00000007")
    record = write_checkpoint(
        tmp_path / "copy", run_id=RUN, fingerprint=FINGERPRINT, state=content.state, position=content.position
    )
    assert record == content.record
    assert json.loads((tmp_path / "copy" / "step-00000007" / "manifest.json").read_bytes())["format"] == 1
