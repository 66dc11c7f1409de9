"""The relay: what waits in the outbox is published, by one process at a time, whatever ends."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from app.db import Connection
from app.events import outbox, relay
from app.events.bus import BusRefused, BusUnavailable
from app.events.postgres_bus import PostgresBus
from app.events.relay import Relay
from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.app.conftest import Sql, records_of
from tests.app.test_outbox import events, migrated
from tests.app.test_postgres_bus import ids_in, log, program, unpublished
from tests.wait import wait_until

HOLDERS = """
SELECT DISTINCT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE datname = current_database() AND locktype = 'advisory' AND granted
"""


class CountingBus(PostgresBus):
    """Counts how often it is drained, and fails while it is told to."""

    drains = 0
    failure: Exception | None = None

    def drain(self, connection: Connection, most: int) -> int:
        self.drains += 1
        if self.failure is not None:
            raise self.failure
        return super().drain(connection, most)


class SlowToPrune(CountingBus):
    """What it is to prune takes longer than the server allows."""

    prunes = 0

    def prune(self, connection: Connection, *, days: int, most: int) -> int:
        self.prunes += 1
        with connection.transaction():
            connection.execute("SET LOCAL statement_timeout = '50ms'")
            connection.execute("SELECT pg_sleep(60)")
        return super().prune(connection, days=days, most=most)


class Running:
    """A relay in a thread of its own."""

    def __init__(self, url: str, bus: CountingBus | None = None):
        self.bus = bus or CountingBus(url=url)
        self._relay = Relay(url=url, bus=self.bus)
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(1)
        self._ended = self._threads.submit(self._relay.run, self._stop)
        self.poke = self._relay.poke

    def end(self) -> None:
        self._stop.set()
        self.poke()
        self._ended.result(60)
        self._threads.shutdown()
        self.bus.close()


@contextmanager
def running(url: str, bus: CountingBus | None = None) -> Iterator[Running]:
    relay = Running(url, bus)
    try:
        yield relay
    finally:
        relay.end()


@pytest.fixture
def url(database_url: str) -> str:
    return migrated(database_url)


def write(url: str, count: int) -> None:
    with Connection.open(url) as connection:
        outbox.append_many(connection, events(count))


def wait_until_published(sql: Sql) -> None:
    wait_until(lambda: unpublished(sql) == 0, what="the outbox to be published", seconds=60)


def wait_until_drained(relay: Running, times: int) -> None:
    wait_until(lambda: relay.bus.drains >= times, what=f"{times} looks at the outbox", seconds=60)


def said(records: list[logging.LogRecord]) -> list[tuple[str, str]]:
    """What they say, but for who publishes."""
    told = [record for record in records if vars(record)["event"] != "relay.active"]
    return [(record.levelname, record.getMessage()) for record in told]


def test_what_waits_and_what_is_written_meanwhile_is_published(url: str, sql: Sql) -> None:
    write(url, 1200)
    with running(url):
        wait_until_published(sql)
        write(url, 3)
        wait_until_published(sql)
    assert len(set(ids_in(log(sql)))) == len(log(sql)) == 1203


def test_a_poke_is_heard_at_once(url: str, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_POLL_SECONDS", 1000.0)
    with running(url) as publishing:
        wait_until_drained(publishing, 1)
        for _ in range(3):
            write(url, 2)
            publishing.poke()
            wait_until_published(sql)


def test_what_waits_when_it_is_told_to_stop_is_published(
    url: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_POLL_SECONDS", 1000.0)
    with running(url) as publishing:
        wait_until_drained(publishing, 1)
        write(url, 700)
    assert unpublished(sql) == 0


def test_one_publishes_and_another_takes_over_when_it_ends(
    url: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_STAND_BY_SECONDS", 0.05)
    with records_of("app.events.relay") as records:
        left = [Running(url) for _ in range(3)]
        while left:
            wait_until(lambda: any(each.bus.drains for each in left), what="one to publish")
            write(url, 5)
            wait_until_published(sql)
            (active,) = [each for each in left if each.bus.drains]
            left.remove(active)
            active.end()
    assert said(records) == []
    assert len(records) == 3
    wait_until(lambda: sql(HOLDERS) == [], what="the lock to be given up")
    assert len(set(ids_in(log(sql)))) == len(log(sql)) == 15


PROGRAM = """
import sys, threading
from app.events import relay
from app.events.postgres_bus import PostgresBus

class Bus(PostgresBus):
    def drain(self, connection, most):
        count = super().drain(connection, most)
        print("ready", flush=True)
        return count

relay._SILENCE_SECONDS = 3.0
relay.Relay(url=sys.argv[1], bus=Bus(url=sys.argv[1])).run(threading.Event())
"""


def test_another_takes_over_when_the_process_is_killed(url: str, sql: Sql) -> None:
    with program(PROGRAM, url) as process, running(url) as standing_by:
        write(url, 5)
        wait_until_published(sql)
        assert standing_by.bus.drains == 0
        process.kill()
        write(url, 5)
        wait_until_published(sql)
        assert standing_by.bus.drains > 0


def test_another_takes_over_when_the_process_stands_still(url: str, sql: Sql) -> None:
    with program(PROGRAM, url) as process, running(url) as standing_by:
        os.kill(process.pid, signal.SIGSTOP)
        wait_until_drained(standing_by, 1)
        holder = sql(HOLDERS)
        os.kill(process.pid, signal.SIGCONT)
        write(url, 5)
        wait_until_published(sql)
        wait_until_drained(standing_by, 5)
        assert sql(HOLDERS) == holder


def test_an_outage_of_the_database_and_its_end_are_two_log_lines(
    own_postgres: EmbeddedPostgres,
) -> None:
    url = migrated(own_postgres.start())
    with records_of("app.events.relay") as records, running(url) as publishing:
        wait_until_drained(publishing, 1)
        own_postgres.stop()
        wait_until(lambda: said(records), what="the outage to be noticed")
        own_postgres.start()
        write(url, 3)
        wait_until(lambda: len(said(records)) > 1, what="its end to be noticed")
        with Connection.open(url) as connection:
            query = "SELECT count(*) FROM event_log"
            wait_until(lambda: connection.execute(query).fetchone() == (3,), what="the events")
    (first, began), (second, ended) = said(records)
    assert (first, second) == ("WARNING", "INFO")
    assert began.startswith("Publishing from the outbox failed: ")
    assert ended.startswith("Publishing from the outbox goes on after ")


@pytest.mark.parametrize(
    ("failure", "traceback"),
    [
        (BusUnavailable("no broker"), False),
        (BusRefused("no such topic"), False),
        (ZeroDivisionError("a fault"), True),
    ],
)
def test_whatever_the_bus_says_it_is_asked_again(
    url: str, sql: Sql, failure: Exception, traceback: bool
) -> None:
    write(url, 3)
    bus = CountingBus(url=url)
    bus.failure = failure
    with records_of("app.events.relay") as records, running(url, bus) as publishing:
        wait_until_drained(publishing, 3)
        assert said(records) == [("WARNING", f"Publishing from the outbox failed: {failure}")]
        assert [bool(r.exc_info) for r in records if r.levelname == "WARNING"] == [traceback]
        bus.failure = None
        wait_until_published(sql)


def test_it_can_be_stopped_while_the_database_is_away() -> None:
    url = "postgresql://127.0.0.1:1/none"
    with records_of("app.events.relay") as records, running(url):
        wait_until(lambda: said(records), what="the outage to be noticed")
    assert said(records) == [
        ("WARNING", "Publishing from the outbox failed: cannot connect: Connection refused")
    ]


AGED = """
    FROM generate_series(1, 50) AS n,
        (VALUES (interval '6 days'), ('8 days'), ('29 days'), ('31 days')) AS ages (age)
"""


def test_what_is_old_is_deleted_batch_after_batch(
    url: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(
        """INSERT INTO outbox
            (event_id, type, version, correlation_id, occurred_at, payload, published_at)
        SELECT gen_random_uuid(), 'UNKNOWN', 1, gen_random_uuid(), now() - age, '{}',
            CASE WHEN n > 5 THEN now() - age END"""
        + AGED
    )
    sql(
        """INSERT INTO processed_events (consumer, event_id, correlation_id, processed_at)
        SELECT 'c', gen_random_uuid(), gen_random_uuid(), now() - age"""
        + AGED
    )
    sql(
        """INSERT INTO event_failure (consumer, event_id, attempts, last_error, failed_at)
        SELECT 'c', gen_random_uuid(), 1, '', now() - age"""
        + AGED
    )
    sql(
        """INSERT INTO event_log (topic, message_key, message, headers, published_at)
        SELECT 't', '', '', '{}', now() - age"""
        + AGED
    )
    sql(
        """INSERT INTO event_delivery (group_name, log_id)
        SELECT 'g', min(id) FROM event_log WHERE published_at < now() - interval '9 days'"""
    )
    sql(
        """INSERT INTO dead_letter (id, consumer, group_name, topic, partition, log_offset,
            message_key, message, headers, attempts, error, stack, died_at, redriven_at)
        SELECT gen_random_uuid(), '', '', '', 0, 0, '', '', '{}', 1, '', '', now() - age,
            CASE WHEN n > 5 THEN now() - age END"""
        + AGED
    )

    def left() -> list[int]:
        tables = ("outbox", "processed_events", "event_failure", "event_log", "dead_letter")
        return [sql(f"SELECT count(*) FROM {table}")[0][0] for table in tables]  # noqa: S608

    assert left() == [200] * 5
    monkeypatch.setattr(relay, "_PRUNE_BATCH", 10)
    unpublished_or_young = 4 * 5 + 45
    expected = [unpublished_or_young, 150, 150, 51, 200]
    with running(url):
        wait_until(lambda: left() == expected, what="the old rows to be deleted")
        write(url, 1)
        wait_until(lambda: len(log(sql)) == 52, what="an event to be published")
    assert left() == [66, 150, 150, 52, 200]


def test_publishing_goes_on_when_deleting_takes_too_long(
    url: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_PRUNE_SECONDS", 0.0)
    bus = SlowToPrune(url=url)
    with records_of("app.events.relay") as records, running(url, bus):
        wait_until(lambda: bus.prunes > 1, what="two attempts")
        write(url, 3)
        wait_until_published(sql)
    assert set(said(records)) == {
        ("WARNING", "Old rows stay: canceling statement due to statement timeout")
    }
