"""Confirmed payments, taken in."""

from __future__ import annotations

from app.openapi.parts import Json, json_answer, json_body, record, refusal, refusals

TAG: Json = {"name": "payments", "description": "What the payment provider confirms."}

_ID: Json = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[^\u0000]*$"},
        {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
    ],
    "description": "A text without U+0000; an integer is taken as its decimal text.",
}
_UUID: Json = {"type": "string", "format": "uuid"}

_CONFIRM: Json = {
    "operationId": "confirmPayment",
    "tags": ["payments"],
    "summary": "Take a confirmed payment in",
    "description": (
        "One confirmation a payment, student and course: the same again gets the same answer. "
        "The courses of one payment share `correlation_id`."
    ),
    "security": [],
    "requestBody": json_body(
        {
            "type": "object",
            "properties": {
                "provider_payment_id": _ID,
                "student_id": _ID,
                "course_id": _ID,
                "amount": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "maximum": 1_000_000_000,
                    "multipleOf": 0.01,
                },
            },
            "required": ["provider_payment_id", "student_id", "course_id", "amount"],
            "description": "Other members are ignored.",
        },
        course={
            "provider_payment_id": "pay_3f9c",
            "student_id": "student-17",
            "course_id": 42,
            "amount": 99.90,
        },
    ),
    "responses": {
        "202": json_answer(
            "It is recorded; what follows from it happens soon.",
            record({"event_id": _UUID, "correlation_id": _UUID}),
            recorded={
                "event_id": "b9c1e2aa-33b7-4f0b-8a57-3a1d6f1f0a11",
                "correlation_id": "2f0f7a3e-8f0c-5c39-9f0e-6f1a2b3c4d5e",
            },
        ),
        "409": refusal(
            "It was confirmed with another amount.",
            "payment_conflict",
            message="This payment was confirmed before with another amount.",
        ),
        **refusals(
            _400="InvalidJson",
            _403="CrossOrigin",
            _413="TooLarge",
            _415="NotJson",
            _422="InvalidField",
            _503="DatabaseUnavailable",
        ),
    },
}

PATHS: Json = {"/api/payments/confirm": {"post": _CONFIRM}}
