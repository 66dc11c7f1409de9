# ruff: noqa: SLF001 - librdkafka's own codes begin with an underscore
"""What all of our clients of Kafka share: settings, log, and what an error means.

They are librdkafka's: each has threads and sockets of its own, and none survives a fork.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

CREATE_TOPICS = "python -m app.consumers topics create"
_REPEAT_SECONDS = 30.0

# What Kafka says no to, however often it is asked; everything else may pass by itself.
_REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
    }
)
_NO_TOPIC = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)


class _NotAgain(logging.Filter):
    """One line of a kind in 30 s: while brokers are away, librdkafka writes many in a second."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[int, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (record.levelno, record.getMessage().partition(" ")[0])  # FAIL, REQTMOUT, …
        now = time.monotonic()
        if now - self._last.get(kind, float("-inf")) < _REPEAT_SECONDS:
            return False
        self._last[kind] = now
        return True


log = logging.getLogger(__name__)
log.addFilter(_NotAgain())


def settings(brokers: Sequence[str]) -> dict[str, Any]:
    """What each client is made with."""
    return {
        "bootstrap.servers": ",".join(brokers),
        "client.id": f"{socket.gethostname()}-{os.getpid()}",
        # A broker that vanished without a word is noticed; librdkafka then connects anew by itself.
        "socket.timeout.ms": 10_000,
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 2_000,
        "log.connection.close": False,  # idle connections are closed all the time
        "logger": log,
    }


def error_of(exception: KafkaException) -> KafkaError:
    """What librdkafka raised it with."""
    error = exception.args[0]
    return error if isinstance(error, KafkaError) else KafkaError(KafkaError._FAIL, str(error))


def fatal(error: KafkaError) -> bool:
    """Whether librdkafka gave up: its client is of no use any more."""
    return error.fatal() or error.code() == KafkaError._FATAL


def refused(error: KafkaError) -> bool:
    """Whether asking again would be answered with the same no."""
    return error.code() in _REFUSALS


def topic_is_missing(error: KafkaError) -> bool:
    return error.code() in _NO_TOPIC


def reason(error: KafkaError) -> str:
    """One line for people, with what to do where that is known."""
    text = " ".join(error.str().split())
    return f"{text}: {CREATE_TOPICS}" if topic_is_missing(error) else text
