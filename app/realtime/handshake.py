"""The opening handshake of a WebSocket (RFC 6455, section 4.2), from a WSGI request. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

_HEADERS = (
    *("Connection", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version"),
    *("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"),
)


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """The request opens no WebSocket: the status of the answer, and why."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status = status


def accept(environ: Mapping[str, Any]) -> Response:
    """The answer 101; raises Refused.

    The status is 426 for a request that asks for no WebSocket, 400 for one that asks wrongly.
    """
    if environ.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ:
        raise Refused(HTTPStatus.BAD_REQUEST, "a WebSocket's handshake has no body")
    # Compression is not offered: it costs 300 kB a client, and messages are short.
    websocket = ServerProtocol()
    headers = Headers()
    for name in _HEADERS:
        value = environ.get("HTTP_" + name.upper().replace("-", "_"))
        if value is not None:
            headers[name] = value
    answer = websocket.accept(
        Request(
            path=environ.get("PATH_INFO", "/"),
            headers=headers,
            method=environ["REQUEST_METHOD"],
            protocol=environ.get("SERVER_PROTOCOL", ""),
        )
    )
    if answer.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
        raise Refused(answer.status_code, str(websocket.handshake_exc))
    return answer
