"""Names made from content: SHA-256 over bytes, files and canonical JSON."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 as 64 lowercase hex digits."""


# Made once: `json.dumps` makes one for every call that asks for anything unusual, which costs a third of a small document.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: equal values give equal bytes.

    Raises ValueError on NaN or infinity, which JSON cannot hold.
    """
    return _ENCODER.encode(value).encode("utf-8")


def digest_bytes(data: bytes | memoryview) -> str:
    """SHA-256 of bytes, as hex."""
    return hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, as hex."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex, read in pieces so that memory stays flat."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
