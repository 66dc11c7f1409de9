"""How the consumers stand, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.events.standing import Report

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class StandingCollector(Collector):
    """Asks `read` at each scrape; None: nothing is known, because the database is away."""

    def __init__(self, read: Callable[[], Report | None]):
        self._read = read

    def collect(self) -> Iterator[Metric]:
        report = self._read()
        up = GaugeMetricFamily("smart_factory_up", "Whether the database answers: 1 or 0.")
        up.add_metric([], 0 if report is None else 1)
        yield up
        if report is not None:
            yield from _of_consumers(report)
            yield from _of_outbox(report)


def exposition(read: Callable[[], Report | None]) -> bytes:
    """One scrape."""
    registry = CollectorRegistry()
    registry.register(StandingCollector(read))
    return generate_latest(registry)


def _of_consumers(report: Report) -> Iterator[Metric]:
    place, name = ["consumer", "group", "topic"], ["consumer"]
    lag = GaugeMetricFamily(
        "smart_factory_consumer_lag",
        "Messages on the bus that the group has still to do; absent while the bus is away.",
        labels=place,
    )
    instances = GaugeMetricFamily(
        "smart_factory_consumer_instances", "Instances seen within the last minute.", labels=name
    )
    paused = GaugeMetricFamily(
        "smart_factory_consumer_paused",
        "1 while all instances wait for something that is away, else 0.",
        labels=name,
    )
    speed = GaugeMetricFamily(
        "smart_factory_consumer_events_per_second",
        "Events a second of all instances, over the last minute.",
        labels=name,
    )
    letters = GaugeMetricFamily(
        "smart_factory_dead_letters_waiting", "Dead letters that were not redriven.", labels=name
    )
    processed = _counter("processed", "Events that were carried out.")
    redelivered = _counter("redelivered", "Messages of events that were carried out before.")
    retried = _counter("retried", "Attempts that failed, with another to come.")
    dead_lettered = _counter("dead_lettered", "Events that were given up.")
    for each in report.consumers:
        labels = [each.consumer]
        if each.lag is not None:
            lag.add_metric([each.consumer, each.group, each.topic], each.lag)
        instances.add_metric(labels, each.instances)
        paused.add_metric(labels, each.state == "paused")
        speed.add_metric(labels, each.per_second)
        letters.add_metric(labels, each.dead_letters_waiting)
        processed.add_metric(labels, each.processed)
        redelivered.add_metric(labels, each.redelivered)
        retried.add_metric(labels, each.retried)
        dead_lettered.add_metric(labels, each.dead_lettered)
    if report.error is None:
        yield lag
    yield from (instances, paused, speed, letters, processed, redelivered, retried, dead_lettered)


def _of_outbox(report: Report) -> Iterator[Metric]:
    outbox = report.outbox
    yield GaugeMetricFamily(
        "smart_factory_outbox_waiting",
        "Events in the outbox that are not on the bus yet.",
        value=outbox.waiting,
    )
    yield GaugeMetricFamily(
        "smart_factory_outbox_oldest_seconds",
        "How long ago the oldest of them happened; 0 when there is none.",
        value=outbox.oldest_s or 0.0,
    )


def _counter(name: str, text: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"smart_factory_events_{name}", text, labels=["consumer"])
