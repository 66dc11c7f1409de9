"""Header fields: their syntax, their number and size, repetition, what the environ says of them."""

from __future__ import annotations

from tests.worker.case import HOST, Case, raw, request

_START = b"GET /echo HTTP/1.1\r\n"

# Whole heads after the request line, without the empty line at the end.
_SYNTAX = {
    "usual": HOST + b"\r\nAccept: */*\r\nUser-Agent: tests/1.0 (x; y)",
    "no blank after the colon": b"Host:example.test\r\nX:y",
    "blanks around the value": HOST + b"\r\nX-A:  \t v w \t ",
    "tabs in the value": HOST + b"\r\nX-A: a\tb",
    "an empty value": HOST + b"\r\nX-A:\r\nX-B: ",
    "only blanks": HOST + b"\r\nX-A:  \t ",
    "a blank before the colon": HOST + b"\r\nX-A : v",
    "a tab before the colon": HOST + b"\r\nX-A\t: v",
    "a blank in the name": HOST + b"\r\nX A: v",
    "an empty name": HOST + b"\r\n: v",
    "a blank for a name": HOST + b"\r\n : v",
    "no colon": HOST + b"\r\nX-A",
    "no colon first": b"X-A\r\n" + HOST,
    "no colon last of many": HOST + b"\r\nX-A: v\r\nX-B: v\r\nX-C",
    "two colons": HOST + b"\r\nX-A:: v:w",
    "all token characters": HOST + b"\r\nA!#$%&'*+-.^`|~9: v",
    "a slash in the name": HOST + b"\r\nX/A: v",
    "brackets in the name": HOST + b"\r\n[X]: v",
    "a quote in the name": HOST + b'\r\n"X": v',
    "at in the name": HOST + b"\r\nX@A: v",
    "a NUL in the name": HOST + b"\r\nX\0A: v",
    "a DEL in the name": HOST + b"\r\nX\x7fA: v",
    "a byte above ASCII in the name": HOST + b"\r\nX\xe9: v",
    "sharp s in the name": HOST + b"\r\nHo\xdft: v",
    "a byte above ASCII in the value": HOST + b"\r\nX-A: caf\xe9 \xff\x80",
    "UTF-8 in the value": HOST + "\r\nX-A: café €".encode(),
    "a no-break space around the value": HOST + b"\r\nX-A: \xa0v\xa0",
    "a next line in the value": HOST + b"\r\nX-A: a\x85b",
    "a NUL in the value": HOST + b"\r\nX-A: a\0b",
    "a control in the value": HOST + b"\r\nX-A: a\x01b",
    "a vertical tab in the value": HOST + b"\r\nX-A: a\x0bb",
    "a form feed at the end": HOST + b"\r\nX-A: a\x0c",
    "a unit separator at the end": HOST + b"\r\nX-A: a\x1f",
    "a DEL in the value": HOST + b"\r\nX-A: a\x7fb",
    "a bare CR in the value": HOST + b"\r\nX-A: a\rb",
    "a bare CR before the end": HOST + b"\r\nX-A: a\r",
    "a bare CR in the name": HOST + b"\r\nX\rA: a",
    "a bare LF in the value": HOST + b"\r\nX-A: a\nb",
    "a bare LF as an end": HOST + b"\nX-A: a",
    "a bare LF and a field": HOST + b"\r\nX-A: a\nX-B: b",
    "a bare LF first": b"\n" + HOST,
    "folded": HOST + b"\r\nX-A: a\r\n b\r\nX-B: c",
    "folded by a tab": HOST + b"\r\nX-A: a\r\n\tb",
    "folded twice": HOST + b"\r\nX-A: a\r\n b\r\n  c ",
    "folded to nothing": HOST + b"\r\nX-A: a\r\n \r\nX-B: b",
    "folded in the value's place": HOST + b"\r\nX-A:\r\n b",
    "folded first": b" X-A: a\r\n" + HOST,
    "folded with a control": HOST + b"\r\nX-A: a\r\n b\x01",
    "folded Host": b"Host: example\r\n .test",
    "folded length": HOST + b"\r\nContent-Length: 1\r\n 0",
    "lower and upper case": b"hOsT: example.test\r\nx-lower: a\r\nX-UPPER: B",
    "a field like the request line": HOST + b"\r\nGET / HTTP/1.1",
}

_MEANING = {
    "Host twice": HOST + b"\r\nHost: other.test",
    "Host twice the same": HOST + b"\r\n" + HOST,
    "Host with a port": b"Host: example.test:8080",
    "Host with a bad port": b"Host: example.test:x",
    "Host with two colons": b"Host: a:1:2",
    "Host IPv6": b"Host: [::1]:80",
    "Host empty": b"Host:",
    "Host with blanks": b"Host: a b",
    "Host with a path": b"Host: example.test/path",
    "Host with a comma": b"Host: a, b",
    "no Host": b"X-A: v",
    "Content-Type": HOST + b"\r\nContent-Type: text/plain; charset=utf-8",
    "Content-Type twice": HOST + b"\r\nContent-Type: a/b\r\nContent-Type: a/b",
    "Content-Type twice in other cases": HOST + b"\r\nContent-Type: a/b\r\ncontent-type: c/d",
    "Content-Type empty": HOST + b"\r\nContent-Type:",
    "Content_Type": HOST + b"\r\nContent_Type: a/b",
    "Content_Length": HOST + b"\r\nContent_Length: 5",
    "Cookie twice": HOST + b"\r\nCookie: a=1\r\nCookie: b=2; c",
    "repeated": HOST + b"\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\nx-a: 4",
    "repeated with empty values": HOST + b"\r\nX-A:\r\nX-A: 1\r\nX-A:",
    "repeated 50 times": HOST + b"".join(b"\r\nX-A: %d" % number for number in range(50)),
    "underscore": HOST + b"\r\nX_A: 1",
    "underscore and hyphen": HOST + b"\r\nX-A: 1\r\nX_A: 2",
    "underscore first": HOST + b"\r\n_: 1",
    "SCRIPT_NAME": HOST + b"\r\nSCRIPT_NAME: /echo",
    "SCRIPT_NAME that is no prefix": HOST + b"\r\nSCRIPT_NAME: /other",
    "Script_Name": HOST + b"\r\nScript_Name: /ec",
    "SCRIPT_NAME empty": HOST + b"\r\nSCRIPT_NAME:",
    "SCRIPT-NAME": HOST + b"\r\nSCRIPT-NAME: /echo",
    "PATH_INFO": HOST + b"\r\nPATH_INFO: /other",
    "REMOTE_ADDR": HOST + b"\r\nREMOTE_ADDR: 10.1.1.1",
    "REMOTE_USER": HOST + b"\r\nREMOTE_USER: root",
    "REMOTE-USER": HOST + b"\r\nREMOTE-USER: root",
    "HTTP_HOST": HOST + b"\r\nHTTP_HOST: other.test",
    "Proxy": HOST + b"\r\nProxy: http://evil.test",
    "Authorization": HOST + b"\r\nAuthorization: Basic YTpi",
    "X-Forwarded-For": HOST + b"\r\nX-Forwarded-For: 10.2.2.2, 10.3.3.3",
    "X-Forwarded-Proto https": HOST + b"\r\nX-Forwarded-Proto: https",
    "X-Forwarded-Proto http": HOST + b"\r\nX-Forwarded-Proto: http",
    "X-Forwarded-Proto HTTPS": HOST + b"\r\nX-Forwarded-Proto: HTTPS",
    "X-Forwarded-Proto a list": HOST + b"\r\nX-Forwarded-Proto: https, http",
    "X-Forwarded-Proto twice": HOST + b"\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: https",
    "X-Forwarded-Proto both": HOST + b"\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: http",
    "X-Forwarded-Ssl on": HOST + b"\r\nX-Forwarded-Ssl: on",
    "X-Forwarded-Ssl off": HOST + b"\r\nX-Forwarded-Ssl: off",
    "X-Forwarded-Protocol ssl": HOST + b"\r\nX-Forwarded-Protocol: ssl",
    "two that agree": HOST + b"\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on",
    "two that agree on http": HOST + b"\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Ssl: off",
    "two that contradict": HOST + b"\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off",
    "https and no port": b"Host: example.test\r\nX-Forwarded-Ssl: on\r\nX-Forwarded-Port: 444",
    "underscored X_Forwarded_Proto": HOST + b"\r\nX_Forwarded_Proto: https",
    "Forwarded": HOST + b"\r\nForwarded: for=10.2.2.2;proto=https",
    "Range and If-Match": HOST + b"\r\nRange: bytes=0-1\r\nIf-Match: *",
    "TE and Trailer": HOST + b"\r\nTE: trailers\r\nTrailer: X-A",
    "Keep-Alive": HOST + b"\r\nKeep-Alive: timeout=1, max=1",
    "Proxy-Connection": HOST + b"\r\nProxy-Connection: close",
    "Date and Server": HOST + b"\r\nDate: today\r\nServer: mine",
}


def head(name: str, fields: bytes) -> Case:
    return raw(name, _START + fields + b"\r\n\r\n")


def counts_around(limit: int) -> list[Case]:
    """Heads with about as many fields as allowed."""
    return [
        raw(f"{number} fields", request(b"/echo", *[b"X-A: v"] * (number - 1)))
        for number in (limit - 1, limit, limit + 1, 2 * limit)
    ]


def sizes_around(limit: int) -> list[Case]:
    """Fields about as large as allowed: name, colon, value and the end of line count."""
    sizes = (limit - 1, limit, limit + 1, limit + 2, limit + 3, 3 * limit)
    return [
        *(
            raw(f"a field of {size} bytes", request(b"/echo", b"X-A: " + b"v" * (size - 7)))
            for size in sizes
        ),
        raw(
            "a field as large as allowed, with blanks that count",
            request(b"/echo", b"X-A:" + b" " * 20 + b"v" * (limit - 26) + b"   "),
        ),
        raw("a name as large as allowed", request(b"/echo", b"X" * (limit - 3) + b":")),
        raw("a name too large", request(b"/echo", b"X" * (limit + 1) + b":")),
        *(
            raw(
                f"a folded field of {limit + more} bytes",
                request(b"/echo", b"X-A: a\r\n " + b"v" * (limit + more - 11)),
            )
            for more in (0, 1)
        ),
    ]


def totals_around(limit: int) -> list[Case]:
    """Heads that do not end, about as large as a head may become; `limit` is max_buffer_headers."""
    start = request()[: -len(b"\r\n")]
    line = b"X-A: " + b"v" * 43 + b"\r\n"
    found = []
    for more in (-1, 0, 1, 2, 500):
        fields = line * (limit // len(line) + 20)
        taken = limit + more - len(HOST) - 2
        found.append(raw(f"{limit + more} bytes of fields, no end", start, fields[:taken]))
    return found


SYNTAX = [head(f"field: {name}", fields) for name, fields in _SYNTAX.items()]
MEANING = [head(f"field: {name}", fields) for name, fields in _MEANING.items()]
ENDS = [
    raw("field: the end split", _START + HOST + b"\r\n\r", b"\n"),
    raw("field: the end split before", _START + HOST, b"\r\n", b"\r\n"),
    raw("field: no end", _START + HOST + b"\r\n"),
    raw("field: no end of line", _START + b"Host: exam"),
    raw("field: a bare LF at the end", _START + HOST + b"\r\n\n"),
    raw("field: LF and CR LF at the end", _START + HOST + b"\n\r\n"),
    raw("field: a bare LF in a second piece", _START + HOST + b"\r\nX-", b"A: a\n\r\n"),
    raw("field: a bare LF, waited for", _START + HOST + b"\r\nX-A: a\n", b"\r\n\r\n"),
]
CASES = [*SYNTAX, *MEANING, *ENDS, *counts_around(100), *sizes_around(8190)]
