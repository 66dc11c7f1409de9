"""When a worker has served long enough to be replaced. Pure; the arbiter measures and acts."""

from __future__ import annotations

import random
from dataclasses import dataclass

# A tenth more or less, drawn for each worker: those that started together do not retire together.
_JITTER = 0.1


@dataclass(frozen=True, kw_only=True)
class Limits:
    """One worker's own limits; 0 for none."""

    requests: int = 0
    rss: int = 0  # bytes
    lifetime: float = 0.0  # seconds

    @classmethod
    def drawn(cls, *, requests: int, rss: int, lifetime: float) -> Limits:
        """Limits with jitter: requests and lifetime up to a tenth above, memory exactly."""
        return cls(
            requests=requests + random.randint(0, int(requests * _JITTER)),  # noqa: S311 - no secret
            rss=rss,
            lifetime=lifetime * (1 + random.uniform(0, _JITTER)),  # noqa: S311
        )


def worn(limits: Limits, *, requests: int, rss: int, uptime: float) -> str:
    """Why the worker is to be replaced; empty when it is not."""
    if limits.requests and requests >= limits.requests:
        return "max requests"
    if limits.rss and rss > limits.rss:
        return "memory limit"
    if limits.lifetime and uptime >= limits.lifetime:
        return "max lifetime"
    return ""
