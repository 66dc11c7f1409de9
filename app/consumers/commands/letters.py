"""Dead letters for people and for machines. Pure."""

from __future__ import annotations

import base64
import json
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from app.consumers.commands import raw
from app.consumers.commands.table import table
from app.events.dead_letter_queue import Entry, Letter

_ID_SHOWN = 13  # characters: enough among millions
_ERROR_SHOWN = 100
_COLUMNS = ("id", "consumer", "type", "from", "attempts", "died at", "redriven at", "error")


def as_table(entries: Sequence[Entry]) -> str:
    """One line each."""
    rows = [
        (
            str(e.id)[:_ID_SHOWN],
            e.consumer,
            e.type,
            f"{e.topic}/{e.partition}/{e.offset}",
            e.attempts,
            _time(e.died_at),
            e.redriven_at and _time(e.redriven_at),
            raw.one_line(e.error if len(e.error) <= _ERROR_SHOWN else e.error[:_ERROR_SHOWN] + "…"),
        )
        for e in entries
    ]
    return table(_COLUMNS, rows, right={"attempts"})


def as_text(letter: Letter) -> str:
    """All of it."""
    e = letter.entry
    facts: dict[str, object] = {
        "id": e.id,
        "consumer": e.consumer,
        "group": e.group,
        "original topic": e.topic,
        "partition": e.partition,
        "offset": e.offset,
        "key": raw.one_line(letter.message.key),
        "type": e.type,
        "event id": e.event_id,
        "correlation id": e.correlation_id,
        "attempts": e.attempts,
        "died at": _time(e.died_at),
        "redriven at": e.redriven_at and _time(e.redriven_at),
        "error": raw.one_line(e.error),
    }
    headers = letter.message.headers
    facts |= {f"header {raw.one_line(k)}": raw.one_line(v) for k, v in headers.items()}
    width = max(map(len, facts))
    lines = [f"{k:{width}}  {'-' if v in (None, '') else v}" for k, v in facts.items()]
    lines += ["stack", textwrap.indent(raw.lines(letter.stack.rstrip()) or "-", "  ")]
    value = letter.message.value
    lines += [f"message ({len(value)} bytes)", raw.shown(value)]
    return "\n".join(lines)


def as_json(facts: Mapping[str, Any]) -> str:
    """Facts that hold times and ids."""
    return json.dumps(facts, indent=2, default=_plain)


def letter_facts(letter: Letter) -> dict[str, Any]:
    """All of it, for `as_json`."""
    message = letter.message
    return vars(letter.entry) | {
        "key": message.key,
        "headers": dict(message.headers),
        "stack": letter.stack,
        "message": {
            "base64": base64.b64encode(message.value).decode(),
            "text": raw.decoded(message.value),
        },
    }


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S%z}"
