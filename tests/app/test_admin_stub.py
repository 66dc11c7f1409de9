from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest

from app.consumers.admin_stub import AdminStub
from app.consumers.admin_stub_state import Fault
from tests.cluster import ROOT, Answer, free_port
from tests.wait import wait_until

ASKED = {"purchase_id": "p-1", "student_id": "s-1", "course_id": "c-1"}


@pytest.fixture
def stub() -> Iterator[AdminStub]:
    with AdminStub() as stub:
        yield stub


def send(
    url: str,
    method: str,
    path: str,
    body: object = None,
    *,
    key: str | None = None,
    timeout: float = 30,
) -> Answer:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=timeout)
    headers = {} if key is None else {"Idempotency-Key": key, "X-Correlation-ID": f"of {key}"}
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def allocate(stub: AdminStub, key: str = "k-1", **change: Any) -> Answer:
    return send(stub.url, "POST", "/api/allocations", ASKED | change, key=key)


def test_a_first_request_is_carried_out_and_a_repetition_gets_its_answer(stub: AdminStub) -> None:
    first, again = allocate(stub), allocate(stub)
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    assert list(first.json) == ["allocation_id", "trainer_id", "status", "session_time"]
    assert (first.json["status"], first.json["session_time"]) == ("approved", "10:00")
    assert allocate(stub, "k-2").json["allocation_id"] != first.json["allocation_id"]
    listed = send(stub.url, "GET", "/api/allocations").json
    assert listed == {"allocations": stub.allocations, "requests": 3}
    headers = {"idempotency_key": "k-1", "correlation_id": "of k-1"}
    assert stub.allocations[0] == ASKED | first.json | headers
    assert [made["idempotency_key"] for made in stub.allocations] == ["k-1", "k-2"]
    assert stub.requests == 3


def test_a_key_is_for_one_request(stub: AdminStub) -> None:
    allocate(stub)
    answer = allocate(stub, student_id="s-2")
    assert (answer.status, answer.json) == (
        409,
        {"error": "Idempotency-Key: was used for another request"},
    )
    assert len(stub.allocations) == 1


def test_another_stand_in_gives_the_same_answer(stub: AdminStub) -> None:
    with AdminStub() as other:
        assert allocate(other).json == allocate(stub).json


def test_many_at_once_allocate_once(stub: AdminStub) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: allocate(stub), range(40)))
    assert sorted(answer.status for answer in answers) == [200] * 39 + [201]
    assert len({answer.body for answer in answers}) == 1
    assert (len(stub.allocations), stub.requests) == (1, 40)


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("value", [None, "", 7, []])
def test_a_bad_field_is_named(stub: AdminStub, name: str, value: Any) -> None:
    answer = allocate(stub, **{name: value})
    assert (answer.status, answer.json) == (400, {"error": f"{name}: must be a text"})
    assert (stub.allocations, stub.requests) == ([], 1)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff"])
def test_a_body_that_is_no_object(stub: AdminStub, body: bytes) -> None:
    answer = send(stub.url, "POST", "/api/allocations", body, key="k")
    assert (answer.status, answer.json) == (400, {"error": "body: must be a JSON object"})


def test_a_body_that_is_too_long(stub: AdminStub) -> None:
    answer = send(stub.url, "POST", "/api/allocations", b" " * 65_537, key="k")
    assert answer.status == 400
    assert answer.headers["Connection"] == "close"


def test_a_request_without_a_key(stub: AdminStub) -> None:
    answer = send(stub.url, "POST", "/api/allocations", ASKED)
    assert (answer.status, answer.json) == (400, {"error": "Idempotency-Key: is required"})


def test_a_connection_is_kept(stub: AdminStub) -> None:
    connection = http.client.HTTPConnection(stub.url.removeprefix("http://"), timeout=30)
    connection.connect()
    kept = connection.sock
    for n in range(3):
        connection.request(
            "POST", "/api/allocations", json.dumps(ASKED), {"Idempotency-Key": str(n)}
        )
        assert connection.getresponse().read()
        assert connection.sock is kept
    connection.close()
    assert len(stub.allocations) == 3


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/", 404),
        ("POST", "/", 404),
        ("DELETE", "/api/allocations", 404),
        ("PUT", "/api/allocations", 501),
    ],
)
def test_other_requests(stub: AdminStub, method: str, path: str, status: int) -> None:
    assert send(stub.url, method, path, {}).status == status


# --- faults


def test_a_status_that_was_asked_for_and_nothing_is_allocated(stub: AdminStub) -> None:
    stub.fault(Fault(status=503, times=2))
    assert [allocate(stub).status for _ in range(3)] == [503, 503, 201]
    assert (len(stub.allocations), stub.requests) == (1, 3)


def test_a_late_answer_to_what_was_carried_out(stub: AdminStub) -> None:
    stub.fault(Fault(delay_s=60))
    with pytest.raises(TimeoutError):
        send(stub.url, "POST", "/api/allocations", ASKED, key="k-1", timeout=0.5)
    wait_until(lambda: stub.allocations, what="the allocation, whose answer is late")
    assert allocate(stub).status == 200


def test_a_fault_for_one_student(stub: AdminStub) -> None:
    stub.fault(Fault(status=500, student_id="s-2"))
    assert allocate(stub, "k-1").status == 201
    assert [allocate(stub, "k-2", student_id="s-2").status for _ in range(2)] == [500, 201]


def test_faults_over_http(stub: AdminStub) -> None:
    described = {"status": 503, "times": 2, "delay_s": 0, "student_id": "s-1"}
    answer = send(stub.url, "POST", "/faults", described)
    assert (answer.status, answer.json) == (201, described)
    assert allocate(stub).status == 503
    assert send(stub.url, "DELETE", "/faults").status == 200
    assert allocate(stub).status == 201
    stub.fault(Fault(status=500))
    stub.mend()
    assert allocate(stub).status == 200


@pytest.mark.parametrize(
    ("described", "why"),
    [
        ({"times": 0}, "times: must be an integer from 1"),
        ({"times": "1"}, "times: must be an integer from 1"),
        ({"times": True}, "times: must be an integer from 1"),
        ({"status": 200}, "status: must be an integer from 400 to 599"),
        ({"status": "503"}, "status: must be an integer from 400 to 599"),
        ({"delay_s": -1}, "delay_s: must be a number from 0 to 3600"),
        ({"delay_s": "1"}, "delay_s: must be a number from 0 to 3600"),
        ({"student_id": 7}, "student_id: must be a text"),
        ({"delay": 7}, "delay: is not known"),
    ],
)
def test_a_fault_that_is_none_is_named(stub: AdminStub, described: object, why: str) -> None:
    answer = send(stub.url, "POST", "/faults", described)
    assert (answer.status, answer.json) == (400, {"error": why})


def test_its_end_does_not_wait_for_clients(stub: AdminStub) -> None:
    with AdminStub() as other:
        other.fault(Fault(delay_s=60))
        idle = socket.create_connection(("127.0.0.1", int(other.url.rpartition(":")[2])), 30)
        with pytest.raises(TimeoutError):
            send(other.url, "POST", "/api/allocations", ASKED, key="k-1", timeout=0.5)
        began = monotonic()
    assert monotonic() - began < 30
    assert idle.recv(1) == b""
    idle.close()


# --- as a command


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "app.consumers.admin_stub", *words]


@contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process, and its URL."""
    process = subprocess.Popen(
        command(*words), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        name, _, url = line.strip().rpartition(" ")
        assert name == "admin service stand-in on", line + process.stdout.read()
        yield process, url
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_end(number: int) -> None:
    with started("--port", "0", "--latency-ms", "1") as (process, url):
        assert send(url, "GET", "/health").status == 200
        assert send(url, "POST", "/api/allocations", ASKED, key="k").status == 201
        process.send_signal(number)
        assert process.wait(30) == 0


def test_the_port_is_the_one_that_was_asked_for() -> None:
    port = free_port()
    with started("--port", str(port)) as (_, url):
        assert url == f"http://127.0.0.1:{port}"
        done = run("--port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"Error: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        cwd=ROOT,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_refuses_to_serve_in_production() -> None:
    done = run("--port", "0", APP_ENV="production")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: APP_ENV='production': this is a stand-in for the admin service, "
        "for development and tests\n"
    )


def test_its_help_says_what_it_is_not() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "A stand-in for the admin service, for development and tests." in done.stdout
