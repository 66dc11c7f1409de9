"""What ties an answer, its log lines and its error together: request id and worker id."""

from __future__ import annotations

import logging
import re
import uuid
from typing import Any

from flask import Flask, Response, has_request_context, request

from app.identity import worker_id

REQUEST_ID = "X-Request-ID"
WORKER_ID = "X-Worker-ID"

_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_ENVIRON_KEY = "app.request_id"


def request_id() -> str:
    """The current request's id: the client's when it is a sane one, else ours."""
    # Kept in the WSGI environ: as long-lived as the request, whatever contexts are pushed in it.
    known: str | None = request.environ.get(_ENVIRON_KEY)
    if known is None:
        sent = request.headers.get(REQUEST_ID, "")
        known = sent if _ACCEPTED.fullmatch(sent) else uuid.uuid4().hex
        request.environ[_ENVIRON_KEY] = known
    return known


def install(app: Flask) -> None:
    """Puts both ids on every answer, and the request's on every log record made during one."""
    # The first function registered runs last: nothing after it removes the headers.
    app.after_request(_stamp)
    _stamp_log_records()


def _stamp(response: Response) -> Response:
    response.headers[REQUEST_ID] = request_id()
    response.headers[WORKER_ID] = worker_id()
    return response


def _stamp_log_records() -> None:
    """Once a process, however many applications it creates."""
    inherited = logging.getLogRecordFactory()
    if isinstance(inherited, _Factory):
        return
    logging.setLogRecordFactory(_Factory(inherited))


class _Factory:
    def __init__(self, inherited: Any):
        self._inherited = inherited

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._inherited(*args, **kwargs)
        if has_request_context():
            record.request_id = request_id()
        return record
