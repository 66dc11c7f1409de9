"""Measurements of a peer, made up."""

from __future__ import annotations

from collections.abc import Mapping

from bench.peers.measurement import Measurement, Row

JSON = Row("json", 1)


def measured(
    peer: str,
    *per_second: float,
    row: Row = JSON,
    p99: float = 10.0,
    mean: float | None = None,
    errors: Mapping[int, Mapping[str, int]] | None = None,
) -> list[Measurement]:
    """One a round, numbered from 1; `errors` by round. All connections are served by default."""
    return [
        Measurement(
            row=row,
            peer=peer,
            round=number,
            connections=32,
            requests=int(rate * 3),
            per_second=rate,
            mean=32 / rate * 1000 if mean is None and rate else mean or 0.0,
            p50=5.0,
            p99=p99,
            cpu=100.0,
            errors=(errors or {}).get(number, {}),
        )
        for number, rate in enumerate(per_second, start=1)
    ]
