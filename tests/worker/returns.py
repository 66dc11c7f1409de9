"""What an application may return to be iterated, and what it may not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.worker.shapes import PLAIN, Environ, Shape, Start, length, named

RETURNS: dict[str, Shape] = {}


@named(RETURNS)
def headers_a_generator(environ: Environ, start: Start) -> Any:
    start("200 OK", (header for header in (PLAIN, length(5))))
    return [b"hello"]


@named(RETURNS)
def headers_a_dict(environ: Environ, start: Start) -> Any:
    start("200 OK", {"Content-Length": "5"})
    return [b"hello"]


@named(RETURNS)
def headers_none(environ: Environ, start: Start) -> Any:
    start("200 OK", None)
    return [b"hello"]


@named(RETURNS)
def headers_changed_afterwards(environ: Environ, start: Start) -> Any:
    headers = [PLAIN, length(5)]
    start("200 OK", headers)
    headers.append(("X-Late", "yes"))
    return [b"hello"]


@named(RETURNS)
def a_list(environ: Environ, start: Start) -> Any:
    start("200 OK", [PLAIN])
    return [b"hello"]


@named(RETURNS)
def a_list_with_length(environ: Environ, start: Start) -> Any:
    start("200 OK", [length(5)])
    return [b"hello"]


@named(RETURNS)
def a_list_of_several(environ: Environ, start: Start) -> Any:
    start("200 OK", [PLAIN])
    return [b"a", b"", b"b"]


@named(RETURNS)
def an_empty_list(environ: Environ, start: Start) -> Any:
    start("200 OK", [PLAIN])
    return []


@named(RETURNS)
def a_tuple(environ: Environ, start: Start) -> Any:
    start("200 OK", [PLAIN])
    return (b"a", b"b")


@named(RETURNS)
def bytes_themselves(environ: Environ, start: Start) -> Any:
    start("200 OK", [length(5)])
    return b"hello"


@named(RETURNS)
def a_str(environ: Environ, start: Start) -> Any:
    start("200 OK", [length(5)])
    return "hello"


@named(RETURNS)
def an_empty_str(environ: Environ, start: Start) -> Any:
    start("200 OK", [length(0)])
    return ""


@named(RETURNS)
def none(environ: Environ, start: Start) -> Any:
    start("200 OK", [PLAIN])


@named(RETURNS)
def a_number(environ: Environ, start: Start) -> Any:
    start("200 OK", [PLAIN])
    return 7


@named(RETURNS)
def a_set(environ: Environ, start: Start) -> Any:
    start("200 OK", [PLAIN])
    return {b"hello"}


@named(RETURNS)
def a_generator(environ: Environ, start: Start) -> Any:
    start("200 OK", [PLAIN])
    yield b"one"
    yield b"two"


@named(RETURNS)
def a_generator_that_closes(environ: Environ, start: Start) -> Any:
    start("200 OK", [PLAIN])
    try:
        yield b"one"
        yield b"two"
    finally:
        environ["tests.closed"]()


@named(RETURNS)
def a_sequence(environ: Environ, start: Start) -> Any:
    """Iterated by __getitem__, as in old times."""

    class Sequence:
        def __getitem__(self, index: int) -> bytes:
            return [b"one", b"two"][index]

    start("200 OK", [PLAIN])
    return Sequence()


@named(RETURNS)
def a_list_that_closes(environ: Environ, start: Start) -> Any:
    class Closed(list[bytes]):
        def close(self) -> None:
            environ["tests.closed"]()

    start("200 OK", [length(5)])
    return Closed([b"hello"])


@named(RETURNS)
def a_list_with_an_iterator_of_its_own(environ: Environ, start: Start) -> Any:
    class Other(list[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"other"])

    start("200 OK", [length(5)])
    return Other([b"hello"])
