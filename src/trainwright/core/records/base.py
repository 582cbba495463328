"""What every record is: frozen, and named by the digest of its content."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from trainwright.core.hashing import digest_json


def added(default: Any) -> Any:
    """A field that records written before it existed do not have, and whose absence means `default`.

    It is left out of the canonical JSON where it holds its default, so that the ids of older records stay what they are.
    """
    return Field(default, json_schema_extra={"added": True})


class Frozen(BaseModel):
    """A value inside a record: immutable, strict about keys, and free of NaN."""

    # "constants": a NaN inside an `Any` would otherwise be written as null, and share its id with a real null.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002
        """A copy with other values, validated: pydantic's own would take any value, and carry a remembered `id` over."""
        return type(self).model_validate(self.model_dump() | dict(update or {}))

    @model_serializer(mode="wrap")
    def _leave_out_what_was_added(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = handler(self)
        for name, field in type(self).model_fields.items():
            if field.json_schema_extra == {"added": True} and getattr(self, name) == field.default:
                document.pop(name, None)
        return document


class Record(Frozen):
    """Something that happened, and never changes. Its id is the digest of its content."""

    kind: str
    parent_fields: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def id(self) -> str:
        """SHA-256 of the record's canonical JSON. Raises ValueError where a free-form field holds NaN or infinity."""
        return digest_json(self.model_dump(mode="json"))

    def parents(self) -> dict[str, str]:
        """{role: record id} of what this came from; roles that are empty are left out."""
        return {role: value for role in self.parent_fields if (value := getattr(self, role)) is not None}
