"""Applications that fail, in every way and at every moment."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable
from typing import Any

from gunicorn.http import errors

from tests.worker.shapes import PLAIN, Closing, Environ, Shape, Start, length, named

FAILURES: dict[str, Shape] = {}
# After these the worker itself may end.
FATAL = ("system-exit", "keyboard-interrupt", "generator-exit")

_ERRORS: dict[str, Callable[[], BaseException]] = {
    "runtime-error": lambda: RuntimeError("oh"),
    "markup": lambda: ValueError("<b>&"),
    "stop-iteration": StopIteration,
    "assertion-error": AssertionError,
    "memory-error": MemoryError,
    "recursion-error": RecursionError,
    "unicode-error": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    "file-not-found": lambda: FileNotFoundError(errno.ENOENT, "no such file"),
    "timeout": lambda: TimeoutError("a call of the application's took too long"),
    "os-error": lambda: OSError("without a number"),
    "connection-reset": lambda: ConnectionResetError(errno.ECONNRESET, "not the client"),
    "broken-pipe": lambda: BrokenPipeError(errno.EPIPE, "not the client"),
    "not-connected": lambda: OSError(errno.ENOTCONN, "not the client"),
    "would-block": lambda: BlockingIOError(errno.EAGAIN, "not the client"),
    "ssl-error": lambda: ssl.SSLError(1, "not the client"),
    "ssl-end": lambda: ssl.SSLError(ssl.SSL_ERROR_EOF, "not the client"),
    "ssl-error-without-number": ssl.SSLError,
    "no-more-data": lambda: errors.NoMoreData(b"x"),
    "invalid-request-line": lambda: errors.InvalidRequestLine("x"),
    "invalid-header": lambda: errors.InvalidHeader("x"),
    "limit-request-headers": lambda: errors.LimitRequestHeaders("x"),
    "configuration-problem": lambda: errors.ConfigurationProblem("x"),
    "expectation-failed": lambda: errors.ExpectationFailed("x"),
    "unsupported-coding": lambda: errors.UnsupportedTransferCoding("x"),
    "invalid-proxy-header": lambda: errors.InvalidProxyHeader("x"),
    "system-exit": lambda: SystemExit(7),
    "keyboard-interrupt": KeyboardInterrupt,
    "generator-exit": GeneratorExit,
}


def _register(name: str, make: Callable[[], BaseException]) -> None:
    def before(environ: Environ, start: Start) -> Any:
        raise make()

    def started(environ: Environ, start: Start) -> Any:
        start("200 OK", [PLAIN])
        raise make()

    def at_first(environ: Environ, start: Start) -> Any:
        def items() -> Any:
            raise make()
            yield b""  # type: ignore[unreachable] # makes it a generator

        start("200 OK", [length(5)])
        return Closing(environ, items())

    def after_first(environ: Environ, start: Start) -> Any:
        def items() -> Any:
            yield b"first"
            raise make()

        start("200 OK", [PLAIN])
        return Closing(environ, items())

    def after_written(environ: Environ, start: Start) -> Any:
        start("200 OK", [PLAIN])(b"first")
        raise make()

    def at_close(environ: Environ, start: Start) -> Any:
        class Refusing(Closing):
            def close(self) -> None:
                super().close()
                raise make()

        start("200 OK", [length(5)])
        return Refusing(environ, [b"hello"])

    moments = (before, started, at_first, after_first, after_written, at_close)
    for moment in moments:
        FAILURES[f"{name}-{moment.__name__.replace('_', '-')}"] = moment


for _name, _make in _ERRORS.items():
    _register(_name, _make)


@named(FAILURES)
def never_started(environ: Environ, start: Start) -> Any:
    return [b"hello"]


@named(FAILURES)
def never_started_empty(environ: Environ, start: Start) -> Any:
    return []


@named(FAILURES)
def never_started_none(environ: Environ, start: Start) -> Any:
    return None


@named(FAILURES)
def failing_iterator(environ: Environ, start: Start) -> Any:
    class Failing(Closing):
        def __iter__(self) -> Any:
            raise RuntimeError("no iterator")

    start("200 OK", [length(5)])
    return Failing(environ, [])


@named(FAILURES)
def close_is_no_function(environ: Environ, start: Start) -> Any:
    class Odd(list[bytes]):
        close = 7

    start("200 OK", [length(5)])
    return Odd([b"hello"])


@named(FAILURES)
def both_in_the_middle_and_at_close(environ: Environ, start: Start) -> Any:
    class Refusing(Closing):
        def close(self) -> None:
            super().close()
            raise ValueError("at close")

    def items() -> Any:
        yield b"first"
        raise RuntimeError("in the middle")

    start("200 OK", [PLAIN])
    return Refusing(environ, items())
