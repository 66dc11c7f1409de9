"""`make kafka`: a broker to develop with, until Ctrl-C; its data stays in var/kafka."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.cluster import ROOT
from tests.kafka.broker import Broker
from tests.kafka.fixtures import create_topics
from tests.kafka.jars import KafkaError

_DIRECTORY = ROOT / "var" / "kafka"
_PORTS = (9092, 9093)  # for clients, and for itself as its own controller


def main(directory: Path = _DIRECTORY, ports: tuple[int, int] = _PORTS) -> None:
    """Serves until it is told to end."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    broker = Broker(directory, ports=ports)
    try:
        broker.start()
        create_topics(broker.address)
        print(
            f"KAFKA_BROKERS={broker.address}\n"
            "Put this line into .env, or before a command: the events then go through Kafka.\n"
            f"Ctrl-C stops the broker; its data stays in {directory}.",
            flush=True,
        )
        broker.wait()
        sys.exit(f"Kafka has ended by itself: {broker.log_file} says why")
    except KafkaError as error:
        sys.exit(f"make kafka: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        broker.stop()


if __name__ == "__main__":
    main()
