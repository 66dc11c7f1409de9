"""Answers as they stood on the wire: parsed strictly, nothing forgiven, nothing lost."""

from __future__ import annotations

import json
import re
from collections.abc import Container
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

_STATUS_LINE = re.compile(rb"HTTP/\d\.\d (\d{3})( [^\r\n]*)?")
_FIELD = re.compile(rb"([^\s:]+):([^\r\n]*)")
_SIZE = re.compile(rb"[0-9A-Fa-f]+")
_LENGTH = re.compile(rb" *([0-9]+) *")
_SHOWN = 100_000  # bytes of a body that are kept; of a larger one, its digest


@dataclass(frozen=True)
class Answer:
    """One response; what stands in it is kept as Latin-1, a byte a character."""

    status_line: str
    fields: tuple[str, ...]  # whole lines, in order
    framing: str  # none, length, chunked or to the end; "cut short" when the end came before
    body: str  # without the chunks' sizes

    @property
    def is_final(self) -> bool:
        """Whether no other answer to the same request follows."""
        return self.status_line[9] != "1" or self.status_line[9:12] == "101"

    @property
    def json(self) -> dict[str, Any]:
        """The body, if it is an object in JSON, else nothing."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class Parsed:
    """What a stream of bytes consists of."""

    answers: tuple[Answer, ...]
    trailing: bytes  # what is no answer, or not yet
    cut_short: bool = False  # the last answer is not there as a whole

    @property
    def finals(self) -> int:
        """How many requests have been answered."""
        return sum(answer.is_final for answer in self.answers) - self.cut_short


def parse(stream: bytes, *, heads: Container[int], ended: bool) -> Parsed:
    """The answers in a stream; `heads` numbers the requests, from 0, whose method was HEAD."""
    answers: list[Answer] = []
    finals, position = 0, 0
    while position < len(stream):
        end = stream.find(b"\r\n\r\n", position)
        lines = stream[position:end].split(b"\r\n") if end >= 0 else []
        status = _STATUS_LINE.fullmatch(lines[0]) if lines else None
        if status is None or not all(_FIELD.fullmatch(line) for line in lines[1:]):
            return Parsed(tuple(answers), stream[position:])
        framing, body, complete, position = _body(
            stream, end + 4, int(status[1]), lines[1:], is_head=finals in heads
        )
        if not complete and framing == "to the end" and ended:
            complete = True
        answer = Answer(
            lines[0].decode("latin-1"),
            tuple(line.decode("latin-1") for line in lines[1:]),
            framing if complete else f"{framing}, cut short",
            _shown(body),
        )
        answers.append(answer)
        finals += answer.is_final
        if not complete:
            return Parsed(tuple(answers), stream[position:], cut_short=True)
    return Parsed(tuple(answers), b"")


def _body(
    stream: bytes, start: int, status: int, fields: list[bytes], *, is_head: bool
) -> tuple[str, bytes, bool, int]:
    """How the body is framed, the body, whether all of it is here, where it ends."""
    values = _values(fields)
    if (100 <= status < 200 and status != 101) or status in (204, 304) or is_head:
        return "none", b"", True, start
    codings = values.get(b"transfer-encoding", [])
    if codings and codings[-1].strip().lower() == b"chunked":
        return "chunked", *_chunks(stream, start)
    lengths = values.get(b"content-length", [])
    length = _LENGTH.fullmatch(lengths[0]) if lengths else None
    if length:
        end = start + int(length[1])
        return "length", stream[start:end], end <= len(stream), min(end, len(stream))
    return "to the end", stream[start:], False, len(stream)


def _values(fields: list[bytes]) -> dict[bytes, list[bytes]]:
    values: dict[bytes, list[bytes]] = {}
    for line in fields:
        name, _, value = line.partition(b":")
        values.setdefault(name.lower(), []).append(value)
    return values


def _chunks(stream: bytes, position: int) -> tuple[bytes, bool, int]:
    """The data of the chunks, whether the last one is among them, where they end."""
    data: list[bytes] = []
    while True:
        end = stream.find(b"\r\n", position)
        if end < 0 or not _SIZE.fullmatch(stream[position:end]):
            return b"".join(data), False, position
        size = int(stream[position:end], 16)
        after = end + 2 + size
        if stream[after : after + 2] != b"\r\n":
            return b"".join(data), False, position
        if size == 0:
            return b"".join(data), True, after + 2
        data.append(stream[end + 2 : after])
        position = after + 2


def _shown(body: bytes) -> str:
    if len(body) <= _SHOWN:
        return body.decode("latin-1")
    return f"{len(body)} bytes, SHA-256 {sha256(body).hexdigest()}"
