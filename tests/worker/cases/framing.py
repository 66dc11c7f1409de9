"""Where a body ends: Content-Length, Transfer-Encoding, chunks and trailers."""

from __future__ import annotations

from dataclasses import replace

from tests.worker.case import HOST, Case, post, raw, request

_NEXT = request(b"/next")
_CHUNKED = b"Transfer-Encoding: chunked"
_WIKI = b"4\r\nWiki\r\n6\r\npedia \r\n0\r\n\r\n"

# The field lines, and what follows the head: more than any of the lengths says.
_LENGTHS = {
    "5": [b"Content-Length: 5"],
    "0": [b"Content-Length: 0"],
    "05": [b"Content-Length: 05"],
    "many zeros": [b"Content-Length: " + b"0" * 30 + b"5"],
    "+5": [b"Content-Length: +5"],
    "-1": [b"Content-Length: -1"],
    "-0": [b"Content-Length: -0"],
    "0x5": [b"Content-Length: 0x5"],
    "5.0": [b"Content-Length: 5.0"],
    "1e0": [b"Content-Length: 1e0"],
    "1_0": [b"Content-Length: 1_0"],
    "five": [b"Content-Length: five"],
    "blanks around": [b"Content-Length: \t 5 \t"],
    "a blank inside": [b"Content-Length: 1 0"],
    "empty": [b"Content-Length:"],
    "only blanks": [b"Content-Length:   "],
    "a list": [b"Content-Length: 5, 5"],
    "a list of one": [b"Content-Length: 5,"],
    "superscript two": [b"Content-Length: \xb2"],
    "superscript in between": [b"Content-Length: 1\xb2"],
    "a half": [b"Content-Length: \xbd"],
    "a no-break space": [b"Content-Length: 5\xa0"],
    "Arabic digits": ["Content-Length: ٥".encode()],
    "NUL": [b"Content-Length: 5\0"],
    "twice the same": [b"Content-Length: 5", b"Content-Length: 5"],
    "twice differently": [b"Content-Length: 5", b"Content-Length: 6"],
    "twice in other cases": [b"Content-Length: 5", b"content-length: 5"],
    "with chunked": [b"Content-Length: 5", _CHUNKED],
    "with chunked first": [_CHUNKED, b"Content-Length: 5"],
    "with identity": [b"Content-Length: 5", b"Transfer-Encoding: identity"],
    "with an empty coding": [b"Content-Length: 5", b"Transfer-Encoding:"],
}

# These never end: the client does.
_HUGE = {
    "10 MB": b"10000000",
    "2**31": b"2147483648",
    "2**63": b"9223372036854775808",
    "2**64 + 5": b"18446744073709551621",
    "4300 digits": b"1" * 4300,
    "4301 digits": b"1" * 4301,
}

_CODINGS = {
    "chunked": [b"chunked"],
    "Chunked": [b"Chunked"],
    "CHUNKED": [b"CHUNKED"],
    "blanks around": [b" \t chunked \t "],
    "chunked, chunked": [b"chunked, chunked"],
    "chunked twice": [b"chunked", b"chunked"],
    "identity": [b"identity"],
    "Identity": [b"Identity"],
    "identity, chunked": [b"identity, chunked"],
    "chunked, identity": [b"chunked, identity"],
    "gzip, chunked": [b"gzip, chunked"],
    "GZip, Chunked": [b"GZip, Chunked"],
    "gzip": [b"gzip"],
    "deflate, chunked": [b"deflate, chunked"],
    "compress": [b"compress"],
    "chunked, gzip": [b"chunked, gzip"],
    "gzip and chunked in two": [b"gzip", b"chunked"],
    "x-gzip, chunked": [b"x-gzip, chunked"],
    "br, chunked": [b"br, chunked"],
    "xchunked": [b"xchunked"],
    "chunkedx": [b"chunkedx"],
    "chunked;q=1": [b"chunked;q=1"],
    "a quoted chunked": [b'"chunked"'],
    "a comma": [b","],
    "a comma first": [b",chunked"],
    "a comma last": [b"chunked,"],
    "empty": [b""],
    "empty and chunked": [b"", b"chunked"],
    "a vertical tab": [b"\x0bchunked"],
    "a no-break space": [b"chunked\xa0"],
    "a NUL": [b"chunked\0"],
}

_CHUNKS = {
    "two": _WIKI,
    "none": b"0\r\n\r\n",
    "lower and upper hex": b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "leading zeros": b"0000000000000000004\r\nWiki\r\n000\r\n\r\n",
    "an extension": b"4;a=b\r\nWiki\r\n0;c\r\n\r\n",
    "an extension without value": b"4;a\r\nWiki\r\n0\r\n\r\n",
    "extensions": b"4;a=b;c ; d = e\r\nWiki\r\n0\r\n\r\n",
    "a quoted extension": b'4;a="b;\\"c"\r\nWiki\r\n0\r\n\r\n',
    "an unclosed quote": b'4;a="b\r\nWiki\r\n0\r\n\r\n',
    "a control in a quote": b'4;a="b\x01"\r\nWiki\r\n0\r\n\r\n',
    "an empty extension": b"4;\r\nWiki\r\n0\r\n\r\n",
    "an extension without name": b"4;=b\r\nWiki\r\n0\r\n\r\n",
    "an extension with a CR": b"4;a\rb\r\nWiki\r\n0\r\n\r\n",
    "an extension with an LF": b"4;a\nb\r\nWiki\r\n0\r\n\r\n",
    "an extension with a byte above ASCII": b"4;a=\xe9\r\nWiki\r\n0\r\n\r\n",
    "blanks before the extension": b"4 \t;a=b\r\nWiki\r\n0\r\n\r\n",
    "a blank after the size": b"4 \r\nWiki\r\n0\r\n\r\n",
    "a blank before the size": b" 4\r\nWiki\r\n0\r\n\r\n",
    "a tab after the size": b"4\t\r\nWiki\r\n0\r\n\r\n",
    "no hex": b"g\r\nWiki\r\n0\r\n\r\n",
    "0x4": b"0x4\r\nWiki\r\n0\r\n\r\n",
    "negative": b"-4\r\nWiki\r\n0\r\n\r\n",
    "a plus": b"+4\r\nWiki\r\n0\r\n\r\n",
    "an underscore": b"0_4\r\nWiki\r\n0\r\n\r\n",
    "other digits": b"\xb2\r\nWi\r\n0\r\n\r\n",
    "an empty size": b"\r\nWiki\r\n0\r\n\r\n",
    "only an extension": b";a\r\nWiki\r\n0\r\n\r\n",
    "a size in bad company": b"4a\r\nWiki\r\n0\r\n\r\n",
    "LF after the size": b"4\nWiki\r\n0\r\n\r\n",
    "LF after the data": b"4\r\nWiki\n0\r\n\r\n",
    "CR after the data": b"4\r\nWiki\r0\r\n\r\n",
    "CR CR LF after the size": b"4\r\r\nWiki\r\n0\r\n\r\n",
    "no line break after the data": b"4\r\nWiki0\r\n\r\n",
    "more data than the size": b"4\r\nWikipedia\r\n0\r\n\r\n",
    "less data than the size": b"7\r\nWiki\r\n0\r\n\r\n0\r\n\r\n",
    "LF after the last chunk": b"4\r\nWiki\r\n0\n\r\n",
    "LF at the end": b"4\r\nWiki\r\n0\r\n\n",
    "a huge size": b"FFFFFFFFFFFFFFFF\r\nWiki\r\n0\r\n\r\n",
    "a size line too large": b"4;" + b"a" * 9000 + b"\r\nWiki\r\n0\r\n\r\n",
    "a long size line": b"4;" + b"a" * 7000 + b"\r\nWiki\r\n0\r\n\r\n",
    "many": b"1\r\nx\r\n" * 3000 + b"0\r\n\r\n",
    "trailer": b"4\r\nWiki\r\n0\r\nX-Trailer: v\r\n\r\n",
    "trailers": b"0\r\nX-A: v\r\nX-B: w\r\n\r\n",
    "trailer with an underscore": b"0\r\nX_A: v\r\n\r\n",
    "trailer Host": b"4\r\nWiki\r\n0\r\nHost: other.test\r\n\r\n",
    "trailer Content-Length": b"4\r\nWiki\r\n0\r\nContent-Length: 5\r\n\r\n",
    "trailer Transfer-Encoding": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "trailer Trailer": b"0\r\nTrailer: X\r\n\r\n",
    "trailer Authorization": b"0\r\nAuthorization: x\r\n\r\n",
    "trailer TE": b"0\r\nTE: x\r\n\r\n",
    "trailer Expect": b"0\r\nExpect: 100-continue\r\n\r\n",
    "trailer Content-Type twice": b"0\r\nContent-Type: a/b\r\nContent-Type: a/b\r\n\r\n",
    "trailer X-Forwarded-Proto": b"0\r\nX-Forwarded-Proto: https\r\n\r\n",
    "trailer without colon": b"0\r\nX-Trailer\r\n\r\n",
    "trailer with a bad name": b"0\r\nX Trailer: v\r\n\r\n",
    "trailer with a bad value": b"0\r\nX-Trailer: \0\r\n\r\n",
    "trailer with an LF": b"0\r\nX-A: v\nX-B: v\r\n\r\n",
    "trailer folded": b"0\r\nX-A: v\r\n w\r\n\r\n",
    "trailers too many": b"0\r\n" + b"X-A: v\r\n" * 101 + b"\r\n",
    "trailer too large": b"0\r\nX-A: " + b"v" * 9000 + b"\r\n\r\n",
}

# Bodies that break off.
_BROKEN = {
    "no chunk": b"",
    "half a size": b"4",
    "a size": b"4\r\n",
    "half the data": b"4\r\nWi",
    "all data": b"4\r\nWiki",
    "half a line break": b"4\r\nWiki\r",
    "no last chunk": b"4\r\nWiki\r\n",
    "half the last chunk": b"4\r\nWiki\r\n0",
    "no end after the last chunk": b"4\r\nWiki\r\n0\r\n",
    "half the end": b"4\r\nWiki\r\n0\r\n\r",
    "half a trailer": b"4\r\nWiki\r\n0\r\nX-A: ",
}


def _length(name: str, fields: list[bytes], target: bytes = b"/echo") -> Case:
    data = request(target, *fields, method=b"POST", body=b"4\r\nWi\r\n0\r\n\r\n")
    return raw(f"length at {target.decode()}: {name}", data)


def chunked(body: bytes, *fields: bytes, target: bytes = b"/echo") -> bytes:
    return request(target, _CHUNKED, *fields, method=b"POST", body=body)


def too_long(line: int, section: int) -> list[Case]:
    """What the server has to refuse in a chunked body before it has seen the end of it."""
    extension, trailer = b"4;" + b"a" * line, b"0\r\nX-A: " + b"v" * (section + 10_000)
    return [
        raw("a size line too long, in two", chunked(extension), b"\r\nWiki\r\n0\r\n\r\n"),
        raw("a size line too long, no end", chunked(extension), shuts=True),
        raw("a trailer too large, in two", chunked(trailer), b"\r\n\r\n"),
    ]


LENGTHS = [_length(name, fields) for name, fields in _LENGTHS.items()]
HUGE = [
    # Python refuses to read so many digits: what then becomes of the worker?
    replace(
        raw(
            f"length: {name}",
            request(b"/echo", b"Content-Length: " + text, body=b"abc"),
            shuts=True,
        ),
        alone=len(text) > 4000,
    )
    for name, text in _HUGE.items()
]
CODINGS = [
    raw(
        f"coding in {version.decode()}: {name}",
        request(
            b"/echo",
            *(b"Transfer-Encoding: " + value for value in values),
            method=b"POST",
            version=version,
            body=_WIKI,
        ),
    )
    for version in (b"HTTP/1.1", b"HTTP/1.0")
    for name, values in _CODINGS.items()
    if version == b"HTTP/1.1" or name in ("chunked", "identity", "gzip", "xchunked", "empty")
]
# With another request behind it: where the body ends, that one begins.
CHUNKS = [
    raw(f"chunks at {target.decode()}: {name}", chunked(body, target=target) + _NEXT, answers=2)
    for target in (b"/echo", b"/read/3", b"/unread", b"/half", b"/caught")
    for name, body in _CHUNKS.items()
]
BROKEN = [
    raw(
        f"{'ended' if shuts else 'unfinished'} chunks at {target.decode()}: {name}",
        chunked(body, target=target),
        shuts=shuts,
    )
    for shuts in (True, False)
    for target in (b"/echo", b"/unread")
    for name, body in _BROKEN.items()
    if shuts or target == b"/echo"
]
UNFINISHED = [
    raw(f"ended body at {target.decode()}: {size} of 10", request, shuts=True)
    for target in (b"/echo", b"/exactly", b"/read/3", b"/readline", b"/unread", b"/caught")
    for size in (0, 1, 9)
    for request in [post(b"abc\nefghij", target=target)[: size - 10]]
]
WAITING = [
    raw("unfinished body: 5 of 10", post(b"0123456789")[:-5]),
    raw("unfinished body: 0 of 10", post(b"0123456789")[:-10]),
    raw("unfinished body: in two", post(b"0123456789")[:-5], b"56789"),
    raw("unfinished body: byte by byte", post(b"")[:-5] + b"5\r\n\r\n", *[b"x"] * 5),
    raw("unfinished body: with the next", post(b"0123456789")[:-5], b"56789" + _NEXT, answers=2),
    raw("chunks in pieces", chunked(b"4\r\nWi"), b"ki\r", b"\n0\r\n", b"\r\n" + _NEXT, answers=2),
    raw("chunks: zeros without an end", chunked(b"0" * 9000)),
    *too_long(8190, 100 * (8190 + 2) + 4),
    raw("no Host, chunked", request(b"/echo", _CHUNKED, host=None, body=_WIKI)),
    raw("a head that is all there", b"POST /echo HTTP/1.1\r\n" + HOST + b"\r\n\r\n"),
]
CASES = [*LENGTHS, *HUGE, *CODINGS, *CHUNKS, *BROKEN, *UNFINISHED, *WAITING]
