"""An application that puts fields of its own on every log record, under names that we use too."""

import logging
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

inherited = logging.getLogRecordFactory()


def stamp(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = inherited(*args, **kwargs)
    record.request_id = record.path = record.worker = "of-the-application"
    return record


logging.setLogRecordFactory(stamp)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("X-Request-ID", "of-the-answer")])
    return [b"ok"]
