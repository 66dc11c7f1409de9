"""Sessions beside no session and beside Flask-Session with SQLAlchemy, in Flask's test client.

Real Postgres with its defaults (a write waits for the disk), one process, one thread; the kinds are
asked in turn within each round, so that whatever else the machine does hits all of them. A ratio is
the median of the rounds' ratios.

A read is compared on one CPU, which client and server share as they do when a machine is busy. On
an idle one with more, each statement would wake a sleeping CPU twice, and the ratio would tell how
long that takes: in a virtual machine as long as half a request without a session. A write is
compared on all CPUs: it waits for the disk, and what the disk's end needs of a CPU is not ours.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flask_session
from flask import Flask, session
from flask_sqlalchemy import SQLAlchemy

from app import sessions
from bench.objective import Objective
from deploy.ops.embedded_postgres import EmbeddedPostgres

ROUNDS, SECONDS = 15, 0.4
_PAYLOAD = {"user_id": "4711", "cart": [{"sku": f"sku-{n}", "count": n} for n in range(8)]}

Ask = Callable[[], None]
Bounds = Mapping[str, tuple[tuple[str, float], ...]]  # path: (beside what, at least)

_OTHERS = {"none": "no session", "peer": "Flask-Session with SQLAlchemy"}


def _routes(app: Flask) -> Flask:
    @app.get("/unused")
    def unused() -> dict[str, Any]:
        return {"ok": True}

    @app.get("/read")
    def read() -> dict[str, Any]:
        return {"user": session["user_id"]}

    @app.get("/write")
    def write() -> dict[str, Any]:
        session["visits"] = session.get("visits", 0) + 1
        return {"user": session["user_id"]}

    @app.get("/begin")
    def begin() -> dict[str, Any]:
        session.update(_PAYLOAD)
        return {}

    return app


def ours(url: str) -> Flask:
    """A Flask application with our sessions."""
    app = _routes(Flask("ours"))
    sessions.install(app, url)
    return app


def theirs(url: str) -> Flask:
    """The same with Flask-Session as its documentation sets it up."""
    app = _routes(Flask("theirs"))
    app.config.update(
        SQLALCHEMY_DATABASE_URI=url.replace("postgresql://", "postgresql+psycopg://", 1),
        SESSION_TYPE="sqlalchemy",
        SESSION_SERIALIZATION_FORMAT="msgpack",
    )
    app.config["SESSION_SQLALCHEMY"] = SQLAlchemy(app)
    flask_session.Session(app)
    return app


def _asking(app: Flask, path: str, *, begin: bool = True) -> Ask:
    client = app.test_client()
    if begin:
        assert client.get("/begin").status_code == 200

    def ask() -> None:
        assert client.get(path).status_code == 200

    return ask


def _per_second(ask: Ask) -> float:
    began = time.perf_counter()
    count = 0
    while (elapsed := time.perf_counter() - began) < SECONDS:
        ask()
        count += 1
    return count / elapsed


def _median(rounds: list[dict[str, float]], one: str, other: str) -> float:
    return statistics.median(each[one] / each[other] for each in rounds)


def run() -> list[Objective]:
    """Reads, then writes, each on a Postgres of their own that is gone afterwards."""
    reads = {"unused": (("none", 0.85),), "read": (("none", 0.45), ("peer", 4.0))}
    writes = {"write": (("none", 0.15), ("peer", 2.0))}
    with _one_cpu():
        found = _compare(reads)
    return found + _compare(writes)


@contextmanager
def _one_cpu() -> Iterator[None]:
    """For this process, and for those that it starts meanwhile."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _compare(bounds: Bounds) -> list[Objective]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        postgres = EmbeddedPostgres(Path(name) / "postgres")
        url = postgres.start()
        try:
            return _measure(url, bounds)
        finally:
            postgres.stop()


def _measure(url: str, bounds: Bounds) -> list[Objective]:
    plain, kept, peer = _routes(Flask("none")), ours(url), theirs(url)
    # Without a secret key: no session at all.
    kinds = {"none": _asking(plain, "/unused", begin=False)}
    for path, others in bounds.items():
        kinds[path] = _asking(kept, f"/{path}")
        if "peer" in dict(others):
            kinds[f"peer {path}"] = _asking(peer, f"/{path}")
    for ask in kinds.values():
        for _ in range(50):
            ask()
    rounds = [{kind: _per_second(ask) for kind, ask in kinds.items()} for _ in range(ROUNDS)]
    return [
        Objective(
            name=f"session {path} / {_OTHERS[other]}, median of {ROUNDS}",
            value=_median(rounds, path, other if other == "none" else f"{other} {path}"),
            unit="×",
            at_least=least,
        )
        for path, others in bounds.items()
        for other, least in others
    ]
