"""The consumers' log lines, on standard error: pretty for people, JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

from pythonjsonlogger.core import RESERVED_ATTRS

from app.config import ConfigError, Environment

_LEVELS = ("debug", "info", "warning", "error", "critical")


def install(environ: Mapping[str, str]) -> None:
    """Sets up the root logger by LOG_LEVEL and LOG_FORMAT; raises ConfigError."""
    level = environ.get("LOG_LEVEL", "").strip().lower() or "info"
    if level not in _LEVELS:
        raise ConfigError(f"LOG_LEVEL={level!r}: expected one of {', '.join(_LEVELS)}")
    env = environ.get("APP_ENV", "").strip() or get_args(Environment)[0]
    by_env = "json" if env == "production" else "pretty"
    form = environ.get("LOG_FORMAT", "").strip().lower() or by_env
    if form not in ("pretty", "json"):
        raise ConfigError(f"LOG_FORMAT={form!r}: expected pretty or json")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Machine(env) if form == "json" else _pretty())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("psycopg.pool").setLevel(logging.WARNING)  # it reports every loan


def _pretty() -> logging.Formatter:
    return logging.Formatter(
        "%(asctime)s %(levelname)-8s [%(process)d] %(message)s", "%Y-%m-%d %H:%M:%S"
    )


class _Machine(logging.Formatter):
    """As the cluster's lines: the same first fields, then the event's own."""

    def __init__(self, env: str):
        super().__init__()
        self._env = env

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        fields: dict[str, Any] = {
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "pid": record.process,
            "env": self._env,
            "logger": record.name,
        }
        fields |= {k: v for k, v in vars(record).items() if k not in _OF_LOGGING}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


_OF_LOGGING = frozenset(RESERVED_ATTRS)
