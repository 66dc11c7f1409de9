"""The pieces that descriptions of operations are made of."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_IDS: Json = {
    "X-Request-ID": {"$ref": "#/components/headers/RequestId"},
    "X-Worker-ID": {"$ref": "#/components/headers/WorkerId"},
}
LATER: Json = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}


def schema(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def refusals(**names: str) -> Json:
    """References to answers in the components, by status: `refusals(_422="InvalidField")`."""
    return {
        status.removeprefix("_"): {"$ref": f"#/components/responses/{name}"}
        for status, name in names.items()
    }


def record(properties: Json) -> Json:
    """The schema of an object with exactly these members, all of them present."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def json_body(body: Json, **examples: Json) -> Json:
    """A body that must be sent."""
    return {"required": True, "content": _content(body, examples)}


def answer(description: str, *, headers: Json | None = None) -> Json:
    """An answer without a body that is worth describing."""
    return {"description": description, "headers": _IDS | (headers or {})}


def json_answer(
    description: str,
    body: Json,
    *,
    headers: Json | None = None,
    links: Json | None = None,
    **examples: Json,
) -> Json:
    told = answer(description, headers=headers) | {"content": _content(body, examples)}
    return told | {"links": links} if links else told


def error(*codes: str) -> Json:
    """The schema of the member `error`, whose `code` can be these."""
    return {"allOf": [schema("Error"), {"properties": {"code": {"enum": list(codes)}}}]}


def error_example(code: str, message: str) -> Json:
    request_id = "5f0c6b5e2d0b4c7f9b1e8a3d7c2f4e61"
    return {"error": {"code": code, "message": message, "request_id": request_id}}


def refusal(description: str, *codes: str, message: str, headers: Json | None = None) -> Json:
    """An error answer; `codes` are all that its `error.code` can be, `message` is an example."""
    return json_answer(
        description,
        record({"error": error(*codes)}),
        headers=headers,
        refused=error_example(codes[0], message),
    )


def later(description: str, *codes: str, message: str) -> Json:
    """An error answer that says after how many seconds to try again."""
    return refusal(description, *codes, message=message, headers=LATER)


def _content(body: Json, examples: Json) -> Json:
    content: Json = {"schema": body}
    if examples:
        content["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {"application/json": content}
