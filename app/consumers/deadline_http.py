"""HTTP whose answers are whole by a deadline, however slowly they come.

A socket's time-out is for each of its reads: a peer that sends a byte now and then is never late.
"""

from __future__ import annotations

import socket
import ssl
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProtocolError


class StaleConnectionError(ProtocolError):
    """The peer had closed a connection that was kept; the request may be sent again."""


def pool(url: str, *, connections: int) -> HTTPConnectionPool:
    """The connections to the URL's host, so many of which are kept.

    Whatever keeps a connection from being made is a ConnectTimeoutError; NewConnectionError is one.
    `Timeout(total=…)` of a request holds for all of the answer.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None  # noqa: S101 - the configuration has refused that before
    if parts.scheme == "https":
        context = ssl.create_default_context()
        context.sslsocket_class = _TLSSocket
        secure = HTTPSConnectionPool(
            parts.hostname, parts.port, maxsize=connections, ssl_context=context
        )
        secure.ConnectionCls = _TLSConnection
        return secure
    plain = HTTPConnectionPool(parts.hostname, parts.port, maxsize=connections)
    plain.ConnectionCls = _PlainConnection
    return plain


class _Deadline:
    """Of a socket: what is read after it is late."""

    deadline = float("inf")  # monotonic seconds

    def recv_into(self, *arguments: Any, **named: Any) -> int:
        left = self.deadline - monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)  # type: ignore[attr-defined] # a socket's
        return super().recv_into(*arguments, **named)  # type: ignore[misc, no-any-return]


class _PlainSocket(_Deadline, socket.socket):
    pass


class _TLSSocket(_Deadline, ssl.SSLSocket):
    pass


class _PlainConnection(HTTPConnection):
    _answers = 0  # on the connection as it is now

    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        timeout = made.gettimeout()
        plain = _PlainSocket(fileno=made.detach())
        plain.settimeout(timeout)
        return plain

    def connect(self) -> None:
        self._answers = 0
        try:
            super().connect()
        except TimeoutError as error:  # TLS: the handshake's
            raise ConnectTimeoutError(self, "timed out") from error
        except OSError as error:  # TLS: a certificate that is not trusted, a peer without TLS
            raise NewConnectionError(self, f"TLS: {error}") from error

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as its base's
        if isinstance(self.sock, _Deadline) and self.timeout is not None:
            self.sock.deadline = monotonic() + self.timeout
        try:
            response = super().getresponse()
        except ConnectionResetError as error:  # also http.client.RemoteDisconnected
            if self._answers:
                raise StaleConnectionError("a kept connection was closed", error) from error
            raise
        self._answers += 1
        return response


class _TLSConnection(_PlainConnection, HTTPSConnection):
    pass
