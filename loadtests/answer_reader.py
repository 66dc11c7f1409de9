"""Reads one HTTP/1.x answer from bytes that come in any slices (RFC 9112); pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from loadtests.outcome import Answer

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: [^\r\n]*)?")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?")
_LONGEST_HEAD = 64 * 1024  # bytes


class ProtocolError(Exception):
    """The bytes are not an answer in HTTP/1.x; the message says what is wrong with them."""


class AnswerReader:
    """The answer to one GET or POST; its body is counted and thrown away."""

    def __init__(self) -> None:
        self.answer: Answer | None = None  # once complete
        self.received = 0  # bytes
        self._buffer = bytearray()
        self._step: Callable[[], bool] = self._head  # takes a piece off the buffer, False: too few
        self._left = 0  # bytes of the body or chunk still to come
        self._status = 0
        self._keep = False

    def feed(self, data: bytes) -> None:
        """Takes the next bytes; raises ProtocolError, also for bytes after a complete answer."""
        self.received += len(data)
        self._buffer += data
        while self.answer is None and self._step():
            pass
        if self.answer is not None and self._buffer:
            raise ProtocolError("bytes after the answer")

    def end(self) -> None:
        """The server closed; this completes an answer whose length was left open."""
        if self._step == self._until_end:
            self._complete()

    def _head(self) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if len(head) > _LONGEST_HEAD:
            raise ProtocolError(f"more than {_LONGEST_HEAD} bytes of headers")
        if not found:
            return False
        self._buffer = rest
        first, *lines = bytes(head).split(b"\r\n")
        match = _STATUS_LINE.fullmatch(first)
        if match is None:
            raise ProtocolError(f"status line {first[:60]!r}")
        self._status = int(match[2])
        if self._status < 200:
            return True  # an interim answer: the real one follows
        headers: dict[bytes, list[bytes]] = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon or not name or name != name.strip():
                raise ProtocolError(f"header line {line[:60]!r}")
            headers.setdefault(name.lower(), []).append(value.strip())
        options = b",".join(headers.get(b"connection", [])).lower().replace(b" ", b"").split(b",")
        self._keep = b"close" not in options if match[1] == b"1" else b"keep-alive" in options
        self._choose_framing(headers)
        return True

    def _choose_framing(self, headers: dict[bytes, list[bytes]]) -> None:
        coding = b",".join(headers.get(b"transfer-encoding", [])).lower()
        lengths = set(headers.get(b"content-length", []))
        if self._status in (204, 304):
            self._complete()
        elif coding:
            if coding.rpartition(b",")[2].strip() != b"chunked":
                raise ProtocolError(f"transfer coding {coding[:60]!r}")
            self._step = self._chunk_size
        elif lengths:
            length = lengths.pop()
            if lengths or not length.isdigit():
                raise ProtocolError(f"content length {length[:60]!r}")
            self._left = int(length)
            self._step = self._sized
        else:
            self._keep = False
            self._step = self._until_end

    def _sized(self) -> bool:
        if self._skip():
            self._complete()
        return False

    def _until_end(self) -> bool:
        self._buffer.clear()
        return False

    def _chunk_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise ProtocolError(f"chunk size {line[:60]!r}")
        size = int(match[1], 16)
        self._left = size + 2  # with the line end that follows a chunk
        self._step = self._chunk if size else self._trailer
        return True

    def _chunk(self) -> bool:
        if not self._skip():
            return False
        self._step = self._chunk_size
        return True

    def _trailer(self) -> bool:
        line = self._line()
        if line == b"":
            self._complete()
        return line is not None

    def _line(self) -> bytes | None:
        line, found, rest = self._buffer.partition(b"\r\n")
        if len(line) > _LONGEST_HEAD:
            raise ProtocolError(f"a line of more than {_LONGEST_HEAD} bytes")
        if not found:
            return None
        self._buffer = rest
        return bytes(line)

    def _skip(self) -> bool:
        """Drops what is left of the body or chunk; whether that was all of it."""
        dropped = min(self._left, len(self._buffer))
        del self._buffer[:dropped]
        self._left -= dropped
        return self._left == 0

    def _complete(self) -> None:
        self.answer = Answer(self._status, self._keep)
