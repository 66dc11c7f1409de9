"""What a server does with a case: the answers on one connection, and what becomes of it."""

from __future__ import annotations

import contextlib
import itertools
import re
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.worker.answer import Parsed, parse
from tests.worker.case import NUMBER, Ask, Await, Case
from tests.worker.record import Record
from tests.worker.unread import unread

Address = tuple[str, int] | str  # TCP or the path of a Unix socket

PATIENCE = 0.15  # seconds of silence after which a server is taken to wait for more
DEADLINE = 15.0  # seconds for each thing that must come
_UNREAD = 2.0  # seconds for a server to read a piece, if it means to
_PROBE = b"GET /probe HTTP/1.1\r\nHost: probe.test\r\nConnection: close\r\n\r\n"
_DATE = re.compile(rb"(\r\nDate: )(\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT)(?=\r\n)")
_numbers = itertools.count(10_000_000)


class NoAnswerError(AssertionError):
    """The server did not take what was sent, or did not say what was awaited, in time."""


@dataclass
class Connection:
    """One end of a connection, and all that has come over it."""

    sock: socket.socket
    received: bytearray
    ended: bool = False  # the server has closed its side, or all

    @classmethod
    def to(cls, address: Address) -> Connection:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        sock = socket.socket(family)
        sock.settimeout(DEADLINE)
        sock.connect(address)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        return cls(sock, bytearray())

    def send(self, data: bytes) -> None:
        """Sends all of it, reading meanwhile; what a server that has gone leaves is not sent."""
        rest, deadline = memoryview(data), time.monotonic() + DEADLINE
        while rest:
            events = self._wait(select.POLLIN | select.POLLOUT, deadline - time.monotonic())
            if not events:
                raise NoAnswerError(f"{len(rest)} of {len(data)} bytes were not taken")
            if events & select.POLLOUT:
                try:
                    rest = rest[self.sock.send(rest) :]
                except BlockingIOError:
                    pass
                except (BrokenPipeError, ConnectionResetError):
                    return
            if events & ~select.POLLOUT:
                self.read()
                if self.ended and events & (select.POLLERR | select.POLLHUP):
                    return

    def settle(self) -> None:
        """Waits until the server has read all that was sent, so that it sees pieces as such."""
        deadline = time.monotonic() + _UNREAD
        while (left := unread(self.sock)) and time.monotonic() < deadline:
            time.sleep(0.0002)
        # Read is not yet looked at; and where the kernel does not tell, there is only time.
        time.sleep(0.005 if left is None else 0.001)

    def read_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Reads until the condition holds or the server ends; False after silence of `seconds`."""
        deadline = time.monotonic() + DEADLINE
        while not self.ended and not condition():
            left = min(seconds, deadline - time.monotonic())
            if not self._wait(select.POLLIN, left):
                return False
            self.read()
        return True

    def read(self) -> None:
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:  # reset: what came before has been read
            data = b""
        self.received += data
        self.ended = self.ended or not data

    def shut(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def _wait(self, events: int, seconds: float) -> int:
        poll = select.poll()
        poll.register(self.sock, events & ~select.POLLIN if self.ended else events)
        found = poll.poll(max(0.0, seconds) * 1000)
        return found[0][1] if found else 0


def exchange(address: Address, case: Case, *, patience: float = PATIENCE) -> Record:
    """Plays the case to the server, and asks whether the connection can still be used."""
    number = b"%d" % next(_numbers)
    connection = Connection.to(address)
    with connection.sock:
        ending = _play(connection, address, case, number, patience)
    # As long as it was: an error tells what it has read.
    connection.received = connection.received.replace(number, b"#" * len(number))
    answers = _parsed(connection, case, address)
    closings = ""
    if case.counts_closing:
        closings = ask(address, b"/closings?" + number).partition(b"\r\n\r\n")[2].decode()
    return Record(answers.answers, answers.trailing.decode("latin-1"), ending, closings)


def ask(address: Address, path: bytes) -> bytes:
    """All that a server says to a GET, on a connection of its own."""
    connection = Connection.to(address)
    with connection.sock:
        connection.send(b"GET %b HTTP/1.0\r\nHost: example.test\r\n\r\n" % path)
        if not connection.read_until(lambda: False, DEADLINE):
            raise NoAnswerError(f"no answer to {path!r}")
    return bytes(connection.received)


def _play(
    connection: Connection, address: Address, case: Case, number: bytes, patience: float
) -> str:
    """How the connection ended."""
    for position, step in enumerate(case.steps):
        match step:
            case Await(text):
                if not connection.read_until(partial(_said, connection, text), DEADLINE):
                    return f"never said {text!r}"
            case Ask(path):
                ask(address, path.replace(NUMBER, number))
            case bytes():
                if position:
                    connection.settle()
                connection.send(step.replace(NUMBER, number))
    if case.shuts:
        connection.shut()
        return _to_the_end(connection, "closed after the client's end")

    def answered() -> bool:
        return _parsed(connection, case, address).finals >= case.answers

    if not connection.read_until(answered, patience):
        connection.shut()
        return _to_the_end(connection, Record.WAITED)
    if connection.ended:
        return "closed"
    connection.send(_PROBE)
    ending = _to_the_end(connection, "closed")
    answered_again = b"/probe" in connection.received
    return "open: a further request was answered" if answered_again else ending


def _said(connection: Connection, text: bytes) -> bool:
    return text in connection.received


def _to_the_end(connection: Connection, ending: str) -> str:
    if connection.read_until(lambda: False, DEADLINE):
        return ending
    return ending + Record.LATE


def _parsed(connection: Connection, case: Case, address: Address) -> Parsed:
    return parse(
        _without_own(bytes(connection.received), address), heads=case.heads, ended=connection.ended
    )


def _without_own(stream: bytes, address: Address) -> bytes:
    """The stream without what two servers cannot have in common; as long as before."""
    stream = _DATE.sub(lambda found: found[1] + b"*" * len(found[2]), stream)
    if isinstance(address, str):
        return stream.replace(address.encode(), b"*" * len(address))
    return re.sub(rb'("SERVER_PORT": )"%d"' % address[1], rb'\1"*****"', stream)
