"""The fields of an event's payload, checked: what is wrong with one names it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import time
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.events import Envelope
from app.events.handler import Rejected

TEXT_LONGEST = 200  # characters
_AMOUNT = re.compile(r"[0-9]{1,10}\.[0-9]{2}", re.ASCII)  # numeric(12, 2)
_TIME = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)


def version(event: Envelope, only: int = 1) -> None:
    """Raises Rejected unless the payload has the shape that is known here."""
    if event.version != only:
        raise Rejected(f"version: must be {only}, not {event.version}")


def text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= TEXT_LONGEST or not _is_stored(value):
        raise Rejected(f"{name}: must be a text of 1 to {TEXT_LONGEST} characters, without NUL")
    return value


def uuid(fields: Mapping[str, Any], name: str) -> UUID:
    value = fields.get(name)
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise Rejected(f"{name}: must be a UUID") from None


def amount(fields: Mapping[str, Any], name: str) -> Decimal:
    value = fields.get(name)
    found = Decimal(value) if isinstance(value, str) and _AMOUNT.fullmatch(value) else None
    if not found:
        raise Rejected(f'{name}: must be a text like "12.34", more than 0 and below 10000000000')
    return found


def time_of_day(fields: Mapping[str, Any], name: str) -> time:
    value = fields.get(name)
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise Rejected(f'{name}: must be a time from "00:00" to "23:59"')
    return time.fromisoformat(value)


def one_of(fields: Mapping[str, Any], name: str, allowed: Sequence[str]) -> str:
    value = fields.get(name)
    if value not in allowed:
        raise Rejected(f"{name}: must be {' or '.join(allowed)}")
    return str(value)


def _is_stored(value: str) -> bool:
    """Whether Postgres takes it: no NUL, no half characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value
