"""A pipeline of real processes on one of the buses, and what the tests do to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from confluent_kafka.admin import AdminClient
from psycopg.rows import TupleRow

from app.config import Config
from app.consumers import pipeline
from app.db import Connection, Database
from app.events import Envelope, connect, outbox
from app.events.bus import Bus, Outgoing
from app.events.topics import DEAD_LETTERS, TOPICS
from app.payments import Confirmation, Payment, Payments
from tests.wait import wait_until

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).with_name("programs")


@dataclass
class Process:
    """One process of consumers; what it logs is in a file."""

    popen: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self.popen.pid

    def wait_log(self, text: str, *, times: int = 1, seconds: float = 60) -> None:
        """Waits until `text` stands in the log so many times."""
        try:
            wait_until(
                lambda: self.log.count(text) >= times or self.popen.poll() is not None,
                what=f"{text!r} × {times} in the log",
                seconds=seconds,
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from None
        assert self.log.count(text) >= times, f"it ended ({self.popen.returncode}):\n{self.log}"

    def kill(self) -> None:
        """As the kernel does it: at once, whatever is under way."""
        self.popen.kill()
        self.popen.wait(20)

    def terminate(self) -> int:
        """TERM, and the exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(60)

    def wait(self, seconds: float = 60) -> int:
        """The exit code of a process that ends by itself."""
        return self.popen.wait(seconds)


class Stage:
    """A database, a bus, and consumers by the dozen."""

    def __init__(self, directory: Path, config: Config):
        assert config.database_url is not None
        self.directory = directory
        self.config = config
        self.database_url = config.database_url
        self._processes: list[Process] = []
        self._started: set[str] = set()  # names of consumers
        self._sql: Connection | None = None
        self._database = Database(url=config.database_url, pool_max=4)
        self._bus: Bus | None = None

    # --- the parts

    @property
    def environ(self) -> dict[str, str]:
        given = {
            "DATABASE_URL": self.database_url,
            "KAFKA_BROKERS": ",".join(self.config.kafka_brokers),
            "ADMIN_SERVICE_URL": self.config.admin_service_url or "",
            "REDIS_URL": self.config.redis_url or "",
            "APP_ENV": "test",
            "LOG_LEVEL": "info",
            "PYTHONPATH": str(ROOT),
        }
        return {**os.environ, **given}

    def configure(self, **fields: Any) -> None:
        """Changes the configuration of what is started from now on."""
        self.config = replace(self.config, **fields)

    @property
    def bus(self) -> Bus:
        """A bus of the test's own process."""
        if self._bus is None:
            self._bus = connect.bus(self.config)
        return self._bus

    def consumer(
        self,
        *names: str,
        program: str = "",
        env: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> Process:
        """A process that runs the consumers, or a program of tests/events/programs with `names`."""
        command = [str(PROGRAMS / program)] if program else ["-m", "app.consumers", "run"]
        log_file = self.directory / f"consumer-{len(self._processes)}.log"
        with log_file.open("ab") as log:
            popen = subprocess.Popen(
                [sys.executable, *command, *names],
                cwd=self.directory,
                env={**self.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        process = Process(popen, log_file)
        self._processes.append(process)
        self._started |= {*names} & {*pipeline.NAMES}
        if wait:
            process.wait_log("consuming", times=len(names))
        return process

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs `python -m app.consumers` with the words, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "app.consumers", *words],
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    # --- what happens

    def pay(self, student: str, *courses: str, checkout: str | None = None) -> list[Confirmation]:
        """Confirms a payment for the courses, as one checkout."""
        payments = Payments(database=self._database)
        checkout = checkout or f"pay_{uuid.uuid4().hex}"
        return [
            payments.confirm(
                Payment(
                    provider_payment_id=checkout,
                    student_id=student,
                    course_id=course,
                    amount=Decimal("49.90"),
                )
            )
            for course in courses
        ]

    def append(self, *events: Envelope) -> None:
        """Puts events into the outbox, for the relay to publish."""
        with self.sql.transaction():
            outbox.append_many(self.sql, events)

    def publish(self, *events: Envelope) -> None:
        """Puts events on the bus, past the outbox."""
        self.bus.publish([self.outgoing(event) for event in events])

    def publish_bytes(self, value: bytes, *, topic: str) -> None:
        """Puts on the bus what may be no event at all."""
        self.bus.publish([Outgoing(topic=topic, key="k", value=value)])

    def outgoing(self, event: Envelope, *, key: str = "") -> Outgoing:
        """What the relay would publish, perhaps with another key."""
        return Outgoing(
            topic=TOPICS[event.type],
            key=key or str(event.correlation_id),
            value=event.as_json().encode(),
        )

    @contextlib.contextmanager
    def without_dead_letter_queue(self) -> Iterator[None]:
        """Within, the bus takes no dead letters."""
        if self.config.kafka_brokers:
            admin = AdminClient({"bootstrap.servers": self.config.kafka_brokers[0]})
            admin.delete_topics([DEAD_LETTERS])[DEAD_LETTERS].result(20)
            yield
            self.bus.create_topics(partitions=3, replicas=1)
        else:
            with refusing(self, "event_log", f"new.topic = '{DEAD_LETTERS}'"):
                yield

    # --- what became of it

    @property
    def sql(self) -> Connection:
        """A connection of the test's own; a new one after an outage."""
        if self._sql is None or self._sql.closed:
            self._sql = Connection.open(self.database_url)
        return self._sql

    def rows(self, query: str, *parameters: object) -> list[TupleRow]:
        return self.sql.execute(query.encode(), parameters).fetchall()

    def value(self, query: str, *parameters: object) -> Any:
        """The first column of the only row."""
        ((value, *_),) = self.rows(query, *parameters)
        return value

    def count(self, table: str, where: str = "true") -> int:
        return int(self.value(f"SELECT count(*) FROM {table} WHERE {where}"))  # noqa: S608 - our own

    def wait_count(self, table: str, count: int, where: str = "true", seconds: float = 60) -> None:
        """Waits until the table has so many rows, and fails when it has more."""
        try:
            wait_until(
                lambda: self.count(table, where) >= count,
                what=f"{count} rows in {table} where {where}",
                seconds=seconds,
            )
        except AssertionError as error:
            there = self.count(table, where)
            raise AssertionError(f"{error}: {there} are there\n{self.logs}") from None
        assert self.count(table, where) == count

    def wait_quiet(self, seconds: float = 60) -> None:
        """Waits until nothing is left to do, in the outbox and for the consumers started so far."""
        groups = {
            pipeline.GROUP_OF[name]: pipeline.TOPIC_OF[name] for name in sorted(self._started)
        }

        def quiet() -> bool:
            waits = self.count("outbox", "published_at IS NULL")
            return waits == 0 and not any(lag.waiting for lag in self.bus.lags(groups))

        try:
            wait_until(quiet, what="nothing to be left to do", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.bus.lags(groups)}\n{self.logs}") from None

    def waiting(self, consumer: str) -> int:
        """How many messages the consumer's group has still to acknowledge."""
        groups = {pipeline.GROUP_OF[consumer]: pipeline.TOPIC_OF[consumer]}
        return sum(lag.waiting for lag in self.bus.lags(groups))

    def total(self, column: str, consumer: str) -> int:
        """A count of the consumer's, over all its instances, those gone too."""
        query = f"""
            SELECT coalesce(sum(n), 0) FROM (
                SELECT {column} AS n FROM consumer_instance WHERE consumer = %(consumer)s
                UNION ALL SELECT {column} FROM consumer_total WHERE consumer = %(consumer)s) AS c
        """  # noqa: S608 - our own
        row = self.sql.execute(query.encode(), {"consumer": consumer}).fetchone()
        assert row is not None
        return int(row[0])

    @property
    def logs(self) -> str:
        return "\n".join(f"--- {p.log_file.name}\n{p.log[-4000:]}" for p in self._processes)

    def close(self) -> None:
        """Ends all that is left."""
        for process in self._processes:
            if process.popen.poll() is None:
                process.popen.send_signal(signal.SIGCONT)
                process.popen.kill()
                process.popen.wait(20)
        if self._bus is not None:
            self._bus.close()
        if self._sql is not None:
            self._sql.close()
        self._database.close()


def confirmed(student: str = "s-1", course: str = "c-1", **fields: Any) -> Envelope:
    """A PURCHASE_CONFIRMED as the payments' intake writes it."""
    payload = {
        "provider_payment_id": f"pay_{uuid.uuid4().hex}",
        "student_id": student,
        "course_id": course,
        "amount": "49.90",
    }
    return event("PURCHASE_CONFIRMED", payload, **fields)


def event(
    kind: str,
    payload: dict[str, Any],
    *,
    event_id: UUID | None = None,
    correlation_id: UUID | None = None,
) -> Envelope:
    """An event of now."""
    return Envelope(
        event_id=event_id or uuid.uuid4(),
        type=kind,
        version=1,
        correlation_id=correlation_id or uuid.uuid4(),
        occurred_at=datetime.now(UTC),
        payload=payload,
    )


@contextlib.contextmanager
def refusing(stage: Stage, table: str, condition: str) -> Iterator[None]:
    """Within, the database refuses rows of the table that meet the condition on `new`."""
    name = f"refuse_{table}"
    stage.sql.execute(
        f"""
        CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF {condition} THEN RAISE EXCEPTION 'refused by the test'; END IF; RETURN new; END $$
        """.encode()
    )
    when = f"BEFORE INSERT ON {table} FOR EACH ROW"
    stage.sql.execute(f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {name}()".encode())
    try:
        yield
    finally:
        with contextlib.suppress(psycopg.Error):
            stage.sql.execute(f"DROP TRIGGER {name} ON {table}".encode())
            stage.sql.execute(f"DROP FUNCTION {name}()".encode())
