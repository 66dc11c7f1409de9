"""One thing that a client does on a connection of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

HOST = b"Host: example.test"
# Stands in a request for a number that no other exchange has.
NUMBER = b"{number}"


@dataclass(frozen=True)
class Await:
    """Go on when the server has sent this text."""

    text: bytes


@dataclass(frozen=True)
class Ask:
    """Go on when a GET of this path, on another connection, has been answered."""

    path: bytes


Step = bytes | Await | Ask


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is sent, step by step, and how the exchange goes on when all is sent."""

    name: str
    steps: tuple[Step, ...]
    answers: int = 1  # how many are due before a further request asks whether it is still open
    heads: frozenset[int] = frozenset()  # the numbers, from 0, of the requests that are HEAD
    shuts: bool = False  # the client says that it sends no more: shutdown(SHUT_WR)
    alone: bool = False  # at a time when the server does nothing else: the worker may end
    counts_closing: bool = False  # ask in the end how often the application's close() was called

    def split(self, *positions: int) -> Self:
        """The same bytes, of one step, in pieces that end at these positions."""
        (whole,) = self.steps
        assert isinstance(whole, bytes)
        bounds = [0, *sorted(positions), len(whole)]
        pieces = [whole[a:b] for a, b in itertools.pairwise(bounds)]
        name = f"{self.name}, split at {', '.join(map(str, sorted(positions)))}"
        return replace(self, name=name, steps=tuple(filter(None, pieces)))

    def cut(self, position: int) -> Self:
        """The first bytes of the same, and then the client's end."""
        (whole,) = self.steps
        assert isinstance(whole, bytes)
        name = f"{self.name}, cut at {position}"
        return replace(self, name=name, steps=(whole[:position],), shuts=True)


def raw(name: str, *steps: Step, answers: int = 1, shuts: bool = False) -> Case:
    """A case of bytes as they are; a HEAD is recognised when it comes first."""
    heads = frozenset([0]) if isinstance(steps[0], bytes) and _is_head(steps[0]) else frozenset()
    return Case(name=name, steps=steps, answers=answers, heads=heads, shuts=shuts)


def request(
    target: bytes = b"/echo",
    *fields: bytes,
    method: bytes = b"GET",
    version: bytes = b"HTTP/1.1",
    host: bytes | None = HOST,
    body: bytes = b"",
) -> bytes:
    """The bytes of a request; its fields are whole lines without their end."""
    lines = [b" ".join((method, target, version)), *([] if host is None else [host]), *fields]
    return b"\r\n".join((*lines, b"", body))


def post(body: bytes, *fields: bytes, target: bytes = b"/echo") -> bytes:
    """The bytes of a POST with the length of its body."""
    length = b"Content-Length: %d" % len(body)
    return request(target, length, *fields, method=b"POST", body=body)


def pipelined(name: str, requests: Iterable[bytes], *, answers: int | None = None) -> Case:
    """Requests sent at once; as many answers are due unless said otherwise."""
    sent = list(requests)
    heads = frozenset(number for number, each in enumerate(sent) if _is_head(each))
    due = len(sent) if answers is None else answers
    return Case(name=name, steps=(b"".join(sent),), answers=due, heads=heads)


def _is_head(data: bytes) -> bool:
    return data.lstrip(b"\r\n").startswith(b"HEAD ")
