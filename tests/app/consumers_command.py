"""What the tests of `python -m app.consumers` share: the command, and what it is to find."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from uuid import UUID, uuid4

from app.db import Connection, migrations
from app.events import Envelope
from app.events.bus import Message, Outgoing
from app.events.dead_letter import DeadLetter
from app.events.postgres_bus import PostgresBus
from app.events.postgres_subscription import PostgresSubscription
from tests.app.test_migrations import ROOT, environ

AWAY = "postgresql://ada:hunter2@127.0.0.1:1/none"
_COMMAND = [sys.executable, "-P", "-m", "app.consumers"]
_OTHERS = ("KAFKA_BROKERS", "REDIS_URL", "ADMIN_SERVICE_URL", "APP_ENV")  # a developer's


def environment(url: str | None, **others: str) -> dict[str, str]:
    return {k: v for k, v in environ(url).items() if k not in _OTHERS} | others


def start(*words: str, url: str, **others: str) -> subprocess.Popen[str]:
    """The command, which goes on; its standard output and error are pipes."""
    return subprocess.Popen(
        [*_COMMAND, *words],
        env=environment(url, **others),
        cwd=ROOT / "tests",  # without the checkout's .env; -P: not tests/app, either
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(*words: str, url: str | None, **others: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_COMMAND, *words],
        env=environment(url, **others),
        cwd=ROOT / "tests",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def answered(*words: str, url: str, answer: str) -> subprocess.CompletedProcess[str]:
    """The command, asked on a terminal and answered there."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        return subprocess.run(
            [*_COMMAND, *words],
            env=environment(url),
            cwd=ROOT / "tests",
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)


def migrate(url: str) -> str:
    with Connection.open(url) as connection:
        migrations.apply(connection, migrations.read())
    return url


def event(type: str = "PURCHASE_CONFIRMED") -> Envelope:  # noqa: A002 - as Envelope's
    return Envelope(
        event_id=uuid4(),
        type=type,
        version=1,
        correlation_id=uuid4(),
        occurred_at=datetime.now(UTC),
        payload={"course_id": "algebra"},
    )


def bury(
    url: str,
    *,
    offset: int,
    consumer: str = "purchase",
    group: str = "purchase-creation-workers",
    topic: str = "purchase-confirmed",
    event: Envelope | None = None,
    value: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    error: str = "KeyError: 'seat'",
) -> UUID:
    """A dead letter, as a consumer leaves it; its id."""
    message = Message(
        topic=topic,
        partition=0,
        offset=offset,
        key=f"key-{offset}",
        value=event.as_json().encode() if event else value or b"",
        headers=headers or {},
    )
    letter = DeadLetter(
        consumer=consumer,
        group=group,
        message=message,
        event=event,
        attempts=3,
        error=error,
        stack="Traceback: …\n  at the seat\n",
    )
    with Connection.open(url) as connection:
        letter.keep(connection)
    return letter.id


def publish(url: str, topic: str, *values: bytes) -> None:
    with closing(PostgresBus(url=url)) as bus:
        bus.publish([Outgoing(topic=topic, key="k", value=value) for value in values])


def subscribe(url: str, group: str, topic: str) -> PostgresSubscription:
    """A member of the group, which is there from now on."""
    member = PostgresSubscription(url=url, group=group, topics=[topic])
    member.keep()
    return member
