"""The answer to a usual request: Gunicorn's Response, with the usual case made short.

What is not usual (a repeated start_response, a header that must be looked at) goes to the methods
of Gunicorn 27's http/wsgi.py that are overridden here, so that it is treated as there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gunicorn import SERVER, util
from gunicorn.http.message import TOKEN_RE
from gunicorn.http.wsgi import STATUS_RE, Response, _make_early_hints_callback

from deploy.cluster.adaptive.connection import Connection
from deploy.cluster.adaptive.request import UsualRequest

_PLAIN, _LENGTH, _HOP = 1, 2, 3  # what a header of an answer is to a server
_KNOWN_MOST = 1024
# Up to here it is cheaper to copy into one buffer than to tell the kernel of two.
_COPIED_MOST = 16 * 1024

Hold = Callable[[Connection, bytes, float], None]
Headers = list[tuple[str, str]]


class Dated:
    """First lines of answers, with the date; written anew once a second."""

    def __init__(self) -> None:
        self._until = 0.0
        self._known: dict[tuple[Any, str | None, str, bool], str] = {}

    def lines(
        self,
        version: tuple[int, int],
        status: str | None,
        connection: str,
        *,
        chunked: bool,
        now: float,
    ) -> str:
        """Status line and the headers that are Gunicorn's own; `now` in monotonic seconds."""
        if now >= self._until:
            self._known.clear()
            wall = time.time()
            self._until = now + 1 - wall % 1
        key = (version, status, connection, chunked)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = (
                f"HTTP/{version[0]}.{version[1]} {status}\r\n"
                f"Server: {SERVER}\r\n"
                f"Date: {util.http_date()}\r\n"
                f"Connection: {connection}\r\n"
                + ("Transfer-Encoding: chunked\r\n" if chunked else "")
            )
        return known


class Answer(Response):
    """Written in one piece when the application gives it in one."""

    # As Response.__init__ has them.
    version = SERVER
    status: str | None = None
    chunked = False
    must_close = False
    headers_sent = False
    response_length = None
    sent = 0
    upgrade = False
    _omits_body = False
    _omits_body_warned = False

    _kinds: dict[str, int] = {}  # noqa: RUF012 - by name, of headers that applications have sent
    _codes: dict[str, int] = {}  # noqa: RUF012 - by status

    def __init__(
        self,
        request: UsualRequest,
        connection: Connection,
        cfg: Any,
        dated: Dated,
        now: float,
        hold: Hold | None,
    ):
        self.req = request
        self.sock = connection.sock
        self.cfg = cfg
        self.headers: Headers = []
        self._connection = connection
        self._dated = dated
        self._now = now
        self._hold = hold  # None: answers are sent at once

    def start_response(
        self, status: str, headers: Headers, exc_info: Any = None
    ) -> Callable[..., Any]:
        """PEP 3333's; what it raises, Gunicorn's raises."""
        code = self._codes.get(status) or self._learn_status(status)
        unusual = exc_info is not None or self.status is not None or self.req.method == "HEAD"
        if not code or unusual or type(headers) is not list:
            return super().start_response(status, headers, exc_info)  # type: ignore[no-any-return]
        kinds = self._kinds
        length = None
        kept: Headers = []
        for name, value in headers:
            kind = kinds.get(name) or self._learn_header(name)
            if kind == _HOP or not (type(value) is str and value.isascii() and value.isprintable()):
                return super().start_response(status, headers, exc_info)  # type: ignore[no-any-return]
            value = value.strip(" ")
            if kind == _LENGTH:
                if not value.isdecimal():
                    return super().start_response(status, headers, exc_info)  # type: ignore[no-any-return]
                length = int(value)
            kept.append((name, value))
        if length is None and self.req.version == (1, 1):
            self.chunked = True
        self.status, self.status_code = status, code
        self.headers, self.response_length = kept, length
        return self.write

    def default_headers(self) -> list[str]:
        """As Gunicorn's, by the line; known for a second."""
        connection = "close" if self.should_close() else "keep-alive"
        if self.upgrade:
            connection = "upgrade"
        return [
            self._dated.lines(
                self.req.version, self.status, connection, chunked=self.chunked, now=self._now
            )
        ]

    def write(self, data: bytes) -> None:
        """The first piece goes with the head, in one call; the others as Gunicorn sends them."""
        if self.headers_sent or self._omits_body or type(data) is not bytes:
            super().write(data)
            return
        length = self.response_length
        if length is not None:
            if len(data) > length:
                data = data[: max(length, 0)]
            body = data
        elif self.chunked and data:
            body = b"%X\r\n%b\r\n" % (len(data), data)
        else:
            body = data
        head = self._head()
        self.headers_sent = True
        self.sent = len(data)
        if len(body) <= _COPIED_MOST:
            if self._hold is not None and length == len(body):
                self._hold(self._connection, head + body, self._now)
            else:
                self.sock.sendall(head + body)
            return
        done = self.sock.sendmsg((head, body))
        if done < len(head) + len(body):
            self.sock.sendall(memoryview(head + body)[done:])

    def send_early_hints(self, headers: Headers) -> None:
        """`wsgi.early_hints`, made when it is called."""
        _make_early_hints_callback(self.req, self.sock, self)(headers)

    def _head(self) -> bytes:
        lines = self.default_headers()
        lines += [f"{name}: {value}\r\n" for name, value in self.headers]
        lines.append("\r\n")
        return "".join(lines).encode("latin-1")

    def _learn_status(self, status: object) -> int:
        """Its code; 0 when it must be looked at: it is wrong, or its answer has no body."""
        if not isinstance(status, str) or not STATUS_RE.fullmatch(status):
            return 0
        code = int(status[:3])
        if code < 200 or code in (204, 304):
            return 0
        if len(self._codes) >= _KNOWN_MOST:
            self._codes.clear()
        self._codes[status] = code
        return code

    def _learn_header(self, name: object) -> int:
        if not isinstance(name, str) or not TOKEN_RE.fullmatch(name):
            return _HOP
        lower = name.lower()
        kind = _LENGTH if lower == "content-length" else _PLAIN
        if util.is_hoppish(name):
            kind = _HOP
        if len(self._kinds) >= _KNOWN_MOST:
            self._kinds.clear()
        self._kinds[name] = kind
        return kind
