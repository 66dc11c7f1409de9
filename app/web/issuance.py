"""Issue a credential, once for each content; read it with the internal token."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, request
from flask.json import dumps

from app.credentials import CanonicalFormError, Credentials, canonical_form
from app.errors import ApiError
from app.web.body import invalid, json_object


def blueprint(*, credentials: Credentials, internal_token: str | None) -> Blueprint:
    issuance = Blueprint("issuance", __name__)

    @issuance.post("/api/issue")
    def issue() -> tuple[dict[str, Any], int]:
        content = json_object()
        if not content:
            raise invalid("body", "must have at least one member")
        try:
            canonical = canonical_form(content)
        except CanonicalFormError as error:
            raise invalid("body", str(error)) from None
        issued = credentials.issue(canonical)
        facts = {
            "id": str(issued.id),
            "issued_by": issued.issued_by,
            "issued_at": _utc(issued.issued_at),
        }
        return facts, 201 if issued.first else 200

    @issuance.get("/internal/credentials/<credential_id>")
    def read(credential_id: str) -> Response:
        _authenticate(internal_token)
        known = _uuid(credential_id)
        credential = None if known is None else credentials.by_id(known)
        if credential is None:
            raise ApiError(404, "not_found", "There is no credential with this id.")
        # The content as it was hashed, letter by letter: whoever checks the hash can.
        return Response(
            f'{{"id":"{credential.id}","credential":{credential.content},'
            f'"issued_by":{dumps(credential.issued_by)},'
            f'"issued_at":"{_utc(credential.issued_at)}"}}\n',
            mimetype="application/json",
        )

    return issuance


def _authenticate(token: str | None) -> None:
    """Raises ApiError 401 unless the request carries the token; without a token, always."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # As bytes: compare_digest refuses other texts than ASCII. WSGI's headers are Latin-1 whatever
    # was sent; one that is not came past no server.
    sent = given.strip(" ").encode("latin-1", "replace")
    if token is None or scheme.lower() != "bearer" or not hmac.compare_digest(sent, token.encode()):
        raise ApiError(
            401,
            "unauthenticated",
            "Send the internal token: Authorization: Bearer …",
            {"WWW-Authenticate": "Bearer"},
        )


def _uuid(text: str) -> UUID | None:
    """The id in its usual spelling only; UUID() takes braces, underscores and more."""
    try:
        value = UUID(text)
    except ValueError:
        return None
    return value if str(value) == text.lower() else None


def _utc(moment: datetime) -> str:
    """ISO 8601 with milliseconds and Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
