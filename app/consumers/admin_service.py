"""The admin service, which knows the trainers: asked for one, it allocates one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import time
from time import monotonic
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from urllib3 import Timeout, exceptions

from app.consumers import deadline_http, fields
from app.consumers.deadline_http import StaleConnectionError
from app.events.handler import Rejected, Unreachable

CONNECTIONS = 8  # kept, and calls made at once
STATUSES = ("approved", "active")
_CONNECT_SECONDS = 5.0
_BODY_MOST = 64 * 1024  # bytes
_EXCERPT_LONGEST = 200  # characters
_DEFAULT_TIME = "10:00"
# 4xx that say nothing against the request: it may work the next time.
_TEMPORARY = (408, 425, 429)


class AdminServiceFailed(Exception):  # noqa: N818 - the other side's
    """It was asked and gave no answer to work with; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The trainer that a student got for a course."""

    allocation_id: str  # the service's own
    trainer_id: str
    status: str  # one of STATUSES
    session_time: time  # of each session


class AdminService:
    """The service at `url`; a call takes at most `timeout` seconds. Threads may share it."""

    def __init__(self, *, url: str, timeout: float = 30.0):
        self._path = urlsplit(url).path.rstrip("/") + "/api/allocations"
        self._timeout = timeout
        self._pool = deadline_http.pool(url, connections=CONNECTIONS)

    def allocate(
        self,
        *,
        purchase_id: UUID,
        student_id: str,
        course_id: str,
        idempotency_key: UUID,
        correlation_id: UUID,
    ) -> Allocation:
        """The purchase's allocation, the same each time for the same key.

        Raises Rejected, Unreachable when no connection is to be had, and AdminServiceFailed: then
        the service may have allocated a trainer.
        """
        deadline = monotonic() + self._timeout
        body = {"purchase_id": str(purchase_id), "student_id": student_id, "course_id": course_id}
        headers = {
            "Idempotency-Key": str(idempotency_key),
            "X-Correlation-ID": str(correlation_id),
            "User-Agent": "smart-factory",
        }
        try:
            try:
                status, data = self._post(body, headers, deadline)
            except StaleConnectionError:
                # Nothing to spend an attempt on: the key makes a second request harmless.
                status, data = self._post(body, headers, deadline)
        except (exceptions.ConnectTimeoutError, exceptions.LocationParseError) as error:
            raise Unreachable(f"the admin service: {_why_not_connected(error)}") from error
        except exceptions.HTTPError as error:
            raise AdminServiceFailed(f"the admin service: {self._why_failed(error)}") from error
        return read_answer(status, data)

    def close(self) -> None:
        self._pool.close()

    def _post(
        self, body: dict[str, str], headers: dict[str, str], deadline: float
    ) -> tuple[int, bytes]:
        """Status and body, of which what is too much is cut off."""
        left = max(0.001, deadline - monotonic())
        response = self._pool.request(
            "POST",
            self._path,
            json=body,
            headers=headers,
            timeout=Timeout(connect=min(_CONNECT_SECONDS, left), total=left),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            data = b""
            # To the end: only what is read after a body that broke off says that it did.
            while len(data) <= _BODY_MOST and (
                more := response.read(_BODY_MOST + 1 - len(data), decode_content=False)
            ):
                data += more
            return response.status, data
        finally:
            # A connection whose answer was read to its end is in the pool again, and stays open.
            response.close()

    def _why_failed(self, error: exceptions.HTTPError) -> str:
        if isinstance(error, exceptions.TimeoutError):
            return f"no whole answer within {self._timeout:g} s"
        return f"the connection broke before the whole answer ({type(error).__name__})"


def read_answer(status: int, data: bytes) -> Allocation:
    """What an answer says; raises Rejected, AdminServiceFailed. Pure."""
    if 400 <= status < 500 and status not in _TEMPORARY:
        raise Rejected(f"the admin service refused with {status}: {_excerpt(data)}")
    if status not in (200, 201):
        raise AdminServiceFailed(f"the admin service answered {status}: {_excerpt(data)}")
    try:
        return _allocation(data)
    except Rejected as error:
        raise AdminServiceFailed(f"the admin service's answer is malformed: {error}") from None


def _allocation(data: bytes) -> Allocation:
    """Raises Rejected."""
    if len(data) > _BODY_MOST:
        raise Rejected(f"body: must be at most {_BODY_MOST} bytes")
    try:
        answer: Any = json.loads(data)
    except (ValueError, RecursionError):
        raise Rejected("body: must be JSON") from None
    if not isinstance(answer, dict):
        raise Rejected("body: must be a JSON object")
    if answer.get("session_time") is None:
        answer["session_time"] = _DEFAULT_TIME
    return Allocation(
        allocation_id=fields.text(answer, "allocation_id"),
        trainer_id=fields.text(answer, "trainer_id"),
        status=fields.one_of(answer, "status", STATUSES),
        session_time=fields.time_of_day(answer, "session_time"),
    )


def _excerpt(data: bytes) -> str:
    """The beginning of a body, in one line of printable characters."""
    text = data[: 4 * _EXCERPT_LONGEST].decode(errors="replace")
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line[:_EXCERPT_LONGEST] or "no body"


def _why_not_connected(error: exceptions.HTTPError) -> str:
    """Without host and port, which the operator knows."""
    if isinstance(error, exceptions.NameResolutionError | exceptions.LocationParseError):
        return "its name cannot be resolved"
    if not isinstance(error, exceptions.NewConnectionError):
        return "no connection in time"
    cause = error.__cause__
    return (cause.strerror if isinstance(cause, OSError) else None) or "no connection"
