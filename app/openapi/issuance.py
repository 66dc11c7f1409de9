"""Credentials: issued once, whoever asks how often."""

from __future__ import annotations

from app.openapi.parts import Json, json_answer, json_body, record, refusal, refusals, schema

TAG: Json = {"name": "issuance", "description": "Credentials, each issued once."}

_LIMIT = 2**53 - 1
_ID = "6f1c2f0e-7d2b-4d0e-9a55-0f6f4f0f7c11"
_CONTENT: Json = {"course": "Logic", "grade": 1.0, "holder": {"name": "Ada"}}
_FACTS: Json = {"issued_by": "worker-2", "issued_at": "2026-11-22T12:00:00.123Z"}

SCHEMAS: Json = {
    "Value": {
        "description": "Any JSON that has one canonical form (RFC 8785).",
        "anyOf": [
            {"type": ["null", "boolean", "string"]},
            {"type": "number", "minimum": -_LIMIT, "maximum": _LIMIT},
            {"type": "array", "items": schema("Value")},
            {"type": "object", "additionalProperties": schema("Value")},
        ],
    },
    "Credential": {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": schema("Value"),
    },
}

_ISSUED: Json = {
    "id": {"type": "string", "format": "uuid"},
    "issued_by": schema("Worker"),
    "issued_at": schema("Moment"),
}
_LINKS: Json = {
    "credential": {
        "operationId": "getCredential",
        "parameters": {"id": "$response.body#/id"},
        "description": "Our own services read it back.",
    }
}


def _issued(description: str) -> Json:
    return json_answer(description, record(_ISSUED), links=_LINKS, issued={"id": _ID, **_FACTS})


_ISSUE: Json = {
    "operationId": "issue",
    "tags": ["issuance"],
    "summary": "Issue a credential",
    "description": (
        "Any JSON object with at least one member. The same content again is not issued again: "
        "the order of members, spacing and the spelling of numbers do not count (RFC 8785)."
    ),
    "security": [],
    "requestBody": json_body(schema("Credential"), course=_CONTENT),
    "responses": {
        "201": _issued("Issued."),
        "200": _issued("It was issued before: the facts of that time."),
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

_GET: Json = {
    "operationId": "getCredential",
    "tags": ["issuance"],
    "summary": "A credential, for our own services",
    "security": [{"internal": []}],
    "responses": {
        "200": json_answer(
            "As it was issued, in its canonical form.",
            record({"id": _ISSUED["id"], "credential": schema("Credential"), **_ISSUED}),
            issued={"id": _ID, "credential": _CONTENT, **_FACTS},
        ),
        "401": refusal(
            "The token is missing or wrong, or INTERNAL_TOKEN is not set.",
            "unauthenticated",
            message="Send the internal token: Authorization: Bearer …",
            headers={
                "WWW-Authenticate": {
                    "required": True,
                    "schema": {"const": "Bearer"},
                }
            },
        ),
        "404": refusal(
            "There is none with this id.",
            "not_found",
            message="There is no credential with this id.",
        ),
        **refusals(_503="DatabaseUnavailable"),
    },
}

PATHS: Json = {
    "/api/issue": {"post": _ISSUE},
    "/internal/credentials/{id}": {
        "parameters": [
            {
                "name": "id",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "format": "uuid"},
                "example": _ID,
            }
        ],
        "get": _GET,
    },
}
