"""Which bus the configuration asks for."""

from __future__ import annotations

from app.config import Config
from app.events.bus import Bus
from app.events.postgres_bus import PostgresBus


def bus(config: Config) -> Bus:
    """Kafka with KAFKA_BROKERS, else Postgres; nothing is connected yet."""
    if config.kafka_brokers:
        # Only where it is used: its library takes 60 ms to load.
        from app.events.kafka_bus import KafkaBus

        return KafkaBus(brokers=config.kafka_brokers)
    assert config.database_url is not None  # noqa: S101 - the commands have refused that before
    return PostgresBus(url=config.database_url)
