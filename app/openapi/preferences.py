"""What a visitor prefers, in the session."""

from __future__ import annotations

from app.openapi.parts import Json, json_answer, json_body, record, refusal, refusals

TAG: Json = {"name": "preferences", "description": "What a visitor prefers, kept in the session."}

_NAME: Json = {"type": "string", "minLength": 1, "maxLength": 50}
_VALUES: list[Json] = [
    {"type": "string", "maxLength": 200},
    {"type": "number", "minimum": -(2**63), "exclusiveMaximum": 2**63},
    {"type": "boolean"},
]
_KEPT = record(
    {
        "preferences": {
            "type": "object",
            "propertyNames": _NAME,
            "additionalProperties": {"anyOf": _VALUES},
            "maxProperties": 50,
        }
    }
)
_CHANGES: Json = {
    "type": "object",
    "propertyNames": _NAME,
    "additionalProperties": {"anyOf": [*_VALUES, {"type": "null"}]},
    "minProperties": 1,
    "maxProperties": 50,
}

_ANYONE: list[Json] = [{}, {"session": []}]
_EXAMPLE: Json = {"preferences": {"theme": "dark", "font_size": 14}}

_SHOW: Json = {
    "operationId": "getPreferences",
    "tags": ["preferences"],
    "summary": "What is kept",
    "security": _ANYONE,
    "responses": {
        "200": json_answer("All of them.", _KEPT, two=_EXAMPLE),
        **refusals(_503="DatabaseUnavailable"),
    },
}

_CHANGE: Json = {
    "operationId": "changePreferences",
    "tags": ["preferences"],
    "summary": "Keep, change and remove some",
    "description": "A merge patch (RFC 7396): null removes a name, what is not named stays.",
    "security": _ANYONE,
    "requestBody": json_body(_CHANGES, change={"theme": "dark", "font_size": 14, "beta": None}),
    "responses": {
        "200": json_answer("All that are kept now.", _KEPT, two=_EXAMPLE),
        "422": refusal(
            "A member is wrong, or there would be more than 50.",
            "invalid_field",
            "too_many_preferences",
            message="theme: must have at most 200 characters",
        ),
        **refusals(_400="InvalidJson", _403="CrossOrigin", _413="TooLarge", _415="NotJson"),
        **refusals(_503="DatabaseUnavailable"),
    },
}

PATHS: Json = {"/api/preferences": {"get": _SHOW, "patch": _CHANGE}}
