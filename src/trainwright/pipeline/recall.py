"""What an earlier command made from the same inputs."""

from typing import TypeVar

from trainwright.core.records import Record
from trainwright.store.workspace import Workspace

R = TypeVar("R", bound=Record)


def recall(workspace: Workspace, key: str, record_type: type[R]) -> R | None:
    """The record that is remembered under `key`, or None."""
    record_id = workspace.ledger.recall(key)
    return None if record_id is None else typed(workspace.ledger.get(record_id), record_type)


def typed(record: Record, record_type: type[R]) -> R:
    """The record as the type that it must have. Raises TypeError."""
    if not isinstance(record, record_type):
        raise TypeError(f"{record.id} is a {record.kind}, not a {record_type.__name__}")
    return record
