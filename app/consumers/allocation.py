"""A purchase gets its trainer: one current allocation at a time of a student and a course."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid5

from app.consumers import admin_service, fields
from app.consumers.admin_service import CONNECTIONS, AdminService
from app.consumers.cause import follow_up, trace
from app.events import Envelope
from app.events.handler import Handler, Transaction
from app.events.retry import Policy

log = logging.getLogger(__name__)

# Two ways to be settled, each with an index of its own.
_SETTLED = """
SELECT event_id, true
FROM trainer_allocations
WHERE event_id = ANY(%(event_id)s::uuid[])
UNION ALL
SELECT given.event_id, false
FROM unnest(%(event_id)s::uuid[], %(student_id)s::text[], %(course_id)s::text[])
    AS given (event_id, student_id, course_id)
JOIN trainer_allocations AS current USING (student_id, course_id)
WHERE current.status IN ('approved', 'active')
"""

# As the purchases' (purchase.py): the indexes decide, that of the current ones and event_id's, and
# all insert in one order.
_INSERT = """
INSERT INTO trainer_allocations
    (id, purchase_id, student_id, course_id, trainer_id, admin_allocation_id, status, session_time,
        event_id, correlation_id)
SELECT id, purchase_id, student_id, course_id, trainer_id, admin_allocation_id, status,
    session_time, event_id, correlation_id
FROM unnest(%(id)s::uuid[], %(purchase_id)s::uuid[], %(student_id)s::text[],
        %(course_id)s::text[], %(trainer_id)s::text[], %(admin_allocation_id)s::text[],
        %(status)s::text[], %(session_time)s::time[], %(event_id)s::uuid[],
        %(correlation_id)s::uuid[], %(occurred_at)s::timestamptz[])
    AS given (id, purchase_id, student_id, course_id, trainer_id, admin_allocation_id, status,
        session_time, event_id, correlation_id, occurred_at)
ORDER BY student_id, course_id, occurred_at, event_id
ON CONFLICT DO NOTHING
RETURNING event_id
"""

_PRESENT = "SELECT event_id FROM trainer_allocations WHERE event_id = ANY(%(event_id)s::uuid[])"


@dataclass(frozen=True, kw_only=True)
class Purchased:
    """What PURCHASE_CREATED says, and what the admin service answered, once it was asked."""

    purchase_id: UUID
    student_id: str
    course_id: str
    allocated: admin_service.Allocation | None = None


class Allocation(Handler[Purchased]):
    name = "allocation"
    group = "trainer-allocation-workers"
    type = "PURCHASE_CREATED"
    policy = Policy(attempts=5)
    batch = 50  # at most 7 calls one after the other, should the service be slow
    calls = CONNECTIONS

    def __init__(self, *, admin: AdminService):
        self._admin = admin

    def read(self, event: Envelope) -> Purchased:
        fields.version(event)
        return Purchased(
            purchase_id=fields.uuid(event.payload, "purchase_id"),
            student_id=fields.text(event.payload, "student_id"),
            course_id=fields.text(event.payload, "course_id"),
        )

    def settled(
        self, connection: Transaction, work: Sequence[tuple[Envelope, Purchased]]
    ) -> set[UUID]:
        values = {
            "event_id": [event.event_id for event, _ in work],
            "student_id": [fact.student_id for _, fact in work],
            "course_id": [fact.course_id for _, fact in work],
        }
        rows = connection.execute(_SETTLED, values).fetchall()
        own = {event_id for event_id, is_own in rows if is_own}
        found = {event_id for event_id, _ in rows}
        for event, fact in work:
            if event.event_id in found - own:
                _warn(event, fact, "the admin service is not asked")
        return found

    def call(self, event: Envelope, fact: Purchased) -> Purchased:
        """Raises Rejected, Unreachable, AdminServiceFailed."""
        allocated = self._admin.allocate(
            purchase_id=fact.purchase_id,
            student_id=fact.student_id,
            course_id=fact.course_id,
            idempotency_key=event.event_id,
            correlation_id=event.correlation_id,
        )
        return replace(fact, allocated=allocated)

    def write(
        self, connection: Transaction, work: Sequence[tuple[Envelope, Purchased]]
    ) -> list[Envelope]:
        called = {
            event.event_id: (event, fact, fact.allocated)
            for event, fact in work
            if fact.allocated is not None
        }
        inserted = {row[0] for row in connection.execute(_INSERT, _columns(list(called.values())))}
        left = [event_id for event_id in called if event_id not in inserted]
        if left:
            present = {row[0] for row in connection.execute(_PRESENT, {"event_id": left})}
            for event, fact, allocated in (called[event_id] for event_id in left):
                if event.event_id not in present:
                    _warn(event, fact, f"{allocated.allocation_id!r} is not used")
        return [_told(*called[event_id]) for event_id in called if event_id in inserted]

    def close(self) -> None:
        self._admin.close()


def _columns(
    work: Sequence[tuple[Envelope, Purchased, admin_service.Allocation]],
) -> dict[str, list[Any]]:
    return {
        "id": [_allocation_id(event) for event, _, _ in work],
        "purchase_id": [fact.purchase_id for _, fact, _ in work],
        "student_id": [fact.student_id for _, fact, _ in work],
        "course_id": [fact.course_id for _, fact, _ in work],
        "trainer_id": [allocated.trainer_id for _, _, allocated in work],
        "admin_allocation_id": [allocated.allocation_id for _, _, allocated in work],
        "status": [allocated.status for _, _, allocated in work],
        "session_time": [allocated.session_time for _, _, allocated in work],
        "event_id": [event.event_id for event, _, _ in work],
        "correlation_id": [event.correlation_id for event, _, _ in work],
        "occurred_at": [event.occurred_at for event, _, _ in work],
    }


def _allocation_id(event: Envelope) -> UUID:
    return uuid5(event.event_id, "allocation")


def _told(event: Envelope, fact: Purchased, allocated: admin_service.Allocation) -> Envelope:
    payload = {
        "allocation_id": str(_allocation_id(event)),
        "purchase_id": str(fact.purchase_id),
        "student_id": fact.student_id,
        "course_id": fact.course_id,
        "trainer_id": allocated.trainer_id,
        "status": allocated.status,
        "session_time": f"{allocated.session_time:%H:%M}",
    }
    return follow_up(event, "TRAINER_ALLOCATED", payload)


def _warn(event: Envelope, fact: Purchased, what: str) -> None:
    log.warning(
        "Student %r has course %r with a trainer already: %s",
        *(fact.student_id, fact.course_id, what),
        extra=trace(event, "allocation.repeated"),
    )
