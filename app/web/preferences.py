"""What a visitor prefers, kept in the session: the smallest example of writing to one."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, session

from app.errors import ApiError
from app.web.body import invalid, is_text, json_object

_MOST = 50  # names
_NAME_LONGEST = 50  # characters
_TEXT_LONGEST = 200  # characters
_KEY = "preferences"


def blueprint() -> Blueprint:
    preferences = Blueprint("preferences", __name__)

    @preferences.get("/api/preferences")
    def show() -> dict[str, Any]:
        return {"preferences": session.get(_KEY, {})}

    @preferences.patch("/api/preferences")
    def change() -> dict[str, Any]:
        """Merges as RFC 7396 does: null removes a name, what is not named stays."""
        changes = json_object()
        if not 1 <= len(changes) <= _MOST:
            raise invalid("body", f"must have 1 to {_MOST} members")
        for name, value in changes.items():
            _check(name, value)
        merged = session.get(_KEY, {}) | changes
        kept = {name: value for name, value in merged.items() if value is not None}
        if len(kept) > _MOST:
            raise ApiError(422, "too_many_preferences", f"At most {_MOST} preferences are kept.")
        if kept or _KEY in session:
            session[_KEY] = kept
        return {"preferences": kept}

    return preferences


def _check(name: str, value: Any) -> None:
    if not is_text(name, longest=_NAME_LONGEST):
        raise invalid("body", f"a name must have 1 to {_NAME_LONGEST} characters")
    if isinstance(value, str):
        if not is_text(value, shortest=0, longest=_TEXT_LONGEST):
            raise invalid(name, f"must have at most {_TEXT_LONGEST} characters")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not -(2**63) <= value < 2**63:  # however it is spelled: 1e300 is an integer, too
            raise invalid(name, "must be a number from -2^63 to below 2^63")
    elif not isinstance(value, bool | None):
        raise invalid(name, "must be a text, a number, true, false or null")
