from __future__ import annotations

import contextlib
import json
import logging
import socket
import ssl
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import time
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from app.consumers.admin_service import (
    CONNECTIONS,
    AdminService,
    AdminServiceFailed,
    Allocation,
    read_answer,
)
from app.events.handler import Rejected, Unreachable
from tests.app.bare_server import Connection, serving
from tests.cluster import free_port

KEY, CORRELATION, PURCHASE = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
ANSWER = {"allocation_id": "a-1", "trainer_id": "t-1", "status": "active", "session_time": "09:15"}
BODY = json.dumps(ANSWER).encode()
TRAINER = Allocation(
    allocation_id="a-1", trainer_id="t-1", status="active", session_time=time(9, 15)
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@contextlib.contextmanager
def service(url: str, *, timeout: float = 30) -> Iterator[Callable[[], Allocation]]:
    """Asks the service at the URL, as often as it is called."""
    admin = AdminService(url=url, timeout=timeout)
    yield lambda: admin.allocate(
        purchase_id=PURCHASE,
        student_id="s-ä",
        course_id="c-1",
        idempotency_key=KEY,
        correlation_id=CORRELATION,
    )
    admin.close()


def answers(connection: Connection, _: int) -> None:
    while True:
        connection.request()
        connection.answer(BODY)


def test_what_is_asked_and_what_is_answered() -> None:
    with serving(answers) as server, service(server.url) as ask:
        assert ask() == TRAINER
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == "POST /api/allocations HTTP/1.1"
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert headers["idempotency-key"] == str(KEY)
    assert headers["x-correlation-id"] == str(CORRELATION)
    assert headers["content-type"] == "application/json"
    fields = {"purchase_id": str(PURCHASE), "student_id": "s-ä", "course_id": "c-1"}
    assert json.loads(body) == fields


@pytest.mark.parametrize("path", ["", "/", "/admin", "/admin/"])
def test_the_url_may_have_a_path(path: str) -> None:
    with serving(answers) as server, service(server.url + path) as ask:
        ask()
    expected = f"POST {path.rstrip('/')}/api/allocations HTTP/1.1\r\n"
    assert server.requests[0].startswith(expected.encode())


def test_a_connection_is_kept() -> None:
    with serving(answers) as server, service(server.url) as ask:
        for _ in range(5):
            ask()
    assert (server.connections, len(server.requests)) == (1, 5)


def test_as_many_connections_as_calls_at_once_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    all_here = threading.Barrier(CONNECTIONS)

    def together(connection: Connection, _: int) -> None:
        while True:
            connection.request()
            all_here.wait(30)
            connection.answer(BODY)

    with (
        caplog.at_level(logging.WARNING),
        serving(together) as server,
        service(server.url) as ask,
        ThreadPoolExecutor(CONNECTIONS) as threads,
    ):
        for _ in range(3):
            calls = [threads.submit(ask) for _ in range(CONNECTIONS)]
            assert {call.result(60) for call in calls} == {TRAINER}
    assert server.connections == CONNECTIONS
    assert caplog.records == []


# --- no connection


def test_nobody_listens() -> None:
    with service(f"http://127.0.0.1:{free_port()}") as ask, pytest.raises(Unreachable) as away:
        ask()
    assert str(away.value) == "the admin service: Connection refused"


@pytest.mark.parametrize("name", ["admin.invalid", "a..b", "x" * 64])
def test_a_name_that_is_none(name: str) -> None:
    with service(f"http://{name}") as ask, pytest.raises(Unreachable) as away:
        ask()
    assert str(away.value) == "the admin service: its name cannot be resolved"


def test_a_connection_that_does_not_come_about_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        with contextlib.ExitStack() as waiting:
            for _ in range(4):  # more than wait to be accepted
                client = waiting.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
            with (
                service(f"http://127.0.0.1:{port}", timeout=0.5) as ask,
                pytest.raises(Unreachable) as away,
            ):
                ask()
    assert str(away.value) == "the admin service: no connection in time"


# --- no whole answer


def late(connection: Connection) -> None:
    connection.hang()


def trickling_head(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\n")
    connection.trickle(b"X-Slow: 1\r\n", times=90)
    connection.trickle(b"x")


def trickling_body(connection: Connection) -> None:
    connection.send(HEAD)
    connection.trickle(b" ")


def trickling_chunks(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.trickle(b"1\r\n \r\n")


def trickling_within_a_chunk(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n")
    connection.trickle(b" ")


@pytest.mark.parametrize(
    "behaviour",
    [late, trickling_head, trickling_body, trickling_chunks, trickling_within_a_chunk],
)
def test_an_answer_that_is_not_whole_in_time(behaviour: Callable[[Connection], None]) -> None:
    def behave(connection: Connection, _: int) -> None:
        connection.request()
        behaviour(connection)

    with serving(behave) as server, service(server.url, timeout=1) as ask:
        began = monotonic()
        with pytest.raises(AdminServiceFailed) as failure:
            ask()
        # A trickle alone would go on for minutes.
        assert 0.9 < monotonic() - began < 30
    assert str(failure.value) == "the admin service: no whole answer within 1 s"
    assert len(server.requests) == 1, "not asked again"


def closed_at_once(connection: Connection) -> None:
    pass


def closed_within_the_first_line(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 20")


def closed_within_the_body(connection: Connection) -> None:
    connection.send(HEAD + BODY)


def no_http(connection: Connection) -> None:
    connection.send(b"220 mail.example.com ESMTP\r\n")


def bad_chunks(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot hexadecimal\r\n")


@pytest.mark.parametrize(
    "behaviour",
    [
        closed_at_once,
        closed_within_the_first_line,
        closed_within_the_body,
        no_http,
        bad_chunks,
    ],
)
def test_an_answer_that_breaks_off(behaviour: Callable[[Connection], None]) -> None:
    def behave(connection: Connection, _: int) -> None:
        connection.request()
        behaviour(connection)

    with serving(behave) as server, service(server.url) as ask:
        with pytest.raises(AdminServiceFailed) as failure:
            ask()
        assert len(server.requests) == 1, "an attempt asks once"
    assert str(failure.value).startswith("the admin service: the connection broke ")


def test_a_kept_connection_that_was_closed_meanwhile_costs_nothing() -> None:
    def once(connection: Connection, number: int) -> None:
        connection.request()
        connection.answer(BODY)
        if number == 0:
            connection.request()  # and no answer
        else:
            answers(connection, number)

    with serving(once) as server, service(server.url) as ask:
        assert [ask(), ask(), ask()] == [TRAINER] * 3
    assert (server.connections, len(server.requests)) == (2, 4)


def test_a_head_that_breaks_off() -> None:
    def behave(connection: Connection, _: int) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Le")

    with serving(behave) as server, service(server.url) as ask, pytest.raises(AdminServiceFailed):
        ask()


def test_a_body_without_end() -> None:
    def endless(connection: Connection, _: int) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.send(b" " * 65536)

    with (
        serving(endless) as server,
        service(server.url) as ask,
        pytest.raises(AdminServiceFailed) as failure,
    ):
        ask()
    assert str(failure.value) == (
        "the admin service's answer is malformed: body: must be at most 65536 bytes"
    )


def test_a_redirect_is_not_followed() -> None:
    with serving(answers) as elsewhere:

        def redirect(connection: Connection, _: int) -> None:
            connection.request()
            head = f"Location: {elsewhere.url}/api/allocations\r\n"
            connection.answer(b"", status="307 Temporary Redirect", head=head)

        with (
            serving(redirect) as server,
            service(server.url) as ask,
            pytest.raises(AdminServiceFailed) as failure,
        ):
            ask()
    assert str(failure.value) == "the admin service answered 307: no body"
    assert elsewhere.requests == []


def test_after_a_failure_the_next_call_is_not_affected() -> None:
    def first_is_bad(connection: Connection, number: int) -> None:
        connection.request()
        if number == 0:
            connection.send(HEAD + BODY)
            connection.hang()
        connection.answer(BODY)

    with serving(first_is_bad) as server, service(server.url, timeout=1) as ask:
        with pytest.raises(AdminServiceFailed):
            ask()
        assert ask() == TRAINER


# --- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that nobody trusts unless told to, with its key."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=admin", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(path), "-out", str(path.with_suffix(".crt"))),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    with path.open("ab") as file:
        file.write(path.with_suffix(".crt").read_bytes())
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


def test_tls(tls: ssl.SSLContext, trusted: None) -> None:
    with serving(answers, tls=tls) as server, service(server.url) as ask:
        assert [ask(), ask()] == [TRAINER] * 2
    assert server.connections == 1


def test_a_certificate_that_is_not_trusted(tls: ssl.SSLContext) -> None:
    with serving(answers, tls=tls) as server:
        with service(server.url) as ask, pytest.raises(Unreachable) as away:
            ask()
        assert server.requests == []
    assert "certificate verify failed" in str(away.value)


def test_a_peer_without_tls(trusted: None) -> None:
    with serving(answers) as server:
        url = server.url.replace("http:", "https:")
        with service(url, timeout=1) as ask, pytest.raises(Unreachable):
            ask()
    assert server.requests == []


def test_a_handshake_that_does_not_end() -> None:
    def silent(connection: Connection, _: int) -> None:
        connection.hang()

    with serving(silent) as server:
        url = server.url.replace("http:", "https:")
        with service(url, timeout=1) as ask, pytest.raises(Unreachable) as away:
            ask()
    assert str(away.value) == "the admin service: no connection in time"


def test_a_trickle_through_tls(tls: ssl.SSLContext, trusted: None) -> None:
    def behave(connection: Connection, _: int) -> None:
        connection.request()
        trickling_body(connection)

    with (
        serving(behave, tls=tls) as server,
        service(server.url, timeout=2) as ask,
        pytest.raises(AdminServiceFailed) as failure,
    ):
        ask()
    assert str(failure.value) == "the admin service: no whole answer within 2 s"


# --- what an answer says


def body(**change: Any) -> bytes:
    return json.dumps({k: v for k, v in {**ANSWER, **change}.items() if v is not ...}).encode()


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ("a-1", "t-1", "active", time(9, 15))),
        ({"status": "approved"}, ("a-1", "t-1", "approved", time(9, 15))),
        ({"session_time": ...}, ("a-1", "t-1", "active", time(10, 0))),
        ({"session_time": None}, ("a-1", "t-1", "active", time(10, 0))),
        ({"session_time": "00:00"}, ("a-1", "t-1", "active", time(0, 0))),
        ({"more": [1, 2]}, ("a-1", "t-1", "active", time(9, 15))),
        ({"trainer_id": "x" * 200}, ("a-1", "x" * 200, "active", time(9, 15))),
    ],
)
def test_an_allocation_is_read(
    status: int, change: dict[str, Any], expected: tuple[object, ...]
) -> None:
    assert tuple(vars(read_answer(status, body(**change))).values()) == expected


NO_TEXTS: list[Any] = [..., None, "", 7, "x" * 201, "a\0b", "\ud800"]
NO_STATUSES: list[Any] = [..., None, "", "pending", "Approved", 1, [], {}]
NO_TIMES: list[Any] = ["", "9:15", "09:15:00", "25:00", 9, []]
TEXT = "must be a text of 1 to 200 characters, without NUL"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "body: must be JSON"),
        (b"<html>", "body: must be JSON"),
        (b"\xff", "body: must be JSON"),
        (b"[" * 60_000, "body: must be JSON"),
        (b"[]", "body: must be a JSON object"),
        (b"null", "body: must be a JSON object"),
        (b" " * 65_537, "body: must be at most 65536 bytes"),
        *(
            (body(**{name: value}), f"{name}: {TEXT}")
            for name in ("allocation_id", "trainer_id")
            for value in NO_TEXTS
        ),
        *((body(status=value), "status: must be approved or active") for value in NO_STATUSES),
        *(
            (body(session_time=value), 'session_time: must be a time from "00:00" to "23:59"')
            for value in NO_TIMES
        ),
    ],
)
def test_a_malformed_answer_is_named(data: bytes, why: str) -> None:
    with pytest.raises(AdminServiceFailed) as failure:
        read_answer(200, data)
    assert str(failure.value) == f"the admin service's answer is malformed: {why}"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 499])
def test_what_is_refused_is_refused_for_good(status: int) -> None:
    with pytest.raises(Rejected) as refusal:
        read_answer(status, b'{"error": "no such course"}')
    assert str(refusal.value) == (
        f'the admin service refused with {status}: {{"error": "no such course"}}'
    )


@pytest.mark.parametrize("status", [202, 204, 301, 304, 408, 425, 429, 500, 502, 503, 504, 599])
def test_another_status_is_a_failure(status: int) -> None:
    with pytest.raises(AdminServiceFailed) as failure:
        read_answer(status, b"")
    assert str(failure.value) == f"the admin service answered {status}: no body"


@pytest.mark.parametrize(
    ("data", "excerpt"),
    [
        (b"", "no body"),
        (b" \r\n\t", "no body"),
        (b"two\nlines\x1b[31m", "two lines [31m"),
        (b"x" * 1000, "x" * 200),
        ("ä".encode() * 1000, "ä" * 200),
        (b"\xff\0", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_an_excerpt_is_one_short_line(data: bytes, excerpt: str) -> None:
    with pytest.raises(Rejected) as refusal:
        read_answer(400, data)
    assert str(refusal.value) == f"the admin service refused with 400: {excerpt}"
