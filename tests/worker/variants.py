"""The settings under which the same is asked, and the cases that make sense under them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.worker.case import Case, post, raw, request
from tests.worker.cases import (
    answers,
    bodies,
    connections,
    fields,
    framing,
    proxies,
    request_line,
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One pair of servers with the same settings."""

    name: str
    cases: tuple[Case, ...] = field(repr=False)
    options: tuple[str, ...] = ()  # of Gunicorn's command line
    env: Mapping[str, str] = field(default_factory=dict)
    unix: bool = False  # listens at a Unix socket
    held: bool = False  # ours sends whole answers at the end of a turn, as with others at hand

    def case(self, name: str) -> Case:
        (found,) = [case for case in self.cases if case.name == name]
        return found


# What is asked under every setting: whether it has an effect where it should have none.
USUAL = [
    *(raw(f"usual {method}", request(method=method.encode())) for method in ("GET", "HEAD")),
    *(raw(f"usual {kind}", sent) for kind, sent in (("POST", post(b"hello")),)),
    raw("usual in 1.0", request(version=b"HTTP/1.0")),
    raw("usual and close", request(b"/echo", b"Connection: close")),
    raw("usual in two", request()[:30], request()[30:]),
    raw("usual, two at once", request() + request(b"/next"), answers=2),
    raw("usual, bad", request(version=b"HTTP/7.7")),
    raw("usual chunks", framing.chunked(b"5\r\nhello\r\n0\r\n\r\n")),
    raw("usual late body", post(b"hello")[:-3], b"llo"),
    raw("usual shape", request(b"/shape/several-items?{number}")),
    raw("usual error", request(b"/failure/runtime-error-before?{number}")),
]
_HEADS = [*request_line.METHODS, *request_line.VERSIONS, *fields.SYNTAX, *fields.MEANING]
_SCRIPT = [
    raw(f"under a script name: {target.decode()}", request(target))
    for target in (
        *(b"/app", b"/app/", b"/app/echo", b"/application", b"/ap", b"/", b"/APP/echo"),
        *(b"/%61pp/echo", b"//app/echo", b"http://example.test/app/echo", b"http://example.test"),
        *(b"/app//echo", b"/app?a", b"/app%2Fecho"),
    )
] + [
    raw(
        f"under a script name, with {line.decode()}",
        request(b"/app/echo", line),
    )
    for line in (b"SCRIPT_NAME: /app/echo", b"SCRIPT_NAME: /other", b"SCRIPT_NAME:", b"X_A: v")
]
_TRAILERS = [case for case in framing.CHUNKS if "/echo: trailer" in case.name]
_HEAD_LIMIT = 5 * (100 + 2) + 4  # Gunicorn's own sum of the limits below
_FIELD_LIMITED = [
    *fields.counts_around(5),
    *fields.sizes_around(100),
    *fields.totals_around(_HEAD_LIMIT),
    *request_line.lines_around(200),
    # Of what is longer than Gunicorn reads at once, it depends on the pieces what is said of it.
    *(case for case in framing.CHUNKS if "/echo" in case.name and "too la" not in case.name),
    *framing.too_long(100, _HEAD_LIMIT),
    raw("trailers too many for 5", framing.chunked(b"0\r\n" + b"X-A: v\r\n" * 6 + b"\r\n")),
    raw("trailers without an end", framing.chunked(b"0\r\n" + b"X-A: v\r\n" * 90)),
]


def _variant(
    name: str,
    *options: str,
    cases: list[Case],
    env: Mapping[str, str] | None = None,
    unix: bool = False,
    held: bool = False,
) -> Variant:
    return Variant(
        name=name,
        cases=(*USUAL, *cases),
        options=options,
        env=env or {},
        unix=unix,
        held=held,
    )


VARIANTS = [
    _variant(
        "heads",
        cases=[*request_line.CASES, *fields.CASES, *connections.CASES],
    ),
    _variant("bodies", cases=[*framing.CASES, *bodies.CASES]),
    _variant("answers", cases=answers.CASES),
    _variant(
        "limits",
        *("--limit-request-line", "200", "--limit-request-fields", "5"),
        *("--limit-request-field_size", "100"),
        cases=_FIELD_LIMITED,
    ),
    _variant(
        "permissive",
        *("--permit-unconventional-http-method", "--permit-unconventional-http-version"),
        *("--casefold-http-method", "--strip-header-spaces", "--permit-obsolete-folding"),
        *("--header-map", "dangerous"),
        cases=[*_HEADS, *_TRAILERS, *fields.sizes_around(8190)],
    ),
    # One flag at a time: what is off without the other.
    _variant("casefold", "--casefold-http-method", cases=request_line.METHODS),
    _variant("methods", "--permit-unconventional-http-method", cases=request_line.METHODS),
    _variant(
        "trusted",
        *("--forwarded-allow-ips", "*", "--forwarder-headers", "SCRIPT_NAME,X_A,REMOTE_USER"),
        cases=fields.MEANING,
    ),
    _variant(
        "untrusted",
        *("--forwarded-allow-ips", "10.0.0.1", "--header-map", "drop"),
        cases=[*fields.MEANING, *fields.counts_around(100), *_TRAILERS],
    ),
    _variant("proxy", "--proxy-protocol", "auto", cases=proxies.CASES),
    _variant(
        "foreign proxy",
        *("--proxy-protocol", "v1", "--proxy-allow-from", "10.0.0.1"),
        cases=proxies.CASES,
    ),
    _variant(
        "no keep-alive",
        *("--keep-alive", "0"),
        cases=[*connections.CONNECTION, *connections.PIPELINED, *answers.HEAD],
    ),
    _variant(
        "unix",
        cases=[
            *(*request_line.TARGETS, *request_line.FORMS, *fields.MEANING, *fields.ENDS),
            *(*connections.CONNECTION, *connections.PIPELINED, *connections.CLIENTS_END),
            *(*bodies.WITHOUT_NEXT, *framing.WAITING),
        ],
        unix=True,
    ),
    _variant(
        "held",
        cases=[*connections.CASES, *bodies.WITHOUT_NEXT, *answers.CASES],
        held=True,
    ),
    _variant("script name", env={"SCRIPT_NAME": "/app"}, cases=_SCRIPT),
]
