"""Purchases a second on both buses: a whole batch in one transaction beside one event in each.

Real Postgres with its defaults (a commit waits for the disk) and a real broker. The events are on
the bus before a consumer begins; what is timed is the time from its first commit to its last. The
two kinds take turns, so that whatever else the machine does hits both; a ratio is the median of the
rounds' ratios.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

from app.config import Config
from app.consumers import pipeline
from app.consumers.purchase import Purchase
from app.db import Connection, Database, migrations
from app.events import connect
from app.events.bus import Bus, Outgoing
from app.events.consumer import Consumer
from bench.objective import Objective
from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.events.stage import confirmed
from tests.kafka.broker import Broker
from tests.kafka.fixtures import create_topics
from tests.wait import wait_until

ROUNDS = 3
_EVENTS = {"batch": 20_000, "single": 2_000}
_PUBLISHED_AT_ONCE = 1000
_SECONDS = 300  # for one round, at most

# From commit to commit: the rows of one batch have one time.
_TIMES = """
SELECT count(*), extract(epoch FROM max(processed_at) - min(processed_at))
FROM processed_events WHERE processed_at > (SELECT min(processed_at) FROM processed_events)
"""


class _Single(Purchase):
    batch = 1


_KINDS = {"batch": Purchase, "single": _Single}


def run() -> list[Objective]:
    """Both kinds on both buses."""
    logging.getLogger("app").setLevel(logging.WARNING)  # as an operator would, for such a load
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        postgres = EmbeddedPostgres(directory / "postgres")
        stack.callback(postgres.stop)
        url = postgres.start()
        broker = Broker(directory / "kafka")
        stack.callback(broker.stop)
        broker.start()
        create_topics(broker.address)
        found = []
        for bus, brokers in (("Postgres", ()), ("Kafka", (broker.address,))):
            config = Config(secret_key="-" * 32, database_url=url, kafka_brokers=brokers)
            rounds = [
                {kind: _per_second(config, kind, _EVENTS[kind]) for kind in _KINDS}
                for _ in range(ROUNDS)
            ]
            found += _objectives(bus, rounds)
    return found


def _objectives(bus: str, rounds: list[dict[str, float]]) -> list[Objective]:
    ratio = statistics.median(each["batch"] / each["single"] for each in rounds)
    return [
        *(
            Objective(
                name=f"purchase on {bus}, {kind}",
                value=statistics.median(each[kind] for each in rounds),
                unit="ev/s",
            )
            for kind in _KINDS
        ),
        Objective(
            name=f"purchase on {bus}, batch beside single", value=ratio, unit="×", at_least=3
        ),
    ]


def _per_second(config: Config, kind: str, events: int) -> float:
    """How many purchases one consumer carries out in a second."""
    assert config.database_url is not None
    with Connection.open(config.database_url) as connection:
        migrations.apply(connection, migrations.read())
        connection.execute("TRUNCATE processed_events, student_course_purchases, outbox")
    bus = connect.bus(config)
    database = Database(url=config.database_url, pool_max=2)
    consumer = Consumer(
        handler=_KINDS[kind](),
        bus=bus,
        topic=pipeline.TOPIC_OF["purchase"],
        database=database,
        emitted=lambda: None,
    )
    stop = threading.Event()
    thread = threading.Thread(target=consumer.run, args=(stop,))
    try:
        _publish(bus, events)
        thread.start()
        wait_until(lambda: not _waiting(bus), what="the events to be carried out", seconds=_SECONDS)
    finally:
        stop.set()
        thread.join()
        bus.close()
        database.close()
    with Connection.open(config.database_url) as connection:
        row = connection.execute(_TIMES).fetchone()
    assert row is not None
    return float(row[0]) / float(row[1])


def _publish(bus: Bus, events: int) -> None:
    for first in range(0, events, _PUBLISHED_AT_ONCE):
        numbers = range(first, min(first + _PUBLISHED_AT_ONCE, events))
        made = [confirmed(f"s-{n}") for n in numbers]
        bus.publish(
            [
                Outgoing(
                    topic=pipeline.TOPIC_OF["purchase"],
                    key=str(event.correlation_id),
                    value=event.as_json().encode(),
                )
                for event in made
            ]
        )


def _waiting(bus: Bus) -> int:
    groups = {Purchase.group: pipeline.TOPIC_OF["purchase"]}
    return sum(lag.waiting for lag in bus.lags(groups))
