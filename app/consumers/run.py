"""Consumers as a process: threads that end together, in order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from app.config import Config
from app.consumers import pipeline
from app.db import Database, development
from app.events import connect
from app.events.consumer import Consumer
from app.events.relay import Relay

log = logging.getLogger(__name__)


def run(names: Sequence[str], config: Config, stop: threading.Event) -> bool:
    """Consumes until `stop`, and says whether it went well; raises ConfigError before it begins.

    Each process has a relay too: one of all the processes' publishes what waits in the outbox.
    """
    assert config.database_url is not None  # noqa: S101 - the command has refused that before
    handlers = [pipeline.handler(name, config) for name in names]
    database = Database(
        url=config.database_url,
        pool_max=len(names) + 1,
        prepare=None if config.production else development.migrate,
    )
    bus = connect.bus(config)
    relay = Relay(url=config.database_url, bus=bus)
    consumers = [
        Consumer(
            handler=handler,
            bus=bus,
            topic=pipeline.TOPIC_OF[handler.name],
            database=database,
            emitted=relay.poke,
        )
        for handler in handlers
    ]
    leaving = threading.Event()  # the relay's: it publishes what the last batch emitted
    failed: list[str] = []
    threads = [
        _started(name, consumer.run, stop, failed, stop)
        for name, consumer in zip(names, consumers, strict=True)
    ]
    relaying = _started("relay", relay.run, leaving, failed, stop)
    stop.wait()
    for thread in threads:
        thread.join()
    leaving.set()
    relaying.join()
    bus.close()
    database.close()
    return not failed


def _started(
    name: str,
    target: Callable[[threading.Event], None],
    end: threading.Event,
    failed: list[str],
    stop: threading.Event,
) -> threading.Thread:
    """A thread, at whose unexpected end all end: who supervises us starts us anew."""

    def body() -> None:
        try:
            target(end)
        except Exception:
            log.exception("%s failed", name)
            failed.append(name)
            stop.set()

    thread = threading.Thread(target=body, name=name)
    thread.start()
    return thread
