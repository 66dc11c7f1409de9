"""The intake of a payment provider's confirmations."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from flask import Blueprint

from app.errors import ApiError
from app.payments import Payment, PaymentConflictError, Payments
from app.web.body import invalid, is_text, json_object

_ID_LONGEST = 200  # characters
_INTEGER_MAX = 2**53 - 1  # beyond it a sender's JSON library may have rounded
_AMOUNT_MAX = 1_000_000_000
_CENT = Decimal("0.01")


def blueprint(*, payments: Payments) -> Blueprint:
    intake = Blueprint("payments", __name__)

    @intake.post("/api/payments/confirm")
    def confirm() -> tuple[dict[str, Any], int]:
        fields = json_object()
        payment = Payment(
            provider_payment_id=_id(fields, "provider_payment_id"),
            student_id=_id(fields, "student_id"),
            course_id=_id(fields, "course_id"),
            amount=_amount(fields, "amount"),
        )
        try:
            confirmation = payments.confirm(payment)
        except PaymentConflictError:
            raise ApiError(
                409, "payment_conflict", "This payment was confirmed before with another amount."
            ) from None
        answer = {
            "event_id": str(confirmation.event_id),
            "correlation_id": str(confirmation.correlation_id),
        }
        return answer, 202

    return intake


def _id(fields: dict[str, Any], name: str) -> str:
    """The field as a text; raises ApiError 422."""
    value = fields.get(name)
    if value is None:
        raise invalid(name, "is required")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON's 17.0 is the integer 17
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _INTEGER_MAX:
        return str(value)
    # Postgres' texts know no NUL.
    if not isinstance(value, str) or "\0" in value or not is_text(value, longest=_ID_LONGEST):
        raise invalid(
            name, f"must be a text of 1 to {_ID_LONGEST} characters or an integer from 0 to 2^53-1"
        )
    return value


def _amount(fields: dict[str, Any], name: str) -> Decimal:
    """The field with two decimals; raises ApiError 422."""
    value = fields.get(name)
    if value is None:
        raise invalid(name, "is required")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(name, "must be a number")
    if not 0 < value <= _AMOUNT_MAX:
        raise invalid(name, f"must be more than 0 and at most {_AMOUNT_MAX}")
    # A double's shortest spelling is the one that was sent: eleven digits fit into its fifteen.
    exact = Decimal(str(value))
    if exact != exact.quantize(_CENT):
        raise invalid(name, "must have at most two decimals")
    return exact.quantize(_CENT)
