"""What the short way reads, Gunicorn's parser reads too, and understands in the same way."""

from __future__ import annotations

import itertools
import socket
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader
from gunicorn.http.wsgi import create
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.cluster.adaptive.connection import Connection
from deploy.cluster.adaptive.head import Environ, HeadParser, Reading, Template
from deploy.cluster.adaptive.incomplete import refusal
from deploy.cluster.adaptive.origin import Origin, server_of

PEER, SERVER = ("127.0.0.1", 4000), ("127.0.0.1", 3000)
USUAL = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"


def configured(**values: object) -> Config:
    cfg = Config()
    for name, value in values.items():
        cfg.set(name, value)
    return cfg


def short_way(data: bytes, cfg: Config | None = None) -> Environ | Reading:
    cfg = cfg or Config()
    with socket.socket() as sock:
        origin = Origin(cfg)
        connection = Connection(sock, PEER, SERVER)
        origin.describe(connection)
        parser = HeadParser(cfg, script_name=origin.script_name)
        found, again = (
            parser.read(data, connection.template, trusted=connection.trusted) for _ in range(2)
        )
        assert again == found  # also with the fields known
    return found if isinstance(found, Reading) else found[0]


def gunicorns_way(data: bytes, cfg: Config | None = None) -> Environ:
    """Raises what Gunicorn's parser raises."""
    cfg = cfg or Config()
    with socket.socket() as sock:
        request = Request(cfg, IterUnreader([data]), PEER)
        environ: Environ = create(request, sock, PEER, SERVER, cfg)[1]
    return environ


def text_of(environ: Environ) -> dict[str, Any]:
    """Without the objects, which are each request's own."""
    return {key: value for key, value in environ.items() if isinstance(value, str)}


METHODS = st.sampled_from(
    ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PURGE", "get", "G", "CONNECT"]
)
TARGETS = st.one_of(
    st.sampled_from(
        [
            "/",
            "/a/b",
            "//a",
            "/a?b",
            "/?",
            "/a?b?c",
            "/a#b",
            "/%41%20%C3%A9",
            "/%",
            "/%zz",
            "*",
            "/a;b=c",
            "/:80",
            "/[",
            "http://x/y",
            "x:80",
            "/a\x7f",
            "/\xe9",
            "/ b",
            "",
            "/a//b",
            "/#",
        ]
    ),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=8).map("/".__add__),
)
VERSIONS = st.sampled_from(
    ["HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 "]
)
NAMES = st.sampled_from(
    [
        "Host",
        "host",
        "X-A",
        "x-a",
        "X_A",
        "Content-Type",
        "Content-Length",
        "Content_Length",
        "Cookie",
        "Transfer-Encoding",
        "Expect",
        "Connection",
        "Upgrade",
        "X-Forwarded-Proto",
        "X-Forwarded-Ssl",
        "SCRIPT_NAME",
        "Script-Name",
        "X A",
        "",
        "X-\xe9",
        "Ke(y",
        "Remote-Addr",
        "X-A ",
        " X-A",
        "Path-Info",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        ["", "x", "0", "5", "05", "+5", "5, 5", "\xb2", "close", "https", "on", " x ", "\tx"]
    ).map(str),
    st.text(st.characters(max_codepoint=0xFF), max_size=6),
)
SEPARATORS = st.sampled_from([": ", ":", " : ", ":\t", ""])
ENDS = st.sampled_from(["\r\n"] * 6 + ["\n", "\r", "\r\n "])
FIELDS = st.lists(st.tuples(NAMES, SEPARATORS, VALUES, ENDS).map("".join), max_size=5).map("".join)


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(METHODS, TARGETS, VERSIONS, FIELDS)
def test_an_accepted_head_means_to_gunicorn_what_it_means_here(
    method: str, target: str, version: str, fields: str
) -> None:
    data = f"{method} {target} {version}\r\n{fields}\r\n".encode("latin-1")
    found = short_way(data)
    if isinstance(found, Reading):
        return
    assert text_of(found) == text_of(gunicorns_way(data))


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1",
        "GET / HTTP/1.0\r\nConnection: keep-alive",
        "POST /a%20b?c=%20d HTTP/1.1\r\nContent-Type: a/b\r\nContent-Length: 5",
        "GET /\x7e HTTP/1.1\r\nX-\xe9: x".replace("\xe9", "e"),
        "GET / HTTP/1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 10.0.0.1",
        "GET / HTTP/1.1\r\nX-Forwarded-Ssl: off",
        "GET / HTTP/1.1\r\nCookie: a=b; c=\xe9\r\nX-Empty:\r\nX-Tab: a\tb",
    ],
)
def test_the_usual_is_accepted(head: str) -> None:
    data = f"{head}\r\n\r\n".encode("latin-1")
    found = short_way(data)
    assert not isinstance(found, Reading)
    assert text_of(found) == text_of(gunicorns_way(data))


@pytest.mark.parametrize(
    ("values", "head"),
    [
        ({"limit_request_line": 20}, "GET /aaaaaaaaaaaaaaaaaaa HTTP/1.1"),
        ({"limit_request_fields": 1}, "GET / HTTP/1.1\r\nA: b\r\nC: d"),
        ({"limit_request_field_size": 8}, "GET / HTTP/1.1\r\nA: bbbbbbbbb"),
        (
            {"forwarded_allow_ips": "*"},
            "GET / HTTP/1.1\r\nX-Forwarded-Proto: a\r\nX-Forwarded-Ssl: on",
        ),
    ],
)
def test_what_a_setting_may_refuse_is_left_to_gunicorn(
    values: dict[str, object], head: str
) -> None:
    assert short_way(f"{head}\r\n\r\n".encode(), configured(**values)) is Reading.UNUSUAL


def test_a_peer_that_is_not_trusted_does_not_name_the_scheme() -> None:
    data = b"GET / HTTP/1.1\r\nX-Forwarded-Proto: https\r\n\r\n"
    found = short_way(data, configured(forwarded_allow_ips="10.0.0.1"))
    assert isinstance(found, dict)
    assert found["wsgi.url_scheme"] == "http"


def test_script_name_is_cut_from_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPT_NAME", "/app")
    data = b"GET /app/x%20y HTTP/1.1\r\n\r\n"
    found = short_way(data)
    assert isinstance(found, dict)
    assert text_of(found) == text_of(gunicorns_way(data))
    assert short_way(b"GET /other HTTP/1.1\r\n\r\n") is Reading.UNUSUAL


def test_names_that_clients_make_up_do_not_fill_the_memory() -> None:
    parser = HeadParser(Config(), script_name="")
    for number in range(3000):
        data = f"GET / HTTP/1.1\r\nX-{number}: y\r\n\r\n".encode()
        assert not isinstance(parser.read(data, Template({}), trusted=False), Reading)
    assert len(parser._keys) <= 1024  # noqa: SLF001


def test_a_request_has_the_fields_that_it_brings_and_not_those_of_the_one_before() -> None:
    parser, template = HeadParser(Config(), script_name=""), Template({"wsgi.multithread": True})
    for fields in ("A: 1", "A: 1", "A: 2", "B: 1", "", "A: 1\r\nB: 2", "A: 1"):
        head = f"GET /{fields.count('B')} HTTP/1.1\r\n{fields}" + ("\r\n" if fields else "")
        found = parser.read(f"{head}\r\n".encode(), template, trusted=False)
        assert not isinstance(found, Reading)
        pairs = (line.split(": ") for line in fields.split("\r\n") if line)
        expected = {f"HTTP_{name}": value for name, value in pairs}
        assert {key: value for key, value in found[0].items() if "HTTP_" in key} == expected
        found[0].clear()  # what an application does to it is of no consequence to the next one


@pytest.mark.parametrize("length", range(len(USUAL)))
def test_the_beginning_of_a_good_head_is_waited_for(length: int) -> None:
    assert short_way(USUAL[:length]) is Reading.INCOMPLETE
    assert refusal(Config(), USUAL[:length], PEER) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\n",
        b"get / HTTP/1.1\r\n",
        b"GET / HTTP/3.1\r\n",
        b"GET / HTTP/1.1\r\nHost: x\n",
        b"G" * 5000,
        b"\r\n\r\nGET",
    ],
)
def test_a_head_that_gunicorn_refuses_early_is_not_waited_for(data: bytes) -> None:
    assert refusal(Config(), data, PEER) is not None


@pytest.mark.parametrize(
    ("path", "host", "scheme"),
    list(
        itertools.product(
            ["/run/s", "/run/s:x"], [None, "", "a", "a:81", "[::1]:80"], ["http", "https"]
        )
    ),
)
def test_behind_a_unix_socket_the_server_is_named_as_gunicorn_does(
    path: str, host: str | None, scheme: str
) -> None:
    fields = "" if host is None else f"Host: {host}\r\n"
    fields += f"X-Forwarded-Proto: {scheme}\r\n"
    cfg = configured(forwarded_allow_ips="*")
    request = Request(cfg, IterUnreader([f"GET / HTTP/1.1\r\n{fields}\r\n".encode()]), "")
    with socket.socket() as sock:
        environ = create(request, sock, "", path, cfg)[1]
    assert server_of(path, host, scheme) == (environ["SERVER_NAME"], environ["SERVER_PORT"])
