"""What each peer is asked: the request, how many ask at once, and the answer that is expected."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).parent / "wrk"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One kind of request."""

    name: str  # on the command line, and in the results
    title: str  # in the tables
    method: str = "GET"
    path: str
    body: bytes | None = None
    connections: int = 32
    script: str | None = None  # in SCRIPTS, when wrk needs one
    sessions: bool = False  # each request brings the cookie of one
    expected: Callable[[bytes], bool]  # whether that is the body of the answer


def _json(**fields: object) -> Callable[[bytes], bool]:
    return lambda body: bool(json.loads(body) == fields)


WORKLOADS = (
    Workload(
        name="json",
        title="JSON",
        path="/json",
        expected=_json(message="Hello, World!", ok=True),
    ),
    Workload(
        name="session-read",
        title="session read",
        path="/session",
        script="sessions.lua",
        sessions=True,
        expected=_json(user="4711"),
    ),
    Workload(
        name="session-write",
        title="session write",
        method="POST",
        path="/session",
        script="sessions.lua",
        sessions=True,
        expected=_json(user="4711", visits=1),
    ),
    Workload(
        name="sleep",
        title="sleep 20 ms",
        path="/sleep",
        connections=64,
        expected=_json(ok=True),
    ),
    Workload(
        name="large",
        title="64 KiB answer",
        path="/large",
        expected=lambda body: body == bytes(64 * 1024),
    ),
    Workload(
        name="upload",
        title="1 MiB upload",
        method="POST",
        path="/upload",
        body=bytes(1024 * 1024),
        script="upload.lua",
        expected=_json(length=1024 * 1024),
    ),
)
BY_NAME: Mapping[str, Workload] = {workload.name: workload for workload in WORKLOADS}
