"""Applications that talk with the server: start_response, write, hints, the socket, the client."""

from __future__ import annotations

import socket
import sys
import threading
from collections import defaultdict
from typing import Any

from tests.worker.shapes import PLAIN, Closing, Environ, Shape, Start, length, named

CONVERSATIONS: dict[str, Shape] = {}
_HELD_SECONDS = 20
_released: defaultdict[str, threading.Event] = defaultdict(threading.Event)


@named(CONVERSATIONS)
def started_twice(environ: Environ, start: Start) -> Any:
    start("200 OK", [PLAIN])
    start("404 Not Found", [PLAIN])
    return [b"hello"]


@named(CONVERSATIONS)
def started_again_after_a_bad_status(environ: Environ, start: Start) -> Any:
    try:
        start("bad", [PLAIN])
    except ValueError:
        start("500 Oh", [PLAIN, length(5)])
    return [b"hello"]


@named(CONVERSATIONS)
def started_again_after_a_bad_header(environ: Environ, start: Start) -> Any:
    try:
        start("200 OK", [("X-First", "yes"), ("X-Bad", "\n")])
    except Exception:
        start("500 Oh", [PLAIN, length(5)], (None, None, None))
    return [b"hello"]


def _error() -> Any:
    try:
        int("nothing")
    except ValueError:
        return sys.exc_info()


@named(CONVERSATIONS)
def error_before_anything(environ: Environ, start: Start) -> Any:
    start("500 Oh", [PLAIN, length(5)], _error())
    return [b"sorry"]


@named(CONVERSATIONS)
def error_after_start(environ: Environ, start: Start) -> Any:
    start("200 OK", [("X-First", "yes"), length(10)])
    start("500 Oh", [PLAIN, length(5)], _error())
    return [b"sorry"]


@named(CONVERSATIONS)
def error_after_start_without_length(environ: Environ, start: Start) -> Any:
    start("200 OK", [length(10)])
    start("500 Oh", [PLAIN], _error())
    return [b"sorry"]


@named(CONVERSATIONS)
def error_after_headers_are_sent(environ: Environ, start: Start) -> Any:
    def items() -> Any:
        yield b"first"
        start("500 Oh", [PLAIN], _error())
        yield b"never"

    start("200 OK", [PLAIN])
    return Closing(environ, items())


@named(CONVERSATIONS)
def started_in_the_generator(environ: Environ, start: Start) -> Any:
    start("200 OK", [length(3)])
    yield b"one"


@named(CONVERSATIONS)
def started_after_the_first_item(environ: Environ, start: Start) -> Any:
    yield b"early"
    start("200 OK", [PLAIN])


@named(CONVERSATIONS)
def started_with_words(environ: Environ, start: Start) -> Any:
    start(status="200 OK", headers=[length(5)], exc_info=None)
    return [b"hello"]


@named(CONVERSATIONS)
def started_with_too_little(environ: Environ, start: Start) -> Any:
    start("200 OK")
    return [b"hello"]


@named(CONVERSATIONS)
def write(environ: Environ, start: Start) -> Any:
    send = start("200 OK", [PLAIN])
    send(b"one")
    send(b"")
    send(b"two")
    return [b"three"]


@named(CONVERSATIONS)
def write_with_length(environ: Environ, start: Start) -> Any:
    send = start("200 OK", [length(6)])
    send(b"one")
    send(b"two and more")
    return []


@named(CONVERSATIONS)
def write_only_nothing(environ: Environ, start: Start) -> Any:
    start("200 OK", [PLAIN])(b"")
    return []


@named(CONVERSATIONS)
def write_str(environ: Environ, start: Start) -> Any:
    start("200 OK", [length(5)])("hello")
    return []


@named(CONVERSATIONS)
def write_after_the_end(environ: Environ, start: Start) -> Any:
    """In close(), when all has been said."""
    send = start("200 OK", [length(5)])

    class Late(Closing):
        def close(self) -> None:
            super().close()
            send(b"late")

    return Late(environ, [b"hello"])


@named(CONVERSATIONS)
def hints(environ: Environ, start: Start) -> Any:
    environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload"), (b"Link", b" </b.js> ")])
    environ["wsgi.early_hints"]([("Link", "</c.css>; rel=preload")])
    start("200 OK", [length(5)])
    return [b"hello"]


@named(CONVERSATIONS)
def hints_without_any(environ: Environ, start: Start) -> Any:
    environ["wsgi.early_hints"]([])
    start("200 OK", [length(5)])
    return [b"hello"]


@named(CONVERSATIONS)
def hints_with_a_bad_value(environ: Environ, start: Start) -> Any:
    environ["wsgi.early_hints"]([("Link", "a\r\nX-Injected: yes")])
    start("200 OK", [length(5)])
    return [b"hello"]


@named(CONVERSATIONS)
def hints_with_a_bad_name(environ: Environ, start: Start) -> Any:
    environ["wsgi.early_hints"]([("Li nk", "a")])
    start("200 OK", [length(5)])
    return [b"hello"]


@named(CONVERSATIONS)
def hints_too_late(environ: Environ, start: Start) -> Any:
    def items() -> Any:
        yield b"one"
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
        yield b"two"

    start("200 OK", [PLAIN])
    return Closing(environ, items())


@named(CONVERSATIONS)
def environ_emptied(environ: Environ, start: Start) -> Any:
    """Middleware may do with it what it likes."""
    closed = environ["tests.closed"]
    environ.clear()
    environ["tests.closed"] = closed
    start("200 OK", [length(5)])
    return Closing(environ, [b"hello"])


@named(CONVERSATIONS)
def environ_changed(environ: Environ, start: Start) -> Any:
    environ["REQUEST_METHOD"] = "HEAD"
    environ["SERVER_PROTOCOL"] = "HTTP/1.0"
    environ["HTTP_CONNECTION"] = "close"
    start("200 OK", [PLAIN])
    return [b"hello"]


@named(CONVERSATIONS)
def reading_while_answering(environ: Environ, start: Start) -> Any:
    def items() -> Any:
        yield b"first"
        while data := environ["wsgi.input"].read(10):
            yield data

    start("200 OK", [PLAIN])
    return Closing(environ, items())


@named(CONVERSATIONS)
def reading_at_close(environ: Environ, start: Start) -> Any:
    class Reading(Closing):
        def close(self) -> None:
            super().close()
            environ["wsgi.input"].read(3)

    start("200 OK", [length(5)])
    return Reading(environ, [b"hello"])


@named(CONVERSATIONS)
def socket_taken_over(environ: Environ, start: Start) -> Any:
    """As libraries for WebSockets do with Gunicorn: what goes over the socket is their affair."""
    sock: socket.socket = environ["gunicorn.socket"]
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tests\r\n\r\nready\n")
    sock.settimeout(_HELD_SECONDS)
    data = b""
    while b"\n" not in data and (more := sock.recv(100)):
        data += more
    sock.sendall(b"heard " + data)
    raise StopIteration


@named(CONVERSATIONS)
def held(environ: Environ, start: Start) -> Any:
    """Sends one piece, and the other when somebody asks for `release` meanwhile."""

    def items() -> Any:
        yield b"first"
        released = _released[environ["QUERY_STRING"]].wait(_HELD_SECONDS)
        yield b" second" if released else b" never released"

    start("200 OK", [PLAIN])
    return Closing(environ, items())


@named(CONVERSATIONS)
def release(environ: Environ, start: Start) -> Any:
    _released[environ["QUERY_STRING"]].set()
    start("200 OK", [length(2)])
    return [b"ok"]
