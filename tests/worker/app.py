"""An application that says all it is told, reads as it is asked to, and answers in every way.

The path says how: `/read/17` reads the body in pieces of 17 bytes, `/shape/generator` answers with
a generator. What is not known is answered as `/echo` is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

from tests.worker.conversations import CONVERSATIONS
from tests.worker.failures import FAILURES
from tests.worker.files import FILES
from tests.worker.returns import RETURNS
from tests.worker.shapes import SHAPES, Environ, Start

_SHOWN = 200  # bytes of each piece
# Of these objects not their type, but what they do (PEP 3333); /types says the types.
_PROMISED = {
    "wsgi.input": ("read", "readline", "readlines", "__iter__"),
    "wsgi.errors": ("flush", "write", "writelines"),
    "wsgi.early_hints": ("__call__",),
}
_closings: Counter[str] = Counter()

Read = Callable[[Any, Environ], list[Any]]


def app(environ: Environ, start: Start) -> Iterable[bytes]:
    """Dispatches by the first two parts of the path."""
    path = environ["PATH_INFO"]
    _, _, rest = path.partition("/")
    kind, _, name = rest.partition("/")
    if path == "/closings":
        return _answer(start, str(_closings[environ["QUERY_STRING"]]).encode())
    if kind in _ANSWERS and name in _ANSWERS[kind]:
        environ["tests.closed"] = lambda: _closings.update([environ["QUERY_STRING"]])
        answer: Iterable[bytes] = _ANSWERS[kind][name](environ, start)
        return answer
    reader = _READERS.get(kind, _whole)
    return _answer(start, _described(environ, reader(environ["wsgi.input"], environ)))


def _answer(start: Start, body: bytes) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def _described(environ: Environ, pieces: list[Any]) -> bytes:
    told: dict[str, Any] = {name: _value(name, value) for name, value in environ.items()}
    told.pop("REMOTE_PORT", None)
    return json.dumps(
        {**told, "read": [_piece(piece) for piece in pieces]}, sort_keys=True
    ).encode()


def _value(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, tuple)):
        return repr(value)
    if name in _PROMISED:
        return " ".join(each for each in _PROMISED[name] if callable(getattr(value, each, None)))
    return _type(value)


def _type(value: object) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _piece(piece: object) -> str:
    if not isinstance(piece, bytes):
        return str(piece)
    if len(piece) <= _SHOWN:
        return piece.decode("latin-1")
    return f"{len(piece)} bytes, SHA-256 {sha256(piece).hexdigest()}"


def _whole(body: Any, _environ: Environ) -> list[Any]:
    return [body.read()]


def _exactly(body: Any, environ: Environ) -> list[Any]:
    return [body.read(int(environ.get("CONTENT_LENGTH") or 0)), body.read(1)]


def _pieces(body: Any, environ: Environ) -> list[Any]:
    size = int(environ["PATH_INFO"].rpartition("/")[2])
    pieces = [*iter(lambda: body.read(size), b"")]
    # The sizes of all, and the bytes of all: of a long body, not each.
    return [Counter(map(len, pieces)), b"".join(pieces), body.read(size)]


def _lines(body: Any, _environ: Environ) -> list[Any]:
    lines = [*iter(body.readline, b"")]
    return [len(lines), *lines[:20], b"".join(lines)]


def _short_lines(body: Any, _environ: Environ) -> list[Any]:
    lines = [*iter(lambda: body.readline(5), b"")]
    return [len(lines), *lines[:20], b"".join(lines)]


def _all_lines(body: Any, _environ: Environ) -> list[Any]:
    lines = body.readlines()
    return [len(lines), *lines[:20], b"".join(lines)]


def _iterated(body: Any, _environ: Environ) -> list[Any]:
    lines = list(body)
    return [len(lines), *lines[:20], b"".join(lines)]


def _mixed(body: Any, _environ: Environ) -> list[Any]:
    return [
        body.read(3),
        body.readline(),
        body.readline(4),
        body.read(0),
        body.readline(0),
        next(body, "the end"),
        body.read(-1),
        body.read(None),
        body.readline(),
    ]


def _half(body: Any, environ: Environ) -> list[Any]:
    return [body.read(int(environ.get("CONTENT_LENGTH") or 10) // 2)]


def _caught(body: Any, _environ: Environ) -> list[Any]:
    """Goes on after an error, as an application does that answers it by itself."""
    found: list[Any] = []
    for _ in range(3):
        try:
            found.append(body.read(8))
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


def _hinted(body: Any, _environ: Environ) -> list[Any]:
    return [*body.readlines(1), "then", *body.readlines()]


def _misused(body: Any, _environ: Environ) -> list[Any]:
    found: list[Any] = []
    for read, size in ((body.read, "3"), (body.readline, 1.5), (body.read, 2)):
        try:
            found.append(read(size))
        except TypeError:
            found.append("TypeError")
    return found


def _types(_body: Any, environ: Environ) -> list[Any]:
    return [f"{name} is {_type(value)}" for name, value in sorted(environ.items())]


_READERS: dict[str, Read] = {
    "echo": _whole,
    "exactly": _exactly,
    "read": _pieces,
    "readline": _lines,
    "readline5": _short_lines,
    "readlines": _all_lines,
    "iter": _iterated,
    "mixed": _mixed,
    "half": _half,
    "caught": _caught,
    "misused": _misused,
    "hint": _hinted,
    "types": _types,
    "unread": lambda _body, _environ: [],
}
_ANSWERS: dict[str, dict[str, Callable[[Environ, Start], Any]]] = {
    "shape": SHAPES,
    "return": RETURNS,
    "failure": FAILURES,
    "file": FILES,
    "talk": CONVERSATIONS,
}
