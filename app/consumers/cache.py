"""A purchase makes a student's cached pages stale: they are removed, when Redis can be asked."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING

from app.consumers import fields
from app.consumers.cause import trace
from app.events import Envelope
from app.events.handler import Handler, Transaction
from app.events.retry import Policy

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

_TRIES = 3
_TRIES_SECONDS = 3.0  # no further try after that
_PAUSE = Policy(attempts=_TRIES, first=0.1)
_OUTAGE_SECONDS = 5.0
# For a connection, and for an answer; while Redis is away nobody waits long for it.
_PATIENT_SECONDS, _HASTY_SECONDS = 1.0, 0.2


@dataclass(frozen=True, kw_only=True)
class Stale:
    """Whose pages are stale."""

    student_id: str

    @property
    def keys(self) -> tuple[str, str]:
        return f"student:home:{self.student_id}", f"student:learning:{self.student_id}"


class Cache(Handler[Stale]):
    """Every event is acknowledged: what stays cached is old until it expires, and nothing worse."""

    name = "cache"
    group = "cache-invalidation-workers"
    type = "PURCHASE_CREATED"
    policy = Policy(attempts=3)
    batch = 100
    calls = 4

    def __init__(self, *, redis_url: str | None):
        self._redis = None if redis_url is None else _client(redis_url, _PATIENT_SECONDS)
        self._hasty = None if redis_url is None else _client(redis_url, _HASTY_SECONDS)
        self._away_until = 0.0  # monotonic seconds
        self._told = threading.Lock()  # taken by who says that there is no cache

    def read(self, event: Envelope) -> Stale:
        fields.version(event)
        return Stale(student_id=fields.text(event.payload, "student_id"))

    def call(self, event: Envelope, fact: Stale) -> Stale:
        """Removes the pages, within a few seconds, or says in the log that it could not."""
        if self._redis is None or self._hasty is None:
            if self._told.acquire(blocking=False):
                log.info(
                    "REDIS_URL is not set: no cache to invalidate",
                    extra=trace(event, "cache.none"),
                )
            return fact
        away = monotonic() < self._away_until
        why = _removed(self._hasty, fact, 1) if away else _removed(self._redis, fact, _TRIES)
        if why:
            self._away_until = monotonic() + _OUTAGE_SECONDS
            log.warning(
                "The cached pages of student %r stay until they expire: Redis: %s",
                *(fact.student_id, why),
                extra=trace(event, "cache.not_invalidated"),
            )
        else:
            self._away_until = 0.0
        return fact

    def write(
        self,
        connection: Transaction,  # noqa: ARG002 - nothing is stored
        work: Sequence[tuple[Envelope, Stale]],  # noqa: ARG002
    ) -> list[Envelope]:
        return []

    def close(self) -> None:
        for client in (self._redis, self._hasty):
            if client is not None:
                client.close()


def _client(url: str, seconds: float) -> Redis:
    # Only where there is a Redis: the library takes 70 ms to load.
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(
        url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # what we ask needs no more, and connecting takes fewer exchanges
    )


def _removed(client: Redis, fact: Stale, tries: int) -> str:
    """Why it could not be done in so many tries; empty: done."""
    began = monotonic()
    for tried in range(1, tries + 1):
        try:
            client.unlink(*fact.keys)
        except Exception as error:  # whatever it is: no event is given up for a cache
            why = " ".join(f"{type(error).__name__}: {error}".split())
        else:
            return ""
        if tried == tries or monotonic() - began > _TRIES_SECONDS:
            break
        sleep(_PAUSE.pause(tried, random.random()))  # noqa: S311 - no secret
    return why
