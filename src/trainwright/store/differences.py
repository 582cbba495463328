"""Which part of a checkpoint's file is not what it should be, told without parsing the bytes that cannot be trusted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainwright.store.checkpoints import CONTENT_FILES, STATE_FILE

_LENGTH_BYTES = 8


def find_first_difference(expected: dict[str, bytes], found: dict[str, bytes]) -> tuple[str, str]:
    """(tensor, in words) where a checkpoint's files first differ: weights, then optimizer arrays, then the state.

    `expected` must be sound; of `found` only slices are compared. The tensor is empty where it is none of them that
    differs. ("", "") where all files are equal.
    """
    for name in CONTENT_FILES:
        if expected[name] == found.get(name):
            continue
        if name not in found:
            return "", f"{name} is missing"
        if name == STATE_FILE:
            return "", f"{name}: {_describe_state(expected[name], found[name])}"
        tensor = next(_iter_different_tensors(expected[name], found[name]), "")
        return tensor, f"{name}: {tensor}" if tensor else f"the header or the length of {name}"
    return "", ""


def read_raw_files(path: Path) -> dict[str, bytes]:
    """The content files in a checkpoint's folder as they are, unverified; those that cannot be read are left out."""
    return {name: (path / name).read_bytes() for name in CONTENT_FILES if (path / name).is_file()}


def _iter_different_tensors(expected: bytes, found: bytes) -> Iterator[str]:
    """Names, in order, of the tensors whose bytes differ, by the layout of `expected`.

    A safetensors file is the header's length (8 bytes, little-endian), the header (JSON), and the tensors' bytes.
    """
    start = _LENGTH_BYTES + int.from_bytes(expected[:_LENGTH_BYTES], "little")
    layout: dict[str, Any] = json.loads(expected[_LENGTH_BYTES:start])
    for name in sorted(layout.keys() - {"__metadata__"}):
        begin, end = (start + offset for offset in layout[name]["data_offsets"])
        if expected[begin:end] != found[begin:end]:
            yield name


def _describe_state(expected: bytes, found: bytes) -> str:
    try:
        before, now = _flatten(json.loads(expected)), _flatten(json.loads(found))
    except (ValueError, RecursionError):
        return "it is not JSON"
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    return ", ".join(f"{key} is {now.get(key)!r} and not {before.get(key)!r}" for key in changed[:3]) or "its spelling"


def _flatten(document: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(document, dict):
        return {prefix: document}
    return {
        key: value
        for name, part in document.items()
        for key, value in _flatten(part, f"{prefix}.{name}".strip(".")).items()
    }
