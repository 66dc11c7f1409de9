"""Register, log in, log out, who am I."""

from __future__ import annotations

import re
from typing import Any, cast
from uuid import UUID

from flask import Blueprint, Response, session

from app import passwords
from app.accounts import Account, Accounts
from app.errors import ApiError
from app.sessions import PostgresSessionInterface, Session
from app.web.body import invalid, json_object, text

_EMAIL_LONGEST = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets

# HTML's own definition of a valid address, with at least one dot in the domain.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(rf"[a-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+", re.ASCII)


def blueprint(*, accounts: Accounts, sessions: PostgresSessionInterface) -> Blueprint:
    auth = Blueprint("auth", __name__, url_prefix="/api/auth")

    @auth.after_request
    def not_cached(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        return response

    @auth.post("/register")
    def register() -> tuple[dict[str, Any], int]:
        fields = json_object()
        email = _email(text(fields, "email", longest=_EMAIL_LONGEST))
        if not _EMAIL.fullmatch(email):
            raise invalid("email", "must be an address like name@example.com")
        password = text(
            fields, "password", shortest=passwords.MIN_LENGTH, longest=passwords.MAX_LENGTH
        )
        account = accounts.create(email=email, password_hash=passwords.hash_password(password))
        if account is None:
            raise ApiError(409, "email_taken", "An account with this email exists already.")
        return {"user": _public(account)}, 201

    @auth.post("/login")
    def login() -> dict[str, Any]:
        fields = json_object()
        email = _email(text(fields, "email", longest=_EMAIL_LONGEST))
        password = text(fields, "password", longest=passwords.MAX_LENGTH)
        # An address that nobody can have is looked up all the same: it must not answer sooner.
        account = accounts.by_email(email)
        known = None if account is None else account.password_hash
        if not passwords.verify(known, password) or account is None:
            raise ApiError(401, "invalid_credentials", "Email or password is wrong.")
        if passwords.outdated(account.password_hash):
            accounts.rehash(account, password_hash=passwords.hash_password(password))
        if session.get("user_id") not in (None, str(account.id)):
            session.clear()  # what another user left behind
        session["user_id"] = str(account.id)
        sessions.regenerate(cast(Session, session))
        return {"user": _public(account)}

    @auth.post("/logout")
    def logout() -> dict[str, bool]:
        session.clear()
        return {"success": True}

    @auth.get("/me")
    def me() -> dict[str, Any]:
        user_id = session.get("user_id")
        account = accounts.by_id(UUID(user_id)) if user_id else None
        if account is None:
            raise ApiError(401, "unauthenticated", "Log in first.")
        return {"user": _public(account)}

    return auth


def _email(given: str) -> str:
    return given.strip().lower()


def _public(account: Account) -> dict[str, str]:
    return {"id": str(account.id), "email": account.email}
