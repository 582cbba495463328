import pytest

from trainwright.core.state import Position
from trainwright.store.checkpoints import render_checkpoint
from trainwright.store.differences import find_first_difference, read_raw_files


@pytest.fixture
def files(make_state) -> dict[str, bytes]:
    position = Position(step=5, num_tokens=10, num_events=7)
    _, files = render_checkpoint(run_id="a" * 64, fingerprint="b" * 64, state=make_state(5), position=position)
    return files


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def test_equal_files_have_no_difference(files) -> None:
    assert find_first_difference(files, dict(files)) == ("", "")


def test_the_first_tensor_by_name_is_named(files) -> None:
    name = "model.safetensors"
    changed = files | {name: flipped(files[name], -1)}
    tensor, where = find_first_difference(files, changed)
    assert tensor in ("model.embed_tokens.weight", "model.norm.weight")
    assert where == f"{name}: {tensor}"
    everything = bytearray(files[name])
    start = 8 + int.from_bytes(everything[:8], "little")
    everything[start:] = bytes(len(everything) - start)
    assert find_first_difference(files, files | {name: bytes(everything)})[0] == "model.embed_tokens.weight"


def test_weights_come_before_the_optimizer_and_the_optimizer_before_the_state(files) -> None:
    changed = {name: flipped(data, -1) for name, data in files.items()}
    assert find_first_difference(files, changed)[1].startswith("model.safetensors")
    changed["model.safetensors"] = files["model.safetensors"]
    assert find_first_difference(files, changed)[1].startswith("optimizer.safetensors")


@pytest.mark.parametrize("damage", [lambda data: b"\xff" * 16 + data[16:], lambda data: data + b"\0", lambda _: b""])
def test_a_damaged_header_or_length_is_told_without_parsing(files, damage) -> None:
    name = "model.safetensors"
    tensor, where = find_first_difference(files, files | {name: damage(files[name])})
    assert tensor in ("", "model.embed_tokens.weight")
    assert name in where


def test_a_changed_state_names_its_fields(files) -> None:
    name = "state.json"
    changed = files | {name: files[name].replace(b'"num_events":7', b'"num_events":8')}
    assert find_first_difference(files, changed) == ("", "state.json: position.num_events is 8 and not 7")
    assert find_first_difference(files, files | {name: b"{"}) == ("", "state.json: it is not JSON")
    assert find_first_difference(files, files | {name: files[name] + b" "}) == ("", "state.json: its spelling")


def test_a_missing_file_is_told(files, tmp_path) -> None:
    (tmp_path / "model.safetensors").write_bytes(files["model.safetensors"])
    found = read_raw_files(tmp_path)
    assert find_first_difference(files, found) == ("", "optimizer.safetensors is missing")
