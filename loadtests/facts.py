"""A comparison as one JSON object: report.json, and all that the page is drawn from; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from loadtests.measurement import Measurement, ratios
from loadtests.objectives import Objective


def facts(
    fork: Measurement,
    cluster: Measurement,
    objectives: Sequence[Objective],
    *,
    date: str,  # ISO 8601
    release: str,
    machine: Mapping[str, str],
    parameters: Mapping[str, object],
) -> dict[str, Any]:
    """Times in milliseconds, sizes in bytes, CPU in percent of one; null where nobody knows."""
    found = {
        "date": date,
        "release": release,
        "machine": dict(machine),
        "parameters": dict(parameters),
        "met": all(objective.met for objective in objectives),
        "objectives": [
            asdict(each) | {"met": each.met, "measured": each.measured, "bound": each.bound}
            for each in objectives
        ],
        "ratios": {
            name: {"median": ratio.median, "rounds": list(ratio.rounds)}
            for name, ratio in ratios(fork, cluster).items()
        },
        "servers": {"fork": _server(fork), "cluster": _server(cluster)},
    }
    cleaned = _clean(found)
    assert isinstance(cleaned, dict)  # noqa: S101 - narrows the type
    return cleaned


def _server(side: Measurement) -> dict[str, Any]:
    return {
        "workers": side.workers,
        "seconds": side.seconds,
        "answered": side.answered,
        "failed": side.failed,
        "error_rate": side.error_rate,
        "throughput": side.throughput,
        "latency": {f"p{percent}": side.latency(percent) for percent in (50, 95, 99)}
        | {"max": side.latency(100)},
        "fairness": side.fairness,
        "generator_cpu": side.generator_cpu,
        "errors": side.errors,
        "loads": [asdict(load) for load in side.loads],
        "endpoints": [asdict(endpoint) for endpoint in side.endpoints],
        "begins": side.begins,
        "timeline": [asdict(second) for second in side.timeline],
        "samples": [asdict(sample) for sample in side.samples],
    }


def _clean(value: object) -> object:
    """JSON knows no NaN; nobody needs the digits below a thousandth."""
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _clean(each) for name, each in value.items()}
    return [_clean(each) for each in value] if isinstance(value, list) else value
