"""The net catches: an application that breaks its word fails the checks of test_answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Response
from flask.typing import ResponseReturnValue
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import AcceptedNegativeData, Failure, FailureGroup, ServerError
from schemathesis.openapi.checks import (
    IgnoredAuth,
    JsonSchemaError,
    MissingHeaders,
    RejectedPositiveData,
    UndefinedContentType,
    UndefinedStatusCode,
)

from app.errors import ApiError
from tests.contract.stage import Scene, schema_for_user

View = Callable[[], ResponseReturnValue]
USER: ResponseReturnValue = {
    "user": {"id": "0b5f3a0e-8f2e-4d7b-9d3a-6c1e2f4a5b6c", "email": "ada@example.com"}
}


def fails() -> ResponseReturnValue:
    raise RuntimeError


def refuses(status: int, code: str) -> View:
    def view() -> ResponseReturnValue:
        raise ApiError(status, code, "No.")

    return view


BROKEN: dict[str, tuple[str, str, View, type[Failure]]] = {
    "a status that is not described": (
        "GET /api/status",
        "status.current",
        refuses(418, "teapot"),
        UndefinedStatusCode,
    ),
    "another body": ("GET /api/status", "status.current", lambda: {"up": True}, JsonSchemaError),
    "another media type": (
        "GET /health/live",
        "health.live",
        lambda: Response("ok", mimetype="text/plain"),
        UndefinedContentType,
    ),
    "a header that is missing": (
        "GET /api/preferences",
        "preferences.show",
        refuses(503, "database_unavailable"),
        MissingHeaders,
    ),
    "an error code of its own": (
        "GET /api/auth/me",
        "auth.me",
        refuses(401, "nobody"),
        JsonSchemaError,
    ),
    "a failure": ("GET /health/live", "health.live", fails, ServerError),
    "anything goes": (
        "PATCH /api/preferences",
        "preferences.change",
        lambda: {"preferences": {}},
        AcceptedNegativeData,
    ),
    "nothing goes": (
        "PATCH /api/preferences",
        "preferences.change",
        refuses(422, "invalid_field"),
        RejectedPositiveData,
    ),
    "everybody is welcome": ("GET /api/auth/me", "auth.me", lambda: USER, IgnoredAuth),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_word_is_noticed(broken: str, scene: Scene) -> None:
    label, endpoint, view, expected = BROKEN[broken]
    assert not failures(label, scene), "it is the broken view that fails"
    assert endpoint in scene.app.view_functions
    scene.app.view_functions[endpoint] = view
    assert expected in failures(label, scene)


def failures(label: str, scene: Scene) -> set[type[Failure]]:
    """What the checks have against the operation, in a few requests as they may and may not be."""
    method, _, path = label.partition(" ")
    operation = schema_for_user("/")[path][method]
    found: set[type[Failure]] = set()

    @settings(
        max_examples=20,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))
    )
    def ask(case: Case[Any]) -> None:
        scene.reset()
        try:
            case.call_and_validate()
        except FailureGroup as group:
            found.update(type(failure) for failure in group.exceptions)

    ask()
    return found
