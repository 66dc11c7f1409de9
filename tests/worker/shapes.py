"""Statuses, headers and items of every kind, those that WSGI forbids among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
Start = Any  # what a start_response must not be given, it is given here
Shape = Callable[[Environ, Start], Any]

PLAIN = ("Content-Type", "text/plain")
SHAPES: dict[str, Shape] = {}


class Closing:
    """An iterable whose close() is counted."""

    def __init__(self, environ: Environ, items: Iterable[Any]):
        self._items = iter(items)
        self._closed = environ["tests.closed"]

    def __iter__(self) -> Iterator[Any]:
        return self._items

    def close(self) -> None:
        self._closed()


def named(into: dict[str, Shape]) -> Callable[[Shape], Shape]:
    """Registers an answer by its function's name."""

    def register(function: Shape) -> Shape:
        into[function.__name__.replace("_", "-")] = function
        return function

    return register


def items(name: str, *given: Any, status: Any = "200 OK", headers: Any = (PLAIN,)) -> None:
    """Registers an answer of these items, as an iterable whose close() is counted."""

    def answer(environ: Environ, start: Start) -> Closing:
        start(status, list(headers))
        return Closing(environ, given)

    SHAPES[name] = answer


def length(size: object) -> tuple[str, str]:
    return ("Content-Length", str(size))


# Bodies and how their length is told.
items("one-item", b"hello")
items("several-items", b"one", b"two", b"three")
items("empty-items-in-between", b"", b"one", b"", b"", b"two", b"")
items("only-empty-items", b"", b"")
items("no-items")
items("length", b"hello", headers=[PLAIN, length(5)])
items("length-of-several", b"hel", b"", b"lo", headers=[length(5)])
items("length-too-short", b"hello", b"more", headers=[length(3)])
items("length-too-long", b"hello", headers=[length(10)])
items("length-zero", headers=[length(0)])
items("length-zero-with-a-body", b"hello", headers=[length(0)])
items("length-zero-with-an-empty-item", b"", headers=[length(0)])
items("length-with-blanks", b"hello", headers=[("content-length", "  5 ")])
items("length-twice", b"hello", headers=[length(5), length(5)])
items("length-twice-differently", b"hello", headers=[length(5), length(3)])
items("length-no-number", b"hello", headers=[length("five")])
items("length-negative", b"hello", headers=[length(-1)])
items("length-with-a-plus", b"hello", headers=[length("+5")])
items("length-with-an-underscore", b"hello" * 4, headers=[length("1_0")])
items("length-empty", b"hello", headers=[length("")])
items("length-of-other-digits", b"hello", headers=[length("\u00b2")])
items("large", b"x" * (1 << 20))
items("large-with-length", b"x" * (1 << 20), headers=[length(1 << 20)])
items("large-in-pieces", *[bytes([i]) * 8192 for i in range(128)])
items("large-in-small-pieces", *[bytes([i]) * 512 for i in range(256)] * 4)

# Items that are no bytes.
items("item-str", "hello")
items("item-none", None)
items("item-bytearray", bytearray(b"hello"))
items("item-memoryview", memoryview(b"hello"))
items("item-int", 7)
items("later-item-str", b"hello", "there")
items("length-and-later-item-str", b"hello", "there", headers=[length(10)])

# Statuses.
for _status in ("204 No Content", "304 Not Modified", "205 Reset Content"):
    items(f"status-{_status[:3]}", status=_status)
    items(f"status-{_status[:3]}-with-a-body", b"hello", status=_status)
    items(f"status-{_status[:3]}-with-length", b"hello", status=_status, headers=[length(5)])
    items(f"status-{_status[:3]}-with-length-zero", status=_status, headers=[length(0)])
for _name, _value in {
    "100": "100 Continue",
    "101": "101 Switching Protocols",
    "103": "103 Early Hints",
    "199": "199 Odd",
    "404": "404 Not Found",
    "500": "500 Oh",
    "999": "999 Odd",
    "000": "000 Odd",
    "without-reason": "200",
    "empty-reason": "200 ",
    "two-blanks": "200  OK",
    "latin-1": "200 \xd6k",
    "tab": "200 O\tK",
    "of-two-digits": "20 OK",
    "of-four-digits": "2000 OK",
    "no-number": "OK",
    "empty": "",
    "leading-blank": " 200 OK",
    "line-break": "200 OK\r\nX-Injected: yes",
    "not-latin-1": "200 \u20ac",
    "nul": "200 O\0K",
    "int": 200,
    "bytes": b"200 OK",
    "none": None,
}.items():
    items(f"status-{_name}", b"hello", status=_value)

# Headers.
for _name, _headers in {
    "none": [],
    "repeated": [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("set-cookie", "c=3")],
    "blanks-around": [("X-Blanks", "  \t a  b \t ")],
    "empty-value": [("X-Empty", "")],
    "latin-1": [("X-Latin", "\xe9\xff")],
    "server-and-date": [("Server", "mine"), ("Date", "yesterday")],
    "hop-by-hop": [
        *(("Keep-Alive", "timeout=5"), ("Transfer-Encoding", "chunked"), ("TE", "trailers")),
        *(("Trailers", "X"), ("Trailer", "X"), ("Proxy-Authenticate", "Basic")),
        *(("Proxy-Authorization", "x"), ("X-After", "here")),
    ],
    "connection-close": [("Connection", "close"), length(5)],
    "connection-keep-alive": [("Connection", "keep-alive"), length(5)],
    "connection-upgrade": [("Connection", "Upgrade"), ("Upgrade", "websocket"), length(5)],
    "connection-lists-upgrade": [("Connection", "keep-alive, Upgrade"), length(5)],
    "upgrade-websocket": [("Upgrade", "WebSocket"), length(5)],
    "upgrade-h2c": [("Upgrade", "h2c"), length(5)],
    "value-line-break": [("X-Bad", "a\r\nX-Injected: yes")],
    "value-line-feed": [("X-Bad", "a\n b")],
    "value-nul": [("X-Bad", "a\0b")],
    "value-del": [("X-Bad", "a\x7fb")],
    "value-not-latin-1": [("X-Bad", "\u20ac")],
    "name-line-break": [("X-Bad\r\nX-Injected", "yes")],
    "name-blank": [("X Bad", "yes")],
    "name-colon": [("X-Bad:", "yes")],
    "name-empty": [("", "yes")],
    "name-not-ascii": [("X-\xe9", "yes")],
    "name-bytes": [(b"X-Bad", "yes")],
    "name-none": [(None, "yes")],
    "value-bytes": [("X-Bad", b"yes")],
    "value-int": [("Content-Length", 5)],
    "value-none": [("X-Bad", None)],
    "of-one": [("X-Bad",)],
    "of-three": [("X-Bad", "yes", "no")],
    "good-then-bad": [length(5), ("X-Good", "yes"), ("X-Bad", "\n")],
    "many": [(f"X-{number}", "v" * 50) for number in range(400)],
    "as-lists": [["X-List", "yes"], ["Content-Length", "5"]],
}.items():
    items(f"headers-{_name}", b"hello", headers=_headers)
