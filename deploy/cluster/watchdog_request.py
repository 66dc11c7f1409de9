"""The watchdog's request: over HTTP, through a listening socket, without ever waiting.

It goes where a client's goes: into the kernel's queue, to whichever worker accepts it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import socket
import ssl
from collections.abc import Callable, Generator
from typing import Any, TypeVar

_T = TypeVar("_T")

_READ_BYTES = 16 * 1024
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what listeners are bound to
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r\n]")
# The first status that says that the service itself does not work.
_BROKEN = 500


def reachable(address: Any) -> Any:
    """Where a listener with this name (getsockname(2)) can be connected to."""
    if isinstance(address, tuple):
        return (_ANYWHERE.get(address[0], address[0]), *address[1:])
    return address


class WatchdogRequest:
    """One request, a step at a time. `tls`: how to speak it with ourselves, if at all."""

    def __init__(self, address: Any, path: str, *, began: float, tls: ssl.SSLContext | None = None):
        self.began = began
        self.passed = False  # answered, and not with an error of the service's
        self.over = False  # the connection is closed
        self.failure = ""
        self._address = reachable(address)
        self._path = path
        self._tls = tls
        self._shaken = False  # hands, in TLS
        self._events = 0  # what it waits for; 0: nothing
        self._socket = socket.socket(_family(self._address), socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._talk = self._conversation()
        self.step()

    @property
    def waiting(self) -> tuple[int, int]:
        """Its descriptor, and the events of poll(2) that let it go on."""
        return self._socket.fileno(), self._events

    def step(self) -> None:
        """Goes on as far as it can now."""
        if self.over or (self._events and not self._is_due()):
            return
        try:
            self._events = next(self._talk)
        except StopIteration:
            self.close()
        except OSError as error:
            self.close()
            self._end(error.strerror or str(error), error)

    def give_up(self, why: str) -> None:
        """It has had its time."""
        self._fail(why)
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self.over = True
        self._socket.close()

    def _fail(self, why: str) -> None:
        if not self.passed:
            self.failure = self.failure or why

    def _end(self, why: str, error: OSError | None = None) -> None:
        """It ends without an answer.

        A worker that turns us away in TLS, as for a certificate that we lack, is alive all the
        same. Its alert comes after the handshake (RFC 8446), and its closing may overtake that.
        """
        if not self.failure and (self._shaken or "ALERT" in str(getattr(error, "reason", ""))):
            self.passed = True
        self._fail(why)

    def _is_due(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, self._events)
        return bool(poll.poll(0))

    def _conversation(self) -> Generator[int, None, None]:
        """Yields what it waits for."""
        failed = self._socket.connect_ex(self._address)
        if failed == errno.EINPROGRESS:
            yield select.POLLOUT
            failed = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise OSError(failed, os.strerror(failed))
        if self._tls is not None:
            wrapped = self._tls.wrap_socket(self._socket, do_handshake_on_connect=False)
            self._socket = wrapped
            yield from _until_done(wrapped.do_handshake)
            self._shaken = True
        self._socket.sendall(self._request())  # a new connection has room for it
        heard = b""
        while received := (yield from _until_done(self._receive)):
            if b"\n" not in heard:
                heard += received
                self._judge(heard)
        if b"\n" not in heard:
            self._end("the connection was closed without an answer")

    def _request(self) -> bytes:
        host = "localhost"
        if isinstance(self._address, tuple):
            name, port = self._address[:2]
            host = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
        return (
            f"GET {self._path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            "User-Agent: smart-factory-watchdog\r\n\r\n"
        ).encode()

    def _receive(self) -> bytes:
        with contextlib.suppress(ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return self._socket.recv(_READ_BYTES)
        return b""

    def _judge(self, heard: bytes) -> None:
        if b"\n" not in heard and len(heard) < _READ_BYTES:
            return
        found = _STATUS_LINE.match(heard)
        status = int(found[1]) if found else 0
        self.passed = 0 < status < _BROKEN
        self._fail(f"GET {self._path} answered {status}" if found else "no HTTP answer")


def _until_done(act: Callable[[], _T]) -> Generator[int, None, _T]:
    """Yields what `act` waits for, and returns what it gave."""
    while True:
        try:
            return act()
        except ssl.SSLWantWriteError:
            yield select.POLLOUT
        except (BlockingIOError, ssl.SSLWantReadError):
            yield select.POLLIN


def _family(address: Any) -> socket.AddressFamily:
    if not isinstance(address, tuple):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET
