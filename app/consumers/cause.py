"""What follows from an event carries its ids: further events, and lines in the log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid5

from app.events import Envelope


def follow_up(cause: Envelope, type: str, payload: dict[str, Any]) -> Envelope:  # noqa: A002 - as Envelope's
    """The event of this type that follows from `cause`; its id is the same each time."""
    return Envelope(
        event_id=uuid5(cause.event_id, type),
        type=type,
        version=1,
        correlation_id=cause.correlation_id,
        causation_id=cause.event_id,
        occurred_at=datetime.now(UTC),
        payload=payload,
    )


def trace(cause: Envelope, event: str) -> dict[str, str]:
    """The fields of a log line about `cause`; `event` names the line: `purchase.repeated`."""
    return {
        "event": event,
        "correlation_id": str(cause.correlation_id),
        "event_id": str(cause.event_id),
    }
