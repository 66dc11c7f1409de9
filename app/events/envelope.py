"""One event: what happened, when, in which chain of events."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

_TYPE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*", re.ASCII)
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # in JSON text; not a backslash that is escaped


class EnvelopeError(ValueError):
    """This is no event; the message is one line and names the field."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """Valid once it exists; raises EnvelopeError."""

    event_id: UUID  # of this event: whoever gets it twice knows it by this
    type: str  # UPPER_SNAKE, as PURCHASE_CONFIRMED
    version: int  # of the payload's shape, from 1
    correlation_id: UUID  # of all that follows from one beginning
    causation_id: UUID | None = None  # the event that this one follows from
    occurred_at: datetime  # aware
    payload: dict[str, Any]  # what Postgres' jsonb and JSON can both hold

    def __post_init__(self) -> None:
        given: dict[str, Any] = vars(self)  # from a message they may be of any type
        for name in ("event_id", "correlation_id"):
            _require(isinstance(given[name], UUID), name, "must be a UUID")
        _require(isinstance(given["causation_id"], UUID | None), "causation_id", "must be a UUID")
        named = isinstance(given["type"], str) and _TYPE.fullmatch(given["type"])
        _require(bool(named), "type", "must be a name like PURCHASE_CONFIRMED")
        version = given["version"]
        counted = isinstance(version, int) and not isinstance(version, bool)
        _require(counted and 1 <= version < 2**31, "version", "must be an integer from 1")
        at = given["occurred_at"]
        timed = isinstance(at, datetime) and at.utcoffset() is not None
        _require(timed, "occurred_at", "must be a time with its offset from UTC")
        _require(isinstance(given["payload"], dict), "payload", "must be an object")
        _require(_is_json(self.payload), "payload", "must be JSON, without NaN and NUL characters")

    def as_json(self) -> str:
        """One line of JSON; `from_json` makes an equal envelope of it."""
        return json.dumps(
            {
                "event_id": str(self.event_id),
                "type": self.type,
                "version": self.version,
                "correlation_id": str(self.correlation_id),
                "causation_id": None if self.causation_id is None else str(self.causation_id),
                "occurred_at": self.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
                "payload": self.payload,
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Envelope:
        """The event in a message, whose other members are ignored; raises EnvelopeError."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            raise EnvelopeError("message: must be JSON") from None
        if not isinstance(fields, dict):
            raise EnvelopeError("message: must be a JSON object")
        causation = fields.get("causation_id")
        return cls(
            event_id=_uuid(fields, "event_id"),
            type=fields.get("type"),  # type: ignore[arg-type] # checked as all others are
            version=fields.get("version"),  # type: ignore[arg-type]
            correlation_id=_uuid(fields, "correlation_id"),
            causation_id=None if causation is None else _uuid(fields, "causation_id"),
            occurred_at=_time(fields, "occurred_at"),
            payload=fields.get("payload"),  # type: ignore[arg-type]
        )


def _require(condition: bool, name: str, why: str) -> None:
    if not condition:
        raise EnvelopeError(f"{name}: {why}")


def _uuid(fields: dict[str, Any], name: str) -> UUID:
    try:
        return UUID(fields.get(name))
    except (ValueError, TypeError, AttributeError):
        raise EnvelopeError(f"{name}: must be a UUID") from None


def _time(fields: dict[str, Any], name: str) -> datetime:
    try:
        return datetime.fromisoformat(fields.get(name))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        raise EnvelopeError(f"{name}: must be a time with its offset from UTC") from None


def _is_json(payload: dict[str, Any]) -> bool:
    try:
        json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()  # no half characters
        text = json.dumps(payload)
        return _NUL.search(text) is None and json.loads(text) == payload
    except (ValueError, TypeError, RecursionError):
        return False
