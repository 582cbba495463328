"""YAML files that people write beside the manifest (prices, alerts): strict about their keys, each wrong one named."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from trainwright.core.errors import InvalidValue, ManifestNotFound, ManifestUnreadable, UnknownKey

Settings = TypeVar("Settings", bound=BaseModel)


def read_settings(path: Path, kind: type[Settings], what: str) -> Settings:
    """The settings in a file; `what` is what errors call it ("price file").

    Raises ManifestNotFound, ManifestUnreadable, UnknownKey, InvalidValue.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise ManifestNotFound(f"There is no {what} {path}.", next_step="Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestUnreadable(f"The {what} {path} cannot be read.", why=f"{error}.") from None
    return parse_settings(text, kind, f"The {what} {path}")


def parse_settings(text: str, kind: type[Settings], where: str) -> Settings:
    """The settings that a YAML text states; `where` begins what errors say. Raises like `read_settings`."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ManifestUnreadable(f"{where} is not YAML.", why=" ".join(str(error).split())[:300]) from None
    if not isinstance(document, dict):
        raise ManifestUnreadable(f"{where} is not a mapping of keys to values.", next_step="docs/files.md shows one.")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise _translate(error, kind, where) from None


def _translate(error: ValidationError, kind: type[BaseModel], where: str) -> UnknownKey | InvalidValue:
    # A key that is not known comes first: the one that is missing beside it is often what was meant.
    first = min(error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden")
    # What pydantic puts between keys (the tag of a union) is no key, but does no harm in a message.
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = sorted(set(_iter_keys(kind)))
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        return UnknownKey(
            f"{where} has no key {place}.",
            why=f"Did you mean {near[0]}?" if near else "docs/files.md lists every key.",
            next_step="Mend the key and run again.",
        )
    said = first["msg"].removeprefix("Value error, ")
    return InvalidValue(
        f"{where}: {place or 'it'}: {said}.", next_step="Mend it and run again; docs/files.md lists every key."
    )


def _iter_keys(kind: type[BaseModel]) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield field.alias or name
        yield from _iter_keys_within(field.annotation)


def _iter_keys_within(annotation: Any) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _iter_keys(annotation)
    for inner in getattr(annotation, "__args__", ()):
        yield from _iter_keys_within(inner)
