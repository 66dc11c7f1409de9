"""What wrk(1) prints, read; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}  # milliseconds
_DURATION = r"([0-9.]+)(us|ms|s|m|h)"


class UnreadableError(ValueError):
    """That is not what wrk prints with --latency; the message holds it."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run of wrk; milliseconds."""

    requests: int  # answered, whatever the status
    per_second: float
    mean: float
    p50: float
    p99: float
    errors: Mapping[str, int]  # what went wrong: how often; empty when nothing did


def read(text: str) -> Report:
    """The report in wrk's output; raises UnreadableError."""
    return Report(
        requests=int(_found(text, r"^\s*(\d+) requests in ")[1]),
        per_second=float(_found(text, r"^Requests/sec:\s+([0-9.]+)")[1]),
        mean=_milliseconds(text, rf"^\s+Latency\s+{_DURATION}"),
        p50=_milliseconds(text, rf"^\s+50%\s+{_DURATION}"),
        p99=_milliseconds(text, rf"^\s+99%\s+{_DURATION}"),
        errors=_errors(text),
    )


def _errors(text: str) -> dict[str, int]:
    counted = {}
    if sockets := re.search(r"^\s*Socket errors: (.+)$", text, re.M):
        for kind, count in re.findall(r"(\w+) (\d+)", sockets[1]):
            counted[kind] = int(count)
    if statuses := re.search(r"^\s*Non-2xx or 3xx responses: (\d+)", text, re.M):
        counted["status"] = int(statuses[1])
    return {kind: count for kind, count in counted.items() if count}


def _milliseconds(text: str, pattern: str) -> float:
    value, unit = _found(text, pattern).groups()
    return float(value) * _UNITS[unit]


def _found(text: str, pattern: str) -> re.Match[str]:
    found = re.search(pattern, text, re.M)
    if found is None:
        raise UnreadableError(f"no {pattern!r} in:\n{text}")
    return found
