"""GET /ws: the way into the room where a message of one client reaches those of every worker."""

from __future__ import annotations

from flask import Blueprint, Response, request

from app.config import Config
from app.db import RETRY_AFTER
from app.errors import ApiError
from app.identity import worker_id
from app.realtime import Draining, Full, Hub, handshake, takeover
from app.request_context import REQUEST_ID, WORKER_ID, request_id
from app.web import origin

_LATER = {"Retry-After": str(RETRY_AFTER)}


def blueprint(*, config: Config, hub: Hub) -> Blueprint:
    realtime = Blueprint("realtime", __name__)

    # Werkzeug keeps the two apart, and would answer whoever asks for no WebSocket with 400.
    @realtime.get("/ws")
    @realtime.get("/ws", websocket=True)
    def connect() -> Response:
        try:
            answer = handshake.accept(request.environ)
        except handshake.Refused as refused:
            raise _refusal(refused) from None
        if not origin.allowed(request, config.cors_origins):
            raise ApiError(
                403, "cross_origin", "Pages of another origin may not connect; see CORS_ORIGINS."
            )
        server_socket = request.environ.get("gunicorn.socket")
        if not takeover.possible(server_socket):
            raise ApiError(
                501,
                "not_supported",
                "WebSockets need an adaptive, gthread or sync worker, TLS ended in front of it.",
            )
        _reserve(hub)
        try:
            connection, stand_in = takeover.take(server_socket)
        except BaseException:
            hub.give_back()
            raise
        # The client gets this answer from the room; Gunicorn's goes to the stand-in.
        answer.headers[REQUEST_ID] = request_id()
        answer.headers[WORKER_ID] = worker_id()
        hub.welcome(connection, answer)
        response = Response(status=101)
        response.call_on_close(stand_in.finish)
        return response

    return realtime


def _reserve(hub: Hub) -> None:
    """A place in the room; raises ApiError 503 when there is none, or DatabaseUnavailable."""
    try:
        hub.reserve()
    except Full:
        raise ApiError(
            503, "too_many_clients", "This worker has all the clients it can take.", _LATER
        ) from None
    except Draining:
        raise ApiError(
            503, "unavailable", "This worker is leaving; another one will answer.", _LATER
        ) from None


def _refusal(refused: handshake.Refused) -> ApiError:
    if refused.status == 426:
        return ApiError(
            426, "upgrade_required", "This address speaks WebSocket.", {"Upgrade": "websocket"}
        )
    headers = {"Allow": "GET"} if refused.status == 405 else {}
    return ApiError(refused.status, "bad_handshake", f"{refused}.", headers)
