"""What becomes of a connection: Connection, Expect, Upgrade, pipelining, the client's end."""

from __future__ import annotations

import itertools

from tests.worker.case import Ask, Await, Case, pipelined, post, raw, request
from tests.worker.cases.framing import chunked

_CLOSE = b"Connection: close"
_BAD = b"GET / HTTP/7.7\r\n\r\n"
_CONNECTIONS: dict[str, list[bytes]] = {
    "none": [],
    "close": [b"close"],
    "Close": [b"Close"],
    "keep-alive": [b"keep-alive"],
    "Keep-Alive": [b"Keep-Alive"],
    "blanks around close": [b" \tclose\t "],
    "close, x": [b"close, x"],
    "x, close": [b"x, close"],
    "keep-alive, close": [b"keep-alive, close"],
    "keep-alive, x": [b"keep-alive, x"],
    "close and keep-alive": [b"close", b"keep-alive"],
    "keep-alive and close": [b"keep-alive", b"close"],
    "x and close": [b"x", b"close"],
    "x and keep-alive": [b"x", b"keep-alive"],
    "empty": [b""],
    "empty and close": [b"", b"close"],
    "upgrade": [b"upgrade"],
    "keep-alive, upgrade": [b"keep-alive, Upgrade"],
    "TE": [b"TE, close"],
    "a no-break space": [b"close\xa0"],
}
CONNECTION = [
    raw(
        f"{method.decode()} in {version.decode()}, Connection: {name}",
        request(
            b"/echo",
            *(b"Connection: " + value for value in values),
            method=method,
            version=version,
        ),
    )
    for method, version in [
        *((b"GET", b"HTTP/1.1"), (b"GET", b"HTTP/1.0")),
        *((b"HEAD", b"HTTP/1.0"), (b"GET", b"HTTP/1.2"), (b"CONNECT", b"HTTP/1.1")),
    ]
    for name, values in _CONNECTIONS.items()
]

_EXPECTATIONS = {
    **{name: name.encode() for name in ("100-continue", "100-Continue", "100-CONTINUE")},
    **{name: name.encode() for name in ("100-continue, x", "x", "200-ok", "100-continue;q=1")},
    "blanks around": b" 100-continue\t",
    "nothing": b"",
}
EXPECT = [
    raw(
        f"Expect in {version.decode()}: {name}",
        request(
            b"/echo",
            b"Expect: " + value,
            b"Content-Length: 5",
            method=b"POST",
            version=version,
            body=b"hello",
        ),
    )
    for version in (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2")
    for name, value in _EXPECTATIONS.items()
]
_EXPECTING = request(b"/echo", b"Expect: 100-continue", b"Content-Length: 5", method=b"POST")
EXPECT_LATE = [
    raw("Expect, then the body", _EXPECTING, Await(b"100 Continue"), b"hello"),
    raw("Expect, no body follows", _EXPECTING),
    raw("Expect, the client ends", _EXPECTING, Await(b"100 Continue"), shuts=True),
    raw("Expect, half the body", _EXPECTING, Await(b"100 Continue"), b"he", shuts=True),
    raw("Expect twice", request(b"/echo", b"Expect: 100-continue", b"Expect: 100-continue")),
    raw("Expect without a body", request(b"/echo", b"Expect: 100-continue")),
    raw("Expect with HEAD", request(b"/echo", b"Expect: 100-continue", method=b"HEAD")),
    raw(
        "Expect, unread",
        _EXPECTING.replace(b"/echo", b"/unread"),
        Await(b"200 OK"),
        b"hello",
    ),
    raw(
        "Expect, chunks",
        chunked(b"", b"Expect: 100-continue"),
        Await(b"100 Continue"),
        b"5\r\nhello\r\n0\r\n\r\n",
    ),
    pipelined("Expect, pipelined", [_EXPECTING + b"hello", request(b"/next")]),
    raw("Expect, a shape that fails", _EXPECTING.replace(b"/echo", b"/failure/never-started")),
]

_UPGRADE = b"Connection: Upgrade"
UPGRADE = [
    raw(
        f"upgrade to {name}",
        request(b"/echo", b"Connection: " + connection, *(b"Upgrade: " + name.encode(),), *more),
    )
    for name, connection, more in [
        ("websocket", b"Upgrade", [b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: x"]),
        ("WebSocket", b"keep-alive, Upgrade", [b"Sec-WebSocket-Version: 13"]),
        ("h2c", b"Upgrade, HTTP2-Settings", [b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"]),
        ("TLS/1.2", b"Upgrade", []),
    ]
] + [
    raw(
        "a WebSocket of the application's",
        request(b"/talk/socket-taken-over?{number}", _UPGRADE, b"Upgrade: websocket"),
        Await(b"ready\n"),
        b"hello\n",
    ),
    raw(
        "a WebSocket whose client speaks too early",
        request(b"/talk/socket-taken-over?{number}", _UPGRADE, b"Upgrade: websocket") + b"early\n",
        Await(b"ready\n"),
        b"hello\n",
    ),
]

_GET, _HEAD, _OLD = request(), request(method=b"HEAD"), request(version=b"HTTP/1.0")
_KEPT = request(b"/echo", b"Connection: keep-alive", version=b"HTTP/1.0")
_KINDS = {
    "GET": _GET,
    "HEAD": _HEAD,
    "POST": post(b"hello"),
    "unread POST": post(b"hello", target=b"/unread"),
    "half-read POST": post(b"hello there", target=b"/half"),
    "chunked": chunked(b"5\r\nhello\r\n0\r\n\r\n"),
    "unread chunked": chunked(b"5\r\nhello\r\n0\r\nX-A: v\r\n\r\n", target=b"/unread"),
    "shape": request(b"/shape/several-items?{number}"),
    "empty": request(b"/shape/status-204?{number}"),
    "no end": request(b"/shape/length-too-long?{number}"),
    "kept 1.0": _KEPT,
    "1.0": _OLD,
    "close": request(b"/echo", _CLOSE),
    "error": request(b"/failure/runtime-error-before?{number}"),
    "broken": request(b"/failure/runtime-error-after-first?{number}"),
    "bad": _BAD,
    "bad chunks": chunked(b"x\r\n"),
    "an empty line and GET": b"\r\n" + _GET,
    "two empty lines and GET": b"\r\n\r\n" + _GET,
}
_LAST = {"kept 1.0", "1.0", "close", "error", "broken", "bad", "bad chunks", "no end"}
PIPELINED = [
    pipelined(f"pipelined: {first}, {second}", [_KINDS[first], _KINDS[second]])
    for first, second in itertools.product(_KINDS, repeat=2)
    if first not in _LAST or second in ("GET", "bad")
] + [
    pipelined("pipelined: two", [_GET] * 2),
    pipelined("pipelined: five", [_GET, post(b"two"), _HEAD, request(b"/four"), post(b"five")]),
    pipelined("pipelined: 50", [request(b"/%d" % number) for number in range(50)]),
    pipelined("pipelined: POST 20 times", [post(b"%d" % number) for number in range(20)]),
    pipelined("pipelined: HEAD three times", [_HEAD] * 3),
    pipelined("pipelined: four and a bad one", [_GET] * 4 + [_BAD]),
    pipelined("pipelined: garbage after GET", [_GET, b"garbage"], answers=1),
    pipelined("pipelined: half a request after GET", [_GET, b"GET / HTT"], answers=2),
    pipelined("pipelined: large, then GET", [post(b"x" * 100_000), _GET]),
    pipelined("pipelined: large unread, GET", [post(b"x" * 100_000, target=b"/unread"), _GET]),
    pipelined("pipelined: beyond a buffer", [request(b"/" + b"a" * 3000)] * 6),
    raw("in turn: five", *(_GET, Await(b'"/echo"')) * 4, _GET, answers=5),
    raw("in turn: while the first runs", post(b"12345")[:-5], b"12345" + _GET, _GET, answers=3),
    raw("an empty line after a body", post(b"hello") + b"\r\n", request(b"/next"), answers=2),
    raw("an empty line after a body, alone", post(b"hello") + b"\r\n"),
    raw("two empty lines after a body", post(b"hello") + b"\r\n\r\n", _GET, answers=2),
]

CLIENTS_END = [
    raw("end: at once", b"", shuts=True),
    raw("end: after a head", _GET, shuts=True),
    raw("end: after a kept 1.0", _KEPT, shuts=True),
    raw("end: after two", _GET + _GET, shuts=True, answers=2),
    raw("end: after a half", _GET[:-9], shuts=True),
    raw("end: after one and a half", _GET + _GET[:-9], shuts=True),
    raw("end: after one and a bad one", _GET + _BAD, shuts=True),
    raw("end: in a body", post(b"hello")[:-2], shuts=True),
    raw("end: in an unread body", post(b"hello", target=b"/unread")[:-2], shuts=True),
    raw("end: after a body", post(b"hello"), shuts=True),
    raw("end: before a large answer", request(b"/shape/large?{number}"), shuts=True),
    raw("end: answered, then ended", _GET, Await(b'"/echo"'), shuts=True),
    raw("end: nothing is said", b""),
]

GARBAGE = [
    raw("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(1, 200))),
    raw("TLS hello with an LF", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\n" + bytes(99)),
    raw("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)),
    raw("HTTP/2 preface, half", b"PRI * HTTP/2.0\r\n\r\n"),
    raw("PROXY line", b"PROXY TCP4 10.2.2.2 10.3.3.3 1 2\r\n" + _GET),
    raw("PROXY v2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12) + _GET),
    raw("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
    raw("NULs", bytes(100)),
    raw("bytes", bytes(range(256)) * 3),
    raw("bytes above ASCII", b"\xff" * 50 + b"\r\n\r\n"),
    raw("a line of blanks", b" " * 40 + b"\r\n\r\n"),
    raw("JSON", b'{"method": "GET"}\r\n\r\n'),
]
HELD = [
    Case(
        name="an answer in two pieces, the second only when somebody else was answered",
        steps=(
            request(b"/talk/held?{number}"),
            Await(b"first"),
            Ask(b"/talk/release?{number}"),
        ),
        counts_closing=True,
        alone=True,
    ),
]
CASES = [
    *CONNECTION,
    *EXPECT,
    *EXPECT_LATE,
    *UPGRADE,
    *PIPELINED,
    *CLIENTS_END,
    *GARBAGE,
    *HELD,
]
