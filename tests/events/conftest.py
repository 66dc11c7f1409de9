"""A stage on each of the buses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.config import Config
from app.consumers.admin_stub import AdminStub
from app.db import Connection, migrations
from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.events.stage import Stage
from tests.kafka.broker import Broker
from tests.kafka.fixtures import create_topics


@pytest.fixture(params=["postgres", "kafka"])
def bus_name(request: pytest.FixtureRequest) -> str:
    """Every test that asks for a stage runs once on each bus."""
    return str(request.param)


@pytest.fixture
def stage(
    bus_name: str, request: pytest.FixtureRequest, database_url: str, tmp_path: Path
) -> Iterator[Stage]:
    """A migrated database and a bus with nothing on it; what is started ends with the test."""
    brokers = (request.getfixturevalue("kafka"),) if bus_name == "kafka" else ()
    with _stage(tmp_path, database_url, brokers) as stage:
        yield stage


@dataclass
class Outages:
    """What a test stops and starts: all of it is its own."""

    postgres: EmbeddedPostgres
    broker: Broker | None  # None: the events travel through Postgres

    def stop_bus(self) -> None:
        """Whatever the events travel through is away."""
        (self.broker or self.postgres).stop()

    def start_bus(self) -> None:
        """It is back, with all that it had."""
        (self.broker or self.postgres).start()


@pytest.fixture
def outages(
    bus_name: str, request: pytest.FixtureRequest, own_postgres: EmbeddedPostgres
) -> Outages:
    """A Postgres and, on Kafka, a broker of the test's own."""
    broker = request.getfixturevalue("own_kafka") if bus_name == "kafka" else None
    if broker is not None:
        create_topics(broker.address)
    return Outages(own_postgres, broker)


@pytest.fixture
def frail_stage(outages: Outages, tmp_path: Path) -> Iterator[Stage]:
    """A stage on what `outages` stops and starts."""
    url = outages.postgres.start()
    brokers = (outages.broker.address,) if outages.broker else ()
    with _stage(tmp_path, url, brokers) as stage:
        yield stage


@contextmanager
def _stage(directory: Path, url: str, brokers: tuple[str, ...]) -> Iterator[Stage]:
    with Connection.open(url) as connection:
        migrations.apply(connection, migrations.read())
    stage = Stage(
        directory,
        Config(env="test", secret_key="-" * 32, database_url=url, kafka_brokers=brokers),
    )
    try:
        yield stage
    finally:
        stage.close()


@pytest.fixture
def admin(stage: Stage) -> Iterator[AdminStub]:
    """The stand-in for the admin service, known to what the stage starts."""
    with AdminStub(port=0) as stub:
        stage.configure(admin_service_url=stub.url)
        yield stub
