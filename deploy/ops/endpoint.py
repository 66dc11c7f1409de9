"""Where the service is reached, and one request to it on a connection of its own."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - to be reached, not bound


class Headers(Mapping[str, str]):
    """An answer's headers, whatever the case of their names; of several with one name the first."""

    def __init__(self, pairs: list[tuple[str, str]]):
        self._pairs = pairs

    def __getitem__(self, name: str) -> str:
        for value in self.every(name):
            return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name, _ in self._pairs))

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self._pairs})

    def every(self, name: str) -> list[str]:
        """All values of the name: `Set-Cookie` may come several times."""
        return [value for key, value in self._pairs if key.lower() == name.lower()]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Headers
    body: bytes
    seconds: float

    @property
    def worker(self) -> str:
        """Who answered, when it says so: `worker-2`."""
        return self.headers.get("X-Worker-ID", "")

    @property
    def json(self) -> object:
        """The body as JSON; None when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class Endpoint:
    """A TCP address (host and port) or a Unix socket (its path)."""

    def __init__(self, address: tuple[str, int] | str):
        self.address = address

    @classmethod
    def of(cls, address: str) -> Self:
        """The first address that the board names: `127.0.0.1:3000, unix:/run/x.sock`.

        Raises ValueError for what is no address. An address that means any is asked on loopback.
        """
        first = address.partition(",")[0].strip()
        if first.startswith("unix:"):
            return cls(first.removeprefix("unix:"))
        host, _, port = first.rpartition(":")
        if not port.isdecimal():
            raise ValueError(f"{first!r}: expected host:port or unix:path")
        host = host.strip("[]")
        return cls((_ANY.get(host, host), int(port)))

    def __str__(self) -> str:
        if isinstance(self.address, str):
            return f"unix:{self.address}"
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def ask(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5,
    ) -> Answer:
        """One request; raises OSError, also for an answer that is no HTTP."""
        body, sent = None, {"Connection": "close", **(headers or {})}
        if json is not None:
            body = _encoded(json)
            sent["Content-Type"] = "application/json"
        connection = self._connection(timeout)
        begin = time.monotonic()
        try:
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            content = response.read()
        except http.client.HTTPException as error:
            # RemoteDisconnected is an OSError already; the others are not.
            raise OSError(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        pairs = Headers(response.getheaders())
        return Answer(response.status, pairs, content, time.monotonic() - begin)

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if isinstance(self.address, str):
            return _UnixConnection(self.address, timeout)
        host, port = self.address
        return http.client.HTTPConnection(host, port, timeout=timeout)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float):
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._seconds = timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._seconds)
        self.sock.connect(self._path)


def _encoded(value: object) -> bytes:
    return json.dumps(value).encode()
