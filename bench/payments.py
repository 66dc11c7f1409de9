"""Payments under load with the broker there and with it down: an open model, so a stall is seen.

Payment k is due k/rate seconds after the start and is sent then, whatever became of the others;
its latency counts from when it was due. A cluster of the kit takes them, and a consumer's relay
tries to publish them all the while. The two kinds take turns on one machine.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from app.db import Connection, migrations
from bench.objective import Objective
from deploy.ops.embedded_postgres import EmbeddedPostgres
from loadtests.report import percentile
from tests.cluster import ROOT, Cluster
from tests.kafka.broker import Broker
from tests.kafka.fixtures import create_topics

ROUNDS, SECONDS, RATE = 3, 10, 60
_THREADS = 32  # payments under way at once, at most
_P99_MOST = 100  # milliseconds


def run() -> list[Objective]:
    """The p99 in milliseconds, with the broker and without."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        postgres = EmbeddedPostgres(directory / "postgres")
        stack.callback(postgres.stop)
        url = postgres.start()
        with Connection.open(url) as connection:
            migrations.apply(connection, migrations.read())
        broker = Broker(directory / "kafka")
        stack.callback(broker.stop)
        broker.start()
        create_topics(broker.address)
        environ = {"DATABASE_URL": url, "KAFKA_BROKERS": broker.address, "LOG_LEVEL": "warning"}
        cluster = stack.enter_context(Cluster(directory / "cluster", env=environ | _TWO))
        stack.callback(_stop, _consumer(directory, environ))
        p99: dict[str, list[float]] = {"up": [], "down": []}
        for number in range(ROUNDS):
            p99["up"].append(_p99(cluster.port, f"up-{number}"))
            broker.stop()
            p99["down"].append(_p99(cluster.port, f"down-{number}"))
            broker.start()
    down = statistics.median(p99["down"])
    return [
        Objective(
            name="payment p99 with the broker up", value=statistics.median(p99["up"]), unit="ms"
        ),
        Objective(
            name="payment p99 with the broker down", value=down, unit="ms", at_most=_P99_MOST
        ),
    ]


_TWO = {"CLUSTER_WORKERS": "2", "LOG_LEVEL": "info"}  # the cluster says when it is ready


def _consumer(directory: Path, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    with (directory / "consumer.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "app.consumers", "run", "purchase"],
            cwd=ROOT,
            env={**environ, "APP_ENV": "test"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(60)


def _p99(port: int, name: str) -> float:
    """Milliseconds from when a payment was due to its answer, of which each must be a 202."""
    began = time.monotonic() + 0.1

    def pay(number: int) -> float:
        due = began + number / RATE
        time.sleep(max(0.0, due - time.monotonic()))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        body = {
            "provider_payment_id": f"{name}-{number}",
            "student_id": f"{name}-{number}",
            "course_id": "c-1",
            "amount": 49.9,
        }
        headers = {"Content-Type": "application/json"}
        try:
            connection.request("POST", "/api/payments/confirm", json.dumps(body), headers)
            response = connection.getresponse()
            response.read()
        finally:
            connection.close()
        if response.status != 202:
            raise RuntimeError(f"a payment was answered with {response.status}")
        return (time.monotonic() - due) * 1000

    with ThreadPoolExecutor(_THREADS) as pool:
        latencies = sorted(pool.map(pay, range(RATE * SECONDS)))
    return percentile(latencies, 99)
