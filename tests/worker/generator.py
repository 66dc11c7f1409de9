"""Requests made up of good and bad parts, for what nobody thought of."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from tests.worker.case import Case, pipelined
from tests.worker.cases.bodies import in_chunks

_PATHS = [b"/echo", b"/read/3", b"/unread", b"/half", b"/caught", b"/mixed", b"/iter"]
_PATHS += [b"/talk/reading-while-answering?{number}", b"/shape/several-items?{number}"]
_PATHS += [b"/shape/length-too-short?{number}", b"/shape/status-204?{number}"]
_PATHS += [b"/file/offset?{number}", b"/failure/runtime-error-before?{number}"]
_CONNECTIONS = [b"close", b"keep-alive", b"Keep-Alive", b"close, x", b"Upgrade", b""]
_HARMLESS = [b"X-A: v", b"x-a:w", b"X-B: \t a  b ", b"Cookie: a=1", b"X-Empty:", b"X-L: \xe9"]
_HARMLESS += [b"Expect: 100-continue", b"X-Forwarded-Proto: https", b"Content-Type: a/b", b"TE: x"]

GOOD = {
    "method": st.sampled_from([b"GET", b"GET", b"POST", b"POST", b"HEAD", b"PUT", b"OPTIONS"]),
    "target": st.one_of(
        st.sampled_from(_PATHS),
        st.sampled_from([b"//a", b"http://a.test/b?c#d", b"/%00%ff%zz", b"/a;b?c=d&e"]),
        st.text("/?#%:@&;=a1.", max_size=8).map(lambda text: b"/" + text.encode()),
    ),
    "version": st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2"]),
    "field": st.one_of(
        st.sampled_from(_CONNECTIONS).map(b"Connection: ".__add__),
        st.sampled_from(_HARMLESS),
        st.sampled_from(_HARMLESS),
    ),
    "end": st.just(b"\r\n"),
    "before": st.sampled_from([b"", b"", b"", b"\r\n"]),
}
BAD = {
    "method": st.sampled_from([b"get", b"G", b"A" * 21, b"G\xe9T", b"", b"G:T", b"CONNECT"]),
    "target": st.one_of(
        st.sampled_from([b"*", b"a.test:80", b"", b"/a b", b"a", b"http://[a"]),
        st.binary(min_size=1, max_size=6).map(b"/".__add__),
        st.text("/?#%:@[]a1.", max_size=8).map(str.encode),
    ),
    "version": st.sampled_from(
        [b"HTTP/2.0", b"HTTP/1", b"http/1.1", b"HTTP/1.1 ", b"", b"HTTP/0.9"]
    ),
    "field": st.one_of(
        st.sampled_from(
            [b"Host: b", b"X_A: 1", b"X A: 1", b"X", b": x", b"X : 1", b" folded", b""]
        ),
        st.sampled_from(
            [b"Content-Length: 1", b"Transfer-Encoding: chunked", b"SCRIPT_NAME: /echo"]
        ),
        st.sampled_from([b"X-Forwarded-Ssl: off", b"Expect: x", b"X: \0", b"X:" + b"x" * 8200]),
        st.binary(max_size=6).map(b"X-A: ".__add__),
        st.binary(min_size=1, max_size=3).map(lambda name: name + b": v"),
    ),
    "end": st.sampled_from([b"\n", b"\r", b"\r\n ", b"\r\r\n", b"\r\n\n", b"\0\r\n"]),
    "before": st.sampled_from([b"\n", b"\r", b"\r\n\r\n", b" ", b"\0"]),
}
_BODIES = st.sampled_from(
    [b"", b"x", b"hello\nthere\n", bytes(range(256)), b"0\r\n\r\n", b"y" * 9000]
)
_TAILS = [b"\r\n", b"\r\n", b"X-T: v\r\n\r\n"]
_BAD_TAILS = [b"Host: a\r\n\r\n", b"X\r\n\r\n", b"\n", b"", b"\r", b"X_T: v\r\n\r\n"]


def _chunks(tails: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda body, size, tail: in_chunks(body, size)[: -len(b"\r\n")] + tail,
        *(_BODIES, st.integers(1, 5000), st.sampled_from(tails)),
    )


_BAD_CHUNKS = st.one_of(
    _chunks(_BAD_TAILS),
    st.binary(max_size=30),
    st.text('0123fF;="x \r\n', max_size=30).map(str.encode),
)


@st.composite
def _framed(draw: st.DrawFn, *, spoiled: bool) -> tuple[bytes, bytes]:
    """The line that tells a body's length, if any, and the body; spoiled, they do not fit."""
    kind = draw(
        st.sampled_from(["length", "chunked"] if spoiled else ["none", "length", "chunked"])
    )
    if kind == "none":
        return b"", b""
    if kind == "chunked":
        body = draw(_BAD_CHUNKS if spoiled else _chunks(_TAILS))
        return b"Transfer-Encoding: chunked", body
    body = draw(_BODIES)
    more = draw(st.integers(-3, 3)) if spoiled else 0
    return b"Content-Length: %d" % (len(body) + more), body


@st.composite
def _request(draw: st.DrawFn) -> bytes:
    """A request in which nothing is bad, or one part."""
    spoiled = draw(st.sampled_from(["", "", "", "", "framing", *BAD]))

    def part(name: str) -> bytes:
        return draw((BAD if name == spoiled else GOOD)[name])

    line = part("before") + b" ".join((part("method"), part("target"), part("version")))
    framing, body = draw(_framed(spoiled=spoiled == "framing"))
    fields = [b"Host: example.test"] * draw(st.sampled_from([1, 1, 1, 1, 0]))
    fields += draw(st.lists(GOOD["field"], max_size=3, unique=True))
    if spoiled == "field":
        fields.insert(draw(st.integers(0, len(fields))), part("field"))
    if framing:
        fields.insert(draw(st.integers(0, len(fields))), framing)
    lines = [line, *fields]
    ends = [b"\r\n"] * len(lines)
    ends[draw(st.integers(0, len(lines) - 1))] = part("end")
    return b"".join(map(b"".join, zip(lines, ends, strict=True))) + b"\r\n" + body


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """One to three requests at once, in one piece or several; often the client ends after them."""
    sent = draw(st.lists(_request(), min_size=1, max_size=3))
    case = pipelined("generated", sent)
    if draw(st.booleans()):
        case = replace(case, shuts=True)
    if draw(st.booleans()):
        positions = st.integers(1, sum(map(len, sent)) - 1)
        case = case.split(*draw(st.sets(positions, min_size=1, max_size=3)))
    return case
