"""What the stand-in for the admin service has allocated, and what is to go wrong with it."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

_TRAINERS = 20
_ALLOCATIONS = uuid.UUID("b0a4a1a3-1a5c-4a5b-9d0a-6a9e6c1f5b7e")  # the namespace of their ids
_FIELDS = ("purchase_id", "student_id", "course_id")
_ANSWERED = ("allocation_id", "trainer_id", "status", "session_time")

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with the next posts."""

    times: int = 1
    status: int | None = None  # None: it is carried out
    delay_s: float = 0.0
    student_id: str | None = None  # None: any


class State:
    """What was allocated, and the faults that are left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._allocations: dict[str, Json] = {}  # by Idempotency-Key
        self._requests = 0
        self._faults: list[Fault] = []

    def look(self) -> tuple[list[Json], int]:
        """The allocations in their order, and how many requests there were."""
        with self._lock:
            return list(self._allocations.values()), self._requests

    def add_fault(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear_faults(self) -> None:
        with self._lock:
            self._faults.clear()

    def allocate(
        self, asked: Json, *, key: str | None, correlation_id: str | None
    ) -> tuple[int, Json, float]:
        """Status and body of the answer, and after how many seconds it is due."""
        with self._lock:
            self._requests += 1
            fault = self._next_fault(asked.get("student_id"))
            if fault.status is not None:
                return fault.status, refusal("a fault that was asked for"), fault.delay_s
            return *self._allocate(asked, key, correlation_id), fault.delay_s

    def _allocate(
        self, asked: Json, key: str | None, correlation_id: str | None
    ) -> tuple[int, Json]:
        if not key:
            return 400, refusal("Idempotency-Key: is required")
        for name in _FIELDS:
            if not isinstance(asked.get(name), str) or not asked[name]:
                return 400, refusal(f"{name}: must be a text")
        asked = {name: asked[name] for name in _FIELDS}
        made = self._allocations.get(key)
        if made is None:
            made = asked | _allocation(asked, key)
            made |= {"idempotency_key": key, "correlation_id": correlation_id}
            self._allocations[key] = made
            return 201, {name: made[name] for name in _ANSWERED}
        if asked != {name: made[name] for name in _FIELDS}:
            return 409, refusal("Idempotency-Key: was used for another request")
        return 200, {name: made[name] for name in _ANSWERED}

    def _next_fault(self, student_id: object) -> Fault:
        """The first that is meant for this student, of which one time less is left."""
        for i, fault in enumerate(self._faults):
            if fault.student_id in (None, student_id):
                self._faults[i : i + 1] = (
                    [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                )
                return fault
        return Fault()  # nothing goes wrong


def read_fault(asked: Json) -> Fault | str:
    """The fault that is described, or what is wrong with it."""
    times, status = asked.get("times", 1), asked.get("status")
    delay, student = asked.get("delay_s", 0), asked.get("student_id")
    if unknown := set(asked) - {"times", "status", "delay_s", "student_id"}:
        return f"{min(unknown)}: is not known"
    if type(times) is not int or times < 1:
        return "times: must be an integer from 1"
    if status is not None and (type(status) is not int or not 400 <= status <= 599):
        return "status: must be an integer from 400 to 599"
    if type(delay) not in (int, float) or not 0 <= delay <= 3600:
        return "delay_s: must be a number from 0 to 3600"
    if not isinstance(student, str | None):
        return "student_id: must be a text"
    return Fault(times=times, status=status, delay_s=delay, student_id=student)


def refusal(why: str) -> Json:
    return {"error": why}


def _allocation(asked: Json, key: str) -> Json:
    """The same for the same request, also after a restart."""
    who = f"{asked['student_id']}/{asked['course_id']}"
    return {
        "allocation_id": f"alloc-{uuid.uuid5(_ALLOCATIONS, key)}",
        "trainer_id": f"trainer-{crc32(who.encode(errors='replace')) % _TRAINERS + 1}",
        "status": "approved",
        "session_time": "10:00",
    }
