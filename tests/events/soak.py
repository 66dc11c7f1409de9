"""`python -m tests.events.soak`: thousands of events through all consumers, which are killed.

Two instances of each of the four run as processes of their own; again and again one of the eight is
killed (SIGKILL) at a random moment, and another takes its place. In the end every expected row is
there, once.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import redis

from app.config import Config
from app.consumers import pipeline
from app.consumers.admin_stub import AdminStub
from app.db import Connection, migrations
from app.events import outbox
from deploy.ops.embedded_postgres import EmbeddedPostgres
from tests.events.stage import Process, Stage, confirmed
from tests.kafka.broker import Broker
from tests.kafka.fixtures import create_topics
from tests.redis.server import RedisServer
from tests.wait import wait_until

INSTANCES = 2
_BATCH = 500  # payments appended in one transaction
_STALL_SECONDS = 120  # without any progress


@dataclass
class Report:
    """What came out; `faults` is empty when every row is there once."""

    bus: str
    events: int
    kills: int
    seconds: float
    processed: dict[str, int]  # by consumer; told by the guard
    redelivered: dict[str, int]
    calls: int  # that the admin service got; those beyond `events` it answered as before
    faults: list[str]


def soak(
    stage: Stage, admin: AdminStub, cache: redis.Redis, *, events: int, kills: int, seed: int = 0
) -> Report:
    """Sends the events through, kills as often, and counts what is there."""
    luck = random.Random(seed)  # noqa: S311 - no secret
    began = time.monotonic()
    for first in range(0, events, _BATCH):
        keys = [_keys(n) for n in range(first, min(first + _BATCH, events))]
        cache.mset({key: "cached" for pair in keys for key in pair})
    running = [
        (name, stage.consumer(name, env={"LOG_LEVEL": "warning"}, wait=False))
        for name in pipeline.NAMES
        for _ in range(INSTANCES)
    ]
    paying = threading.Thread(target=_pay, args=(stage.database_url, events))
    paying.start()
    killed = 0
    while (done := _progress(stage, events)) < 1:
        # Spread over the whole run, each a little after its share of the work is done.
        if killed < kills and done >= killed / kills * 0.95:
            time.sleep(luck.random() * 0.5)
            _replace(stage, running, luck.randrange(len(running)))
            killed += 1
            _show(f"{done:.0%} done, {killed} killed")
        else:
            _wait_for_progress(stage, events, done)
    paying.join()
    stage.wait_quiet(120)
    seconds = time.monotonic() - began
    pids = {process.pid for _, process in running}
    # One that has only just replaced another has no handler for TERM yet.
    wait_until(lambda: pids <= _consuming(stage), what="all instances to have begun")
    for _, process in running:
        process.popen.terminate()
    ended = [process.popen.wait(60) for _, process in running]
    return Report(
        bus=stage.bus.name,
        events=events,
        kills=killed,
        seconds=round(seconds, 1),
        processed={name: stage.total("processed", name) for name in pipeline.NAMES},
        redelivered={name: stage.total("redelivered", name) for name in pipeline.NAMES},
        calls=admin.requests,
        faults=_faults(stage, admin, cache, events) + [f"exit code {c}" for c in ended if c],
    )


def _pay(url: str, events: int) -> None:
    with Connection.open(url) as connection:
        for first in range(0, events, _BATCH):
            batch = [confirmed(f"s-{n}") for n in range(first, min(first + _BATCH, events))]
            with connection.transaction():
                outbox.append_many(connection, batch)


def _consuming(stage: Stage) -> set[int]:
    return {pid for (pid,) in stage.rows("SELECT pid FROM consumer_instance")}


def _progress(stage: Stage, events: int) -> float:
    return stage.count("processed_events") / (events * len(pipeline.NAMES))


def _wait_for_progress(stage: Stage, events: int, done: float) -> None:
    try:
        wait_until(
            lambda: _progress(stage, events) > done,
            what=f"more than {done:.0%} to be done",
            seconds=_STALL_SECONDS,
        )
    except AssertionError as error:
        raise AssertionError(f"{error}\n{stage.logs}") from None


def _replace(stage: Stage, running: list[tuple[str, Process]], at: int) -> None:
    name, process = running[at]
    process.kill()
    running[at] = name, stage.consumer(name, env={"LOG_LEVEL": "warning"}, wait=False)


def _faults(stage: Stage, admin: AdminStub, cache: redis.Redis, events: int) -> list[str]:
    """What is not as it must be."""
    expected = {
        "SELECT count(*) FROM student_course_purchases": events,
        "SELECT count(DISTINCT student_id) FROM student_course_purchases": events,
        "SELECT count(*) FROM trainer_allocations": events,
        "SELECT count(DISTINCT purchase_id) FROM trainer_allocations": events,
        "SELECT count(*) FROM course_sessions": events * 7,
        "SELECT count(*) FROM (SELECT FROM course_sessions GROUP BY allocation_id"
        " HAVING count(*) <> 7) AS wrong": 0,
        "SELECT count(*) FROM outbox WHERE type = 'PURCHASE_CREATED'": events,
        "SELECT count(*) FROM outbox WHERE type = 'TRAINER_ALLOCATED'": events,
        "SELECT count(*) FROM outbox WHERE published_at IS NULL": 0,
        "SELECT count(*) FROM dead_letter": 0,
        "SELECT count(*) FROM event_failure": 0,
    }
    for name in pipeline.NAMES:
        expected[f"SELECT count(*) FROM processed_events WHERE consumer = '{name}'"] = events  # noqa: S608
        if stage.total("processed", name) != events:
            expected[f"SELECT {stage.total('processed', name)} -- processed, {name}"] = events
    found = [
        f"{query}: {there}, expected {wanted}"
        for query, wanted in expected.items()
        if (there := stage.value(query)) != wanted
    ]
    if len(admin.allocations) != events:
        found.append(f"allocations at the admin service: {len(admin.allocations)} of {events}")
    left = sum(cache.exists(*_keys(n)) for n in range(events))
    return found + ([f"cache keys left: {left}"] if left else [])


def _keys(n: int) -> tuple[str, str]:
    return f"student:home:s-{n}", f"student:learning:s-{n}"


def _show(text: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{text}\033[K", err=True, nl=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--bus", type=click.Choice(["postgres", "kafka"]), required=True)
@click.option("--events", type=click.IntRange(1), default=20_000, show_default=True)
@click.option("--kills", type=click.IntRange(0), default=20, show_default=True)
@click.option("--seed", type=int, default=None, help="Of the random moments.")
def main(bus: str, events: int, kills: int, seed: int | None) -> None:
    """Send EVENTS payments through all consumers while KILLS of them are killed; print the counts.

    Exits with 1 when a row is missing, or there twice.
    """
    seed = random.randrange(10**6) if seed is None else seed  # noqa: S311 - no secret
    click.echo(f"seed {seed}", err=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        directory = Path(folder)
        # As in production: a commit is on the disk.
        postgres = EmbeddedPostgres(directory / "postgres")
        broker = Broker(directory / "kafka") if bus == "kafka" else None
        server = RedisServer(directory / "redis")
        try:
            report = _run(directory, postgres, broker, server, events, kills, seed)
        finally:
            server.stop()
            if broker is not None:
                broker.stop()
            postgres.stop()
    _show("")
    click.echo(json.dumps(asdict(report), indent=2))
    sys.exit(1 if report.faults else 0)


def _run(
    directory: Path,
    postgres: EmbeddedPostgres,
    broker: Broker | None,
    server: RedisServer,
    events: int,
    kills: int,
    seed: int,
) -> Report:
    url = postgres.start()
    server.start()
    with Connection.open(url) as connection:
        migrations.apply(connection, migrations.read())
    brokers: tuple[str, ...] = ()
    if broker is not None:
        broker.start()
        create_topics(broker.address)
        brokers = (broker.address,)
    with AdminStub(port=0) as admin, redis.Redis.from_url(server.url) as cache:
        stage = Stage(
            directory,
            Config(
                env="test",
                secret_key="-" * 32,
                database_url=url,
                kafka_brokers=brokers,
                redis_url=server.url,
                admin_service_url=admin.url,
            ),
        )
        try:
            return soak(stage, admin, cache, events=events, kills=kills, seed=seed)
        finally:
            stage.close()


if __name__ == "__main__":
    main()
