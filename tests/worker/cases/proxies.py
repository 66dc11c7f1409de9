"""What a proxy in front says of its client: the lines of the PROXY protocol."""

from __future__ import annotations

from tests.worker.case import pipelined, raw, request

_GET = request()
_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_ADDRESSES = bytes([10, 2, 2, 2, 10, 3, 3, 3, 0, 80, 1, 187])

_LINES = {
    "TCP4": b"PROXY TCP4 10.2.2.2 10.3.3.3 1234 80\r\n",
    "TCP6": b"PROXY TCP6 ::1 2001:db8::1 1234 80\r\n",
    "UNKNOWN": b"PROXY UNKNOWN\r\n",
    "UNKNOWN with addresses": b"PROXY UNKNOWN a b 1 2\r\n",
    "UDP4": b"PROXY UDP4 10.2.2.2 10.3.3.3 1234 80\r\n",
    "a bad address": b"PROXY TCP4 10.2.2.256 10.3.3.3 1234 80\r\n",
    "an address of the other kind": b"PROXY TCP4 ::1 10.3.3.3 1234 80\r\n",
    "a port too large": b"PROXY TCP4 10.2.2.2 10.3.3.3 65536 80\r\n",
    "a negative port": b"PROXY TCP4 10.2.2.2 10.3.3.3 -1 80\r\n",
    "no port": b"PROXY TCP4 10.2.2.2 10.3.3.3 1234\r\n",
    "a port in words": b"PROXY TCP4 10.2.2.2 10.3.3.3 http 80\r\n",
    "two blanks": b"PROXY TCP4  10.2.2.2 10.3.3.3 1234 80\r\n",
    "LF": b"PROXY TCP4 10.2.2.2 10.3.3.3 1234 80\n",
    "lower case": b"proxy TCP4 10.2.2.2 10.3.3.3 1234 80\r\n",
    "twice": b"PROXY TCP4 10.2.2.2 10.3.3.3 1 2\r\n" * 2,
    "an empty line before": b"\r\nPROXY TCP4 10.2.2.2 10.3.3.3 1 2\r\n",
    "an empty line after": b"PROXY TCP4 10.2.2.2 10.3.3.3 1 2\r\n\r\n",
    "v2": _V2 + b"\x21\x11\0\x0c" + _ADDRESSES,
    "v2 with more": _V2 + b"\x21\x11\0\x10" + _ADDRESSES + b"more",
    "v2 IPv6": _V2 + b"\x21\x21\0\x24" + bytes(range(32)) + b"\0\x50\1\xbb",
    "v2 local": _V2 + b"\x20\0\0\0",
    "v2 unspecified": _V2 + b"\x21\x01\0\0",
    "v2 UDP": _V2 + b"\x21\x12\0\x0c" + _ADDRESSES,
    "v2 Unix": _V2 + b"\x21\x31\0\xd8" + bytes(216),
    "v2 of version 1": _V2 + b"\x11\x11\0\x0c" + _ADDRESSES,
    "v2 of command 2": _V2 + b"\x22\x11\0\x0c" + _ADDRESSES,
    "v2 too short": _V2 + b"\x21\x11\0\x08" + _ADDRESSES[:8],
    "none": b"",
}

CASES = [
    *(raw(f"proxy: {name}", line + _GET) for name, line in _LINES.items()),
    *(raw(f"proxy: {name}, alone", line or b"GET", shuts=True) for name, line in _LINES.items()),
    raw("proxy: in pieces", b"PROXY TCP4 10.2", b".2.2 10.3.3.3 1234 80\r", b"\n" + _GET),
    raw("proxy: v2 in pieces", _V2[:7], _V2[7:] + b"\x21", b"\x11\0\x0c" + _ADDRESSES, _GET),
    raw("proxy: less than 12 bytes", b"GET / HTTP"),
    pipelined("proxy: two requests", [_LINES["TCP4"] + _GET, _GET]),
    pipelined("proxy: a second line", [_LINES["TCP4"] + _GET, _LINES["TCP4"] + _GET]),
]
