"""Schemathesis holds the real application to its description, an operation a test."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from schemathesis import Case

from tests.contract.stage import Scene, schema, schema_for_service, schema_for_user

anyone = schema()
user = schema_for_user("/api/(auth/(log|me)|preferences)")
service = schema_for_service("/internal/")

# The requests of one operation share the application on purpose; the scene is set anew for each.
one_application = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@anyone.parametrize()
@one_application
def test_anyone(case: Case[Any], scene: Scene) -> None:
    scene.reset()
    case.call_and_validate()


@user.parametrize()
@one_application
def test_who_is_logged_in(case: Case[Any], scene: Scene) -> None:
    scene.reset()
    case.call_and_validate()


@service.parametrize()
@one_application
def test_our_own_services(case: Case[Any], scene: Scene) -> None:
    scene.reset()
    case.call_and_validate()
