"""Alerts: which there are, and that somebody has seen one."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from trainwright.core.records import Frozen
from trainwright.pipeline.alerts import open_book, page_alerts
from trainwright.serve.access import Operator
from trainwright.serve.context import After, Limit, Opened
from trainwright.watch.usage import read_now

router = APIRouter(prefix="/api/alerts", tags=["alerts"])


class AcknowledgeRequest(Frozen):
    """What was found or done about an alert, for the record."""

    why: Annotated[str, Field(max_length=2000)] = ""


NOTHING_SAID = AcknowledgeRequest()


@router.get("")
def list_alerts(
    workspace: Opened,
    limit: Limit = 100,
    after: After = None,
    unacknowledged: Annotated[bool, Query(alias="open", description="Only those that nobody acknowledged.")] = False,
) -> dict[str, Any]:
    """A page of alerts, newest first."""
    found, following = page_alerts(workspace, limit, after, only_open=unacknowledged)
    return {"items": [alert.model_dump(mode="json") for alert in found], "next": following}


@router.get("/channels")
def list_channels(workspace: Opened) -> dict[str, Any]:
    """How each channel is doing, and how many messages wait."""
    book = open_book(workspace)
    channels = [state.model_dump(mode="json") for state in book.list_channels()]
    return {"items": channels, "num_waiting": len(book.list_items())}


@router.post("/{alert_id}/acknowledge")
def acknowledge(
    alert_id: str, workspace: Opened, caller: Operator, asked: AcknowledgeRequest = NOTHING_SAID
) -> dict[str, Any]:
    """Say that somebody has seen it: it is not sent again."""
    return open_book(workspace).acknowledge(alert_id, caller.name, read_now(), asked.why).model_dump(mode="json")
