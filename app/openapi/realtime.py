"""The WebSocket's handshake, which is all of it that OpenAPI can tell."""

from __future__ import annotations

from app.openapi.parts import Json, answer, later, refusal

TAG: Json = {
    "name": "realtime",
    "description": "A WebSocket that joins the clients of all workers.",
}

_CONNECT: Json = {
    "operationId": "connect",
    "tags": ["realtime"],
    "summary": "Open a WebSocket",
    "description": (
        "Every text message reaches the clients of every worker, the sender included, unchanged. "
        "At most 4 KiB a message (close code 1009) and 10 messages a second with a burst of 20 "
        "(1008); text only (1003). 1012: the worker is being replaced, connect again at once. "
        "1013: the database is away, connect again later. Delivery is at most once, and a gap is "
        "always a close."
    ),
    "security": [],
    "responses": {
        "101": answer("The connection is a WebSocket from here on (RFC 6455)."),
        "400": refusal(
            "The handshake is not valid.",
            "bad_handshake",
            message="missing Sec-WebSocket-Key header.",
        ),
        "403": refusal(
            "The page is of another origin.",
            "cross_origin",
            message="Pages of another origin may not connect; see CORS_ORIGINS.",
        ),
        "426": refusal(
            "The request asks for no upgrade.",
            "upgrade_required",
            message="This address speaks WebSocket.",
            headers={"Upgrade": {"required": True, "schema": {"const": "websocket"}}},
        ),
        "501": refusal(
            "The server cannot hand the connection over.",
            "not_supported",
            message=(
                "WebSockets need an adaptive, gthread or sync worker, TLS ended in front of it."
            ),
        ),
        "503": later(
            "The worker has all the clients it takes, or is leaving, or the database is away.",
            "too_many_clients",
            "unavailable",
            "database_unavailable",
            message="This worker has all the clients it can take.",
        ),
    },
}

PATHS: Json = {"/ws": {"get": _CONNECT}}
