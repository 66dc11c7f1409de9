"""Accounts and logins."""

from __future__ import annotations

from app import passwords
from app.openapi.parts import Json, json_answer, json_body, later, record, refusal, refusals, schema

TAG: Json = {"name": "auth", "description": "Accounts, and the session cookie of who is logged in."}

_ANYONE: list[Json] = [{}, {"session": []}]
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# What str.strip takes away; ECMAScript's \s is another set.
_SPACE = r"[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*"
_ADDRESS = rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+"
_EMAIL = rf"^{_SPACE}{_ADDRESS}{_SPACE}$"

_WHO: Json = {"user": {"id": "0b5f3a0e-8f2e-4d7b-9d3a-6c1e2f4a5b6c", "email": "ada@example.com"}}
_CREDENTIALS: Json = {"email": "ada@example.com", "password": "correct horse"}
_REFUSED = refusals(
    _400="InvalidJson", _403="CrossOrigin", _413="TooLarge", _415="NotJson", _422="InvalidField"
)
_AWAY = refusals(_503="DatabaseUnavailable")
_SESSION_GONE = refusals(_403="CrossOrigin", _409="SessionEnded", _503="DatabaseUnavailable")


def _credentials(*, email: Json, password: Json) -> Json:
    return json_body(
        {
            "type": "object",
            "properties": {
                "email": {"type": "string", "minLength": 1, "maxLength": 254, **email},
                "password": {"type": "string", "maxLength": passwords.MAX_LENGTH, **password},
            },
            "required": ["email", "password"],
            "description": "Other members are ignored.",
        },
        ada=_CREDENTIALS,
    )


def _user(description: str, *, headers: Json | None = None, links: Json | None = None) -> Json:
    body = record({"user": schema("User")})
    return json_answer(description, body, headers=headers, links=links, ada=_WHO)


_COOKIE: Json = {
    "Set-Cookie": {
        "description": "The session cookie, with a new token.",
        "required": True,
        "schema": {"type": "string"},
    }
}

_REGISTER: Json = {
    "operationId": "register",
    "tags": ["auth"],
    "summary": "Create an account",
    "description": "It logs nobody in. Letter case and space around the address do not count.",
    "security": [],
    "requestBody": _credentials(
        email={"pattern": _EMAIL}, password={"minLength": passwords.MIN_LENGTH}
    ),
    "responses": {
        "201": _user("The account was created."),
        "409": refusal(
            "The address is taken.",
            "email_taken",
            message="An account with this email exists already.",
        ),
        **_REFUSED,
        **_AWAY,
    },
}

_LOGIN: Json = {
    "operationId": "login",
    "tags": ["auth"],
    "summary": "Log in",
    "description": (
        "Answers with a session cookie, and ends what another user left in the old session. "
        "Failed attempts are limited per account and per address of the client."
    ),
    "security": _ANYONE,
    "requestBody": _credentials(email={"pattern": r"^[^\u0000]*$"}, password={"minLength": 1}),
    "responses": {
        "200": _user("Logged in.", headers=_COOKIE),
        "401": refusal(
            "Email or password is wrong.",
            "invalid_credentials",
            message="Email or password is wrong.",
        ),
        "429": later(
            "Too many attempts failed.",
            "too_many_requests",
            message="Too many failed logins; try again in 540 seconds.",
        ),
        **_REFUSED,
        **_SESSION_GONE,
    },
}

_LOGOUT: Json = {
    "operationId": "logout",
    "tags": ["auth"],
    "summary": "End this session",
    "description": "The same without a session. A body is not looked at.",
    "security": _ANYONE,
    "responses": {
        "200": json_answer(
            "Nobody is logged in.", record({"success": {"const": True}}), done={"success": True}
        ),
        **refusals(_403="CrossOrigin", _503="DatabaseUnavailable"),
    },
}

_LOGOUT_ALL: Json = {
    "operationId": "logoutAll",
    "tags": ["auth"],
    "summary": "End every session of the user",
    "description": "This one and those on other devices. A body is not looked at.",
    "security": [{"session": []}],
    "responses": {
        "200": json_answer(
            "All are ended.",
            record({"success": {"const": True}, "ended": {"type": "integer", "minimum": 1}}),
            three={"success": True, "ended": 3},
        ),
        **refusals(_401="Unauthenticated", _403="CrossOrigin", _503="DatabaseUnavailable"),
    },
}

_ME: Json = {
    "operationId": "getMe",
    "tags": ["auth"],
    "summary": "Who is logged in?",
    "security": [{"session": []}],
    "responses": {
        "200": _user("The user of this session."),
        **refusals(_401="Unauthenticated", _503="DatabaseUnavailable"),
    },
}

PATHS: Json = {
    "/api/auth/register": {"post": _REGISTER},
    "/api/auth/login": {"post": _LOGIN},
    "/api/auth/logout": {"post": _LOGOUT},
    "/api/auth/logout-all": {"post": _LOGOUT_ALL},
    "/api/auth/me": {"get": _ME},
}
