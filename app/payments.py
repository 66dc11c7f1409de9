"""Confirmed payments in Postgres, each with the event that tells of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from app.db import Connection, Database
from app.events import Envelope, outbox

# Never to change: the courses of one checkout find each other by what is derived from it.
_CHECKOUTS = UUID("6f1d1c6e-2f0b-4c57-9d0e-5b8a3f7c2a41")

# One statement is one transaction: there is no payment without its event, nor the other way round.
# Of several at once the primary key lets one insert; the others wait for its commit, insert nothing
# here and hence no event, and find its row by the SELECT, which sees what was committed. So does an
# attempt whose predecessor's answer was lost; no target is named, for its event_id is there too.
_CONFIRM = f"""
WITH confirmed AS (
    INSERT INTO payment
        (provider_payment_id, student_id, course_id, amount, event_id, correlation_id)
    VALUES (%(provider_payment_id)s, %(student_id)s, %(course_id)s, %(amount)s,
        %(event_id)s, %(correlation_id)s)
    ON CONFLICT DO NOTHING
    RETURNING amount
)
{outbox.INSERT}
SELECT {outbox.VALUES} FROM confirmed
RETURNING event_id, correlation_id, (SELECT amount FROM confirmed)
"""  # noqa: S608 - of constants

_STORED = """
SELECT event_id, correlation_id, amount
FROM payment
WHERE (provider_payment_id, student_id, course_id)
    = (%(provider_payment_id)s, %(student_id)s, %(course_id)s)
"""


class PaymentConflictError(Exception):
    """The payment was confirmed before, with another amount."""


@dataclass(frozen=True, kw_only=True)
class Payment:
    """What a provider confirmed: the first three fields together say which payment it is."""

    provider_payment_id: str
    student_id: str
    course_id: str
    amount: Decimal  # with two decimals

    @property
    def correlation_id(self) -> UUID:
        """The same for all courses of one checkout."""
        return uuid.uuid5(_CHECKOUTS, self.provider_payment_id)


@dataclass(frozen=True)
class Confirmation:
    event_id: UUID
    correlation_id: UUID


class Payments:
    def __init__(self, *, database: Database):
        self._database = database

    def confirm(self, payment: Payment) -> Confirmation:
        """The payment's confirmation, stored; the same however often it is asked for.

        Raises PaymentConflictError, DatabaseUnavailable.
        """
        event = _purchase_confirmed(payment)
        values = {**outbox.parameters(event), **vars(payment)}

        def work(connection: Connection) -> tuple[UUID, UUID, Decimal]:
            row = connection.execute(_CONFIRM, values).fetchone()
            row = row or connection.execute(_STORED, values).fetchone()
            assert row is not None  # noqa: S101 - nothing deletes payments
            return row[0], row[1], row[2]

        event_id, correlation_id, amount = self._database.run(work, retry=True)
        if amount != payment.amount:
            raise PaymentConflictError
        return Confirmation(event_id, correlation_id)


def _purchase_confirmed(payment: Payment) -> Envelope:
    return Envelope(
        event_id=uuid.uuid4(),
        type="PURCHASE_CONFIRMED",
        version=1,
        correlation_id=payment.correlation_id,
        occurred_at=datetime.now(UTC),
        payload={
            "provider_payment_id": payment.provider_payment_id,
            "student_id": payment.student_id,
            "course_id": payment.course_id,
            "amount": str(payment.amount),
        },
    )
