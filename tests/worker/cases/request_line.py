"""The request line: what comes before it, methods, targets, versions, its length."""

from __future__ import annotations

from tests.worker.case import HOST, Case, raw, request

_REST = HOST + b"\r\n\r\n"

_METHODS = {
    **{name: name.encode() for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE")},
    **{name: name.encode() for name in ("OPTIONS", "PURGE", "PROPFIND", "M-SEARCH", "BREW", "PRI")},
    "lower case": b"get",
    "mixed case": b"Get",
    "one letter": b"G",
    "two letters": b"GE",
    "20 letters": b"A" * 20,
    "21 letters": b"A" * 21,
    "token characters": b"A!$%&'*+-.^_`|~9",
    "digits": b"123",
    "number sign": b"GE#T",
    "a colon": b"GE:T",
    "a slash": b"GE/T",
    "a quote": b'"GET"',
    "a tab": b"GE\tT",
    "a leading tab": b"\tGET",
    "a NUL": b"GE\0T",
    "a leading NUL": b"\0GET",
    "a byte above ASCII": b"G\xcbT",
    "sharp s": b"GE\xdf",
    "a DEL": b"GE\x7fT",
    "nothing": b"",
}

_TARGETS = {
    "a path": b"/echo",
    "the root": b"/",
    "a query": b"/echo?a=1&b=%20;c",
    "an empty query": b"/echo?",
    "two question marks": b"/echo?a?b",
    "a fragment": b"/echo#part",
    "a fragment and a query": b"/echo?a=1#part?b",
    "only a fragment": b"/#",
    "absolute": b"http://example.test/echo?a=1",
    "absolute without a path": b"http://example.test",
    "absolute with a port": b"http://example.test:8080/echo",
    "absolute, another host": b"http://other.test/echo",
    "absolute, user and password": b"http://user:pass@example.test/echo",
    "absolute, another scheme": b"ftp://example.test/echo",
    "absolute, https": b"https://example.test/echo",
    "absolute, no host": b"http:///echo",
    "absolute, upper case": b"HTTP://EXAMPLE.TEST/echo",
    "absolute, IPv6": b"http://[::1]:80/echo",
    "absolute, bad IPv6": b"http://[::1/echo",
    "absolute, not IPv6": b"http://[example]/echo",
    "a scheme only": b"http://",
    "no scheme": b"://example.test/echo",
    "authority": b"example.test:443",
    "asterisk": b"*",
    "asterisk and more": b"*/echo",
    "relative": b"echo",
    "dots": b"/a/./b/../echo",
    "a relative dot": b"./echo",
    "two slashes": b"//double/echo",
    "two slashes and a host": b"//example.test:80/echo",
    "three slashes": b"///echo",
    "two slashes inside": b"/echo//a//",
    "two slashes and a bracket": b"//[/echo",
    "only slashes": b"//",
    "a colon": b"/echo:80",
    "a semicolon": b"/echo;a=1",
    "a backslash": b"/echo\\a",
    "a colon and slashes": b"/echo://a",
    "quotes": b"/'\"<>{}|^`",
    "brackets": b"/[a]",
    "percent NUL": b"/%00",
    "percent slash": b"/a%2Fb",
    "percent line break": b"/a%0d%0aX-Injected:%20yes",
    "percent UTF-8": b"/caf%C3%A9",
    "percent bad UTF-8": b"/%ff%fe",
    "percent percent": b"/%25%32%35",
    "percent bad": b"/%zz%1%",
    "percent lower case": b"/%e9",
    "percent in the query": b"/echo?a=%00%ff%zz",
    "plus": b"/a+b?c+d",
    "a byte above ASCII": b"/caf\xe9",
    "UTF-8": b"/caf\xc3\xa9",
    "a byte above ASCII in the query": b"/echo?\xff",
    "a NUL": b"/a\0b",
    "a control": b"/a\x01b",
    "a DEL": b"/a\x7fb",
    "a tab": b"/a\tb",
    "a vertical tab": b"/a\x0bb",
    "a blank": b"/a b",
    "a bare CR": b"/a\rb",
    "a bare LF": b"/a\nb",
    "nothing": b"",
    "4000 bytes": b"/" + b"a" * 3999,
}

_VERSIONS = {
    **{text: text.encode() for text in ("HTTP/1.0", "HTTP/1.1", "HTTP/1.2", "HTTP/1.9")},
    **{text: text.encode() for text in ("HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/9.9")},
    **{text: text.encode() for text in ("HTTP/1", "HTTP/2", "HTTP/1.10", "HTTP/11.1", "HTTP/-1.1")},
    **{text: text.encode() for text in ("http/1.1", "Http/1.1", "HTTPS/1.1", "HTTP 1.1", "ICY")},
    **{text: text.encode() for text in ("HTTP/1.x", "HTTP/a.b", "HTTP/1,1", "HTTP/ 1.1", "1.1")},
    "a blank before": b" HTTP/1.1",
    "a blank after": b"HTTP/1.1 ",
    "a tab after": b"HTTP/1.1\t",
    "more after": b"HTTP/1.1 x",
    "a CR after": b"HTTP/1.1\r",
    "a NUL after": b"HTTP/1.1\0",
    "other digits": b"HTTP/\xb9.1",
    "nothing": b"",
}

_LINES = {
    "method only": b"GET\r\n" + _REST,
    "two parts": b"GET /echo\r\n" + _REST,
    "two parts and nothing else": b"GET /\r\n\r\n",
    "tabs for blanks": b"GET\t/echo\tHTTP/1.1\r\n" + _REST,
    "two blanks first": b"GET  /echo HTTP/1.1\r\n" + _REST,
    "a leading blank": b" GET /echo HTTP/1.1\r\n" + _REST,
    "ends with LF": b"GET /echo HTTP/1.1\n" + _REST,
    "ends with CR": b"GET /echo HTTP/1.1\r" + _REST,
    "ends with CR CR LF": b"GET /echo HTTP/1.1\r\r\n" + _REST,
    "all with LF": b"GET /echo HTTP/1.1\nHost: example.test\n\n",
    "all with CR": b"GET /echo HTTP/1.1\rHost: example.test\r\r",
    "an empty line before": b"\r\nGET /echo HTTP/1.1\r\n" + _REST,
    "two empty lines before": b"\r\n\r\nGET /echo HTTP/1.1\r\n" + _REST,
    "an LF before": b"\nGET /echo HTTP/1.1\r\n" + _REST,
    "a CR before": b"\rGET /echo HTTP/1.1\r\n" + _REST,
    "CR CR LF before": b"\r\r\nGET /echo HTTP/1.1\r\n" + _REST,
    "a blank line before": b" \r\nGET /echo HTTP/1.1\r\n" + _REST,
    "only an empty line": b"\r\n",
    "only two empty lines": b"\r\n\r\n",
    "only a CR": b"\r",
    "only an LF": b"\n",
    "no field at all": b"GET /echo HTTP/1.1\r\n\r\n",
    "no field at all in 1.0": b"GET /echo HTTP/1.0\r\n\r\n",
    "only the line": b"GET /echo HTTP/1.1\r\n",
    "half a line": b"GET /ec",
    "a field first": b"Host: example.test\r\nGET / HTTP/1.1\r\n\r\n",
    "a byte order mark": b"\xef\xbb\xbfGET /echo HTTP/1.1\r\n" + _REST,
    "a response": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a UTF-16 request": "GET / HTTP/1.1\r\n\r\n".encode("utf-16-le"),
}


def _of_length(length: int) -> bytes:
    """A request whose line has this length, its end not counted."""
    target = b"/" + b"a" * (length - len(b"GET / HTTP/1.1"))
    return request(target)


def lines_around(limit: int) -> list[Case]:
    """Request lines about as long as allowed, and far longer, and some that never end."""
    lengths = (limit - 1, limit, limit + 1, limit + 2, limit + 3, 2 * limit)
    return [
        *(raw(f"request line of {length} bytes", _of_length(length)) for length in lengths),
        *(
            raw(f"request line of {length} bytes after an empty line", b"\r\n" + _of_length(length))
            for length in (limit, limit + 1)
        ),
        *(
            raw(f"{length} bytes without an end of line", b"GET /" + b"a" * (length - 5))
            for length in (limit, limit + 1, limit + 2, limit + 3, limit + 4)
        ),
        *(
            raw(f"{length} bytes without an end of line but CR", b"G" * (length - 1) + b"\r")
            for length in (limit + 2, limit + 3)
        ),
    ]


METHODS = [raw(f"method: {name}", request(method=value)) for name, value in _METHODS.items()]
TARGETS = [raw(f"target: {name}", request(value)) for name, value in _TARGETS.items()]
FORMS = [
    raw(f"{method.decode()} of {name}", request(_TARGETS[name], method=method))
    for method in (b"CONNECT", b"OPTIONS", b"HEAD")
    for name in ("a path", "absolute", "authority", "asterisk", "relative", "nothing")
]
VERSIONS = [raw(f"version: {name}", request(version=value)) for name, value in _VERSIONS.items()]
LINES = [raw(f"line: {name}", value) for name, value in _LINES.items()]
SPLIT_LINES = [
    raw("line: an empty line before, alone", b"\r\n", request()),
    raw("line: an empty line before, in two", b"\r", b"\n", request()),
    raw("line: a CR before, alone", b"\r", request()),
    raw("line: two empty lines before, alone", b"\r\n", b"\r\n", request()),
    raw("line: an empty line between two", request(), b"\r\n" + request(), answers=2),
    raw("line: in five pieces", b"G", b"ET /ec", b"ho HTTP/1.", b"1\r", b"\n" + _REST),
]
CASES = [*METHODS, *TARGETS, *FORMS, *VERSIONS, *LINES, *SPLIT_LINES, *lines_around(4094)]
