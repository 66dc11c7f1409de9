"""What Schemathesis plays on: the description, the way to the application, and who is asking."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import schemathesis
from flask import Flask
from schemathesis import AuthContext, Case
from schemathesis.specs.openapi.schemas import OpenApiSchema

from app import __version__
from app.openapi import document
from app.sessions import token
from tests.app.conftest import Sql, log_in, register

INTERNAL_TOKEN = "the token of our own services"
# Requests are generated when tests are collected, and carry it: the session of the test that runs
# is put under this token.
SESSION_TOKEN = "A" * 43
EXAMPLES = 40  # generated requests an operation, beside those for each bound and each keyword

Description = dict[str, Any]


class Stage:
    """The WSGI application that the generated requests go to: that of the test that runs."""

    def __init__(self) -> None:
        self.app: Flask | None = None

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        assert self.app is not None
        return self.app(environ, start_response)


STAGE = Stage()


def described() -> Description:
    return document(title="Smart Factory", version=__version__, session_cookie="session")


def schema(under: str = "/") -> OpenApiSchema:
    """The description of what is `under` a path, every check on; the same requests in each run."""
    config = schemathesis.Config.from_dict(
        {
            "generation": {"deterministic": True, "max-examples": EXAMPLES, "database": "none"},
            "checks": {"enabled": True},
            "operations": [
                # A plain request to /ws is well-formed, and told to come back as a WebSocket.
                {
                    "include-path": "/ws",
                    "checks": {"positive_data_acceptance": {"expected-statuses": [426]}},
                },
                # A password is work for the processor, on purpose.
                {
                    "include-path-regex": "^/api/auth/(register|login)$",
                    "generation": {"max-examples": 15},
                },
            ],
        }
    )
    description = described()
    paths = description["paths"]
    description["paths"] = {path: paths[path] for path in paths if re.match(under, path)}
    loaded = schemathesis.openapi.from_dict(description, config=config)
    loaded.app = STAGE
    return loaded


def schema_for_user(under: str) -> OpenApiSchema:
    loaded = schema(under)
    loaded.auth()(_Cookie)
    return loaded


def schema_for_service(under: str) -> OpenApiSchema:
    loaded = schema(under)
    loaded.auth()(_Bearer)
    return loaded


class _Cookie:
    def get(self, _case: Case[Any], _context: AuthContext) -> str:
        return SESSION_TOKEN

    def set(self, case: Case[Any], data: str, _context: AuthContext) -> None:
        case.cookies["session"] = data


class _Bearer:
    def get(self, _case: Case[Any], _context: AuthContext) -> str:
        return INTERNAL_TOKEN

    def set(self, case: Case[Any], data: str, _context: AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


# Rows, not tables: TRUNCATE makes new files.
_RESET = """
DELETE FROM web_session;
INSERT INTO web_session OVERRIDING SYSTEM VALUE SELECT * FROM web_session_before;
DELETE FROM account WHERE id NOT IN (SELECT id FROM account_before);
DELETE FROM login_attempt;
DELETE FROM credential;
DELETE FROM payment;
DELETE FROM outbox;
"""


class Scene:
    """The database as each request finds it: one user with one session, and nothing else.

    Hypothesis takes a request that is answered otherwise the second time for a mistake of the test.
    """

    def __init__(self, app: Flask, sql: Sql):
        self.app = app
        self._sql = sql
        client = app.test_client()
        register(client)
        log_in(client)
        sql("UPDATE web_session SET sid_hash = %s", token.digest(SESSION_TOKEN))
        sql("CREATE TABLE web_session_before AS SELECT * FROM web_session")
        sql("CREATE TABLE account_before AS SELECT id FROM account")

    def reset(self) -> None:
        self._sql(_RESET)
