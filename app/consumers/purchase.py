"""A confirmed payment becomes a purchase: one active at a time of a student and a course."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from app.consumers import fields
from app.consumers.cause import follow_up, trace
from app.events import Envelope
from app.events.handler import Handler, Transaction
from app.events.retry import Policy

log = logging.getLogger(__name__)

# Which rows are there already the indexes tell, not a SELECT before: of several transactions that
# insert the same row one does, the others wait for its commit and insert nothing. No target is
# named, for two indexes may refuse: that of the active ones, and event_id's when the event comes
# again and its purchase is not active any more. All insert in one order, so that no two wait for
# each other. Of two events of one batch the earlier gets the row.
_INSERT = """
INSERT INTO student_course_purchases
    (id, student_id, course_id, provider_payment_id, amount, event_id, correlation_id, purchased_at)
SELECT *
FROM unnest(%(id)s::uuid[], %(student_id)s::text[], %(course_id)s::text[],
        %(provider_payment_id)s::text[], %(amount)s::numeric[], %(event_id)s::uuid[],
        %(correlation_id)s::uuid[], %(purchased_at)s::timestamptz[])
    AS given (id, student_id, course_id, provider_payment_id, amount, event_id, correlation_id,
        purchased_at)
ORDER BY student_id, course_id, purchased_at, event_id
ON CONFLICT DO NOTHING
RETURNING event_id
"""

_PRESENT = """
SELECT event_id FROM student_course_purchases WHERE event_id = ANY(%(event_id)s::uuid[])
"""


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """What PURCHASE_CONFIRMED says."""

    provider_payment_id: str
    student_id: str
    course_id: str
    amount: Decimal  # with two decimals


class Purchase(Handler[Confirmed]):
    name = "purchase"
    group = "purchase-creation-workers"
    type = "PURCHASE_CONFIRMED"
    policy = Policy(attempts=3)

    def read(self, event: Envelope) -> Confirmed:
        fields.version(event)
        return Confirmed(
            provider_payment_id=fields.text(event.payload, "provider_payment_id"),
            student_id=fields.text(event.payload, "student_id"),
            course_id=fields.text(event.payload, "course_id"),
            amount=fields.amount(event.payload, "amount"),
        )

    def write(
        self, connection: Transaction, work: Sequence[tuple[Envelope, Confirmed]]
    ) -> list[Envelope]:
        given = {event.event_id: (event, fact) for event, fact in work}
        inserted = {row[0] for row in connection.execute(_INSERT, _columns(list(given.values())))}
        left = [event_id for event_id in given if event_id not in inserted]
        if left:
            present = {row[0] for row in connection.execute(_PRESENT, {"event_id": left})}
            for event_id in left:
                if event_id not in present:
                    _warn(*given[event_id])
        return [_created(*given[event_id]) for event_id in given if event_id in inserted]


def _columns(work: Sequence[tuple[Envelope, Confirmed]]) -> dict[str, list[Any]]:
    return {
        "id": [_purchase_id(event) for event, _ in work],
        "student_id": [fact.student_id for _, fact in work],
        "course_id": [fact.course_id for _, fact in work],
        "provider_payment_id": [fact.provider_payment_id for _, fact in work],
        "amount": [fact.amount for _, fact in work],
        "event_id": [event.event_id for event, _ in work],
        "correlation_id": [event.correlation_id for event, _ in work],
        "purchased_at": [event.occurred_at for event, _ in work],
    }


def _purchase_id(event: Envelope) -> UUID:
    return uuid5(event.event_id, "purchase")


def _created(event: Envelope, fact: Confirmed) -> Envelope:
    payload = {
        "purchase_id": str(_purchase_id(event)),
        "student_id": fact.student_id,
        "course_id": fact.course_id,
        "provider_payment_id": fact.provider_payment_id,
        "amount": str(fact.amount),
    }
    return follow_up(event, "PURCHASE_CREATED", payload)


def _warn(event: Envelope, fact: Confirmed) -> None:
    """Somebody paid for what they have: a person must look at it."""
    log.warning(
        "Student %r has course %r already: payment %r makes no purchase",
        *(fact.student_id, fact.course_id, fact.provider_payment_id),
        extra=trace(event, "purchase.repeated"),
    )
