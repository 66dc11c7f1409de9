"""Answers out of files, by wsgi.file_wrapper."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from typing import IO, Any

from tests.worker.shapes import PLAIN, Environ, Shape, Start, length, named

FILES: dict[str, Shape] = {}
_LARGE = 1 << 20


def _file(content: bytes, offset: int = 0) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
    file.write(content)
    file.flush()
    file.seek(offset)
    return file


def _wrapped(
    name: str, make: Callable[[], Any], *sizes: int, status: str = "200 OK", block: int = 8192
) -> None:
    def answer(environ: Environ, start: Start) -> Any:
        start(status, [PLAIN, *map(length, sizes)])
        file, close = make(), environ["tests.closed"]
        wrapper = environ["wsgi.file_wrapper"](file, block)
        # FileWrapper takes over the file's own close.
        wrapper.close = lambda: (close(), file.close())
        return wrapper

    FILES[name] = answer


_wrapped("plain", lambda: _file(b"hello"))
_wrapped("length", lambda: _file(b"hello"), 5)
_wrapped("length-too-short", lambda: _file(b"hello"), 3)
_wrapped("length-too-long", lambda: _file(b"hello"), 10)
_wrapped("length-zero", lambda: _file(b"hello"), 0)
_wrapped("empty", lambda: _file(b""))
_wrapped("empty-with-length", lambda: _file(b""), 0)
_wrapped("offset", lambda: _file(b"hello there", 6))
_wrapped("offset-with-length", lambda: _file(b"hello there", 6), 5)
_wrapped("at-its-end", lambda: _file(b"hello", 5))
_wrapped("large", lambda: _file(b"x" * _LARGE))
_wrapped("large-with-length", lambda: _file(b"x" * _LARGE), _LARGE)
_wrapped("in-memory", lambda: io.BytesIO(b"hello"))
_wrapped("in-memory-with-length", lambda: io.BytesIO(b"hello"), 5)
_wrapped("in-memory-length-too-short", lambda: io.BytesIO(b"hello"), 3)
_wrapped("in-memory-large", lambda: io.BytesIO(b"x" * _LARGE))
_wrapped("in-memory-in-blocks", lambda: io.BytesIO(b"hello there"), block=4)
_wrapped("text", lambda: io.StringIO("hello"))
_wrapped("status-204", lambda: _file(b"hello"), status="204 No Content")
_wrapped("status-304", lambda: _file(b"hello"), 5, status="304 Not Modified")


@named(FILES)
def a_pipe(environ: Environ, start: Start) -> Any:
    """Has a descriptor, but no position."""
    reading, writing = os.pipe()
    os.write(writing, b"hello")
    os.close(writing)
    start("200 OK", [PLAIN])
    return environ["wsgi.file_wrapper"](os.fdopen(reading, "rb", 0))


@named(FILES)
def only_read(environ: Environ, start: Start) -> Any:
    """An object with read() and nothing else."""

    class Reader:
        def __init__(self) -> None:
            self._left = [b"one", b"two"]

        def read(self, _size: int) -> bytes:
            return self._left.pop(0) if self._left else b""

    start("200 OK", [PLAIN])
    return environ["wsgi.file_wrapper"](Reader())


@named(FILES)
def raises_at_reading(environ: Environ, start: Start) -> Any:
    class Reader:
        def read(self, _size: int) -> bytes:
            raise ValueError("nothing can be read")

    start("200 OK", [PLAIN])
    return environ["wsgi.file_wrapper"](Reader())


@named(FILES)
def after_write(environ: Environ, start: Start) -> Any:
    write = start("200 OK", [PLAIN])
    write(b"first ")
    return environ["wsgi.file_wrapper"](_file(b"hello"))


@named(FILES)
def an_open_file_itself(environ: Environ, start: Start) -> Any:
    """Iterated line by line: no wrapper."""
    start("200 OK", [PLAIN])
    return _file(b"one\ntwo\n")
