"""Log lines: pretty for people, JSON for machines; Gunicorn's, the application's and access lines.

The pretty form is one line of time, level, pid and message. The JSON form has `timestamp`, `level`,
`message`, `pid`, `hostname`, `env`, `worker`, `slot`, `release`, `request_id`, `event` and whatever
fields the event carries. Both pass through the redaction.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TextIO

from gunicorn import glogging
from gunicorn.config import Config
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from deploy.cluster.redaction import redactor

_COLOURS = {
    logging.DEBUG: "\033[2m",
    logging.WARNING: "\033[33m",
    logging.ERROR: "\033[31m",
    logging.CRITICAL: "\033[1;31m",
}
_OF_LOGGING = frozenset(RESERVED_ATTRS)
_RESET = "\033[0m"
_ACCESS = "%s %s %d %.2fms %dB %s %s"
# Gunicorn's lines that the hooks say with the slot's name.
_REPLACED = ("Booting worker with pid: %s", "Worker exiting (pid: %s)")


class PrettyFormatter(logging.Formatter):
    """`2026-01-31 12:00:00 INFO     [4711] [Master] All workers ready`, coloured by level."""

    def __init__(self, *, redact: Callable[[str], str], colour: bool):
        super().__init__(
            "%(asctime)s %(levelname)-8s [%(process)d] %(message)s", "%Y-%m-%d %H:%M:%S"
        )
        self._redact = redact
        self._colour = colour

        self._second = (0, "")  # the last one that was written out

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """As logging's; a second is written out once, and not for each of its lines."""
        second = int(record.created)
        if second != self._second[0]:
            self._second = second, super().formatTime(record, datefmt)
        return self._second[1]

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if not isinstance(record.args, AccessFields):
            line = self._redact(line)
        colour = _COLOURS.get(record.levelno) if self._colour else None
        return f"{colour}{line}{_RESET}" if colour else line


class AccessFields(tuple[Any, ...]):
    """What an access line says, free of secrets already: the arguments of its record.

    It saves the redaction of a whole line at every request.
    """

    __slots__ = ()


class MachineFormatter(JsonFormatter):
    """One JSON object a line, with the same first fields in every line."""

    def __init__(self, *, redact: Callable[[str], str], env: str, release: str):
        super().__init__("%(message)s")
        self._redact = redact
        self._always = {"hostname": socket.gethostname(), "env": env, "release": release}

    def format(self, record: logging.LogRecord) -> str:
        """An access line is put together without the general machinery, which costs 50 µs."""
        if not isinstance(record.args, AccessFields):
            return super().format(record)
        log_data = self._common(record)
        log_data |= {k: v for k, v in record.__dict__.items() if k not in _OF_LOGGING}
        return json.dumps(log_data, default=str)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {key: self._clean(value) for key, value in log_data.items()}

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._redact(value)
        if isinstance(value, dict):
            return {key: self._clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(item) for item in value]
        return value

    def add_fields(
        self,
        log_data: dict[str, Any],
        record: logging.LogRecord,
        message_dict: dict[str, Any],
    ) -> None:
        log_data |= self._common(record)
        # The record's own fields come last: a line of the master's about worker-2 says so.
        super().add_fields(log_data, record, message_dict)

    def _common(self, record: logging.LogRecord) -> dict[str, Any]:
        moment = datetime.fromtimestamp(record.created, UTC)
        slot = os.environ.get("WORKER_SLOT")
        return {
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "pid": record.process,
            "worker": os.environ.get("WORKER_ID"),
            "slot": int(slot) if slot else None,
            "request_id": None,
            "event": None,
            "logger": record.name,
            **self._always,
        }


class ClusterLogger(glogging.Logger):
    """Gunicorn's logger with our formats, one access line a request, and the application's lines.

    LOG_FORMAT, APP_ENV and RELEASE are read from the variables that `gunicorn.conf.py` exports, so
    that a reload which changes them is followed.
    """

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        redact = self._redact = redactor({**os.environ, **cfg.env})
        self._worker: str | None = None
        self.access_log.setLevel(self.loglevel)
        self._access_log_enabled &= self.access_log.isEnabledFor(logging.INFO)
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            stream = getattr(handler, "stream", None)
            handler.setFormatter(_formatter(cfg.env, redact, stream))
        self._adopt_application_logs(_formatter(cfg.env, redact, sys.stderr))

    def access(
        self,
        resp: Any,
        req: Any,  # noqa: ARG002 - Gunicorn's signature
        environ: Mapping[str, Any],
        request_time: timedelta,
    ) -> None:
        """One line a request. The query is left out: it may carry what nobody should read."""
        if not self._access_log_enabled:
            return
        milliseconds = round(request_time.total_seconds() * 1000, 2)
        status = _status(resp.status)
        size = getattr(resp, "sent", None) or 0
        method = environ.get("REQUEST_METHOD", "-")
        path = self._redact(str(environ.get("RAW_URI", "-")).split("?", 1)[0])
        request_id = _header(resp.headers, "x-request-id")
        if request_id is not None:
            request_id = self._redact(request_id)
        if self._worker is None:  # known in a worker only, and for good
            self._worker = os.environ.get("WORKER_ID") or "-"
        worker = self._worker
        values = (method, path, status, milliseconds, size, worker, request_id or "-")
        log = self.access_log
        fields = AccessFields(values)
        record = log.makeRecord(log.name, logging.INFO, "", 0, _ACCESS, fields, None)
        # Not by `extra`: it raises when the application's record factory has set the same name.
        record.__dict__.update(
            event="request",
            method=method,
            path=path,
            status=status,
            duration_ms=milliseconds,
            bytes=size,
            request_id=request_id,
            worker=worker,
        )
        log.handle(record)

    def info(self, msg: object, *args: object, **kwargs: Any) -> None:
        if msg not in _REPLACED:
            super().info(msg, *args, **kwargs)

    def exception(self, msg: object, *args: object, **kwargs: Any) -> None:
        """An error that carries an exit code states the fact itself and needs no traceback."""
        error = sys.exc_info()[1]
        if isinstance(getattr(error, "exit_code", None), int):
            self.error_log.error("%s", error, extra={"event": "config.refused"})
        else:
            super().exception(msg, *args, **kwargs)

    def _adopt_application_logs(self, formatter: logging.Formatter) -> None:
        """What the application logs through the standard library appears in the same form."""
        root = logging.getLogger()
        for handler in [h for h in root.handlers if getattr(h, "_gunicorn", False)]:
            root.removeHandler(handler)
        handler = logging.StreamHandler(sys.stderr)
        handler._gunicorn = True  # type: ignore[attr-defined]  # noqa: SLF001 - as Gunicorn marks its own
        handler.setFormatter(formatter)
        root.addHandler(handler)
        root.setLevel(self.loglevel)
        logging.captureWarnings(capture=True)


def _formatter(
    env: Mapping[str, str], redact: Callable[[str], str], stream: TextIO | None
) -> logging.Formatter:
    if env.get("LOG_FORMAT") == "json":
        return MachineFormatter(
            redact=redact, env=env.get("APP_ENV", ""), release=env.get("RELEASE", "")
        )
    return PrettyFormatter(redact=redact, colour=_wants_colour(stream, os.environ))


def _wants_colour(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    return stream is not None and stream.isatty() and not environ.get("NO_COLOR")


def _status(status: str | int | None) -> int:
    """The number in `200 OK`; 0 when the application ended before it said one."""
    number = str(status).split(None, 1)[0]
    return int(number) if number.isdecimal() else 0


def _header(headers: Any, name: str) -> str | None:
    for key, value in headers:
        if key.lower() == name:
            return str(value)
    return None
