"""What librdkafka brings, as the bus's own message."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Message as Received

from app.events.bus import Message


def message_of(received: Received[Any, Any]) -> Message:
    """What was received, as the bus's own."""
    topic, partition, offset = received.topic(), received.partition(), received.offset()
    assert topic is not None and partition is not None and offset is not None  # noqa: S101, PT018 - no error has them
    return Message(
        topic=topic,
        partition=partition,
        offset=offset,
        key=_text(received.key()),
        value=received.value() or b"",  # None: a tombstone
        headers={name: _text(value) for name, value in dict(received.headers() or ()).items()},
    )


def _text(value: bytes | str | None) -> str:
    """Of others' messages, too: it never fails."""
    if value is None:
        return ""
    return value if isinstance(value, str) else value.decode(errors="replace")
