"""Schemathesis follows the description's links: one answer names what to ask next."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from schemathesis import Case, Response

from tests.contract.stage import Scene, schema_for_service


def test_an_issued_credential_can_be_read(scene: Scene) -> None:
    answered: list[int] = []

    class Sequence(schema_for_service("/(api/issue|internal/)").as_state_machine()):  # type: ignore[misc] # made at run time
        def setup(self) -> None:
            scene.reset()

        def after_call(self, response: Response, case: Case[Any]) -> None:
            if case.path.startswith("/internal/"):
                answered.append(response.status_code)

    Sequence.run(
        settings=settings(
            max_examples=20, stateful_step_count=4, derandomize=True, deadline=None, database=None
        )
    )
    assert 200 in answered
