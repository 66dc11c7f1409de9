from __future__ import annotations

import pytest

from loadtests.outcome import Kind
from loadtests.target import Target, TargetError


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("http://127.0.0.1:3000", Target(("127.0.0.1", 3000), "/", "127.0.0.1:3000")),
        ("http://127.9.9.9/a?b=c", Target(("127.9.9.9", 80), "/a?b=c", "127.9.9.9")),
        ("http://localhost:1/x", Target(("127.0.0.1", 1), "/x", "localhost:1")),
        ("http://[::1]:3000/", Target(("::1", 3000), "/", "[::1]:3000")),
        ("unix:/run/app.sock", Target("/run/app.sock", "/", "localhost")),
    ],
)
def test_this_machine_is_a_target(text: str, target: Target) -> None:
    assert Target.parse(text) == target


def test_a_unix_target_takes_its_path_apart() -> None:
    assert Target.parse("unix:app.sock", "/healthz").path == "/healthz"


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        ("http://10.0.0.1:3000/", None, "only this machine"),
        ("http://example.org/", None, "only this machine"),
        ("http://localhost.example.org/", None, "only this machine"),
        ("http://127.0.0.1.example.org/", None, "only this machine"),
        ("http://0.0.0.0:3000/", None, "only this machine"),
        ("http://127.0.0.1@10.0.0.1/", None, "expected http"),
        ("https://127.0.0.1/", None, "expected http"),
        ("127.0.0.1:3000", None, "expected http"),
        ("http://127.0.0.1:port/", None, "Port could not"),
        ("http://127.0.0.1/a b", None, "without spaces"),
        ("http://127.0.0.1/", "/x", "into the URL"),
        ("unix:", None, "expected unix:"),
        ("unix:/x", "x", "from '/'"),
        ("unix:/x", "/\r\nX: y", "without spaces"),
    ],
)
def test_anything_else_is_refused_in_one_line(text: str, path: str | None, why: str) -> None:
    with pytest.raises(TargetError, match=why) as raised:
        Target.parse(text, path)
    assert "\n" not in str(raised.value)


def test_a_request_says_what_becomes_of_its_connection() -> None:
    target = Target.parse("http://127.0.0.1:3000/a")
    assert target.request("GET", Kind.FRESH) == (
        b"GET /a HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nConnection: close\r\n\r\n"
    )
    assert target.request("POST", Kind.KEEPALIVE, ["host: example.org", "X-A: b"]) == (
        b"POST /a HTTP/1.1\r\nhost: example.org\r\nX-A: b\r\nContent-Length: 0\r\n"
        b"Connection: keep-alive\r\n\r\n"
    )


@pytest.mark.parametrize("header", ["none", "A: b\r\nC: d", " A: b", "Connection: x", "A : b"])
def test_a_header_that_would_break_the_request_is_refused(header: str) -> None:
    with pytest.raises(TargetError, match="header"):
        Target.parse("unix:/x").request("GET", Kind.FRESH, [header])
