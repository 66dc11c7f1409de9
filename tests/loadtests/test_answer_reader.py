from __future__ import annotations

import pytest

from loadtests.answer_reader import AnswerReader, ProtocolError
from loadtests.outcome import Answer

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", Answer(200, True)),
        (b"HTTP/1.1 200\r\ncontent-length:0\r\n\r\n", Answer(200, True)),
        (b"HTTP/1.1 500 No\r\nConnection: Close\r\nContent-Length: 1\r\n\r\nx", Answer(500, False)),
        (
            b"HTTP/1.1 200 OK\r\nConnection: x, close\r\nContent-Length: 0\r\n\r\n",
            Answer(200, False),
        ),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", Answer(200, False)),
        (
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
            Answer(200, True),
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, True)),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", Answer(304, True)),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            Answer(200, True),
        ),
        (
            CHUNKED + b"3;x\r\nabc\r\n4 \r\n\r\n89\r\n0\r\n\r\n",
            Answer(200, True),
        ),
        (
            CHUNKED + b"0\r\nTrailer: yes\r\n\r\n",
            Answer(200, True),
        ),
    ],
)
def test_a_complete_answer_is_read_in_any_slices(data: bytes, answer: Answer) -> None:
    for size in (len(data), 7, 1):
        reader = AnswerReader()
        for start in range(0, len(data), size):
            assert reader.answer is None
            reader.feed(data[start : start + size])
        assert reader.answer == answer


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    reader = AnswerReader()
    reader.feed(b"HTTP/1.1 200 OK\r\n\r\nsome")
    reader.feed(b"thing")
    assert reader.answer is None
    reader.end()
    assert reader.answer == Answer(200, False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        CHUNKED + b"3\r\nabc\r\n",
        CHUNKED + b"0\r\n",
    ],
)
def test_a_cut_answer_is_not_complete(data: bytes) -> None:
    reader = AnswerReader()
    reader.feed(data)
    reader.end()
    assert reader.answer is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"SSH-2.0-x\r\n\r\n", "status line b'SSH-2.0-x'"),
        (b"HTTP/2 200\r\n\r\n", "status line"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "header line"),
        (b"HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n", "header line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "content length"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "content length",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer coding"),
        (CHUNKED + b"0x3\r\n", "chunk size"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy", "bytes after the answer"),
        (b"x" * 70_000, "headers"),
    ],
)
def test_what_is_not_an_answer_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        AnswerReader().feed(data)
