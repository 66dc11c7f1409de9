"""Bodies of every size, read in every way."""

from __future__ import annotations

from tests.worker.case import Case, Step, post, raw, request
from tests.worker.cases.framing import chunked

READERS = (
    *(b"/echo", b"/exactly", b"/read/1", b"/read/17", b"/read/1024", b"/read/70000"),
    *(b"/readline", b"/readline5", b"/readlines", b"/iter", b"/mixed", b"/half", b"/caught"),
    *(b"/misused", b"/unread", b"/talk/reading-while-answering?{number}"),
    b"/talk/reading-at-close?{number}",
)
_NEXT = request(b"/next")
_SMALL = {
    "nothing": b"",
    "a byte": b"x",
    "a line break": b"\n",
    "a line": b"one line\n",
    "lines": b"one\ntwo\r\n\nthree, which is longer\nfour",
    "every byte": bytes(range(256)),
    "a request": request(b"/smuggled"),
}
_SIZES = (1023, 1024, 1025, 8191, 8192, 8193, 65535, 65536, 65537, 1 << 20)


def _text(size: int) -> bytes:
    """Lines of several lengths, some of them long."""
    line = b"".join(bytes([97 + n % 26]) * (n * 37 % 400) + b"\n" for n in range(100))
    return (line * (size // len(line) + 1))[:size]


def in_chunks(body: bytes, size: int) -> bytes:
    """The body as chunks of this size, and the last one."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%X\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def _of(reader: bytes, name: str, *steps: Step) -> Case:
    # A step less for the server to wait at: the further request comes with the last piece.
    *first, last = steps
    assert isinstance(last, bytes)
    return raw(f"body at {reader.decode()}: {name}", *first, last + _NEXT, answers=2)


SMALL = [
    case
    for reader in READERS
    for name, body in _SMALL.items()
    for case in (
        _of(reader, name, post(body, target=reader)),
        _of(reader, f"{name}, chunked", chunked(in_chunks(body, 7), target=reader)),
    )
]
LARGE = [
    _of(reader, f"{size} bytes", post(_text(size), target=reader))
    for reader in (b"/echo", b"/read/70000", b"/unread")
    for size in _SIZES
]
LARGE_CHUNKED = [
    _of(reader, f"{size} bytes, chunked", chunked(in_chunks(_text(size), 5000), target=reader))
    for reader in (b"/echo", b"/unread")
    for size in (8192, 65536, 1 << 20)
]
# The head by itself, then the body: at what size does who reads it?
LATE = [
    _of(reader, f"{size} bytes, late", post(_text(size), target=reader)[:-size], _text(size))
    for reader in (b"/echo", b"/readline", b"/unread")
    for size in (1, 1024, 8193, 65537)
]
WITHOUT_NEXT = [
    raw(f"body at {reader.decode()}, alone: {size} bytes", post(_text(size), target=reader))
    for reader in READERS
    for size in (1, 100, 20_000)
]
METHODS = [
    raw(f"a body with {method.decode()}", request(b"/echo", *length, method=method, body=b"abc"))
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PUT", b"CONNECT")
    for length in ([b"Content-Length: 3"],)
]
HINT = raw("readlines with a hint", post(_SMALL["lines"], target=b"/hint"))
CASES = [*SMALL, *LARGE, *LARGE_CHUNKED, *LATE, *WITHOUT_NEXT, *METHODS, HINT]
