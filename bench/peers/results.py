"""The comparison kept: peers.md for people, peers.json for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.objective import Objective
from bench.peers import report
from bench.peers.comparison import Outcome
from bench.peers.figures import Figures
from bench.peers.measurement import Measurement
from bench.peers.plan import Plan

DIRECTORY = Path(__file__).resolve().parents[1] / "results"


def page(plan: Plan, outcome: Outcome, objectives: Sequence[Objective]) -> str:
    """What peers.md holds."""
    return report.render(
        Figures(outcome.measurements),
        objectives,
        rounds=plan.rounds,
        seconds=plan.seconds,
        date=datetime.now(UTC).date().isoformat(),
        machine=outcome.machine,
        versions=outcome.versions,
    )


def write(directory: Path, plan: Plan, outcome: Outcome, objectives: Sequence[Objective]) -> None:
    """Writes both files."""
    directory.mkdir(parents=True, exist_ok=True)
    facts = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": dict(outcome.machine),
        "versions": {name: dict(versions) for name, versions in outcome.versions.items()},
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "objectives": [
            asdict(each) | {"value": _finite(each.value), "met": each.met} for each in objectives
        ],
        "measurements": [_fields(each) for each in outcome.measurements],
    }
    (directory / "peers.md").write_text(page(plan, outcome, objectives))
    (directory / "peers.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def _fields(measurement: Measurement) -> dict[str, object]:
    fields = asdict(measurement)
    del fields["row"]
    return {**measurement.row._asdict(), **{name: _finite(each) for name, each in fields.items()}}


def _finite(value: object) -> object:
    """JSON knows no NaN; nobody needs the digits below a thousandth."""
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    return value
