"""Where requests go: this machine only."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

from loadtests.outcome import Kind

_PATH = re.compile(r"/[!-~]*")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([ -~\t]*)")
# Framing and the connection's fate are the client's business.
_OURS = {"connection", "content-length", "transfer-encoding"}


class TargetError(ValueError):
    """The target or a header cannot be used; the message says why in one line."""


@dataclass(frozen=True)
class Target:
    """A server on this machine, and the path that is asked for."""

    address: tuple[str, int] | str  # host and port, or the path of a Unix socket
    path: str
    host: str  # the Host header

    @classmethod
    def parse(cls, text: str, path: str | None = None) -> Self:
        """Reads `http://127.0.0.1:PORT/path` or `unix:/path/to.sock`, whose path is `path`.

        "localhost" means 127.0.0.1. Raises TargetError, also for any host that is not loopback.
        """
        if text.startswith("unix:"):
            address: tuple[str, int] | str = text.removeprefix("unix:")
            if not address:
                raise TargetError(f"{text!r}: expected unix:/path/to.sock")
            return cls(address, _checked(path or "/"), "localhost")
        if path is not None:
            raise TargetError("a separate path is for unix: targets; put it into the URL")
        try:
            url = urlsplit(text)
            port = 80 if url.port is None else url.port
        except ValueError as error:
            raise TargetError(f"{text!r}: {error}") from None
        if url.scheme != "http" or not url.hostname or url.username is not None:
            raise TargetError(f"{text!r}: expected http://127.0.0.1:PORT/path or unix:/path.sock")
        host = "127.0.0.1" if url.hostname == "localhost" else url.hostname
        if not _is_loopback(host):
            raise TargetError(f"{text!r}: only this machine (loopback) is a target, not {host}")
        query = f"?{url.query}" if url.query else ""
        return cls((host, port), _checked((url.path or "/") + query), url.netloc)

    @property
    def family(self) -> socket.AddressFamily:
        """The address family to connect with."""
        if isinstance(self.address, str):
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET

    def request(self, method: str, kind: Kind, headers: Sequence[str] = ()) -> bytes:
        """The bytes of a request without a body; a header is `Name: value`, else TargetError."""
        lines = []
        for header in headers:
            found = _HEADER.fullmatch(header)
            if found is None or found[1].lower() in _OURS:
                why = f"header {header!r}: expected 'Name: value', and none of {sorted(_OURS)}"
                raise TargetError(why)
            lines.append(f"{found[1]}: {found[2]}")
        if not any(line.lower().startswith("host:") for line in lines):
            lines.insert(0, f"Host: {self.host}")
        if method != "GET":
            lines.append("Content-Length: 0")
        lines.append("Connection: " + ("close" if kind is Kind.FRESH else "keep-alive"))
        return "\r\n".join([f"{method} {self.path} HTTP/1.1", *lines, "", ""]).encode("ascii")


def _checked(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise TargetError(f"path {path!r}: expected printable ASCII from '/', without spaces")
    return path


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
