"""Locust's users against servers that are right, wrong, or not there."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtests import generator
from loadtests.generator import GeneratorError, Plan
from loadtests.objectives import Limits, judge
from tests.cluster import Cluster
from tests.loadtests.runs import measurement
from tests.processes import runs

SHORT = Plan(users=10, seconds=2, shape="steady")


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server with that answer to everything; yields its URL."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Worker-ID", "worker-1")
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = handle_any  # noqa: N815 - the names http.server asks for

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - likewise
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_every_kind_of_user_finds_the_application_right(tmp_path: Path, database_url: str) -> None:
    env = {"DATABASE_URL": database_url, "CLUSTER_WORKERS": "2"}
    with Cluster(tmp_path / "served", "--chdir", str(Path.cwd()), env=env) as cluster:
        # Long enough for a whole visit of each, also while other tests keep the CPUs busy.
        plan = Plan(users=10, seconds=12, shape="steady")
        run = generator.run(f"http://127.0.0.1:{cluster.port}", plan, tmp_path)
    assert run.errors == {}
    assert 11 <= run.seconds < 32
    assert run.workers.keys() == {"worker-1", "worker-2"}
    assert {cell.endpoint for cell in run.cells if cell.answered} >= {
        "GET /health",
        "GET /api/status",
        "POST /api/auth/register",
        "POST /api/auth/login",
        "GET /api/auth/me",
        "POST /api/issue",
        "POST /api/issue (again)",
        "POST /api/payments/confirm",
        "POST /api/payments/confirm (again)",
    }
    assert sum(run.workers.values()) == sum(len(cell.answered) for cell in run.cells)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, b"{}", "GET /health: status 500, expected 200"),
        (200, b'{"status": "bad"}', "GET /health: the content is wrong"),
        (200, b"ok", "GET /health: the body is not JSON"),
    ],
)
def test_a_server_that_answers_wrongly_misses_the_error_rate(
    tmp_path: Path, status: int, body: bytes, error: str
) -> None:
    with answering(status, body) as url:
        run = generator.run(url, SHORT, tmp_path)
    assert run.errors[error] > 0
    side = measurement(run, mode="cluster")
    missed = [each.name for each in judge(side, side, Limits()) if not each.met]
    assert "failed requests, cluster" in missed


def test_a_server_that_is_not_there_fails_every_request(tmp_path: Path) -> None:
    with socket.socket() as taken:  # and does not listen
        taken.bind(("127.0.0.1", 0))
        run = generator.run(f"http://127.0.0.1:{taken.getsockname()[1]}", SHORT, tmp_path)
    side = measurement(run)
    assert side.error_rate == 100
    assert side.loads[0].answered == 0
    assert any("no answer" in error for error in run.errors)


def test_a_shape_changes_the_users_and_ends_the_run(tmp_path: Path) -> None:
    with answering(200, b'{"status": "ok"}') as url:
        plan = Plan(users=8, seconds=5, shape="spike", think=0.2)
        run = generator.run(url, plan, tmp_path)
    log = (tmp_path / "locust.log").read_text()
    assert "updating to 2 users" in log
    assert "updating to 8 users" in log
    assert 4 <= run.seconds < 25


@pytest.mark.parametrize("host", ["http://192.0.2.1:80", "https://127.0.0.1", "http://example.org"])
def test_only_this_machine_is_a_target(tmp_path: Path, host: str) -> None:
    with pytest.raises(GeneratorError, match="locust ended with 2 and said: locustfile: "):
        generator.run(host, SHORT, tmp_path)


def test_an_interrupted_run_leaves_no_locust_behind(tmp_path: Path) -> None:
    found: list[psutil.Process] = []

    def interrupt(_: float) -> None:
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):  # some other child, which has ended
                if "locust" in child.cmdline():
                    found.append(child)
        if found:  # between fork and exec it has another name
            raise KeyboardInterrupt

    with answering(200, b"{}") as url, pytest.raises(KeyboardInterrupt):
        generator.run(url, SHORT, tmp_path, interrupt)
    assert not any(map(runs, found))
