"""Register, log in, log out, who am I."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from flask import Blueprint, request, session

from app import passwords
from app.accounts import Account, Accounts
from app.errors import ApiError
from app.login_limits import Attempt, LoginLimits, TooManyAttemptsError
from app.sessions import PostgresSessionInterface
from app.web.body import invalid, json_object, text

# bytes; the longest email and password, every character spelled \ud83d\ude00, fit in
_MAX_BODY = 16 * 1024
_EMAIL_LONGEST = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets

# HTML's own definition of a valid address, with at least one dot in the domain.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(
    rf"[a-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+", re.ASCII | re.IGNORECASE
)


def blueprint(
    *, accounts: Accounts, sessions: PostgresSessionInterface, limits: LoginLimits
) -> Blueprint:
    auth = Blueprint("auth", __name__, url_prefix="/api/auth")

    @auth.before_request
    def limit_body() -> None:
        request.max_content_length = _MAX_BODY

    @auth.post("/register")
    def register() -> tuple[dict[str, Any], int]:
        fields = json_object()
        given = text(fields, "email", longest=_EMAIL_LONGEST).strip()
        # Before the change of case, which makes ASCII of some other letters (the Kelvin sign).
        if not _EMAIL.fullmatch(given):
            raise invalid("email", "must be an address like name@example.com")
        password = text(
            fields, "password", shortest=passwords.MIN_LENGTH, longest=passwords.MAX_LENGTH
        )
        account = accounts.create(
            email=given.lower(), password_hash=passwords.hash_password(password)
        )
        if account is None:
            raise ApiError(409, "email_taken", "An account with this email exists already.")
        return {"user": _public(account)}, 201

    @auth.post("/login")
    def login() -> dict[str, Any]:
        fields = json_object()
        email = text(fields, "email", longest=_EMAIL_LONGEST).strip().lower()
        if "\0" in email:  # Postgres' texts know none
            raise invalid("email", "must be a text without U+0000")
        password = text(fields, "password", longest=passwords.MAX_LENGTH)
        # Before any work on the password, which is what a stranger would have us do.
        attempt = _reserve(limits, email)
        # An address that nobody can have is looked up all the same: it must not answer sooner.
        account = accounts.by_email(email)
        known = None if account is None else account.password_hash
        if not passwords.verify(known, password) or account is None:
            raise ApiError(401, "invalid_credentials", "Email or password is wrong.")
        limits.succeeded(attempt)
        if passwords.outdated(account.password_hash):
            accounts.rehash(account, password_hash=passwords.hash_password(password))
        if session.get("user_id") not in (None, str(account.id)):
            session.clear()  # what another user left behind
        session["user_id"] = str(account.id)
        sessions.regenerate(session)
        return {"user": _public(account)}

    @auth.post("/logout")
    def logout() -> dict[str, bool]:
        session.clear()
        return {"success": True}

    @auth.post("/logout-all")
    def logout_all() -> dict[str, Any]:
        """Ends the user's sessions on every device: for who lost one, or fears for a password."""
        user_id = session.get("user_id")
        if not user_id:
            raise ApiError(401, "unauthenticated", "Log in first.")
        ended = sessions.revoke(user_id)
        session.clear()
        return {"success": True, "ended": ended}

    @auth.get("/me")
    def me() -> dict[str, Any]:
        user_id = session.get("user_id")
        account = accounts.by_id(UUID(user_id)) if user_id else None
        if account is None:
            raise ApiError(401, "unauthenticated", "Log in first.")
        return {"user": _public(account)}

    return auth


def _reserve(limits: LoginLimits, email: str) -> Attempt:
    """Raises ApiError 429 when the account or the address has had its attempts."""
    try:
        return limits.reserve(email=email, address=request.remote_addr)
    except TooManyAttemptsError as refused:
        raise ApiError(
            429,
            "too_many_requests",
            f"Too many failed logins; try again in {refused.retry_after} seconds.",
            {"Retry-After": str(refused.retry_after)},
        ) from None


def _public(account: Account) -> dict[str, str]:
    return {"id": str(account.id), "email": account.email}
