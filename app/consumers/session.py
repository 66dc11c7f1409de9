"""A trainer's allocation becomes the first sessions of the course."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, time
from uuid import UUID

from app.consumers import fields
from app.consumers.cause import trace
from app.consumers.schedule import AHEAD, next_days
from app.events import Envelope
from app.events.handler import Handler, Rejected, Transaction
from app.events.retry import Policy

log = logging.getLogger(__name__)

# Until the commit nobody cancels these allocations, and nobody else who schedules (this consumer,
# the top-up) works on them: all lock first, in one order, and look at the sessions after that.
_LOCK = """
SELECT id, status IN ('approved', 'active')
FROM trainer_allocations
WHERE id = ANY(%(id)s::uuid[])
ORDER BY id
FOR NO KEY UPDATE
"""

# An allocation with sessions was scheduled: by this event, since moved or cancelled perhaps, or by
# the top-up. ON CONFLICT is for those who insert without the lock.
_INSERT = """
INSERT INTO course_sessions (allocation_id, session_date, session_time)
SELECT *
FROM unnest(%(allocation_id)s::uuid[], %(session_date)s::date[], %(session_time)s::time[])
    AS given (allocation_id, session_date, session_time)
WHERE NOT EXISTS (
    SELECT FROM course_sessions AS earlier WHERE earlier.allocation_id = given.allocation_id
)
ORDER BY allocation_id, session_date, session_time
ON CONFLICT DO NOTHING
"""


class AllocationMissingError(Exception):
    """The event names an allocation that is not there: removed, or not there yet."""


@dataclass(frozen=True, kw_only=True)
class Allocated:
    """What TRAINER_ALLOCATED says of sessions."""

    allocation_id: UUID
    days: Sequence[date]  # from the day of the event, so that a replay gives the same
    time: time


class Session(Handler[Allocated]):
    name = "session"
    group = "session-scheduling-workers"
    type = "TRAINER_ALLOCATED"
    policy = Policy(attempts=3)

    def read(self, event: Envelope) -> Allocated:
        fields.version(event)
        try:
            days = next_days(event.occurred_at.astimezone(UTC).date(), AHEAD)
        except OverflowError:
            raise Rejected("occurred_at: must be some days before the calendar's end") from None
        return Allocated(
            allocation_id=fields.uuid(event.payload, "allocation_id"),
            days=days,
            time=fields.time_of_day(event.payload, "session_time"),
        )

    def write(
        self, connection: Transaction, work: Sequence[tuple[Envelope, Allocated]]
    ) -> list[Envelope]:
        """Raises AllocationMissingError."""
        current = dict(connection.execute(_LOCK, {"id": [fact.allocation_id for _, fact in work]}))
        for _, fact in work:
            if fact.allocation_id not in current:
                raise AllocationMissingError(f"allocation {fact.allocation_id} is not there")
        wanted = [fact for _, fact in work if current[fact.allocation_id]]
        rows = [(fact.allocation_id, day, fact.time) for fact in wanted for day in fact.days]
        if rows:
            allocation_ids, days, times = map(list, zip(*rows, strict=True))
            values = {"allocation_id": allocation_ids, "session_date": days, "session_time": times}
            connection.execute(_INSERT, values)
        for event, fact in work:
            if not current[fact.allocation_id]:
                log.info(
                    "Allocation %s is not current any more: no sessions",
                    fact.allocation_id,
                    extra=trace(event, "session.not_scheduled"),
                )
        return []
