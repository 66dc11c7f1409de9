"""A usual request as Gunicorn's own object, for those who are given one: hooks, logs, answers."""

from __future__ import annotations

from typing import Any

from gunicorn.http.message import Request

from deploy.cluster.adaptive.head import Environ

_HTTP_10, _HTTP_11 = (1, 0), (1, 1)


class UsualRequest(Request):
    """What `HeadParser.read` has found, with the rest of Gunicorn's attributes made on demand."""

    must_close = False
    fragment = ""
    proxy_protocol_info = None
    req_number = 1

    def __init__(self, cfg: Any, environ: Environ, head: bytes, peer: Any):
        self.cfg = cfg
        self.peer_addr = peer
        self.method = environ["REQUEST_METHOD"]
        self.uri = environ["RAW_URI"]
        self.query = environ["QUERY_STRING"]
        self.scheme = environ["wsgi.url_scheme"]
        self.body = environ["wsgi.input"]
        self._head = head
        old = environ["SERVER_PROTOCOL"] == "HTTP/1.0"
        self.version = _HTTP_10 if old else _HTTP_11
        connection = environ.get("HTTP_CONNECTION")
        if connection is not None:
            connection = connection.lower()
            old = connection == "close" or (old and connection != "keep-alive")
        self._closes = old

    def should_close(self) -> bool:
        """Whether the client wants the connection closed after the answer (RFC 9112, 9.3)."""
        return self.must_close or self._closes

    @property
    def path(self) -> str:
        """The target without its query, as it came."""
        return str(self.uri.partition("?")[0])

    @property
    def remote_addr(self) -> Any:
        """The peer; nobody speaks for another one here."""
        return self.peer_addr

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The fields in their order, names in upper case."""
        lines = str(self._head, "latin-1").split("\r\n")[1:]
        fields = (line.partition(":") for line in lines if line)
        return [(name.upper(), value.strip(" \t")) for name, _, value in fields]

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """None: a body in chunks is not usual."""
        return []
