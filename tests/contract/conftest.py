"""The application that Schemathesis calls, over a database of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.app.conftest import AppFactory, Sql, make_app, sql
from tests.contract.stage import INTERNAL_TOKEN, STAGE, Scene

__all__ = ["make_app", "sql"]


@pytest.fixture
def scene(make_app: AppFactory, database_url: str, sql: Sql) -> Iterator[Scene]:
    app = make_app(database_url, internal_token=INTERNAL_TOKEN)
    STAGE.app = app
    yield Scene(app, sql)
    STAGE.app = None
