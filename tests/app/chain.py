"""The events between a payment and a course, and how a test has a handler carry them out."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from app.db import Connection, migrations
from app.events import Envelope, outbox
from app.events.handler import Handler
from tests.wait import wait_until

T = TypeVar("T")

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)  # a Wednesday


@contextmanager
def migrated(url: str) -> Iterator[Connection]:
    """A connection to a database with our tables."""
    with Connection.open(url) as connection:
        migrations.apply(connection, migrations.read())
        yield connection


def event(kind: str, payload: dict[str, Any], **fields: Any) -> Envelope:
    given: dict[str, Any] = {
        "event_id": uuid.uuid4(),
        "version": 1,
        "correlation_id": uuid.uuid4(),
        "occurred_at": NOON,
    }
    return Envelope(type=kind, payload=payload, **{**given, **fields})


def confirmed(student: str = "s-1", course: str = "c-1", **fields: Any) -> Envelope:
    payload = {
        "provider_payment_id": fields.pop("payment", "pay_1"),
        "student_id": student,
        "course_id": course,
        "amount": "12.30",
    }
    return event("PURCHASE_CONFIRMED", payload, **fields)


def created(student: str = "s-1", course: str = "c-1", **fields: Any) -> Envelope:
    payload = {
        "purchase_id": str(uuid.uuid4()),
        "student_id": student,
        "course_id": course,
        "provider_payment_id": "pay_1",
        "amount": "12.30",
    }
    return event("PURCHASE_CREATED", payload, **fields)


def allocated(allocation_id: UUID, **fields: Any) -> Envelope:
    payload = {
        "allocation_id": str(allocation_id),
        "purchase_id": str(uuid.uuid4()),
        "student_id": "s-1",
        "course_id": "c-1",
        "trainer_id": "t-1",
        "status": "approved",
        "session_time": fields.pop("session_time", "10:00"),
    }
    return event("TRAINER_ALLOCATED", payload, **fields)


def changed(given: Envelope, **fields: Any) -> Envelope:
    """The event with other fields in its payload; those that are ... are not there."""
    payload = {k: v for k, v in {**given.payload, **fields}.items() if v is not ...}
    return Envelope(**{**vars(given), "payload": payload})


def carry_out(handler: Handler[Any], connection: Connection, *events: Envelope) -> list[Envelope]:
    """What the framework does with a batch, but for the guard: as if that was purged."""
    return work_off(handler, connection, [(event, handler.read(event)) for event in events])


def work_off(
    handler: Handler[Any], connection: Connection, work: Sequence[tuple[Envelope, Any]]
) -> list[Envelope]:
    """The last part of it: writes what was read, and called for."""
    with connection.transaction():
        emitted = list(handler.write(connection, work))
        for each in emitted:
            outbox.append(connection, each)
    return emitted


def add_allocation(connection: Connection, **columns: Any) -> UUID:
    """A row of trainer_allocations, of another student each time; its id."""
    given = {
        "id": uuid.uuid4(),
        "purchase_id": uuid.uuid4(),
        "student_id": f"s-{uuid.uuid4()}",
        "course_id": "c-1",
        "trainer_id": "t-1",
        "admin_allocation_id": "a-1",
        "status": "approved",
        "session_time": "10:00",
        "event_id": uuid.uuid4(),
        "correlation_id": uuid.uuid4(),
    } | columns
    names, places = ", ".join(given), ", ".join(f"%({name})s" for name in given)
    insert = f"INSERT INTO trainer_allocations ({names}) VALUES ({places})"  # noqa: S608 - ours
    connection.execute(insert.encode(), given)
    found = given["id"]
    assert isinstance(found, UUID)
    return found


def at_once(url: str, handler: Handler[Any], batches: Iterable[list[Envelope]]) -> list[Envelope]:
    """What is emitted when each batch is carried out by an instance of its own, all at once."""
    given = list(batches)
    gate = threading.Barrier(len(given))

    def instance(batch: list[Envelope]) -> list[Envelope]:
        with Connection.open(url) as connection:
            gate.wait(30)
            return carry_out(handler, connection, *batch)

    with ThreadPoolExecutor(len(given)) as threads:
        return [each for emitted in threads.map(instance, given) for each in emitted]


def carrying_out(
    handler: Handler[Any], *events: Envelope
) -> Callable[[Connection], list[Envelope]]:
    """`carry_out` for a connection that is yet to come."""
    return lambda connection: carry_out(handler, connection, *events)


@contextmanager
def meanwhile(
    url: str, connection: Connection, work: Callable[[Connection], T]
) -> Iterator[Future[T]]:
    """Has work done on another connection; goes on when that waits for `connection`'s rows."""

    def instance() -> T:
        with Connection.open(url) as own:
            return work(own)

    def waits() -> bool:
        if other.done():
            other.result()
            raise AssertionError("the other instance did not wait")
        # Asked elsewhere: within a transaction pg_stat_activity stays as it was first seen.
        blocked = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
        row = watch.execute(blocked, (connection.info.backend_pid,)).fetchone()
        return row is not None and row[0] == 1

    with Connection.open(url) as watch, ThreadPoolExecutor(1) as threads:
        other = threads.submit(instance)
        wait_until(waits, what="the other instance to wait for this one")
        yield other
