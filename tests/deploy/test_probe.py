from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.validate import validator

import pytest

from deploy.cluster import probe
from deploy.cluster.probe import DEFAULT_PATH, Verdict

App = Callable[..., Iterable[bytes]]
PASSED = Verdict(passed=True, reason="")


def answering(status: str, body: bytes = b"") -> App:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, [("Content-Type", "text/plain")])
        return [body]

    return app


def raising(error: BaseException) -> App:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise error

    return app


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "301 Moved", "302 Found", "399 x"])
@pytest.mark.parametrize("path", [None, "/", "/health/ready"])
def test_an_answer_below_400_passes(status: str, path: str | None) -> None:
    assert probe.ask(answering(status), path) == PASSED


@pytest.mark.parametrize("status", ["199 x", "400 Bad Request", "404 Not Found", "503 Away"])
def test_any_other_answer_does_not(status: str) -> None:
    verdict = probe.ask(answering(status), "/ping")
    assert verdict == Verdict(passed=False, reason=f"GET /ping answered {status}")


@pytest.mark.parametrize(
    ("path", "status", "passed"),
    [
        (None, "404 Not Found", True),
        (DEFAULT_PATH, "404 Not Found", False),
        (None, "405 Method Not Allowed", False),
        (None, "410 Gone", False),
        (None, "503 Service Unavailable", False),
    ],
)
def test_only_the_default_path_may_be_lacking(path: str | None, status: str, passed: bool) -> None:
    assert probe.ask(answering(status), path).passed is passed


def test_the_reason_says_what_the_body_says_in_one_line() -> None:
    verdict = probe.ask(answering("503 Away", b'{\n  "database":\t"down \xff"\n}\n'), None)
    assert verdict.reason == (
        'GET /health/ready answered 503 Away: { "database": "down \N{REPLACEMENT CHARACTER}" }'
    )


def test_of_a_long_body_the_beginning_is_said() -> None:
    verdict = probe.ask(answering("500 Error", b"x" * 1_000_000), None)
    assert verdict.reason.endswith(" answered 500 Error: " + "x" * 300)


def test_an_empty_path_asks_nothing() -> None:
    assert probe.ask(raising(AssertionError("asked")), "") == PASSED


@pytest.mark.parametrize(
    "error", [RuntimeError("no database"), KeyError("SECRET"), OSError(2, "x")]
)
def test_an_application_that_raises_does_not_pass_and_shows_where(error: Exception) -> None:
    verdict = probe.ask(raising(error), None)
    assert not verdict.passed
    assert verdict.reason == f"GET /health/ready raised {type(error).__name__}: {error}"
    assert verdict.traceback.startswith("Traceback (most recent call last):")
    assert "in app\n" in verdict.traceback


def test_an_error_of_several_lines_is_one_line_in_the_reason() -> None:
    error = OSError("connection failed: refused\n\tIs the server running on that host?")
    verdict = probe.ask(raising(error), None)
    assert len(verdict.reason.splitlines()) == 1
    assert "Is the server running" in verdict.traceback


def test_an_exit_is_not_taken_for_an_answer() -> None:
    with pytest.raises(SystemExit):
        probe.ask(raising(SystemExit(3)), None)


def test_an_application_that_never_answers_does_not_pass() -> None:
    def silent(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return []

    assert probe.ask(silent, None).reason == "GET /health/ready answered nothing"


def test_what_is_no_wsgi_application_does_not_pass() -> None:
    def nothing(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        start_response("200 OK", [])

    for app in (nothing, list):
        verdict = probe.ask(app, None)
        assert not verdict.passed
        assert "raised TypeError" in verdict.reason


def test_a_body_of_text_does_not_pass_either() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[Any]:
        start_response("200 OK", [])
        return ["text"]

    assert "TypeError" in probe.ask(app, None).reason


def test_a_status_that_is_no_text_does_not_pass_either() -> None:
    def app(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
        start_response(200, [])
        return []

    assert not probe.ask(app, None).passed


def test_a_generator_may_start_late_and_is_closed() -> None:
    seen: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        try:
            start_response("503 Away", [])
            yield b"one "
            yield b"two"
        finally:
            seen.append("closed")

    assert probe.ask(app, "/p").reason == "GET /p answered 503 Away: one two"
    assert seen == ["closed"]


class Closing:
    """A response as WSGI allows it: iterable, and closed at the end."""

    def __init__(self, parts: Iterable[bytes]):
        self._parts = parts
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)

    def close(self) -> None:
        self.closed += 1


def broken() -> Iterator[bytes]:
    yield b"begun"
    raise ValueError("half way")


@pytest.mark.parametrize(("parts", "passed"), [([b"ok"], True), (broken(), False)])
def test_a_response_is_closed_once_also_when_it_breaks(
    parts: Iterable[bytes], passed: bool
) -> None:
    response = Closing(parts)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return response

    verdict = probe.ask(app, None)
    assert verdict.passed is passed
    assert response.closed == 1
    assert ("ValueError: half way" in verdict.reason) is not passed


def test_what_goes_through_write_is_part_of_the_body() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("503 Away", [])
        write(b"written ")
        return [b"returned"]

    assert probe.ask(app, None).reason.endswith("503 Away: written returned")


def test_an_error_that_was_answered_late_is_the_answer() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            int("too late for 200")
        except ValueError:
            start_response("500 Error", [], sys.exc_info())
        return [b"sorry"]

    assert probe.ask(app, None).reason == "GET /health/ready answered 500 Error: sorry"


@pytest.mark.parametrize(
    ("path", "info", "query"),
    [
        (None, "/health/ready", ""),
        ("/ping", "/ping", ""),
        ("/ping?deep=1&x=a?b", "/ping", "deep=1&x=a?b"),
        ("/ping?", "/ping", ""),
        ("/a%20b/%C3%A9", "/a b/\xc3\xa9", ""),
    ],
)
def test_the_request_is_a_plain_get_of_the_path(path: str | None, info: str, query: str) -> None:
    environs: list[WSGIEnvironment] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environs.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["wsgi.input"].read(0) or b"ok"]

    assert probe.ask(validator(app), path) == PASSED  # a valid environment, too
    (environ,) = environs
    assert (environ["REQUEST_METHOD"], environ["SCRIPT_NAME"]) == ("GET", "")
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (info, query)
    assert environ["REMOTE_ADDR"] == "127.0.0.1"


def test_the_applications_of_frameworks_answer() -> None:
    from flask import Flask

    flask = Flask("probed")
    flask.add_url_rule("/health/ready", endpoint="a", view_func=lambda: ("database is away", 503))
    flask.add_url_rule("/ping", endpoint="b", view_func=lambda: "pong")
    assert probe.ask(flask, "/ping") == PASSED
    assert probe.ask(flask, None).reason.endswith("503 SERVICE UNAVAILABLE: database is away")
    assert probe.ask(flask, "/other").reason.startswith("GET /other answered 404 NOT FOUND")
