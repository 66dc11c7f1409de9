"""However a request arrives, in whatever pieces, our worker answers as stock does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.case import Case, pipelined, post, raw, request
from tests.worker.cases.bodies import in_chunks
from tests.worker.cases.framing import chunked
from tests.worker.conftest import fail_on_difference
from tests.worker.stage import Pair, pair
from tests.worker.variants import Variant

# Hundreds of exchanges a test: much longer than one of them, where others use the machine.
pytestmark = pytest.mark.timeout(400)

_GET = b"GET / HTTP/1.1\r\n"
# Short, for they are split at each of their bytes, and cut off there.
SHORT = [
    raw("a GET", request()),
    raw("a GET in 1.0", request(b"/?a", version=b"HTTP/1.0")),
    raw("a HEAD with fields", request(b"/", b"Cookie: a=1", b"X-A:  v ", method=b"HEAD")),
    raw("a POST", post(b"hello")),
    raw("an empty line and a GET", b"\r\n" + request(b"/")),
    raw("an Expect", request(b"/", b"Expect: 100-continue", b"Content-Length: 2", body=b"hi")),
    raw("chunks", chunked(b"2;a=b\r\nhi\r\n0\r\nX-A: v\r\n\r\n", target=b"/")),
    pipelined("two", [post(b"hi", target=b"/unread"), request(b"/b")]),
    pipelined("two with an empty line", [request(b"/a"), b"\r\n" + request(b"/b")]),
    pipelined("one and a bad one", [request(b"/a"), b"GET / HTTP/7.7\r\n\r\n"]),
    raw("close and more", request(b"/", b"Connection: close") + request(b"/never")),
    raw("a bad method", b"get / HTTP/1.1\r\n\r\n"),
    raw("a bad version", b"GET / HTTP/1.x\r\n\r\n"),
    raw("a bad field", _GET + b"Host: a\r\nX A: v\r\n\r\n"),
    raw("a bare LF", _GET + b"Host: a\nX-A: v\r\n\r\n"),
    raw("a bare LF in the line", b"GET /\n HTTP/1.1\r\n\r\n"),
    raw("a bare CR", _GET + b"X: a\rb\r\n\r\n"),
    raw("a folded field", _GET + b"X: a\r\n b\r\n\r\n"),
    raw("chunks and a length", chunked(b"0\r\n\r\n", b"Content-Length: 5", target=b"/")),
    raw("a bad chunk", chunked(b"1\r\nab\r\n0\r\n\r\n", target=b"/")),
    raw("a bad trailer", chunked(b"0\r\nHost: a\r\n\r\n", target=b"/")),
    raw("two empty lines", b"\r\n\r\n" + request(b"/")),
]
# Longer: split here and there.
LONG = [
    pipelined("five", [request(), post(b"two"), request(method=b"HEAD"), post(b"4"), request()]),
    pipelined("chunks and a GET", [chunked(in_chunks(b"0123456789" * 20, 30)), request()]),
    pipelined("a large POST and a GET", [post(bytes(range(256)) * 300), request()]),
    pipelined("unread chunks", [chunked(in_chunks(b"x" * 999, 100), target=b"/unread"), request()]),
    raw("many fields", request(b"/echo", *(b"X-%d: %d" % (n, n) for n in range(90)))),
    raw("too many fields", request(b"/echo", *(b"X-%d: %d" % (n, n) for n in range(101)))),
    pipelined("lines", [post(b"one\ntwo\n" * 99, target=b"/readline"), request(b"/next")]),
]


@pytest.fixture(scope="module", params=[False, True], ids=["tcp", "unix"])
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    directory: Path = tmp_path_factory.mktemp("splits")
    with pair(directory, Variant(name="splits", cases=(), unix=request.param)) as found:
        yield found


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.name)
def test_a_request_in_two_pieces(servers: Pair, case: Case) -> None:
    (whole,) = case.steps
    assert isinstance(whole, bytes)
    fail_on_difference(servers, [case.split(position) for position in range(1, len(whole))])


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.name)
def test_a_request_that_breaks_off(servers: Pair, case: Case) -> None:
    (whole,) = case.steps
    assert isinstance(whole, bytes)
    fail_on_difference(servers, [case.cut(position) for position in range(len(whole))])


@st.composite
def in_pieces(draw: st.DrawFn) -> Case:
    case = draw(st.sampled_from([*SHORT, *LONG]))
    (whole,) = case.steps
    positions = st.integers(1, len(whole) - 1)  # type: ignore[arg-type] # all are bytes
    return case.split(*draw(st.sets(positions, min_size=2, max_size=6)))


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(cases=st.lists(in_pieces(), min_size=8, max_size=8))
def test_a_request_in_many_pieces(servers: Pair, cases: list[Case]) -> None:
    fail_on_difference(servers, cases)
